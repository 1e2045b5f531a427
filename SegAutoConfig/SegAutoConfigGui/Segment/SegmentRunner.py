"""A segmentation that runs while the window lives: writing, the engine's process, loading, cancel."""

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Jobs.Follower import JobFollower
from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Segment.Segmentation import Segmentation
from SegAutoConfigGui.Segment.Tasks import stageText
from SegAutoConfigGui.Train.TrainProgress import leftText
from SegAutoConfigGui.Widgets.Stepper import Stepper

#: How long a canceled process may take to end by itself (milliseconds).
CANCEL_MS = 5000


class SegmentRunner:
    """Runs one segmentation at a time.

    Args:
        onProgress: Gets what is done of the whole (0..1) and a text.
        onEnd: Gets the nodes that were made and a list of Problem; both are empty where it was canceled. Of several
            volumes there can be both: what failed is left out.

    Attributes:
        run: The segmentation that runs, or None.
        loading: True while results are being loaded; it can't be canceled then.
        warnings: What the engine warned of.
    """

    def __init__(
        self, onProgress: Callable[[float, str], None], onEnd: Callable[[list[Any], list[Problem]], None]
    ) -> None:
        self._onProgress, self._onEnd = onProgress, onEnd
        self.run: Segmentation | None = None
        self.loading = False
        self.warnings: list[Problem] = []
        self._worker: Stepper | JobFollower | None = None
        self._canceled = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(CANCEL_MS)
        self._timer.connect("timeout()", self._kill)

    def start(self, run: Segmentation) -> None:
        """Begin.

        Raises:
            UserProblem: the input can't be segmented.
        """
        run.check()
        self.run, self._canceled, self.loading, self.warnings = run, False, False, []
        self._onExported(0.0)
        self._worker = Stepper(run.export(), self._onExported, self._onExportEnd)

    def cancel(self) -> None:
        """End it; nothing is loaded. ``onEnd`` is called once the process has ended."""
        if self.run is None or self._canceled or self.loading:
            return
        self._canceled = True
        if self.run.job is None:
            self._end([], [])
            return
        self._onProgress(self.run.share(), _("Canceling ..."))
        try:
            self.run.job.stop()
        except UserProblem:
            self._kill()
        self._timer.start()

    def close(self) -> None:
        """The window goes away: end everything, call nothing."""
        self._timer.stop()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
        run, self.run = self.run, None
        if run is not None:
            run.remove()

    def _onExported(self, share: float) -> None:
        self._onProgress(share, _("Writing the volume ..."))

    def _onExportEnd(self, error: "BaseException | None") -> None:
        self._worker = None
        if isinstance(error, UserProblem):
            self._end([], error.problems)
        elif error is not None:
            raise error
        else:
            self._goOn()

    def _goOn(self) -> None:
        """Start what comes next; after the last one load what there is."""
        while self.run.more:
            try:
                job = self.run.start()
            except UserProblem as problem:
                self.run.leaveOut(problem.problems)
                continue
            self._onProgress(self.run.share(), _("Starting ..."))
            self._worker = JobFollower(job, self._onEvents, self._onJobEnd)
            self._worker.start()
            return
        if self.run.failed:
            self._end([], self.run.problems)
            return
        self.loading = True
        self._onLoaded(self.run.share())
        self._worker = Stepper(self.run.load(), self._onLoaded, self._onLoadEnd)

    def _onEvents(self, _events: list) -> None:
        if not self._canceled:
            self._onProgress(self.run.share(), progressText(self.run))

    def _onJobEnd(self, job: Any) -> None:
        self._worker = None
        self.warnings += map(self.run.inWords, job.warnings)
        if self._canceled or job.state == job.STOPPED:
            self._end([], [])
            return
        if job.state != job.FINISHED:
            self.run.leaveOut(job.problems)
        self._goOn()

    def _onLoaded(self, share: float) -> None:
        self._onProgress(share, _("Loading the result ..."))

    def _onLoadEnd(self, error: "BaseException | None") -> None:
        problems = error.problems if isinstance(error, UserProblem) else []
        self._end(self.run.nodes, [*self.run.problems, *problems])

    def _kill(self) -> None:
        if self.run is not None and self.run.job is not None:
            self.run.job.kill()

    def _end(self, nodes: list[Any], problems: list[Problem]) -> None:
        self.close()
        self._onEnd(nodes, problems)


def progressText(run: Segmentation) -> str:
    """What the engine is doing, and how long it will take."""
    job, words = run.job, []
    done, total = job.progress.get("done") or 0, job.progress.get("total") or 1
    number = min(int(done) + 1, total)
    if "task" in run.model:
        words, (number, total) = [stageText(job.stage)], run.place
    elif job.stage == "predict":
        words = [_("Segmenting")]
    if not all(words) or not words:
        return _("Loading the model ...")
    if total > 1:
        words.append(_("{number} of {total}").format(number=number, total=total))
    if run.leftOut:
        words.append(_("{count} failed").format(count=run.leftOut))
    return " · ".join(part for part in (*words, leftText(job.progress.get("seconds_left"))) if part)
