"""The engine's advice in words of the panels: its own names options of a command line, which a window does not have."""

import re
from collections.abc import Mapping
from typing import Any

from SegAutoConfigGui.Jobs.Translation import _

#: An option of the command line; not a part of a path or name.
OPTION = re.compile(r"(?<![\w/\\.-])--[a-z]")


def hintOf(data: Mapping[str, Any]) -> str:
    """What to do, for somebody who sits before the panels.

    Args:
        data: Of an "error" or "warning" event, or of one of its problems: hint and action.

    Returns:
        The sentence of the action; without one (or one that a newer engine has) the engine's hint, but for one that
        names options.
    """
    hint = str(data.get("hint") or "")
    return sentences().get(str(data.get("action") or "")) or ("" if OPTION.search(hint) else hint)


def sentences() -> dict[str, str]:
    """Action of the engine (base/errors.py) -> what to do in the window."""
    return {
        "add-anew": _("Load the case into the scene and add it to the dataset again."),
        "check-image": _('Check the image for NaN and extreme values; on a GPU try the device "cpu" (under Advanced).'),
        "choose-checkpoint": _('Choose other folds (under Advanced), or press "Resume" in the Train tab to finish it.'),
        "checksum": _("Try again: the file was damaged on its way, or exchanged."),
        "continue-from-or-delete": _(
            'To keep that model, choose it in "Start from" under Advanced. To give it up, delete it in the Models tab.'
        ),
        "continue-from-or-overwrite": _(
            'To keep that model, choose it in "Start from" under Advanced. To give it up, choose "Start over".'
        ),
        "connection": _("Check the connection, or fetch the file on another computer and import it here."),
        "cpu": _('Choose the device "cpu" (under Advanced).'),
        "cuda": _('Choose the device "cuda" (under Advanced).'),
        "fill-folds": _("Add cases to the dataset, or train other folds."),
        "fold-all": _('Add cases, or train on all of them: the fold "all" (under Advanced).'),
        "free-gpu": _('Close other programs that use the GPU, or choose the device "cpu" (under Advanced).'),
        "free-memory": _("Close other programs, then start again; cases that were finished are kept."),
        "free-memory-or-check-case": _(
            "Close other programs, or check the files of this case, then start again; cases that were finished are "
            "kept."
        ),
        "free-memory-or-shrink": _(
            'Close other programs, choose less "GPU memory" for a training, or the device "cpu" (under Advanced).'
        ),
        "free-memory-then-resume": _('Close other programs, then press "Resume".'),
        "import-lower-stage": _('Train or import the model of the lower resolution, too ("3d_lowres").'),
        "install": _("Install it in the Setup tab."),
        "install-cuda": _('Choose the device "cpu" (under Advanced), or install the NVIDIA driver and PyTorch for it.'),
        "more-time": _("Start again with more time; what was prepared is kept."),
        "more-time-or-fold-all": _(
            'Give more time, or train on all cases (the fold "all" under Advanced), which needs no validation.'
        ),
        "more-time-or-overwrite": _(
            'Preparing is done once: training again ("Start over"), or with more time, gives a better network.'
        ),
        "name-dataset": _("Ask for a file in which the dataset is named like Dataset123_Name."),
        "plan": _('Train it anew ("Start over").'),
        "length-for-cascade": _('Choose a number of epochs, or the configuration "3d_fullres" (both under Advanced).'),
        "plan-anew": _("Make a new dataset of the cases in the Dataset tab."),
        "plugin": _('If it is of a plug-in, put that into the folder "plugins" of the workspace.'),
        "reorient": _(
            "Networks see voxels in stored order: reorient the smaller groups (module Orient Scalar Volume)."
        ),
        "replace-model": _("Delete that model in the Models tab first."),
        "replace-weights": _("Remove that folder first, if they are to be replaced."),
        "resume-or-overwrite": _('Continue it with "Resume", or discard it with "Start over".'),
        "resume-other": _('Press "Resume" of that training.'),
        "resume-same-or-overwrite": _('Resume it with the settings that it was begun with, or choose "Start over".'),
        "room": _("Free some space, or choose another workspace in the Setup tab."),
        "task-mode": _("Choose the usual resolution of the task."),
        "task-weights": _("Download the weights of the task, or choose a folder or zip file that has them."),
        "train-lower-stage": _('Train the configuration "3d_lowres" on all folds first (both under Advanced).'),
        "workspace": _("Choose another workspace in the Setup tab, or change the permissions of this one."),
    }
