"""TotalSegmentator's tasks as data: structures, models, resolutions, rough crops, and where weights are published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import Record
from segautoconfiglib.base.words import near_names
from segautoconfiglib.image.label_table import Colour

CATALOGUE_FILE = Path(__file__).with_name("catalogue.json")

ModeName = Literal["default", "fast", "fastest"]
Modality = Literal["CT", "MR"]
Cleanup = Literal["body", "vertebrae_pp"]
#: Edges of voxels (z, y, x; mm).
Spacing = tuple[float, float, float]

TOTAL = "total"
#: Structures that only the models of the task "body" find; their union is the body.
BODY_CLASSES = ("body_trunc", "body_extremities")
#: Around the structures of a rough model; around the whole body (mm).
CROP_ADDON_MM, BODY_ADDON_MM = 20.0, 3.0


class Part(Record):
    """One model of a task.

    Attributes:
        dataset_id: Number of its dataset.
        trainer: nnU-Net's name; any other will do.
        plans: Likewise, but this one tells models of one dataset apart.
        configuration: Such as "3d_fullres".
        folds: Used together; None: all that there are.
        spacing_mm: (z, y, x) of its images, also in its plans; None: images are given to it as they are.
        first: The task's label for the model's label 1.
        count: Labels of the model, without the background; all follow ``first``.
    """

    dataset_id: int
    trainer: str
    plans: str = "nnUNetPlans"
    configuration: str = "3d_fullres"
    folds: tuple[int, ...] | None = (0,)
    spacing_mm: Spacing | None
    first: int = 1
    count: int

    @property
    def labels(self) -> dict[int, int]:
        """The model's labels and the task's ones for them."""
        return {local: local + self.first - 1 for local in range(1, self.count + 1)}

    @property
    def model_name(self) -> str:
        """Of the folder, as published."""
        return f"{self.trainer}__{self.plans}__{self.configuration}"


class Mode(Record):
    """A task at one resolution.

    Attributes:
        parts: Its models in their order: later ones overwrite earlier ones.
        step: Distance of the sliding window's tiles, share of the patch.
    """

    parts: tuple[Part, ...]
    step: float

    @property
    def spacing_mm(self) -> Spacing | None:
        """(z, y, x) that images are resampled to; None: they are not."""
        return self.parts[0].spacing_mm

    @property
    def folds(self) -> tuple[int, ...] | None:
        """Used together; None: all that there are."""
        return self.parts[0].folds


class Crop(Record):
    """What the image is cropped to before a task runs.

    Attributes:
        task: Whose models find the structures.
        mode: At which resolution.
        classes: The structures; their union counts.
        addon_mm: Margin on all sides.
    """

    task: str
    mode: ModeName
    classes: tuple[str, ...]
    addon_mm: float


class CropRule(Record):
    """How a task is cropped, as the catalogue has it.

    Attributes:
        classes: Structures.
        robust: The rough model of finer resolution is needed.
        task: Whose default models find them; None: the rough models.
        addon_mm: Margin on all sides.
    """

    classes: tuple[str, ...]
    robust: bool = False
    task: str | None = None
    addon_mm: float = CROP_ADDON_MM


class Outside(Record):
    """What is removed outside of rough structures.

    Attributes:
        classes: Of the rough model.
        margin_mm: Around their union.
    """

    classes: tuple[str, ...]
    margin_mm: float


class Task(Record):
    """What can be segmented with one command.

    Attributes:
        name: As on the command line.
        modality: Of the images.
        structures: Names of the labels 1, 2, ...
        auxiliary_structures: Of the labels after these, which are found but not kept.
        modes: By name; "default" is always there.
        fast_is_default: The wish for speed is accepted although there is one resolution only.
        small_plans: Plans of the small variant of its models, where there is one.
        licence: Its weights need a licence key.
        crop_rule: What the image is cropped to; None: it is not.
        cleanup: Steps after the prediction.
        refined_by: The task whose structures of that name limit the result (vertebrae_pp_refined).
        remove_outside: What is removed outside of rough structures.
        cropped_images: Expects images that show little more than its structures.
        note: What users must know.
    """

    name: str
    modality: Modality
    structures: tuple[str, ...]
    auxiliary_structures: tuple[str, ...] = ()
    modes: dict[ModeName, Mode]
    fast_is_default: bool = False
    small_plans: str | None = None
    licence: bool = False
    crop_rule: CropRule | None = None
    cleanup: tuple[Cleanup, ...] = ()
    refined_by: str | None = None
    remove_outside: Outside | None = None
    cropped_images: bool = False
    note: str = ""

    @cached_property
    def classes(self) -> dict[int, str]:
        """Name of each label."""
        return dict(enumerate(self.structures, start=1))

    @cached_property
    def auxiliary(self) -> dict[int, str]:
        """Name of each label that is not kept."""
        return dict(enumerate(self.auxiliary_structures, start=len(self.structures) + 1))

    @property
    def allows_subset(self) -> bool:
        """Whether a choice among its structures saves work (``--roi_subset``)."""
        return self.name.startswith(TOTAL)

    def mode_name(self, *, fast: bool = False, fastest: bool = False) -> ModeName:
        """The resolution for these wishes: where there is no fastest one, the fast one.

        Raises:
            UserError: there is only one.
        """
        if not fast and not fastest:
            return "default"
        wishes: tuple[ModeName, ...] = ("fast",) if fast else ("fastest", "fast")
        for name in wishes:
            if name in self.modes:
                return name
        if self.fast_is_default:
            return "default"
        raise UserError(f"The task {self.name} has no fast form.", "Leave out --fast and --fastest.", "task-mode")

    def mode(self, *, fast: bool = False, fastest: bool = False, small: bool = False) -> Mode:
        """The models for these wishes.

        Args:
            fast: At a coarser resolution.
            fastest: At the coarsest.
            small: The smaller variant of the models.

        Raises:
            UserError: there is no such form of the task.
        """
        mode = self.modes[self.mode_name(fast=fast, fastest=fastest)]
        if not small:
            return mode
        if self.small_plans is None:
            raise UserError(f"The task {self.name} has no small models.", "Leave out --model_size small.", "task-mode")
        parts = tuple(part.model_copy(update={"plans": self.small_plans}) for part in mode.parts)
        return mode.model_copy(update={"parts": parts})

    def label(self, name: str) -> int:
        """The label of a structure. Raises: UserError: it has none of this name; says which are near."""
        return self.labels([name])[0]

    def labels(self, names: Sequence[str]) -> list[int]:
        """The labels of structures, in this order. Raises: UserError: it lacks some; says which are near."""
        known = {name: label for label, name in self.classes.items()}
        unknown = [name for name in names if name not in known]
        if unknown:
            hint = f"totalseg_info -ta {self.name} lists its structures."
            raise _unknown(f"The task {self.name} has no structure", unknown, list(known), hint)
        return [known[name] for name in names]


class Published(Record):
    """Where the weights of a dataset are published.

    Attributes:
        folder: Name of the dataset, and of the zip file.
        release: On GitHub; None: they need a licence key.
        sha256: Of the zip file, where it is known.
    """

    folder: str
    release: str | None = None
    sha256: str | None = None


class Catalogue(Record):
    """All tasks.

    Attributes:
        address: Of the releases that hold the weights.
        version: Of TotalSegmentator whose tasks these are.
        datasets: By number.
        tasks: In the order in which they are listed.
        v1_structures: Names of the labels 1, 2, ... in TotalSegmentator 1.
        colours: Red, green and blue (0 to 255) of all structures.
    """

    address: str
    version: str
    datasets: dict[int, Published]
    tasks: tuple[Task, ...]
    v1_structures: tuple[str, ...]
    colours: dict[str, Colour]

    @cached_property
    def by_name(self) -> Mapping[str, Task]:
        """The tasks by name."""
        return {task.name: task for task in self.tasks}

    @cached_property
    def v1_classes(self) -> dict[int, str]:
        """Name of each label in TotalSegmentator 1."""
        return dict(enumerate(self.v1_structures, start=1))

    def find(self, name: str) -> Task:
        """The task of a name. Raises: UserError: there is none; says which are near."""
        if name in self.by_name:
            return self.by_name[name]
        raise _unknown("There is no task", [name], list(self.by_name), "totalseg_info lists the tasks.")

    def colour(self, structure: str) -> Colour:
        """Red, green and blue of a structure, the same in all tasks; grey for one that is in none."""
        return self.colours.get(structure, (128, 128, 128))

    def download_address(self, dataset_id: int) -> str | None:
        """Where the zip file of a dataset's weights is; None: they need a licence key."""
        published = self.datasets[dataset_id]
        return published.release and f"{self.address}/{published.release}/{published.folder}.zip"

    def rough_crop(self, task: Task, classes: Sequence[str] = (), *, robust: bool = False) -> Crop | None:
        """What the image is cropped to.

        Args:
            task: To be run.
            classes: Wanted structures of it (``--roi_subset``); empty: all. A task with a crop of its own keeps that.
            robust: Use the rough model of finer resolution.

        Returns:
            None: the whole image is used.
        """
        rule = task.crop_rule or (CropRule(classes=tuple(classes)) if classes else None)
        if rule is None:
            return None
        if rule.task is not None:
            return Crop(task=rule.task, mode="default", classes=rule.classes, addon_mm=rule.addon_mm)
        rough, mode = self._rough_model(task, rule.classes, robust or rule.robust)
        return Crop(task=rough, mode=mode, classes=rule.classes, addon_mm=rule.addon_mm)

    def _rough_model(self, task: Task, classes: Sequence[str], robust: bool) -> tuple[str, ModeName]:
        if set(classes) & set(BODY_CLASSES):
            return "body", "fast"
        if task.name.endswith("_mr"):
            return "total_mr", "fast"
        known = set(classes) <= set(self.find(TOTAL).structures)
        return TOTAL if known else task.name, "fast" if robust else "fastest"

    def body_crop(self) -> Crop:
        """The image cropped to the body (``--body_seg``)."""
        return Crop(task="body", mode="fast", classes=BODY_CLASSES, addon_mm=BODY_ADDON_MM)

    def needed(self, task: Task, mode: Mode, crop: Crop | None = None) -> list[Part]:
        """All models that a run takes, each once: those for the crop first."""
        parts: dict[tuple[int, str], Part] = {}
        for part in (*self._for_crop(crop), *mode.parts, *self._for_refining(task)):
            parts.setdefault((part.dataset_id, part.plans), part)
        return list(parts.values())

    def _for_crop(self, crop: Crop | None) -> Iterable[Part]:
        if crop is None:
            return []
        task = self.find(crop.task)
        own = self.rough_crop(task) if crop.mode == "default" else None
        return self.needed(task, task.modes[crop.mode], own)

    def _for_refining(self, task: Task) -> Iterable[Part]:
        return self.find(task.refined_by).modes["default"].parts if task.refined_by else []


def _unknown(what: str, names: Sequence[str], known: Sequence[str], hint: str) -> UserError:
    """An error about names that do not exist, with near ones."""
    return UserError(f"{what} {', '.join(map(repr, names))}. {near_names(names, known)}".strip(), hint)


@cache
def load_catalogue() -> Catalogue:
    """The catalogue of this version."""
    return Catalogue.load(CATALOGUE_FILE)


def find_task(name: str) -> Task:
    """The task of a name. Raises: UserError: there is none; says which are near."""
    return load_catalogue().find(name)
