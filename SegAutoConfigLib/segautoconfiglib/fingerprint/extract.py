"""Measuring a dataset: every case is read once, in worker processes; what comes back is small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.dataset.dataset import Case, Dataset, channel_count_problem
from segautoconfiglib.dataset.sources import newest_source_ns, sources_digest
from segautoconfiglib.dataset.workers import workers_for_files
from segautoconfiglib.defaults import FINGERPRINT
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.image.crop import bounding_box, crop, nonzero_mask
from segautoconfiglib.image.files import read_header, read_image, read_labels, reading_bytes
from segautoconfiglib.image.integrity import count_non_finite

#: Memory of one worker per voxel (bytes) beside the image: stored and converted labels, masks, and what is done with
#: labelled voxels (measured 16 where all 16 million voxels of ten cases are labelled).
BYTES_PER_VOXEL = 16
#: Samples drawn at a time.
SAMPLES_PER_PART = 1_000_000
#: Cases whose headers are read to know the largest.
LARGEST_CASES = 10


@dataclass(frozen=True)
class Samples:
    """Intensities drawn from one channel, each value once.

    Attributes:
        values: float32 (n,), ascending.
        counts: How often each was drawn, unsigned integers (n,).
    """

    values: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class CaseMeasurement:
    """What the fingerprint takes from one case.

    Attributes:
        shape_after_crop: (z, y, x) voxels.
        spacing_mm: (z, y, x).
        relative_size: Share of the voxels that cropping leaves.
        samples: Per channel; empty where nothing is labelled.
    """

    shape_after_crop: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    relative_size: float
    samples: tuple[Samples, ...]


def extract_fingerprint(
    dataset: Dataset, *, workers: int | None = None, report: Reporter = silent, cancel: CancelToken | None = None
) -> Fingerprint:
    """Measure all training cases.

    Args:
        dataset: With a label for every case.
        workers: Processes; default: as many as cores and memory allow.
        report: Gets "started" and "progress".
        cancel: Asked between cases.

    Raises:
        UserError: no cases, no labelled voxel in the whole dataset, a file that can't be read, or NaN in an image.
    """
    if not dataset.cases:
        raise UserError(f"{dataset.name} has no training cases.", f"Put images and labels into {dataset.folder}.")
    sources = sources_digest(dataset)
    count = int(FINGERPRINT.foreground_samples // len(dataset.cases))
    tasks = [(case.id, (case, count)) for case in dataset.cases]
    measurements = map_cases(
        measure_case,
        tasks,
        workers=workers_for_cases(dataset.cases, _peak_bytes(dataset.cases), workers),
        stage="fingerprint",
        report=report,
        cancel=cancel,
    )
    _check_channels(dataset, measurements)
    return summarize(dataset.name, measurements).model_copy(update={"sources": sources})


def is_current(fingerprint: Fingerprint, dataset: Dataset, made_ns: int) -> bool:
    """Whether a dataset has the cases and files that were measured.

    Args:
        fingerprint: Of the dataset, as it was.
        dataset: As it is.
        made_ns: When the fingerprint was written; for nnU-Net's, which do not tell what they were made from.

    Raises:
        UserError: a file is missing.
    """
    if fingerprint.sources is not None:
        return fingerprint.sources == sources_digest(dataset)
    return len(fingerprint.spacings) == len(dataset.cases) and newest_source_ns(dataset) <= made_ns


def _check_channels(dataset: Dataset, measurements: Sequence[CaseMeasurement]) -> None:
    """Every case needs the channels that dataset.json names. Raises: ProblemsError: listing the cases that do not."""
    expected = len(dataset.description.channels)
    found = zip(dataset.cases, (len(item.samples) for item in measurements), strict=True)
    problems = [channel_count_problem(case, count, expected) for case, count in found if count != expected]
    if problems:
        raise ProblemsError(f"{dataset.name} has cases with missing or extra channels:", problems)


def measure_case(case: Case, count: int) -> CaseMeasurement:
    """Read and measure one case.

    Args:
        case: With a label.
        count: Intensities to draw per channel.

    Raises:
        UserError: a file can't be read, image and label differ in shape, or the image holds NaN or infinity.
    """
    image = read_image(case.images)
    check_finite(image.array, case.id, case.images)
    if case.label is None:
        raise UserError(f"Case {case.id} has no label.", "Every training case needs a label file.")
    labels = read_labels(case.label).array[0]
    if labels.shape != image.shape:
        raise UserError(
            f"Case {case.id}: {case.label} has shape {labels.shape}, the image {image.shape} (z, y, x).",
            "Export the label on the grid of the image; 'verify' lists all such cases.",
        )
    box = bounding_box(nonzero_mask(image.array))
    cropped = crop(image.array, box)
    _, z, y, x = cropped.shape
    return CaseMeasurement(
        shape_after_crop=(z, y, x),
        spacing_mm=image.geometry.spacing_mm,
        relative_size=z * y * x / math.prod(image.shape),
        samples=draw_samples(cropped, crop(labels, box), count),
    )


def check_finite(image: np.ndarray, case: str, files: Sequence[Path]) -> None:
    """Refuse NaN and infinity.

    Args:
        image: (channels, z, y, x).
        case: Its name, for the error.
        files: One per channel, or one for all.

    Raises:
        UserError: naming the file.
    """
    for number, file in enumerate(files):
        wrong = sum(count_non_finite(image[number] if len(files) == len(image) else image))
        if wrong:
            raise UserError(
                f"Case {case}: {file} holds {wrong} voxels that are NaN or infinite.",
                "Replace them (usually by the background value) or remove the case.",
            )


def draw_samples(image: np.ndarray, labels: np.ndarray, count: int) -> tuple[Samples, ...]:
    """Draw ``count`` intensities with replacement from the labelled voxels of each channel (nnU-Net's draws).

    Args:
        image: (channels, z, y, x).
        labels: (z, y, x); labelled is what is above zero, the ignore label included.
        count: Draws per channel.
    """
    labelled = labels > 0
    if not labelled.any():
        return tuple(Samples(np.empty(0, np.float32), np.empty(0, np.uint8)) for _ in image)
    random = np.random.RandomState(FINGERPRINT.seed)
    return tuple(_samples(*_draw(channel[labelled], random, count)) for channel in image)


def _draw(intensities: np.ndarray, random: np.random.RandomState, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The places that ``random.choice(intensities, count)`` draws, in parts, which gives the same numbers.

    Returns:
        The intensity of each place that was drawn, and how often it was.
    """
    times = np.zeros(len(intensities), np.uint32)
    once = np.uint32(1)  # a number of another type would make add.at ten times slower
    for start in range(0, count, SAMPLES_PER_PART):
        drawn = random.randint(0, len(intensities), size=min(SAMPLES_PER_PART, count - start))
        np.add.at(times, drawn, once)
    used = times > 0
    return intensities[used], times[used]


def _samples(values: np.ndarray, times: np.ndarray) -> Samples:
    """Put equal values together."""
    order = np.argsort(values)
    values, times = values[order], times[order]
    firsts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    counts = np.add.reduceat(times, firsts, dtype=times.dtype)  # another type would copy it
    return Samples(values[firsts].astype(np.float32), counts.astype(np.min_scalar_type(int(counts.max()))))


def summarize(name: str, measurements: Sequence[CaseMeasurement]) -> Fingerprint:
    """Put the measurements of all cases together.

    Raises:
        UserError: no case of dataset ``name`` has a labelled voxel.
    """
    channels = range(len(measurements[0].samples))
    if not any(len(samples.values) for item in measurements for samples in item.samples):
        raise UserError(
            f"No case of {name} has a voxel with a label above 0: there is nothing to learn.",
            "Check that labelsTr holds the segmentations and that dataset.json numbers the labels from 1.",
        )
    return Fingerprint(
        foreground_intensity_properties_per_channel={
            str(channel): intensity_properties([item.samples[channel] for item in measurements]) for channel in channels
        },
        median_relative_size_after_cropping=float(np.median([item.relative_size for item in measurements])),
        shapes_after_crop=tuple(item.shape_after_crop for item in measurements),
        spacings=tuple(item.spacing_mm for item in measurements),
    )


def intensity_properties(samples: Sequence[Samples]) -> dict[str, float]:
    """Statistics over the samples of all cases, as if they lay in one array.

    Percentiles are interpolated linearly, the standard deviation is that of the population.
    """
    values = np.concatenate([item.values for item in samples])
    counts = np.concatenate([item.counts for item in samples])
    order = np.argsort(values)
    values, counts = values[order], counts[order]
    up_to = np.cumsum(counts, dtype=np.int64)
    mean = float(np.average(values.astype(np.float64), weights=counts))
    variance = float(np.average((values.astype(np.float64) - mean) ** 2, weights=counts))
    return {
        "max": float(values[-1]),
        "mean": mean,
        "median": _percentile(values, up_to, 50.0),
        "min": float(values[0]),
        "percentile_00_5": _percentile(values, up_to, 0.5),
        "percentile_99_5": _percentile(values, up_to, 99.5),
        "std": math.sqrt(variance),
    }


def _percentile(values: np.ndarray, up_to: np.ndarray, percent: float) -> float:
    """Linear percentile of sorted ``values``, of which the first n occur ``up_to[n - 1]`` times together."""
    place = percent / 100 * (up_to[-1] - 1)
    before = math.floor(place)
    low, high = (float(values[np.searchsorted(up_to, index, side="right")]) for index in (before, math.ceil(place)))
    return low + (high - low) * (place - before)


def largest_cases(cases: Sequence[Case]) -> list[Case]:
    """A few cases among which the one with most voxels is, by the size of their files: spares reading every header."""
    return sorted(cases, key=_file_bytes)[-LARGEST_CASES:]


def workers_for_cases(cases: Sequence[Case], bytes_per_case: int, requested: int | None) -> int:
    """`workers_for_files` of the cases' images."""
    return workers_for_files((file for case in cases for file in case.images), bytes_per_case, requested)


def _file_bytes(case: Case) -> int:
    return sum(file.stat().st_size for file in case.images)


def _peak_bytes(cases: Sequence[Case]) -> int:
    """Memory of one worker on the largest case."""
    largest = 0
    for case in largest_cases(cases):
        headers = [read_header(file) for file in case.images]
        channels = sum(header.channels for header in headers)
        voxels = math.prod(headers[0].shape)
        largest = max(largest, reading_bytes(headers), voxels * (4 * channels + BYTES_PER_VOXEL))
    return largest
