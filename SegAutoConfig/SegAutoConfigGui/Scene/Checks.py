"""What keeps cases from being exported, and what may be an oversight."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem
from SegAutoConfigGui.Scene.Geometry import gridDifference, problemsOfTransform, problemsOfVolume
from SegAutoConfigGui.Scene.LabelMaps import BINARY, emptySegments, usedSegments
from SegAutoConfigGui.Scene.Labels import LABEL, LabelTable
from SegAutoConfigGui.Scene.Matching import listed

#: From this many training cases on a label that only one has is worth a word.
FEW_CASES = 3


class EmptySegments:
    """Which segments have no voxels; a segmentation is looked at again only once its segments have changed."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[tuple, list[str]]] = {}  # by the node's id: state, names

    def of(self, segmentationNode: Any) -> list[str]:
        """The names of the empty segments."""
        found = self.known(segmentationNode)
        if found is None:
            found = emptySegments(segmentationNode)
            self._found[segmentationNode.GetID()] = _stateOf(segmentationNode), found
        return found

    def known(self, segmentationNode: Any) -> list[str] | None:
        """The names of the empty segments, without looking at voxels; None where these were not looked at yet."""
        state, names = self._found.get(segmentationNode.GetID(), ((), []))
        return names if state == _stateOf(segmentationNode) else None


def _stateOf(segmentationNode: Any) -> tuple:
    """Equal as long as the segments have the same names and voxels."""
    segments = segmentationNode.GetSegmentation()
    images = [segments.GetNthSegment(i).GetRepresentation(BINARY) for i in range(segments.GetNumberOfSegments())]
    times = [image.GetMTime() if image is not None else 0 for image in images]
    return tuple(_names(segmentationNode)), tuple(times)


def problemsOfCases(
    cases: Sequence[Any],
    channelNames: Sequence[str],
    labelTable: LabelTable,
    resampleChannels: bool = False,
    emptyOf: Callable[[Any], Collection[str]] = emptySegments,
) -> list[Problem]:
    """All that keeps cases from being exported, each with its case's id.

    Args:
        cases: List of Case.
        channelNames: Each case needs a volume for each.
        labelTable: What becomes of each segment.
        resampleChannels: Further channels may have grids of their own.
        emptyOf: Gives the names of a segmentation's empty segments.
    """
    if not cases:
        return [Problem(_("There are no cases."), _("Add volumes with their segmentations to the table."))]
    problems = labelTable.problems() if any(case.segmentation is not None for case in cases) else []
    for case in cases:
        found = _problemsOfVolumes(case, channelNames, resampleChannels)
        found += _problemsOfSegmentation(case, labelTable, emptyOf)
        problems += [replace(problem, case=case.id) for problem in found]
    return problems if problems else _emptyLabels(cases, labelTable, emptyOf)


def _emptyLabels(
    cases: Sequence[Any], labelTable: LabelTable, emptyOf: Callable[[Any], Collection[str]]
) -> list[Problem]:
    """A problem for each new label that has no voxel in any case: nothing can be learned of it."""
    segmented = [case for case in cases if case.segmentation is not None]
    filled: set[str] = set()
    for case in segmented:
        segments, empty = case.segmentation.GetSegmentation(), set(emptyOf(case.segmentation))
        used = usedSegments(case.segmentation, labelTable, case.visibleOnly)
        filled |= {label.name for id, label in used.items() if segments.GetSegment(id).GetName() not in empty}
    message, hint = _("“{name}” has no voxels in any case."), _("Draw it in some case, or leave it out.")
    return [
        Problem(message.format(name=label.name), hint)
        for label in labelTable.trained()
        if segmented and not label.fixed and label.name not in filled
    ]


def problemsOfChannels(volumes: Sequence[Any], resampleChannels: bool = False, hint: str = "") -> list[Problem]:
    """What keeps volumes from being the channels of one case.

    Args:
        volumes: One node per channel.
        resampleChannels: They may have grids of their own.
        hint: What to do about other grids.
    """
    problems = [problem for volume in volumes for problem in problemsOfVolume(volume)]
    if problems or resampleChannels:
        return problems
    for volume in volumes[1:]:
        difference = gridDifference(volumes[0], volume)
        if difference:
            message = _("{b} has another grid than {a}: {difference}.")
            text = message.format(a=volumes[0].GetName(), b=volume.GetName(), difference=difference)
            problems.append(Problem(text, hint or _('Check "Resample further channels", or choose another volume.')))
    return problems


