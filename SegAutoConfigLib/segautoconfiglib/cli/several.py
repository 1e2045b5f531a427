"""A command that torchrun has started several times: one of the processes speaks, the others keep quiet."""

from __future__ import annotations

import sys
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.base.torchrun import Place, torchrun_place

#: The commands whose processes work together; any other does the same in each of them.
SHARED_COMMANDS = ("train", "nnUNetv2_train", "nnUNet_train", "nnUNet_train_DP", "nnUNet_train_DDP")

#: A terminal sends Ctrl-C to all processes, and torchrun sends it to them again: not a second request (seconds).
ECHO_S = 5.0


def place_among_others(command: str) -> Place | None:
    """Which process of a shared command this is; None where it is the only one."""
    if command not in SHARED_COMMANDS:
        return None
    try:
        return torchrun_place()
    except UserError:  # the command will say it
        return None


def errors_only(place: Place) -> Reporter:
    """A reporter that writes errors alone, to standard error, with the process's number."""
    from segautoconfiglib.base.terminal import HumanReporter

    human = HumanReporter(sys.stderr)

    def report(kind: str, **data: Any) -> None:
        if kind == "error":
            human(kind, **{**data, "message": f"Process {place.rank} of {place.size}: {data['message']}"})

    return report
