"""What every command, and every function of the pipeline, gets besides its own arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TextIO

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.workspace import Workspace


@dataclass(frozen=True)
class Context:
    """The surroundings of one run.

    Attributes:
        workspace: Where datasets and models lie.
        report: Takes events.
        cancel: Says whether to stop.
        out: Where result tables for people go; None when events are printed instead.
    """

    workspace: Workspace
    report: Reporter = silent
    cancel: CancelToken = field(default_factory=CancelToken)
    out: TextIO | None = None