def _problemsOfVolumes(case: Any, channelNames: Sequence[str], resampleChannels: bool) -> list[Problem]:
    volumes = [*case.volumes, *[None] * (len(channelNames) - len(case.volumes))]
    missing = [name for name, volume in zip(channelNames, volumes, strict=False) if volume is None]
    if len(volumes) > len(channelNames):
        message = _("The case has {count} volumes, but there are {channels} channels.")
        return [Problem(message.format(count=len(volumes), channels=len(channelNames)), _("Choose one per channel."))]
    if missing and len(channelNames) == 1:
        return [Problem(_("No volume is chosen, or it was removed from the scene."), _("Choose a volume."))]
    if missing:
        message = _("There is no volume for {channels}.").format(channels=", ".join(missing))
        return [Problem(message, _("Choose one; every case needs all channels."))]
    names = [volume.GetID() for volume in volumes]
    if len(set(names)) < len(names):
        return [Problem(_("One volume is chosen for two channels."), _("Choose another one."))]
    return problemsOfChannels(volumes, resampleChannels)


def _problemsOfSegmentation(
    case: Any, labelTable: LabelTable, emptyOf: Callable[[Any], Collection[str]]
) -> list[Problem]:
    node = case.segmentation
    if node is None:
        hint = _("Choose a segmentation, or make it a test case.")
        return [] if case.test else [Problem(_("There is no segmentation."), hint)]
    name, segments = node.GetName(), node.GetSegmentation()
    if not segments.GetNumberOfSegments():
        message = _("Segmentation {name} has no segments.").format(name=name)
        return [Problem(message, _("Draw them in Segment Editor, or choose another segmentation."))]
    unknown = [segment for segment in _names(node) if labelTable.labelOfSegment(segment) is None]
    if unknown:
        message = _("The table of labels doesn't know these segments of {name}: {segments}.")
        return [Problem(message.format(name=name, segments=", ".join(unknown)), _("Update the table of labels."))]
    used = usedSegments(node, labelTable, case.visibleOnly)
    learned = {segments.GetSegment(id).GetName() for id, label in used.items() if label.role == LABEL}
    if not learned:
        message = _("All segments of {name} are left out.").format(name=name)
        if case.visibleOnly:
            message = _("All shown segments of {name} are left out, or none is shown.").format(name=name)
        return [Problem(message, _("Change this in the table of labels, or remove the case."))]
    if learned <= set(emptyOf(node)):
        message = _("The segments of {name} are empty: {segments}.")
        hint = _("Draw them in Segment Editor, or remove the case.")
        return [Problem(message.format(name=name, segments=", ".join(sorted(learned))), hint)]
    return problemsOfTransform(node)


def warningsOfCases(
    cases: Sequence[Any], labelTable: LabelTable, emptyOf: Callable[[Any], Collection[str]] = emptySegments
) -> list[Problem]:
    """What is allowed but may be an oversight: empty segments, volumes used twice, labels that only one case has."""
    warnings, having, users = list(labelTable.warnings), {}, {}
    for case in cases:
        for volume in {volume.GetID(): volume for volume in case.volumes if volume is not None}.values():
            users.setdefault(volume.GetName(), []).append(case.id)
        if case.segmentation is None:
            continue
        empty = emptyOf(case.segmentation)
        used = usedSegments(case.segmentation, labelTable, case.visibleOnly)
        names = {id: case.segmentation.GetSegmentation().GetSegment(id).GetName() for id in used}
        hollow = [name for name in names.values() if name in empty]
        if hollow:
            message = _("Empty segments: {segments}.").format(segments=", ".join(hollow))
            warnings.append(Problem(message, _("This is right if the case doesn't have the structure."), case=case.id))
        for name in {label.name for id, label in used.items() if label.role == LABEL and names[id] not in empty}:
            having.setdefault(name, []).append(case.id)
    for volume, ids in users.items():
        if len(ids) > 1:
            message = _("Volume {volume} is used by several cases: {cases}.")
            hint = _("The network would learn it more than once; keep one of them.")
            warnings.append(Problem(message.format(volume=volume, cases=", ".join(ids)), hint))
    several = sum(case.segmentation is not None for case in cases) > 1
    return warnings + (_labelsOfOneCase(having, labelTable) if several and len(cases) >= FEW_CASES else [])


def _labelsOfOneCase(having: Mapping[str, Sequence[str]], labelTable: LabelTable) -> list[Problem]:
    """One warning for each case that has labels which no other case has.

    Args:
        having: The ids of the cases that have each label.
        labelTable: Tells the order.
    """
    alone: dict[str, list[str]] = {}
    for name in (label.name for label in labelTable.labels):
        if len(having.get(name, ())) == 1:
            alone.setdefault(having[name][0], []).append(name)
    warnings = []
    for id, names in alone.items():
        message = _("Only this case has “{label}”.").format(label=names[0])
        hint = _("Is it named differently in the others?")
        if len(names) > 1:
            message = _("Only this case has {count} of the labels: {names}.")
            message = message.format(count=len(names), names=listed(names))
            hint = _("Are they named differently in the others?")
        warnings.append(Problem(message, hint, case=id))
    return warnings


def _names(segmentationNode: Any) -> list[str]:
    segments = segmentationNode.GetSegmentation()
    return [segments.GetNthSegment(i).GetName() for i in range(segments.GetNumberOfSegments())]
