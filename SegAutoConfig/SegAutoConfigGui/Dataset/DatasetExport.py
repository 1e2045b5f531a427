"""Putting cases into a dataset: files for the engine, its ``add-cases``, its ``verify``."""

import logging
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Dataset.DatasetChoices import Target
from SegAutoConfigGui.Jobs.Engine import Job
from SegAutoConfigGui.Problems import Cancelled, Problem, UserProblem
from SegAutoConfigGui.Scene.Cases import Case
from SegAutoConfigGui.Scene.Checks import EmptySegments
from SegAutoConfigGui.Scene.Export import exportCases
from SegAutoConfigGui.Scene.Labels import LabelTable
from SegAutoConfigGui.Scene.Staging import makeStaging, removeStaging

PREFIX = "dataset-"
#: Reading what a job reports may take this long at a time (seconds).
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Attributes:
        text: What is being done.
        done: Steps done of this part.
        total: Its steps; 0 where that isn't known.
        waiting: A process works, so the next step need not be made at once.
    """

    text: str
    done: int = 0
    total: int = 0
    waiting: bool = False


class DatasetExport:
    """One press of the button. The steps are made by whoever wants the result, so that a panel can let the window live
    in between; nothing is left behind when they are not made to the end.

    Args:
        engine: The engine.
        cases: What is put into the dataset, as copies: later changes of the table don't matter.
        channelNames: Of the cases' volumes.
        labelTable: What becomes of the segments.
        target: The dataset.
        resampleChannels: Resample further channels that don't share the first one's grid.
        emptySegments: Of the table, which has looked for them before.

    Attributes:
        cases: See above; as labelTable and target.
        added: Data of the engine's "done" event: dataset, folder, cases, replaced, training, test. Empty before.
        findings: What ``verify`` found: (True for what has to be put right, False for a warning; Problem).
        verified: Whether it came to its end.

    Example::

        export = DatasetExport(logic.engine, table.cases(), table.channelNames, labelTable, Target("Dataset001_Liver"))
        for progress in export.steps():
            print(progress.text)
            slicer.app.processEvents()
    """

    def __init__(
        self,
        engine: Any,
        cases: Sequence[Case],
        channelNames: Sequence[str],
        labelTable: LabelTable,
        target: Target,
        *,
        resampleChannels: bool = False,
        emptySegments: EmptySegments | None = None,
    ) -> None:
        self.cases = list(cases)
        self.target = target
        self.added: dict[str, Any] = {}
        self.findings: list[tuple[bool, Problem]] = []
        self.verified = False
        self._engine = engine
        self._channelNames = list(channelNames)
        self.labelTable = LabelTable.fromJson(labelTable.toJson())
        self._resampleChannels = resampleChannels
        self._emptySegments = emptySegments or EmptySegments()
        self._cancelled = False
        self._job: Job | None = None
        self._explained = False  # whether the engine itself said what is wrong

    @property
    def needsScene(self) -> bool:
        """True until all files are written: the nodes must stay till then."""
        return self._job is None and not self.added

    def cancel(self) -> None:
        """Ask for an end: the next step raises Cancelled. The check of the finished dataset is only broken off."""
        self._cancelled = True

    def steps(self) -> Iterator[Progress]:
        """Do it; closing the generator cancels at once.

        Raises:
            UserProblem: with all that keeps the cases from being exported; the dataset is as it was.
            Cancelled: after `cancel`.
        """
        folder = makeStaging(self._engine.workspace, PREFIX)
        try:
            yield from self._write(folder / "cases")
            command = ["add-cases", self.target.name, "--from", str(folder / "cases")]
            job = yield from self._run(command, _("Adding to {dataset}").format(dataset=self.target.name))
            if job.state == Job.STOPPED:
                raise Cancelled
            if job.state != Job.FINISHED:
                raise UserProblem(job.problems if self._explained else _asBefore(job, self.target.name))
            self.added = dict(job.results["add-cases"])
            self.findings = [(False, warning) for warning in job.warnings]
        finally:
            self._endJob()
            removeStaging(folder)
        yield from self._verify()

    def _write(self, folder: Path) -> Iterator[Progress]:
        ending = self.target.fileEnding if self.target.dataset is None else None
        steps = exportCases(
            self.cases,
            self.labelTable,
            folder,
            channelNames=self._channelNames,
            fileEnding=ending,
            resampleChannels=self._resampleChannels,
            emptySegments=self._emptySegments,
        )
        try:
            for done, case in enumerate(self.cases):
                yield Progress(_("Checking the cases"), done, len(self.cases))
                self._raiseIfCancelled()
                if case.segmentation is not None and case.segmentation.GetScene() is not None:
                    self._emptySegments.of(case.segmentation)
            for done, total, case in steps:
                self._raiseIfCancelled()
                yield Progress(_("Exporting {case}").format(case=case), done, total)
            self._raiseIfCancelled()
        except (UserProblem, Cancelled):
            raise
        except OSError as error:
            message = _("The cases can't be written to {folder}: {error}.")
            message = message.format(folder=error.filename or folder, error=error.strerror or error)
            raise UserProblem(message, _("Free some space, or choose another workspace in the Setup tab.")) from error
        except Exception as error:  # such as a node that was removed from the scene meanwhile
            logging.exception("SegAutoConfig: the cases could not be exported")
            message = _("The cases can't be exported ({error}).").format(error=type(error).__name__)
            raise UserProblem(message, _("Nothing was changed; try again."), traceback.format_exc()) from error
        finally:
            steps.close()

    def _run(self, command: Sequence[str], text: str) -> Iterator[Progress]:
        """Run a command to its end; what the generator returns is its job."""
        job = self._job = self._engine.start(command, title=self.target.name, temporary=True)
        while True:
            self._explained |= any(event.kind == "error" for event in job.poll(POLL_SECONDS))
            if not job.running:
                self._job = None
                job.discard()
                return job
            if self._cancelled and not job.stopping:
                job.stop()
            done, total = job.progress.get("done") or 0, job.progress.get("total") or 0
            yield Progress(_("Stopping") if job.stopping else text, done, total, waiting=True)

    def _verify(self) -> Iterator[Progress]:
        self._cancelled = False
        try:
            job = yield from self._run(["verify", self.target.name], _("Checking the dataset"))
        except UserProblem as problem:  # it could not be started
            self.findings += [(True, each) for each in problem.problems]
            return
        finally:
            self._endJob()
        self.findings += [(True, problem) for problem in job.problems] + [(False, warning) for warning in job.warnings]
        self.verified = job.state == Job.FINISHED or (job.state == Job.FAILED and bool(job.problems))

    def _raiseIfCancelled(self) -> None:
        if self._cancelled:
            raise Cancelled

    def _endJob(self) -> None:
        """What is still running when the generator is closed is ended."""
        job, self._job = self._job, None
        if job is not None:
            job.kill()
            job.discard()


def _asBefore(job: Job, dataset: str) -> list[Problem]:
    """Why a process ended without a word of the engine, and that the dataset is as it was."""
    first = job.problem or Problem(_("The engine stopped without a word."))
    hint = _("{dataset} is as it was before; press the button again.").format(dataset=dataset)
    toSetup = f"{first.hint} " if "Setup" in first.hint else ""  # a package is missing
    return [Problem(first.message, toSetup + hint, first.details)]
