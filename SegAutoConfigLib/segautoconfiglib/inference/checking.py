"""Whether checkpoints can be opened here, and what opens them. Loads no torch until it is called."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from segautoconfiglib.base.events import Reporter
from segautoconfiglib.models.folder import ModelFolder

#: Raises UserError where a model's checkpoints are damaged or do not fit.
Check = Callable[[ModelFolder], None]


def has_torch() -> bool:
    """False also where an uninstallation has left an empty folder."""
    return getattr(find_spec("torch"), "origin", None) is not None


def warn_without_torch(report: Reporter, what: str, hint: str) -> None:
    """what: Was done with the checkpoints, or not."""
    report("warning", message=f"The checkpoints were {what}, because torch is not installed.", hint=hint)


def checkpoint_check(report: Reporter) -> Check | None:
    """What opens the checkpoints of a model; without torch, which is told, they can't be."""
    if not has_torch():
        warn_without_torch(report, "not opened", "They are checked when the model is used.")
        return None
    from segautoconfiglib.inference.model import check_checkpoints

    return check_checkpoints
