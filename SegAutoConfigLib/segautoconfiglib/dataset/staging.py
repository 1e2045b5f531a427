"""Cases that are to be added to a dataset: a folder with their files and cases.json, which says what they are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from segautoconfiglib.base.errors import Problem, ProblemsError
from segautoconfiglib.base.records import Record
from segautoconfiglib.dataset.dataset import Case
from segautoconfiglib.dataset.description import CASE_FORM, CASE_ID
from segautoconfiglib.dataset.members import Members
from segautoconfiglib.dataset.structure import label_file_clashes

CASES_FILE = "cases.json"
#: The dataset has a case of this name, and it is not said that the new one replaces it.
NAME_TAKEN = "the dataset has a case of this name."
#: What some system does not allow in names of files, beside what `CASE_ID` excludes.
NO_FILE_NAME = re.compile(r'[<>"|?*\x00-\x1f]|^ |[ .]$|.{201}')


class StagedCase(Record):
    """One case of cases.json. File names are relative to its folder.

    Attributes:
        id: Its name in the dataset.
        images: One file per channel in order, or a single file with all channels.
        labels: The label map; only test cases may lack one.
        test: It goes to imagesTs (and labelsTs) and is not trained on.
        replace: A case of this name may exist; it is replaced.
    """

    id: str
    images: tuple[str, ...]
    labels: str | None = None
    test: bool = False
    replace: bool = False

    def files(self, folder: Path) -> Case:
        """Its files in the staging folder."""
        images = tuple(folder / name for name in self.images)
        return Case(self.id, images, None if self.labels is None else folder / self.labels)


class Staging(Record):
    """cases.json: cases, and what dataset.json shall say of them.

    Attributes:
        cases: What is to be added.
        channel_names: As in dataset.json; None: those of the dataset.
        labels: As in dataset.json; None: those of the dataset.
        regions_class_order: As in dataset.json.
        file_ending: Of a new dataset; an existing one keeps its own.
        segments: Name of a label to its colour and terminology.
    """

    cases: tuple[StagedCase, ...]
    channel_names: dict[str, str] | None = None
    labels: dict[str, int | list[int]] | None = None
    regions_class_order: list[int] | None = None
    file_ending: str | None = None
    segments: dict[str, dict[str, Any]] | None = None


def load_staging(folder: Path) -> Staging:
    """Read cases.json. Raises: UserError: missing, not JSON, of another form, or without cases."""
    file = folder / CASES_FILE
    staging = Staging.load(file)
    if not staging.cases:
        raise ProblemsError(f"{file} can't be used:", [Problem("it names no case.", 'List them under "cases".')])
    return staging


def case_problems(staging: Staging, members: Members) -> list[Problem]:
    """What names and numbers tell against adding the cases; no file is opened."""
    problems = _name_problems(staging, members)
    channels = len(staging.channel_names or (members.description.channels if members.description else ()))
    for case in staging.cases:
        if case.labels is None and not case.test:
            problems.append(Problem("there is no label map.", "Only test cases may lack one.", case=case.id))
        if not case.images:
            problems.append(Problem("there is no image.", "Name one file per channel.", case=case.id))
        elif channels and len(case.images) not in (1, channels):
            text = f"{len(case.images)} images for {channels} channels."
            problems.append(Problem(text, "Name one file per channel.", case=case.id))
    return problems


def _name_problems(staging: Staging, members: Members) -> list[Problem]:
    problems, there = [], {case.casefold(): case for case in (*members.training, *members.test)}
    staged = defaultdict(list)
    for case in staging.cases:
        staged[case.id.casefold()].append(case.id)
        if not CASE_ID.fullmatch(case.id) or NO_FILE_NAME.search(case.id):
            problems.append(Problem(f"{case.id!r} can't be the name of a case.", CASE_FORM, case=case.id))
        twin = there.get(case.id.casefold())
        if twin is not None and twin != case.id:
            text = f"the dataset has a case {twin}, which differs only in upper and lower case."
            problems.append(Problem(text, "Give it another name.", case=case.id))
        elif twin is not None and not case.replace:
            hint = 'Give it another name, or say that it is to be replaced ("replace": true).'
            problems.append(Problem(NAME_TAKEN, hint, case=case.id))
    problems += [
        Problem(f"the name is used {len(ids)} times.", "Each case needs a name of its own.", case=ids[0])
        for ids in staged.values()
        if len(ids) > 1
    ]
    return problems + _clashes(staging, members.training)


def _clashes(staging: Staging, training: Collection[str]) -> list[Problem]:
    """As `label_file_clashes`, without those that the dataset has already."""
    names = {case.id for case in staging.cases if not case.test}
    known = label_file_clashes(training)
    return [problem for problem in label_file_clashes({*training, *names}) if problem not in known]
