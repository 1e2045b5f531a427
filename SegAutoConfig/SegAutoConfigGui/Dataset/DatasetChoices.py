"""What the Dataset panel decides and says, without its widgets."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem
from SegAutoConfigGui.Scene.Cases import ADDED, Case
from SegAutoConfigGui.Scene.Labels import LabelTable
from SegAutoConfigGui.Scene.Matching import listed, nameKey

#: .nrrd first: it keeps spacing, origin and directions in double precision, as the scene does.
FILE_ENDINGS = (".nrrd", ".nii.gz", ".mha")
HIGHEST_NUMBER = 999
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
#: Overlaps are counted by themselves up to this number of voxels of all cases.
COUNTED_BY_ITSELF = 20_000_000


@dataclass(frozen=True)
class Target:
    """The dataset that cases are put into.

    Attributes:
        name: Of its folder, such as "Dataset001_Liver".
        dataset: What the engine's ``info`` tells of it; None for a new one.
        fileEnding: Of a new dataset's files.
    """

    name: str
    dataset: Mapping[str, Any] | None = None
    fileEnding: str = FILE_ENDINGS[0]

    @property
    def caseIds(self) -> set[str]:
        """Of the cases that it has, for training and for tests."""
        return set(self.dataset["case_files"]) if self.dataset else set()


def datasetName(number: int, name: str) -> str:
    """The folder's name of a new dataset."""
    return f"Dataset{number:03d}_{name}"


def nextNumber(datasets: Iterable[Mapping[str, Any]]) -> int:
    """The smallest number that no dataset has."""
    taken = {dataset["id"] for dataset in datasets}
    return next((number for number in range(1, HIGHEST_NUMBER + 1) if number not in taken), HIGHEST_NUMBER)


def nameProblem(number: int, name: str, datasets: Iterable[Mapping[str, Any]]) -> str:
    """Why a new dataset can't have this number and name; empty where it can."""
    if not name:
        return _("Give the dataset a name.")
    if not NAME.fullmatch(name):
        return _("The name may have letters (a-z), digits, _ and -, and begins with a letter or a digit.")
    for dataset in datasets:
        if dataset["id"] == number:
            return _("Number {number} is taken by {dataset}.").format(number=number, dataset=dataset["dataset"])
    return ""


def stateIn(dataset: str) -> str:
    """The state of a case that has been put into this dataset."""
    return f"{ADDED} {dataset}"


def casesToExport(cases: Iterable[Case], target: Target) -> list[Case]:
    """The cases that are put into the dataset: not those that it got from here before, unless they replace them."""
    known, added = target.caseIds, stateIn(target.name)
    return [case for case in cases if case.replace or case.id not in known or case.state != added]


def clashes(cases: Iterable[Case], target: Target) -> list[Problem]:
    """A problem for each case of a name that the dataset already has, and that may not be replaced."""
    known = target.caseIds
    message = _("{dataset} already has a case of this name.").format(dataset=target.name)
    hint = _("Check Replace in its row, or give it another name.")
    return [
        Problem(message, hint, case=case.id)
        for case in casesToExport(cases, target)
        if case.id in known and not case.replace
    ]


def exportReason(
    cases: Sequence[Case], target: Target, nameError: str, running: bool, problems: Sequence[Problem] = ()
) -> str:
    """Why nothing can be exported now; empty where the button may be pressed.

    Args:
        cases: All rows.
        target: The dataset.
        nameError: What is wrong with the dataset itself.
        running: An export is being done.
        problems: Of labels and of cases; those of cases that are not to be exported don't matter.
    """
    if running:
        return _("An export is running.")
    if not cases:
        return _("There are no cases yet: add loaded pairs, or import a folder.")
    if nameError:
        return nameError
    ids = [case.id for case in casesToExport(cases, target)]
    if not ids:
        return _("All cases are in {dataset} already. Check Replace in a row to put it there again.").format(
            dataset=target.name
        )
    wrong = {problem.case for problem in problems}
    bad = [id for id in ids if id in wrong]
    if bad:
        text = _("{count} can't be exported: {names}. Select a red row to see what is wrong.")
        return text.format(count=numberOfCases(len(bad), len(cases)), names=listed(bad))
    return next((str(problem) for problem in problems if not problem.case), "")


def casesWith(labelTable: LabelTable, segmentNames: Sequence[Sequence[str]]) -> dict[str, int]:
    """In how many cases each label was found.

    Args:
        labelTable: The labels.
        segmentNames: The names of the segments of each case.
    """
    counts = {label.name: 0 for label in labelTable.labels}
    for names in segmentNames:
        labels = [labelTable.labelOfSegment(name) for name in names]
        for name in {label.name for label in labels if label is not None}:
            counts[name] += 1
    return counts


