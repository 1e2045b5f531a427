"""The trainings of a workspace: found on disk, followed, continued, dismissed. No widgets."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Jobs.Engine import Engine
from SegAutoConfigGui.Jobs.Follower import JobFollower
from SegAutoConfigGui.Jobs.Job import Job
from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Train.Curves import Curves
from SegAutoConfigGui.Train.TrainCommand import hasCheckpoint, minutesOf, optionOf, resumeCommand
from SegAutoConfigGui.Train.TrainProgress import TrainProgress

#: Choices that make it the same training as another, whatever its length in epochs.
SAME = ("dataset", "timed", "minutes", "configuration", "fold", "planner", "startFrom")


class Training:
    """One training: its job and what is known of it.

    Attributes:
        job: The engine's job.
        progress: What its events tell beyond the job's own attributes.
        curves: In the plot view.
        live: It ran when it was found or started here, so its end is news.
        stopAsked: When a stop was asked for (``time.monotonic``), None before.
        model: What `info --model` told of the result; empty until asked.
    """

    def __init__(self, job: Job) -> None:
        self.follower: JobFollower | None = None
        self.use(job)
        self.curves = Curves(self.title, self.names, job.details.get("colors"))

    def use(self, job: Job) -> None:
        """Take another job of the same folder: the training was continued."""
        self.job = job
        self.progress = TrainProgress()
        self.live = job.running
        self.stopAsked: float | None = None
        self.model: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """For people."""
        return _("{dataset}, fold {fold}").format(dataset=self.dataset, fold=self.fold)

    @property
    def fold(self) -> str:
        """The fold: a number, or "all"."""
        return optionOf(self.job.command, "--fold", "0")

    @property
    def dataset(self) -> str:
        """Full name of its dataset."""
        return str(self.job.details.get("dataset") or (self.job.command[1:2] or [""])[0])

    @property
    def names(self) -> list[str]:
        """Of the structures, in the order of the Dice values."""
        return list(self.job.details.get("names") or [])

    @property
    def choices(self) -> Mapping[str, Any]:
        """With what it was started from the panel; empty where it was not."""
        return self.job.details.get("choices") or {}

    def isSame(self, choices: Mapping[str, Any]) -> bool:
        """Whether these choices lead to the model and fold that this one trains."""
        return bool(choices) and all(self.choices.get(name) == choices.get(name) for name in SAME)

    def stop(self) -> None:
        """Ask for a clean end. Raises: UserProblem: it can't be asked."""
        self.job.stop()
        self.stopAsked = time.monotonic()


class Trainings:
    """All trainings of a workspace, the newest first.

    Args:
        onNews: Called with a training and its new events.
        onEnd: Called with a training that has ended, or that had ended before and is read now.
    """

    def __init__(self, onNews: Callable[[Training, list], Any], onEnd: Callable[[Training], Any]) -> None:
        self._onNews, self._onEnd = onNews, onEnd
        self.items: list[Training] = []

    def find(self, engine: Engine) -> bool:
        """Look on the disk; those that run are followed from then on.

        Args:
            engine: Of the workspace.

        Returns:
            Whether the list has changed.
        """
        before = [(training, training.job) for training in self.items]
        known = {training.job.folder: training for training in self.items}
        found = []
        for job in engine.jobs():
            if job.command[:1] != ["train"]:
                continue
            training = known.pop(job.folder, None)
            if training is None:
                training = Training(job)
            elif job.running and not training.job.running:  # continued from elsewhere
                self._continueWith(training, job)
            found.append(training)
        for training in known.values():
            self._forget(training)
        self.items = found
        for training in found:
            if training.job.running:
                self.follow(training)
        return before != [(training, training.job) for training in found]

    def follow(self, training: Training) -> None:
        """Read what there is to read; to its end if it runs."""
        if training.follower is not None:
            return

        def news(events: list) -> None:
            training.progress.take(events)
            self._onNews(training, events)

        def end(job: Job) -> None:
            self._onEnd(training)

        training.follower = JobFollower(training.job, news, end)
        training.follower.start()

    def start(self, engine: Engine, command: Sequence[str], title: str, details: dict[str, Any]) -> Training:
        """Start a new one. Beginnings of the same that saved nothing go. Raises: UserProblem: it can't be started."""
        training = Training(engine.start(command, title=title, details=details))
        for old in [one for one in self.items if one.isSame(training.choices) and self._savedNothing(one)]:
            with suppress(UserProblem):  # its files are in use: it stays in the list
                self.dismiss(old)
        self.items.insert(0, training)
        self.follow(training)
        return training

    @staticmethod
    def _savedNothing(training: Training) -> bool:
        job = training.job
        if training.follower is None:
            training.progress.take(job.poll())
        ended = job.state in (job.FAILED, job.LOST, job.STOPPED)
        return ended and not hasCheckpoint(training.progress.modelFolder, training.fold)

    def resume(self, engine: Engine, training: Training) -> None:
        """Continue one that has ended, with the curves that it has. Raises: UserProblem: it can't be started."""
        if training.follower is None or training.follower.active:  # not everything was read yet
            training.progress.take(training.job.poll())
        job, progress = training.job, training.progress
        minutes = job.details.get("minutes") or minutesOf(optionOf(job.command, "--budget"))
        command = resumeCommand(job.command, progress.modelFolder, minutes - progress.secondsUsed / 60)
        job = engine.start(command, job=job, details={**job.details, "minutes": minutes})
        self._continueWith(training, job)
        self.follow(training)

    def dismiss(self, training: Training) -> None:
        """Remove the folder and curves of one that has ended. Raises: UserProblem: it runs, or files are in use."""
        training.job.discard()
        self._forget(training)
        self.items.remove(training)

    def close(self) -> None:
        """Follow none any more; those that run go on."""
        for training in self.items:
            self._forget(training)
        self.items = []

    @staticmethod
    def _continueWith(training: Training, job: Job) -> None:
        if training.follower is not None:
            training.follower.stop()
            training.follower = None
        training.use(job)

    @staticmethod
    def _forget(training: Training) -> None:
        if training.follower is not None:
            training.follower.stop()
        training.curves.remove()
