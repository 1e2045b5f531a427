"""The inputs of the benchmarks: a large CT-like volume with 24 organs, logits for it, slightly wrong predictions."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from scipy import ndimage

from segautoconfiglib.base.records import write_json
from segautoconfiglib.image.files import read_labels, write_image, write_labels
from segautoconfiglib.image.volume import Geometry

SHAPE, SPACING_MM = (300, 512, 512), (1.5, 0.8, 0.8)
TARGET_SPACING_MM = (1.5, 1.5, 1.5)
TARGET_SHAPE = tuple(round(n * a / b) for n, a, b in zip(SHAPE, SPACING_MM, TARGET_SPACING_MM, strict=True))
CLASSES = 25  # with background
LABELS = {"background": 0} | {f"organ{number:02}": number for number in range(1, CLASSES)}


def make_large_ct(folder: Path) -> None:
    """A raw dataset of one case: an oval body in air, 24 ellipsoids, soft-tissue contrasts and noise."""
    random = np.random.default_rng(0)
    coarse = random.standard_normal((19, 32, 32), dtype=np.float32)
    zoom = [n / m for n, m in zip(SHAPE, coarse.shape, strict=True)]
    image = 40 + 60 * ndimage.zoom(coarse, zoom, order=1) + 10 * random.standard_normal(SHAPE, dtype=np.float32)
    y, x = np.ogrid[: SHAPE[1], : SHAPE[2]]
    image[:, ((y - 256) / 205) ** 2 + ((x - 256) / 235) ** 2 > 1] = -1000
    geometry = Geometry(SPACING_MM)
    write_image(np.round(image).astype(np.int16), folder / "imagesTr" / "large_0000.nii.gz", geometry)
    write_labels(organs(SHAPE, SPACING_MM), folder / "labelsTr" / "large.nii.gz", geometry)
    description = {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": 1, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", description)


def organs(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Label map (z, y, x) uint8 of the same ellipsoids on any grid over the body."""
    random = np.random.default_rng(1)
    labels = np.zeros(shape, np.uint8)
    extent = np.array(SHAPE) * SPACING_MM
    for label in range(1, CLASSES):
        centre, radii = random.uniform(0.3, 0.7, 3) * extent, random.uniform((30, 20, 20), (65, 36, 36))
        low = np.maximum((centre - radii) / spacing_mm, 0).astype(int)
        high = np.minimum((centre + radii) / spacing_mm + 2, shape).astype(int)
        axes = [
            (np.arange(a, b) * step - middle) / radius
            for a, b, step, middle, radius in zip(low, high, spacing_mm, centre, radii, strict=True)
        ]
        inside = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)) < 1
        labels[tuple(map(slice, low, high))][inside] = label
    return labels


def make_logits(file: Path, kind: str) -> None:
    """Write (class, z, y, x) float16 logits on the 1.5 mm grid.

    Args:
        file: An .npy file.
        kind: "network": like a trained network's, sure inside the organs and unsure at their borders; "noise":
            independent normal values, the worst case, as no class is ever certain.
    """
    logits = np.lib.format.open_memmap(file, "w+", np.float16, (CLASSES, *TARGET_SHAPE))
    random = np.random.default_rng(2)
    labels = organs(TARGET_SHAPE, TARGET_SPACING_MM)
    for label in range(CLASSES):
        noise = random.standard_normal(TARGET_SHAPE, dtype=np.float32)
        if kind == "network":
            noise = 0.5 * noise - 4 + 14 * ndimage.gaussian_filter((labels == label).astype(np.float32), 1.0)
        logits[label] = noise
    logits.flush()


def make_predictions(truth: Path, folder: Path) -> None:
    """Copies of the label maps in ``truth``, moved by one voxel."""
    shutil.rmtree(folder, ignore_errors=True)
    for file in sorted(truth.glob("*.nii.gz")):
        volume = read_labels(file)
        write_labels(np.roll(volume.array[0], 1, axis=1), folder / file.name, volume.geometry)
