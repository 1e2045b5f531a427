"""The Python packages that the engine needs, and whether they are there. Nothing is imported to find out."""

import sys
from collections.abc import Sequence

from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import UserProblem
from segautoconfiglib.base.packages import ALWAYS, FOR_TRAINING, lacking

#: The engine's own minimum.
MINIMUM_PYTHON = (3, 10)
#: Come with Slicer, in versions of its own, and are never installed or replaced.
BUNDLED = ("numpy", "scipy", "SimpleITK", "pillow")
#: Reading, checking and writing datasets.
DATASET_PACKAGES = tuple(name for name in ALWAYS if name not in BUNDLED)
TORCH = "torch"
#: Training and segmenting, besides torch.
TRAINING_PACKAGES = tuple(name for name in FOR_TRAINING if name != TORCH)
#: Installed without the packages that they ask for: batchgenerators wants pandas, scikit-image, scikit-learn and
#: unittest2, which the parts of it that the engine uses never import.
ALONE = ("batchgenerators",)
#: From this version on the engine has not been tried.
BELOW = {"batchgenerators": "0.26"}
#: What is downloaded, in MB: wheels for Python 3.12 on Linux, November 2026, rounded up.
DATASET_MB, TRAINING_MB = 15, 20
#: torch for the CPU alone, and with CUDA's libraries, in GB.
TORCH_GB, TORCH_CUDA_GB = 0.2, 2.5


def requirement(package: str) -> str:
    """Name and versions, as pip reads them."""
    oldest = {**ALWAYS, **FOR_TRAINING}[package][1]
    return f"{package}>={oldest}" + (f",<{BELOW[package]}" if package in BELOW else "")


def missing(packages: Sequence[str]) -> list[str]:
    """Those that are not installed in this Python, or too old."""
    known = {**ALWAYS, **FOR_TRAINING}
    return list(lacking({package: known[package] for package in packages}))


def checkPython(version: "tuple[int, ...]" = tuple(sys.version_info[:2])) -> None:
    """Check that Slicer's own Python is new enough.

    Raises:
        UserProblem: it is not.
    """
    if version < MINIMUM_PYTHON:
        raise UserProblem(
            _("This Slicer has Python {version}; SegAutoConfig needs {minimum} or newer.").format(
                version=".".join(map(str, version)), minimum=".".join(map(str, MINIMUM_PYTHON))
            ),
            _("Use Slicer 5.10 or newer, or choose another Python under Setup."),
        )


def checkPackages(training: bool = False) -> None:
    """Check that this Python has what the engine needs; quick, imports nothing.

    Args:
        training: True: what training and segmenting need, too.

    Raises:
        UserProblem: packages are missing.
    """
    absent = missing(DATASET_PACKAGES)
    if absent:
        message = _("Packages that SegAutoConfig needs are not installed in Slicer: {names}.")
        raise UserProblem(message.format(names=", ".join(absent)), _('Open Setup and press "Install".'))
    absent = missing((TORCH, *TRAINING_PACKAGES)) if training else []
    if absent:
        message = _("Packages for training and segmenting are not installed in Slicer: {names}.")
        hint = _('Open Setup and press "Install" beside "Training and segmenting".')
        raise UserProblem(message.format(names=", ".join(absent)), hint)
