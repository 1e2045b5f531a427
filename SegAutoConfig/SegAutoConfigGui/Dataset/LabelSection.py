"""The Dataset panel's section of labels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Dataset.DatasetChoices import COUNTED_BY_ITSELF, casesWith, labelNotes, overlapLines
from SegAutoConfigGui.Dataset.LabelTableView import LabelTableView
from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Cases import Case
from SegAutoConfigGui.Scene.Geometry import problemsOfTransform, problemsOfVolume
from SegAutoConfigGui.Scene.LabelMaps import overlaps
from SegAutoConfigGui.Scene.Labels import PRECEDENCE, REGIONS, LabelTable
from SegAutoConfigGui.Widgets.Stepper import Stepper
from SegAutoConfigGui.Widgets.Tables import enable

MODES = (PRECEDENCE, REGIONS)
#: Pairs of overlapping labels that are written out.
SHOWN_PAIRS = 6


class LabelSection:
    """What the segments become.

    Args:
        panel: The DatasetPanel.
    """

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.ui = ui = panel.ui
        self._stepper: Stepper | None = None
        self._counted: dict[tuple[str, str], tuple[int, int]] = {}
        self._countedFor: Any = None  # what the counts are of; None: nothing was counted
        self.view = LabelTableView(
            ui.labelTable,
            onSelected=self._showButtons,
            onRenamed=lambda name, new: self._change(lambda labels: labels.rename(name, new)),
            onRole=lambda name, role: self._change(lambda labels: labels.setRole(name, role)),
            onColor=lambda name, color: self._change(lambda labels: labels.setColor(name, color)),
        )
        ui.labelUpButton.connect("clicked()", lambda: self._move(-1))
        ui.labelDownButton.connect("clicked()", lambda: self._move(1))
        ui.mergeLabelsButton.connect("clicked()", self._merge)
        ui.resetLabelsButton.connect("clicked()", self._reset)
        ui.overlapBox.connect("activated(int)", self._onMode)
        ui.checkOverlapsButton.connect("clicked()", self.checkOverlaps)

    def show(self, cases: Sequence[Case]) -> None:
        """Show the labels of these cases."""
        labels, segmented = self.panel.labels, [case for case in cases if case.segmentation is not None]
        names = [_segmentNames(case.segmentation) for case in segmented]
        self.view.show(labels, casesWith(labels, names), len(segmented))
        notes = labelNotes(labels)
        self.ui.labelMessage.text = "\n".join(notes)
        self.ui.labelMessage.setVisible(bool(notes))
        fixed = any(label.fixed for label in labels.labels)
        self.ui.overlapBox.currentIndex = MODES.index(labels.mode)
        self.ui.overlapBox.enabled = not fixed and bool(labels.labels)
        self.ui.overlapBox.toolTip = (
            _("The dataset exists already, so this can't be changed")
            if fixed
            else _("What becomes of voxels that lie in several segments. Regions: each label is learned by itself.")
        )
        self._showButtons()
        self._showOverlaps(cases)

    def stop(self) -> None:
        """Count no more; forget what was counted."""
        if self._stepper is not None:
            self._stepper.stop()
        self._stepper, self._counted, self._countedFor = None, {}, None

    def checkOverlaps(self) -> None:
        """Count the voxels that lie in several segments."""
        if self.panel.table is None or self._stepper is not None:
            return
        cases = _countable(self.panel.table.cases())
        labels, counted = LabelTable.fromJson(self.panel.labels.toJson()), {}
        self._countedFor = self._state(cases)
        self._stepper = Stepper(
            _count(cases, labels, counted), lambda step: None, lambda e: self._onCounted(e, counted)
        )
        self._showOverlaps(cases)

    def _onCounted(self, error: "BaseException | None", counted: dict[tuple[str, str], tuple[int, int]]) -> None:
        self._stepper = None
        self._counted = counted
        if error is not None:  # the cases can't be shown as counted, and are not counted again by themselves
            self._counted = {}
            self.panel.host.showProblems(error.problems)
        self._showOverlaps(self.panel.table.cases())

    def _showOverlaps(self, cases: Sequence[Case]) -> None:
        ui, labels, cases = self.ui, self.panel.labels, _countable(cases)
        current = self._state(cases)
        changed = self._countedFor != current
        if cases and changed and self._stepper is None and _voxels(cases) <= COUNTED_BY_ITSELF:
            self.checkOverlaps()
            return
        several = len(labels.trained()) > 1
        ui.checkOverlapsButton.enabled = several and self._stepper is None
        ui.checkOverlapsButton.toolTip = (
            _("Count the voxels that lie in several segments") if several else _("There are no two labels")
        )
        lines = overlapLines(self._counted, len(cases), labels, labels.mode == REGIONS)
        if self._stepper is not None:
            text = _("Looking for overlaps ...")
        elif self._countedFor is None:
            text = ""
        elif lines:
            more = (
                [_("and {count} more pairs").format(count=len(lines) - SHOWN_PAIRS)] if len(lines) > SHOWN_PAIRS else []
            )
            text = "\n".join([*lines[:SHOWN_PAIRS], *more])
        else:
            text = _("No segments overlap.") if several else ""
        if text and changed and self._stepper is None:
            text += "\n" + _("(Segments have changed since; check again.)")
        ui.overlapMessage.text = text
        ui.overlapMessage.setVisible(bool(text))

    def _state(self, cases: Sequence[Case]) -> Any:
        """Equal as long as the counts of overlaps are: segments, volumes, which rows they belong to."""
        rows = sorted((label.name, label.role, tuple(label.sources)) for label in self.panel.labels.labels)
        nodes = [
            (case.segmentation.GetID(), case.segmentation.GetSegmentation().GetMTime(), case.volumes[0].GetID())
            for case in cases
        ]
        return rows, nodes

    def _showButtons(self) -> None:
        ui, names = self.ui, self.view.selected()
        labels = {label.name: label for label in self.panel.labels.labels}
        chosen = [labels[name] for name in names if name in labels]
        fixed = _("Labels of the dataset keep their numbers and names")
        one = "" if len(chosen) == 1 else _("Select one label first")
        one = one or (fixed if chosen[0].fixed else "")
        several = "" if len(chosen) > 1 else _("Select two or more labels first")
        several = several or (fixed if any(label.fixed for label in chosen[1:]) else "")
        none = "" if any(not label.fixed for label in labels.values()) else _("There is no label that could change")
        up = _("Move the selected label up: a smaller number; where segments overlap, it gives way to those below")
        down = _("Move the selected label down: a larger number; where segments overlap, it wins over those above")
        for button, reason, text in (
            (ui.labelUpButton, one, up),
            (ui.labelDownButton, one, down),
            (ui.mergeLabelsButton, several, _("Make one label of the selected ones, with the name of the first")),
            (ui.resetLabelsButton, none, _("Start anew from the segments' own names and colors")),
        ):
            enable(button, reason, text)

    def _change(self, change: Callable[[LabelTable], Any]) -> None:
        try:
            change(self.panel.labels)
        except UserProblem as problem:
            self.panel.host.showProblems(problem.problems)
        else:
            self.panel.host.clearMessage()
            self.panel.saveLabels()
        self.panel.refresh()

    def _move(self, steps: int) -> None:
        for name in self.view.selected():
            self._change(lambda labels, name=name: labels.move(name, steps))

    def _merge(self) -> None:
        first, *others = self.view.selected()
        for name in others:
            self._change(lambda labels, name=name: labels.merge(first, name))
        self.view.select({first})

    def _reset(self) -> None:
        segmentations = self.panel.table.segmentations()
        self.panel.labels = LabelTable.fromSegmentations(segmentations, self.panel.target.dataset)
        self.panel.saveLabels()
        self.panel.refresh()

    def _onMode(self, index: int) -> None:
        self._change(lambda labels: labels.setMode(MODES[index]))


def _segmentNames(segmentation: Any) -> list[str]:
    segments = segmentation.GetSegmentation()
    return [segments.GetNthSegment(index).GetName() for index in range(segments.GetNumberOfSegments())]


def _countable(cases: Sequence[Case]) -> list[Case]:
    """The cases with a segmentation and a volume whose voxels can be told."""
    whole = [case for case in cases if case.segmentation is not None and case.volumes[0] is not None]
    return [
        case for case in whole if not problemsOfVolume(case.volumes[0]) and not problemsOfTransform(case.segmentation)
    ]


def _voxels(cases: Sequence[Case]) -> int:
    """How much there is to count: nothing where no segments can overlap."""
    layered = [case for case in cases if case.segmentation.GetSegmentation().GetNumberOfLayers() > 1]
    return sum(case.volumes[0].GetImageData().GetNumberOfPoints() for case in layered)


def _count(
    cases: Sequence[Case], labels: LabelTable, counted: dict[tuple[str, str], tuple[int, int]]
) -> Iterator[None]:
    """Fill {(name, name): (voxels, cases)}, one case per step."""
    for case in cases:
        shared: dict[tuple[str, str], int] = {}
        with suppress(UserProblem):  # the table of cases says what is wrong with it
            shared = overlaps(case.segmentation, labels, case.volumes[0], visibleOnly=case.visibleOnly)
        for pair, voxels in shared.items():
            key = tuple(sorted(pair))
            before = counted.get(key, (0, 0))
            counted[key] = (before[0] + voxels, before[1] + 1)
        yield
