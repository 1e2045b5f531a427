"""How a task is run, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.resample_axes import SplineOrder
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.tasks.catalogue import TOTAL, Mode, Part, Task, load_catalogue

#: Parts of structures up to this size (mm³) are removed where that is wished and no size is given.
SMALL_BLOB_MM3 = 200.0
#: Orders of the spline by which images can be resampled.
ORDERS = range(6)


@dataclass(frozen=True)
class TaskOptions:
    """How a task is run.

    Attributes:
        fast: With the models of coarser voxels.
        fastest: With those of the coarsest.
        small: With the small variant of the models.
        subset: Names of the structures that are wanted; empty: all. Only their models are run, on their surroundings.
        robust_crop: A finer model finds the surroundings.
        body_crop: The image is cropped to the body, which is found roughly.
        force_split: The image is segmented in three pieces, whatever its size: takes less memory.
        small_blobs_mm3: Connected parts of structures up to this size are removed; 0: none are.
        higher_order: The networks get the image as it is and resample it, and their result, by nnU-Net's own rules:
            smoother, slower.
        order: Of the spline by which the image is resampled, 0 to 5.
        v1_order: Labels have the numbers of TotalSegmentator 1.
        low_resolution: The result stays on the grid of a fast model.
    """

    fast: bool = False
    fastest: bool = False
    small: bool = False
    subset: tuple[str, ...] = ()
    robust_crop: bool = False
    body_crop: bool = False
    force_split: bool = False
    small_blobs_mm3: float = 0.0
    higher_order: bool = False
    order: SplineOrder = 1
    v1_order: bool = False
    low_resolution: bool = False

    def mode(self, task: Task) -> Mode:
        """The models of a task. Raises: UserError: it has no such form."""
        return task.mode(fast=self.fast, fastest=self.fastest, small=self.small)

    def parts(self, task: Task) -> tuple[Part, ...]:
        """The models that are run: of several those that know a wanted structure. Raises: UserError: unknown ones."""
        parts, wanted = self.mode(task).parts, set(task.labels(self.subset))
        if not wanted or len(parts) == 1:
            return parts
        return tuple(part for part in parts if wanted & set(part.labels.values()))

    def names(self, task: Task) -> dict[int, str]:
        """Of the labels that are looked for, under the numbers of the result."""
        every = load_catalogue().v1_classes if self.v1_order and task.name == TOTAL else task.classes
        return {label: name for label, name in every.items() if not self.subset or name in self.subset}

    def check(self, task: Task) -> None:
        """Raises: UserError: values out of range, or that do not go together or not with the task."""
        self.check_values()
        self.mode(task)
        task.labels(self.subset)
        if self.subset and not task.allows_subset:
            raise UserError(
                f"The task {task.name} can't be restricted to some structures.",
                f"Leave out --roi_subset; it is for tasks whose names begin with {TOTAL}.",
            )
        if self.low_resolution and (self.subset or self.body_crop or task.crop_rule):
            raise UserError(
                "Results of a cropped image can't stay at low resolution.",
                "Leave out --save_lowres, or --roi_subset and --body_seg.",
            )

    def check_values(self) -> None:
        """Raises: UserError: values out of range, or that do not go together for any task."""
        if self.order not in ORDERS:
            raise UserError(f"The resampling order is {self.order}.", "Give 0 to 5; 1 is usual.")
        if self.small_blobs_mm3 < 0:
            raise UserError(f"The size of small blobs is {self.small_blobs_mm3} mm³.", "Give 0 or more.")
        if self.low_resolution and not (self.fast or self.fastest):
            raise UserError("Only fast results can stay at low resolution.", "Add --fast, or leave out --save_lowres.")


@dataclass(frozen=True)
class Working:
    """What the networks saw and found, cropped and towards head, front and right, before it went back.

    Attributes:
        image: (1, z, y, x), on the networks' grid unless images are given to them as they are.
        labels: (z, y, x) uint8, cleaned; the task's numbers.
    """

    image: Volume
    labels: np.ndarray


@dataclass(frozen=True)
class TaskResult:
    """What a task found in an image.

    Attributes:
        labels: (z, y, x) uint8.
        geometry: That of the image, unless the result stays at low resolution.
        names: Of the labels that were looked for.
        working: None where the crop was empty.
        warnings: What the user was warned about.
    """

    labels: np.ndarray
    geometry: Geometry
    names: dict[int, str]
    working: Working | None = None
    warnings: tuple[str, ...] = ()
