"""A case of the dataset, its true segmentation, and what a network makes of it while it is being trained."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Jobs.Follower import JobFollower
from SegAutoConfigGui.Jobs.Job import Job
from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Scene.Files import loadDetached
from SegAutoConfigGui.Scene.Results import loadPrediction
from SegAutoConfigGui.Scene.Staging import makeStaging, removeStaging
from SegAutoConfigGui.Train.TrainCommand import CHECKPOINTS

#: Attribute of nodes that a preview has loaded; a second preview of the case uses them again.
CASE_ATTRIBUTE = "SegAutoConfig.PreviewOf"


class Preview:
    """One at a time.

    Args:
        onText: Gets what is being done, in words.
        onEnd: Called when it has ended, in whatever way.
        onProblems: Gets what went wrong.
    """

    def __init__(
        self, onText: Callable[[str], Any], onEnd: Callable[[], Any], onProblems: Callable[[list[Problem]], Any]
    ) -> None:
        self._onText, self._onEnd, self._onProblems = onText, onEnd, onProblems
        self._job: Job | None = None
        self._follower: JobFollower | None = None
        self._folder: Path | None = None

    @property
    def running(self) -> bool:
        """Whether one is being made."""
        return self._folder is not None

    def start(
        self, engine, dataset: Mapping[str, Any], case: str, modelFolder: str, fold: str, device: str, name: str
    ) -> None:
        """Load a case, then segment it in the background.

        Args:
            engine: Of the workspace.
            dataset: As `info` lists it.
            case: Its id.
            modelFolder: Of the training.
            fold: Likewise.
            device: Where to run.
            name: Of the result's node.

        Raises:
            UserProblem: files of the case are missing or unreadable, there are no weights yet, or no space.
        """
        checkpoint = usableCheckpoint(modelFolder, fold)
        files = dataset["case_files"][case]
        volume = _loadVolume(dataset, case, [Path(file) for file in files["images"]])
        if files.get("labels"):
            _loadTruth(dataset, case, Path(files["labels"]), volume)
        self._folder = makeStaging(Path(engine.workspace), "preview-")
        images, output = self._folder / "in", self._folder / "out"
        words = ["predict", "--model", modelFolder, "-i", str(images), "-o", str(output)]
        words += ["--folds", fold, "-chk", checkpoint, "--device", device]
        try:
            _stage(images, [Path(file) for file in files["images"]])
            self._job = engine.start(words, title=case, temporary=True)
        except (OSError, UserProblem) as error:
            self._clear()
            if isinstance(error, UserProblem):
                raise
            raise UserProblem(
                _("The case can't be prepared: {reason}.").format(reason=error.strerror or error),
                _("Check the free space and the permissions of the workspace."),
            ) from error
        self._onText(_("Segmenting {case} ...").format(case=case))

        def end(job: Job) -> None:
            self._take(job, output, case, dataset, volume, name)

        self._follower = JobFollower(self._job, onEnd=end)
        self._follower.start()

    def cancel(self) -> None:
        """Ask for an end; what was loaded stays."""
        if self._job is not None and self._job.running:
            self._onText(_("Stopping the preview ..."))
            self._job.stop()

    def close(self) -> None:
        """End without calling back."""
        if self._follower is not None:
            self._follower.stop()
        self._clear()

    def _take(self, job: Job, output: Path, case: str, dataset: Mapping[str, Any], volume, name: str) -> None:
        try:
            self._load(job, output, case, dataset, volume, name)
        except UserProblem as problem:
            self._onText(_("No preview."))
            self._onProblems(problem.problems)
        finally:
            self._clear()
            self._onEnd()

    def _load(self, job: Job, output: Path, case: str, dataset: Mapping[str, Any], volume, name: str) -> None:
        if job.state == job.STOPPED:
            self._onText(_("Preview canceled; the case stays loaded."))
            return
        if job.state != job.FINISHED:
            raise UserProblem(job.problems or [Problem(_("The preview could not be made."))])
        if not slicer.mrmlScene.IsNodePresent(volume):
            self._onText(_("The case was closed before its preview was ready."))
            return
        found = sorted(output.glob(f"{globSafe(case)}.*"))
        if not found:
            raise UserProblem(_("The engine wrote no segmentation of {case}.").format(case=case), "", job.logText())
        loadPrediction(found[0], volume, dataset, name=name)
        self._onText(_("{name} is loaded.").format(name=name))

    def _clear(self) -> None:
        folder, self._folder = self._folder, None
        self._follower = None
        job, self._job = self._job, None
        if job is not None and not job.running:
            job.discard()
        if folder is not None:
            removeStaging(folder)


def usableCheckpoint(modelFolder: str, fold: str) -> str:
    """The weights to preview with. Raises: UserProblem: there are none yet."""
    for name in CHECKPOINTS:
        if modelFolder and (Path(modelFolder) / f"fold_{fold}" / name).is_file():
            return name
    raise UserProblem(
        _("There is nothing to preview yet: the first epoch is not saved."), _("Try again when the curves begin.")
    )


def globSafe(text: str) -> str:
    """A name in which no character stands for others."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def _stage(folder: Path, images: list[Path]) -> None:
    """A case's images alone in a folder, as links where the file system has them."""
    folder.mkdir()
    for image in images:
        try:
            os.link(image, folder / image.name)
        except OSError:
            shutil.copyfile(image, folder / image.name)


def _loadVolume(dataset: Mapping[str, Any], case: str, images: list[Path]):
    """The case's first channel, shown in the slice views; the node of an earlier preview if it is still there."""
    volume = _loaded("vtkMRMLScalarVolumeNode", dataset, case)
    if volume is None:
        volume = loadDetached(images[0], case)
        volume.SetAttribute(CASE_ATTRIBUTE, _key(dataset, case))
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return volume


def _loadTruth(dataset: Mapping[str, Any], case: str, file: Path, volume) -> None:
    if _loaded("vtkMRMLSegmentationNode", dataset, case) is None:
        node = loadPrediction(file, volume, dataset, name=_("{case} truth").format(case=case))
        node.SetAttribute(CASE_ATTRIBUTE, _key(dataset, case))
        node.GetDisplayNode().SetVisibility2DFill(False)  # outlines, on what the network makes of it


def _loaded(className: str, dataset: Mapping[str, Any], case: str):
    for node in slicer.util.getNodesByClass(className):
        if node.GetAttribute(CASE_ATTRIBUTE) == _key(dataset, case):
            return node
    return None


def _key(dataset: Mapping[str, Any], case: str) -> str:
    return f"{dataset['dataset']}/{case}"
