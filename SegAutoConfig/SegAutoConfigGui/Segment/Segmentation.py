"""Segmenting volumes of the scene with a model: to files, through the engine, and back. No widgets.

From Slicer's Python console::

    model = logic.models[0]
    run = Segmentation(logic.engine, model, [[volume] for volume in volumes])
    nodes = run.segment(slicer.app.processEvents)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Scene.Export import exportVolumes
from SegAutoConfigGui.Scene.Results import loadPrediction, loadProbabilities, loadUncertainty
from SegAutoConfigGui.Scene.Sequences import framesOf, predictionsToSequence, proxyOf
from SegAutoConfigGui.Scene.Staging import makeStaging, removeStaging
from SegAutoConfigGui.Segment.ResultNodes import describe, resultsOf
from SegAutoConfigGui.Segment.SegmentChoices import SegmentOptions, predictCommand, problemsOfInput
from SegAutoConfigGui.Segment.Tasks import stageShare, taskCommand

PREFIX = "segment-"
#: Share of the progress bar that writing and loading take.
EXPORT_SHARE, LOAD_SHARE = 0.05, 0.05


class Segmentation:
    """One press of the button: volumes are written, segmented by the engine, and the results loaded.

    ``export()``, ``start()`` (again and again while ``more``; ``leaveOut()`` after a job that failed) and, unless
    ``failed``, ``load()`` are called in this order, so that a panel can let the window live in between; ``remove()`` at
    the end, whatever happened. ``segment()`` does all of it.

    Args:
        engine: The engine.
        model: A row of the engine's ``info``, or a task of TotalSegmentator (`Tasks.taskModel`).
        cases: Volume nodes of each case, one for each channel.
        options: How.
        sequence: A sequence of volumes instead of ``cases``.

    Attributes:
        nodes: The segmentation nodes (or the sequence node) that were made.
        job: The engine's, once started; of a task that of the latest case.
    """

    def __init__(
        self,
        engine: Any,
        model: Mapping[str, Any],
        cases: Sequence[Sequence[Any]] = (),
        options: "SegmentOptions | None" = None,
        sequence: Any = None,
    ) -> None:
        self.model = dict(model)
        self.options = options or SegmentOptions()
        self.nodes: list[Any] = []
        self.job: Any = None
        self._engine = engine
        self._sequence = sequence
        self._cases = [list(volumes) for volumes in cases]
        if sequence is not None:
            self._cases = [[volume] for _value, volume in framesOf(sequence)]
        self._folder: Path | None = None
        self._jobs = 0  # that were started
        self._missing: set[int] = set()  # places of the cases that got no result
        self._reasons: list[Problem] = []
        self._notLoaded: list[Problem] = []

    @property
    def ids(self) -> list[str]:
        """Of the cases, in the files' names."""
        return [f"case_{number:03}" for number in range(1, len(self._cases) + 1)]

    @property
    def _images(self) -> Path:
        return self._folder / "images"

    @property
    def _output(self) -> Path:
        return self._folder / "segmentations"

    @property
    def more(self) -> bool:
        """Whether there is something to be started: a model does all cases in one job, a task one after the other."""
        return self._jobs < (len(self._cases) if "task" in self.model else 1)

    @property
    def failed(self) -> bool:
        """Whether there is no result at all."""
        return len(self._missing) == len(self._cases)

    @property
    def problems(self) -> list[Problem]:
        """Why cases were not segmented, under the names of their volumes, and results that could not be loaded."""
        heading = [self._heading()] if self._missing and not self.failed else []
        return [*heading, *self._reasons, *self._notLoaded]

    @property
    def place(self) -> tuple[int, int]:
        """Of a task: the number of the case that is worked on, and of all."""
        return self._jobs, len(self._cases)

    @property
    def leftOut(self) -> int:
        """How many cases are known to get no result."""
        return len(self._missing)

    def check(self) -> None:
        """Check the input.

        Raises:
            UserProblem: it can't be segmented; nothing was written.
        """
        problems = problemsOfInput(self.model, self._cases, self.options.resample)
        if problems:
            raise UserProblem(problems)

    def export(self) -> Iterator[float]:
        """Write the volumes, one case per step; yields the share of the whole that is done.

        Raises:
            UserProblem: the input can't be segmented, or the files can't be written.
        """
        self.check()
        self._folder = makeStaging(self._engine.workspace, PREFIX)
        self._images.mkdir()
        for number, (name, volumes) in enumerate(zip(self.ids, self._cases, strict=True), start=1):
            self._forgetIfGone(volumes)
            exportVolumes(volumes, self._images, name, resampleChannels=self.options.resample)
            yield EXPORT_SHARE * number / len(self._cases)

    def start(self) -> Any:
        """Start the engine on what comes next; returns its job.

        Raises:
            UserProblem: it can't be started; ``leaveOut()`` takes that, too.
        """
        command = (
            self._taskCommand()
            if "task" in self.model
            else predictCommand(self.model, self._images, self._output, self.options)
        )
        self._jobs += 1
        self.job = self._engine.start(command, title=str(self.model["title"]), temporary=True)
        return self.job

    def leaveOut(self, problems: Sequence[Problem]) -> None:
        """Note why what was started last failed. Other cases do not suffer from it: of a task those of other jobs, of a
        model those whose files are there.
        """
        problems = problems or [Problem(_("The segmentation ended unexpectedly."))]
        missing = [self._jobs - 1]
        if "task" not in self.model:
            missing = [place for place in range(len(self._cases)) if not self._labels(place).is_file()]
        self._missing.update(missing)
        told = set(map(self._placeOf, problems))
        others = "" if self.failed else ", ".join(self._nameOf(place) for place in missing if place not in told)
        reasons = map(self.inWords, problems)
        self._reasons += [reason if reason.case else replace(reason, case=others) for reason in reasons]

    def inWords(self, problem: Problem) -> Problem:
        """What the latest job says, without the names that the volume and its files have there.

        Of several cases it says which one is meant, where it is of one.
        """
        place = self._placeOf(problem)
        if place is None:
            return problem
        text, volumes = problem.message.removeprefix(f"Case {self.ids[place]}: "), self._cases[place]
        for channel, volume in enumerate(volumes):
            file, name = str(self._image(place, channel)), volume.GetName() if volumes[1:] else _("the volume")
            begins = text.startswith(file) and not volumes[1:]
            text = text.replace(file, name)
            text = text[:1].upper() + text[1:] if begins else text
        return replace(problem, message=text, case=self._nameOf(place) if self._cases[1:] else "")

    def share(self) -> float:
        """What is done of the whole while the engine works, 0..1."""
        progress, stage = (self.job.progress, self.job.stage) if self.job is not None else ({}, "")
        done, total = progress.get("done") or 0, progress.get("total") or 0
        ratio = min(1.0, done / total) if total else 0.0
        if "task" in self.model:
            ratio = (max(0, self._jobs - 1) + stageShare(stage, ratio)) / len(self._cases)
        elif stage != "predict":
            ratio = 0.0
        return EXPORT_SHARE + (1 - EXPORT_SHARE - LOAD_SHARE) * ratio

    def load(self) -> Iterator[float]:
        """Load the results, one case (of a sequence one frame) per step; yields the share of the whole that is done.

        What was left out, or closed or deleted meanwhile, gets no result but an entry in ``problems``; of a sequence
        such a frame's segmentation is empty, so that all others stay in step.
        """
        if self._sequence is not None:
            yield from self._loadSequence()
            return
        for place, (name, volumes) in enumerate(zip(self.ids, self._cases, strict=True)):
            try:
                if place not in self._missing:
                    self._loadCase(name, volumes)
            except UserProblem as problem:
                self._notLoaded += problem.problems
            yield self._loadedShare(place + 1)

    def segment(self, pump: "Callable[[], Any] | None" = None, timeout: float = 24 * 3600) -> list[Any]:
        """All of it, for scripts; returns the nodes.

        Args:
            pump: Called again and again, such as ``slicer.app.processEvents``.
            timeout: In seconds, of each job.

        Raises:
            UserProblem: something went wrong. Of several volumes those that it does not concern are in the scene, and
                in ``nodes``.
        """
        try:
            for _share in self.export():
                pump and pump()
            while self.more:
                self._runNext(pump, timeout)
            for _share in self.load() if not self.failed else ():
                pump and pump()
        finally:
            self.remove()
        if self.problems:
            raise UserProblem(self.problems)
        return self.nodes

    def remove(self) -> None:
        """End the engine's process if it runs, and remove all files."""
        if self.job is not None and self.job.running:
            self.job.kill()
        self.job = None
        if self._folder is not None:
            removeStaging(self._folder)

    def _runNext(self, pump: "Callable[[], Any] | None", timeout: float) -> None:
        """Start what comes next, and wait for its end. Raises: UserProblem: it was canceled."""
        try:
            job = self.start()
        except UserProblem as problem:
            self.leaveOut(problem.problems)
            return
        if not job.wait(timeout, pump):
            job.kill()
            self.leaveOut([Problem(_("The segmentation took longer than {seconds} s.").format(seconds=timeout))])
        elif job.state == job.STOPPED:
            raise UserProblem(_("The segmentation was canceled."))
        elif job.state != job.FINISHED:
            self.leaveOut(job.problems)

    def _placeOf(self, problem: Problem) -> "int | None":
        """The case that the latest job means; None: all, or none of them."""
        if "task" in self.model:
            return self._jobs - 1
        names = (problem.case, problem.message.removeprefix("Case ").partition(": ")[0])
        return next((self.ids.index(name) for name in names if name in self.ids), None)

    def _nameOf(self, place: int) -> str:
        """A case for the user: its volume, or of a sequence the frame, counted as the sequence browser does."""
        if self._sequence is None:
            return str(self._cases[place][0].GetName())
        return _("{sequence}, frame {number}").format(sequence=self._sequence.GetName(), number=place + 1)

    def _heading(self) -> Problem:
        """How many have no result."""
        text = _("{count} of {total} volumes could not be segmented.")
        if self._sequence is not None:
            text = _("{count} of {total} frames could not be segmented and stayed empty.")
        return Problem(text.format(count=len(self._missing), total=len(self._cases)))

    def _taskCommand(self) -> list[str]:
        self._output.mkdir(exist_ok=True)
        image, labels = self._image(self._jobs), self._labels(self._jobs)
        return taskCommand(self.model, image, labels, self.options.device, self.options.weights)

    def _image(self, place: int, channel: int = 0) -> Path:
        """The file of a case's volume."""
        return self._images / f"{self.ids[place]}_{channel:04}.nrrd"

    def _labels(self, place: int) -> Path:
        """The file of a case's result."""
        return self._output / f"{self.ids[place]}.nrrd"

    def _forgetIfGone(self, volumes: Sequence[Any]) -> None:
        gone = self._sequence if self._sequence is not None else None
        nodes = [gone] if gone is not None else volumes
        if not all(slicer.mrmlScene.IsNodePresent(node) for node in nodes):
            names = ", ".join(node.GetName() for node in nodes)
            message = _("{names} is not in the scene any more, so its segmentation was not loaded.")
            raise UserProblem(message.format(names=names), _("Load it and segment it again."))

    def _loadCase(self, name: str, volumes: Sequence[Any]) -> None:
        self._forgetIfGone(volumes)
        earlier = resultsOf(self.model, volumes[0]) if self.options.replace else []
        node = loadPrediction(
            self._output / f"{name}.nrrd", volumes[0], self.model, replace=earlier[-1] if earlier else None
        )
        describe(node, self.model, volumes)
        self.nodes.append(node)
        if self.options.show3D:
            node.CreateClosedSurfaceRepresentation()
        if self.options.probabilities:
            loadProbabilities(sorted(self._output.glob(f"{name}_probability_*.nrrd")), volumes[0], self.model)
        if self.options.uncertainty:
            loadUncertainty(self._output / f"{name}_uncertainty.nrrd", volumes[0])

    def _loadSequence(self) -> Iterator[float]:
        files = [None if place in self._missing else self._labels(place) for place in range(len(self._cases))]
        steps = predictionsToSequence(files, self._sequence, self.model)
        try:
            for number in range(1, len(files) + 1):
                self._forgetIfGone([])
                next(steps)
                yield self._loadedShare(number)
            self._forgetIfGone([])
            result = next(steps)
        except UserProblem as problem:
            self._notLoaded += problem.problems
            return
        self.nodes.append(result)
        # the node that shows the current frame takes over what the frames' own nodes hold
        frames = [result.GetNthDataNode(number) for number in range(result.GetNumberOfDataNodes())]
        for node in (*frames, proxyOf(result)):
            describe(node, self.model, [proxyOf(self._sequence)])

    def _loadedShare(self, number: int) -> float:
        """What is done of the whole once this many cases are loaded."""
        return 1 - LOAD_SHARE * (1 - number / len(self._cases))
