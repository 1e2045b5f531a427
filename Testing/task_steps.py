"""TotalSegmentator's steps one by one; models that find structures by their intensity, and scans of such."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.image.files import volume_from_sitk
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.inference.images import predict_image
from segautoconfiglib.inference.model import Model
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.tasks.catalogue import Part, Task, load_catalogue
from segautoconfiglib.tasks.loaded import LoadedModels
from segautoconfiglib.tasks.weights import WeightsFolders
from task_weights import dataset_json, plans_json

PATCH = (16, 16, 16)
#: Intensity (HU) of structures; models find no others.
INTENSITIES = {
    "liver": 100, "spleen": 200, "heart": 310, "aorta": 400, "kidney_left": 500, "skull": 600, "vertebrae_L5": 700,
    "teeth_upper": 800, "heart_myocardium": 310, "heart_atrium_left": -300, "liver_vessels": -50,
    "kidney_cyst_left": 540,
    "body_trunc": 0, "body_extremities": -200, "upper_jawbone": 780, "vertebrae_C1": 560, "vertebrae_C2": 700,
    "vertebrae_C3": 800, "vertebrae_body": 640, "annulus_proper": 150, "brain": 900, "lung_nodules": 20,
    "rib_left_1": 255, "sacrum": 660,
}  # fmt: skip
#: Structures reach so far from their intensity (HU).
REACH = 60.0


class ByIntensity(torch.nn.Module):
    """A network that knows structures by their intensity, a little better at one corner of its patch."""

    def __init__(self, intensities: Sequence[float | None]) -> None:
        super().__init__()
        self.intensities = [None if value is None else (value - 40) / 300 for value in intensities]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        corner = sum(torch.linspace(0, 0.1, size).view(-1, *[1] * (2 - axis)) for axis, size in enumerate(PATCH))
        logits = [torch.zeros_like(image)]
        for value in self.intensities:
            near = torch.full_like(image, -9) if value is None else 1 - (image - value).abs() * (300 / REACH)
            logits.append(near + corner)
        return torch.cat(logits, dim=1)


def model_by_intensity(part: Part) -> Model:
    """The model of a part, with the plans of published ones but for a small patch."""
    task = next(
        task for task in load_catalogue().tasks for mode in task.modes.values() if part in mode.parts
    )  # the first that has it names its structures
    names = {**task.classes, **task.auxiliary}
    found = [INTENSITIES.get(names[part.labels[local]]) for local in range(1, part.count + 1)]
    plans = Plans.model_validate(plans_json(task, part, "Dataset001_Tiny", 2, PATCH))
    description = DatasetDescription.model_validate(dataset_json(task, part))
    return Model(plans, description, part.configuration, (ByIntensity(found),), (0, 1, 2), torch.device("cpu"))


class KnownModels(LoadedModels):
    """Models by intensity in place of loaded ones; ``asked`` are the datasets whose models were used, in order."""

    def __init__(self) -> None:
        super().__init__(WeightsFolders(()))
        self.asked: list[int] = []
        self.needed: list[int] = []

    def check(self, parts: Iterable[Part]) -> None:
        self.needed = [part.dataset_id for part in parts]

    def get(self, part: Part) -> Model:
        self.asked.append(part.dataset_id)
        return model_by_intensity(part)


def scan(
    structures: dict[str, tuple[tuple[int, int, int], int]],
    shape: tuple[int, int, int] = (20, 22, 24),
    spacing: tuple[float, float, float] = (3.2, 2.2, 2.0),
    code: str = "LPS",
    kind: type = np.int16,
) -> sitk.Image:
    """A CT of cubes in air: name to centre (z, y, x) and half an edge, voxels of the image that is stored as LPS."""
    array = np.random.default_rng(0).normal(0, 12, shape) - 800
    for name, (centre, half) in structures.items():
        box = tuple(slice(max(0, middle - half), middle + half) for middle in centre)
        array[box] += INTENSITIES[name] + 800
    image = sitk.GetImageFromArray(array.astype(kind))
    image.SetSpacing(spacing[::-1])
    image.SetOrigin((12.0, -30.0, 7.0))
    return sitk.DICOMOrient(image, code)


def stored(image: sitk.Image) -> Volume:
    """As files are read, in the image's own number type."""
    volume = volume_from_sitk(image)
    return Volume(sitk.GetArrayFromImage(image)[None], volume.geometry)


def documented(
    image: sitk.Image,
    task: Task,
    parts: Sequence[Part],
    *,
    step: float,
    spacing: tuple[float, float, float] | None,
    order: int = 1,
    mask: np.ndarray | None = None,
    addon_mm: float = 20.0,
    clean: Callable[[np.ndarray, tuple[float, ...]], np.ndarray] | None = None,
) -> np.ndarray:
    """TotalSegmentator's steps one after the other, written down as they are described.

    Args:
        image: Of any orientation along the axes of the body.
        task: Whose labels come out.
        parts: Its models.
        step: Of the sliding window.
        spacing: (z, y, x) mm; None: the image stays as it is.
        order: Of the resampling.
        mask: (z, y, x) of the rough structures.
        addon_mm: Around them.
        clean: Changes labels (z, y, x) at the models' resolution, given their spacing (z, y, x).

    Returns:
        (z, y, x) on the grid of the image.
    """
    whole, start = image, np.zeros(3, int)
    if mask is not None:
        edges = np.array(image.GetSpacing()[::-1], np.float32)
        margin = (addon_mm / edges.astype(np.float64)).astype(int)
        places = np.argwhere(mask)
        start = np.maximum(places.min(axis=0) - margin, 0)
        stop = np.minimum(places.max(axis=0) + 1 + margin, mask.shape)
        (z, y, x), (z_end, y_end, x_end) = start.tolist(), stop.tolist()
        image = sitk.Cast(image, sitk.sitkInt32)[x:x_end, y:y_end, z:z_end]
    upright = sitk.DICOMOrient(image, "RAS")
    array = sitk.GetArrayFromImage(upright).transpose(2, 1, 0).astype(np.float64)
    edges = np.array(upright.GetSpacing(), np.float32).astype(np.float64)
    small = array
    if spacing is not None and not np.array_equal(edges, spacing[::-1]):
        small = ndimage.zoom(array, edges / spacing[::-1], order=order, mode="nearest").astype(np.int32)
        edges = np.array(spacing[::-1])
    seen = Volume(small.transpose(2, 1, 0)[None].astype(np.float32), Geometry(tuple(edges[::-1].tolist())))
    labels = np.zeros(seen.shape, np.uint8)
    for part in parts:
        found = predict_image(seen, model_by_intensity(part), mirror=False, step=step).labels.array[0]
        for own, wanted in part.labels.items():
            labels[found == own] = wanted
    if clean is not None:
        labels = clean(labels, tuple(edges[::-1]))
    large = labels.transpose(2, 1, 0).astype(np.float64)
    if labels.shape[::-1] != array.shape:
        large = ndimage.zoom(large, np.array(array.shape) / large.shape, order=0, mode="nearest")
    back = sitk.GetImageFromArray(large.transpose(2, 1, 0).astype(np.uint8))
    back.CopyInformation(upright)
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
    part_labels = sitk.GetArrayFromImage(sitk.DICOMOrient(back, code))
    result = np.zeros(whole.GetSize()[::-1], np.uint8)
    z, y, x = (slice(first, first + size) for first, size in zip(start, part_labels.shape, strict=True))
    result[z, y, x] = part_labels
    return result