def labelNotes(labelTable: LabelTable) -> list[str]:
    """Which segments are taken together and why, and what else the user should know of the labels."""
    notes = []
    for label in labelTable.labels:
        names = ", ".join(f"“{name}”" for name in label.sources)
        if len(label.sources) > 1 and len(set(map(nameKey, label.sources))) == 1:
            notes.append(_("{names} are taken for one structure, since only the spelling differs.").format(names=names))
        elif len(label.sources) > 1:
            notes.append(_("{names} become one label.").format(names=names))
    notes += [f"{warning.message} {warning.hint}".strip() for warning in labelTable.warnings]
    return notes


def overlapLines(
    counts: Mapping[tuple[str, str], tuple[int, int]], cases: int, labelTable: LabelTable, regions: bool
) -> list[str]:
    """The pairs of labels that overlap, most voxels first, as sentences.

    Args:
        counts: {(name, name): (voxels, cases)}.
        cases: Number of all cases.
        labelTable: Tells which of two comes later; pairs with a label that is no more are left out.
        regions: Both are kept.
    """
    places = {label.name: place for place, label in enumerate(labelTable.labels)}
    rows = []
    for pair, (voxels, found) in sorted(counts.items(), key=lambda item: -item[1][0]):
        if all(name in places for name in pair):
            first, last = sorted(pair, key=places.__getitem__)
            text = (
                _("{first} and {last}: {voxels} voxels in {cases}, both are kept")
                if regions
                else _("{first} and {last}: {voxels} voxels in {cases}, {last} wins")
            )
            rows.append(text.format(first=first, last=last, voxels=f"{voxels:,}", cases=numberOfCases(found, cases)))
    return rows


def summary(added: Mapping[str, Any], labels: Sequence[str], folder: Path | str) -> str:
    """What an export made, as rich text with a link to the folder.

    Args:
        added: Data of the engine's "done" event of ``add-cases``.
        labels: Names of the labels.
        folder: Of the dataset.
    """
    names = html.escape(_("labels: {names}").format(names=listed(labels)))
    link = _("Open folder")
    dataset = added.get("dataset", "")
    return f'<b>{dataset}</b>: {addedText(added)}; {names}. <a href="{asUrl(folder)}">{link}</a>'


def addedText(added: Mapping[str, Any]) -> str:
    """How many cases the dataset has after an export, and what the export did.

    Args:
        added: See `summary`.
    """
    training, test = added.get("training", 0), added.get("test", 0)
    counts = _("1 training case") if training == 1 else _("{count} training cases").format(count=training)
    if test:
        tests = _("1 test case") if test == 1 else _("{count} test cases").format(count=test)
        counts = _("{training} and {test}").format(training=counts, test=tests)
    news = [(_("{count} added"), added.get("cases")), (_("{count} replaced"), added.get("replaced"))]
    return f"{counts} ({', '.join(text.format(count=len(ids)) for text, ids in news if ids)})"


def doneText(added: Mapping[str, Any], wrong: bool, verified: bool) -> str:
    """One sentence or two about an export that succeeded.

    Args:
        added: See `summary`.
        wrong: Whether the check found something that has to be put right.
        verified: Whether the check came to its end.
    """
    text = f"{added.get('dataset', '')}: {addedText(added)}."
    if wrong:
        return f"{text} " + _("The check found something to be put right; see the report of the Dataset tab.")
    return text if verified else f"{text} " + _("The check was not finished.")


def numberOfCases(count: int, total: int | None = None) -> str:
    """For example "1 case", "3 cases" or "2 of 3 cases"."""
    if total is None:
        return _("1 case") if count == 1 else _("{count} cases").format(count=count)
    return _("{count} of {cases}").format(count=count, cases=numberOfCases(total))


def capitalized(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def asUrl(folder: Path | str) -> str:
    """A link that opens the folder."""
    return Path(folder).absolute().as_uri()


def caseOfProblem(problem: Problem, ids: Iterable[str]) -> str:
    """The case that a finding is about: the one it names, else the last one that its text contains.

    (Of findings about several cases the engine lists those last that are the odd ones.)
    """
    known = set(ids)
    if problem.case in known:
        return problem.case
    names = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    found = re.findall(rf"(?<![\w-])(?:{names})(?![\w-])", f"{problem.message} {problem.details}") if names else []
    return found[-1] if found else ""
