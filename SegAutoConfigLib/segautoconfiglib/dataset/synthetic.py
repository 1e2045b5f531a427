"""A small synthetic dataset for trying everything out: MR-like volumes with two nested structures.

A volume shows an oval body with an organ (``capsule``) that has a nucleus (``core``). Intensities alone do not tell
them from the rest: vessels and round lesions are as bright, the coil's sensitivity varies over the image, every case
has a scale of its own, and the noise is Rician (Gudbjartsson & Patz 1995, Magn Reson Med 34, 910-914). Slices are
three to four times as thick as pixels are wide, and the volume is tilted, as clinical MR is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import read_json, write_json
from segautoconfiglib.image.files import write_image, write_labels
from segautoconfiglib.image.volume import Geometry

#: z, y, x.
Point = Sequence[float] | np.ndarray

LABELS = {"background": 0, "capsule": 1, "core": 2}

#: Mean intensities before sensitivity, scale and noise; standard deviation of the noise in both channels.
TISSUE, ORGAN, CORE, FLUID = 260.0, 360.0, 480.0, 120.0
NOISE = 22.0

#: Half width of the transition between two tissues: partial volume (mm).
EDGE_MM = 0.5

#: Tilt of all volumes about the patient's axes, and its spread from case to case (degrees).
TILT, TILT_SPREAD = (12.0, -6.0, 8.0), 1.5

#: Where a Decathlon dataset's own images without truth go when cases are held out.
UNLABELLED_FOLDER = "imagesUnlabelled"


def make_demo_dataset(
    raw_folder: Path,
    *,
    cases: int = 32,
    held_out: int = 8,
    seed: int = 0,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> None:
    """Write a raw dataset with ``imagesTr``, ``labelsTr`` and, held out, ``imagesTs``, ``labelsTs``.

    Args:
        raw_folder: Becomes the dataset's folder (``.../nnUNet_raw/Dataset999_Demo``). ``dataset.json`` comes last.
        cases: Number of training cases.
        held_out: Number of cases for the test after training.
        seed: The same seed gives the same voxels.
        report: Gets one "progress" per case.
        cancel: Asked between cases.
    """
    cancel = cancel or CancelToken()
    report("started", stage="synthesize", total=cases + held_out)
    for number in range(cases + held_out):
        cancel.raise_if_cancelled()
        part, name = ("Tr" if number < cases else "Ts"), f"demo_{number:03}"
        image, labels, geometry = synthesize_case(np.random.default_rng((seed, number)))
        write_image(image, raw_folder / f"images{part}" / f"{name}_0000.nii.gz", geometry)
        write_labels(labels, raw_folder / f"labels{part}" / f"{name}.nii.gz", geometry)
        report("progress", stage="synthesize", done=number + 1, total=cases + held_out, case=name)
    description = "Synthetic MR-like volumes: an organ with a nucleus among look-alikes."
    write_json(
        raw_folder / "dataset.json",
        {
            "channel_names": {"0": "MRI"},
            "labels": LABELS,
            "numTraining": cases,
            "file_ending": ".nii.gz",
            "name": raw_folder.name.partition("_")[2] or raw_folder.name,
            "description": description,
        },
    )


def hold_out_cases(raw_folder: Path, *, share: float = 0.15, most: int = 20, seed: int = 0) -> list[str]:
    """Move some training cases of a raw dataset to ``imagesTs`` and ``labelsTs``.

    Done once: a repeated call changes nothing, or finishes what an interrupted one began. Images that lie in
    ``imagesTs`` without a truth go to ``imagesUnlabelled``.

    Args:
        raw_folder: With ``dataset.json``, ``imagesTr`` and ``labelsTr``.
        share: Of the cases.
        most: Never more cases than this.
        seed: Of the choice.

    Returns:
        The names of the held-out cases.

    Raises:
        UserError: fewer than three cases.
    """
    description = read_json(raw_folder / "dataset.json")
    ending = description["file_ending"]
    held_out, kept = (_stems(raw_folder / folder, ending) for folder in ("labelsTs", "labelsTr"))
    if held_out and len(kept) == description["numTraining"]:
        return held_out
    cases = sorted(held_out + kept)
    if len(cases) < 3:
        raise UserError(f"{raw_folder} has only {len(cases)} labelled cases.", "The demo needs at least three.")
    count = min(most, max(1, round(share * len(cases))))
    chosen = sorted(np.random.default_rng(seed).choice(cases, count, replace=False).tolist())
    if (raw_folder / "imagesTs").exists() and not (raw_folder / "labelsTs").exists():
        (raw_folder / "imagesTs").rename(raw_folder / UNLABELLED_FOLDER)
    for folder in ("labelsTs", "imagesTs"):
        (raw_folder / folder).mkdir(exist_ok=True)
    for case in chosen:
        for image in sorted((raw_folder / "imagesTr").glob(f"{case}_[0-9][0-9][0-9][0-9]{ending}")):
            image.rename(raw_folder / "imagesTs" / image.name)
        if case in kept:
            (raw_folder / "labelsTr" / f"{case}{ending}").rename(raw_folder / "labelsTs" / f"{case}{ending}")
    write_json(raw_folder / "dataset.json", description | {"numTraining": len(cases) - count})
    return chosen


def _stems(folder: Path, ending: str) -> list[str]:
    files = sorted(folder.glob(f"*{ending}")) if folder.is_dir() else []
    return [file.name[: -len(ending)] for file in files if not file.name.startswith(".")]


def synthesize_case(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """One volume.

    Returns:
        image: (z, y, x) int16.
        labels: (z, y, x) uint8, values of LABELS.
        geometry: Tilted, spacing about 3.0 x 0.9 x 0.9 mm.
    """
    grid = _Grid.draw(random)
    body = grid.ellipsoid(random, (0.0, 0.0, 0.0), (34.0, 27.0, 24.0), roughness=2.0)
    centre = random.normal((0.0, -3.0, 2.0), (2.5, 2.0, 2.0))
    organ = grid.ellipsoid(random, centre, random.uniform((15, 12, 10), (19, 15.5, 12.5)), roughness=2.6)
    offset = random.normal(0, (2.0, 1.6, 1.2))
    core = np.maximum(
        grid.ellipsoid(random, centre + offset, random.uniform((8.5, 6, 5), (11, 8.5, 7)), roughness=1.2), organ + 1.5
    )
    scene = np.where(body < 0, TISSUE, 0.0) + grid.texture(random, 6.0, 22.0) * _share(body)
    scene = _paint(scene, body, TISSUE + grid.texture(random, 9.0, 25.0), outside=8.0)
    for shape, intensity in _look_alikes(grid, random, body, organ):
        scene = _paint(scene, shape, intensity)
    scene = _paint(scene, organ, ORGAN + grid.texture(random, 3.0, 14.0))
    scene = _paint(scene, core, CORE + grid.texture(random, 2.0, 14.0))
    image = _acquire(grid, random, scene)
    labels = np.where(core < 0, LABELS["core"], np.where(organ < 0, LABELS["capsule"], 0)).astype(np.uint8)
    return image, labels, grid.geometry


@dataclass(frozen=True)
class _Grid:
    """The voxels of one case. Shapes are signed distances (about mm, negative inside) of shape (z, y, x)."""

    shape: tuple[int, int, int]
    geometry: Geometry

    @classmethod
    def draw(cls, random: np.random.Generator) -> _Grid:
        thickness, pixel = np.round(random.uniform((2.6, 0.84), (3.4, 0.96)), 2).tolist()
        spacing = (thickness, pixel, pixel)
        extent = random.uniform((56, 60, 54), (64, 67, 60))
        z, y, x = (round(edge / step) for edge, step in zip(extent, spacing, strict=True))
        angles = np.array(TILT) + random.normal(0, TILT_SPREAD, 3)
        direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        centre = random.normal((0, 15, -40), 5)
        origin = centre - direction @ (np.array(spacing[::-1]) * (np.array((x, y, z)) - 1) / 2)
        geometry = Geometry(spacing, tuple(origin.tolist()), tuple(direction.ravel().tolist()))
        return cls((z, y, x), geometry)

    @property
    def points_mm(self) -> list[np.ndarray]:
        """Three open grids (z, y, x) of millimetres from the centre."""
        axes = [
            (np.arange(n, dtype=np.float32) - (n - 1) / 2) * step
            for n, step in zip(self.shape, self.geometry.spacing_mm, strict=True)
        ]
        return list(np.meshgrid(*axes, indexing="ij", sparse=True))

    def texture(self, random: np.random.Generator, scale_mm: float, deviation: float) -> np.ndarray:
        """Smooth random field of the given correlation length and standard deviation."""
        sigma = [scale_mm / step for step in self.geometry.spacing_mm]
        field = ndimage.gaussian_filter(random.standard_normal(self.shape, dtype=np.float32), sigma, mode="reflect")
        return field * (deviation / max(float(field.std()), 1e-6))

    def ellipsoid(self, random: np.random.Generator, centre: Point, radii: Point, *, roughness: float) -> np.ndarray:
        """An ellipsoid (centre and radii z, y, x in mm), turned a little and dented by ``roughness`` mm."""
        points = [axis - middle for axis, middle in zip(self.points_mm, centre, strict=True)]
        turn = Rotation.from_euler("xyz", random.normal(0, 10, 3), degrees=True).as_matrix().astype(np.float32)
        squares = sum(
            (sum(row[i] * points[i] for i in range(3)) / radius) ** 2 for row, radius in zip(turn, radii, strict=True)
        )
        distance = (np.sqrt(squares) - 1) * float(np.min(radii))
        return distance + self.texture(random, 0.6 * float(np.min(radii)), roughness)

    def vessel(self, random: np.random.Generator) -> np.ndarray:
        """A winding tube that crosses all slices."""
        z, y, x = self.points_mm
        angle, turn = random.uniform(0, 2 * np.pi), random.uniform(0.02, 0.05)
        radius, bend = random.uniform(12, 19), random.uniform(1.0, 3.0)
        middle_y = radius * np.sin(angle) + bend * np.sin(turn * 2 * z + angle)
        middle_x = radius * np.cos(angle) + bend * np.cos(turn * 3 * z)
        return np.hypot(y - middle_y, x - middle_x) - random.uniform(1.5, 2.6)


def _look_alikes(
    grid: _Grid, random: np.random.Generator, body: np.ndarray, organ: np.ndarray
) -> list[tuple[np.ndarray, float]]:
    """Vessels and lesions inside the body, as bright as organ or core, 2 mm of tissue away from the organ."""
    shapes = [(grid.vessel(random), random.choice([ORGAN, CORE])) for _ in range(2)]
    for _ in range(int(random.integers(4, 7))):
        angle, distance = random.uniform(0, 2 * np.pi), random.uniform(0.5, 0.85)
        centre = (random.uniform(-22, 22), 23 * distance * np.sin(angle), 20 * distance * np.cos(angle))
        radii = random.uniform((4, 2.5, 2.5), (9, 5.5, 5.5))
        intensity = random.choice([ORGAN, CORE, FLUID], p=[0.45, 0.35, 0.2])
        shapes.append((grid.ellipsoid(random, centre, radii, roughness=1.0), intensity))
    return [(np.maximum.reduce([shape, body + 1.5, 2.0 - organ]), float(value)) for shape, value in shapes]


def _share(distance: np.ndarray) -> np.ndarray:
    """How much of a voxel lies inside, from its signed distance."""
    return np.clip(0.5 - distance / (2 * EDGE_MM), 0.0, 1.0)


def _paint(
    scene: np.ndarray, shape: np.ndarray, intensity: np.ndarray | float, outside: float | None = None
) -> np.ndarray:
    share = _share(shape)
    return share * intensity + (1 - share) * (scene if outside is None else outside)


def _acquire(grid: _Grid, random: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """What a scanner makes of the scene: uneven sensitivity, a scale per case, Rician noise; int16."""
    sensitivity = np.exp(grid.texture(random, 25.0, 0.16))
    real = scene * sensitivity + random.normal(0, NOISE, scene.shape)
    magnitude = np.hypot(real, random.normal(0, NOISE, scene.shape))
    return np.round(magnitude * random.uniform(0.7, 1.6)).astype(np.int16)
