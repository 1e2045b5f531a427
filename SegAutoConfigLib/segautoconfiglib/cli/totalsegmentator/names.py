"""TotalSegmentator's commands under their own names: same flags, plus our own options."""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Command name -> the module of this folder that has it, and one line of help.
COMMANDS = {
    "TotalSegmentator": ("segment", "find the structures of a task in an image"),
    "totalseg_info": ("info", "show tasks, their structures, and which weights are missing"),
    "totalseg_download_weights": ("weights", "fetch the published weights of tasks"),
    "totalseg_import_weights": ("weights", "take weights from a zip file"),
    "totalseg_combine_masks": ("combine_masks", "put several structures into one mask"),
    "totalseg_set_license": ("unavailable", "says why it is not here"),
    "totalseg_get_phase": ("unavailable", "says why it is not here"),
    "totalseg_get_modality": ("unavailable", "says why it is not here"),
    "totalseg_get_body_stats": ("unavailable", "says why it is not here"),
    "totalseg_evans_index": ("unavailable", "says why it is not here"),
    "totalseg_spine_report": ("unavailable", "says why it is not here"),
    "totalseg_aorta_report": ("unavailable", "says why it is not here"),
    "totalseg_pulmonary_report": ("unavailable", "says why it is not here"),
}


def load_command(name: str) -> Any:
    """The command (`command.Command`) with a name of ``COMMANDS``; only its module is imported."""
    return import_module(f"{__package__}.{COMMANDS[name][0]}").COMMANDS[name]
