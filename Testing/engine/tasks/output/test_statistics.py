"""Volume and intensity per structure, against the rules applied one voxel after the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.image.files import read_labels, read_stored
from segautoconfiglib.image.label_names import read_label_names
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.tasks.catalogue import find_task
from segautoconfiglib.tasks.options import TaskResult, Working
from segautoconfiglib.tasks.output.statistics import border_warning, labels_at_border, statistics, write_statistics
from segautoconfiglib.tasks.results import measured
from segautoconfiglib.tasks.source import Source
from segautoconfiglib.tasks.wishes import Wishes

SPACING = (2.5, 0.7, 1.5)  # z, y, x
NAMES = {1: "a", 2: "b", 3: "c", 9: "absent"}


def some_case() -> tuple[np.ndarray, np.ndarray]:
    """Labels and image (z, y, x): 1 well inside, 2 three voxels from a face (complete), 3 two voxels from one."""
    labels = np.zeros((12, 11, 10), np.uint8)
    labels[5:7, 4:7, 4:6] = 1
    labels[3, 5, 5] = labels[8, 5, 5] = 2
    labels[6, 2, 5] = 3
    image = np.random.default_rng(0).integers(-1000, 2000, labels.shape).astype(np.float32) + 0.75
    return labels, image


def naive(labels: np.ndarray, image: np.ndarray, label: int) -> dict:
    """As TotalSegmentator computes it, with axes x, y, z."""
    values, mask = image.astype(np.int16).transpose(2, 1, 0), (labels == label).transpose(2, 1, 0)
    zooms = np.float32(SPACING[2]), np.float32(SPACING[1]), np.float32(SPACING[0])
    places = np.argwhere(mask)
    return {
        "volume": mask.sum() * float(zooms[0] * zooms[1] * zooms[2]),
        "intensity": float(np.average(values, weights=mask.astype(np.uint8)).round(5)),
        "n_voxels": len(places),
        "intensity_std": float(np.std(values[mask]).round(5)),
        "intensity_min": float(values[mask].min()),
        "intensity_max": float(values[mask].max()),
        "centroid_vox": [round(float(mean), 2) for mean in places.mean(axis=0)],
        "bbox_vox": [[int(places[:, i].min()), int(places[:, i].max())] for i in range(3)],
    }


def test_numbers_are_those_of_the_rules() -> None:
    labels, image = some_case()
    found = statistics(labels, image, SPACING, NAMES, extra=True)
    assert list(found) == ["a", "b", "c", "absent"]
    for label in (1, 2):
        expected = naive(labels, image, label)
        assert found[NAMES[label]] == expected
        assert list(found[NAMES[label]]) == list(expected)
    nothing = {
        "volume": 0.0, "intensity": 0.0, "n_voxels": 0, "intensity_std": 0.0, "intensity_min": 0.0,
        "intensity_max": 0.0, "centroid_vox": None, "bbox_vox": None,
    }  # fmt: skip
    assert found["c"] == found["absent"] == nothing


def test_incomplete_structures_are_measured_on_request() -> None:
    labels, image = some_case()
    found = statistics(labels, image, SPACING, NAMES, include_incomplete=True)
    assert found["c"] == {key: naive(labels, image, 3)[key] for key in ("volume", "intensity")}
    assert found["absent"] == {"volume": 0.0, "intensity": 0.0}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("place", "cut"), [(2, True), (3, False), (-3, True), (-4, False)])
def test_three_voxels_from_a_face_is_whole(axis: int, place: int, cut: bool) -> None:
    labels = np.zeros((9, 9, 9), np.uint8)
    index = [4, 4, 4]
    index[axis] = place
    labels[tuple(index)] = 5
    assert labels_at_border(labels) == ({5} if cut else set())


def test_what_the_border_cuts_is_told() -> None:
    labels, _ = some_case()
    one = border_warning(labels, NAMES)
    assert one == "1 structure reaches the image's border: 0 in the statistics (c)."
    labels[0, 0, :8] = range(1, 9)
    many = border_warning(labels, {label: f"s{label}" for label in range(1, 7)})
    assert many == "6 structures reach the image's border: 0 in the statistics (s1, s2, s3, s4, s5 ...)."
    assert border_warning(labels, {9: "absent"}) == ""
    part = border_warning(labels, {3: "c"}, cropped=True)
    assert part == "1 structure reaches the border of the image or of the rough crop: 0 in the statistics (c)."


@pytest.mark.parametrize(
    ("options", "border"),
    [
        ({"fast": True}, "the image's border"),
        ({"fast": True, "roi_subset": ["liver"]}, "the border of the image or of the rough crop"),
        ({"fast": True, "body_seg": True}, "the border of the image or of the rough crop"),
        ({"roi_subset": ["liver"]}, None),  # measured in the whole image
    ],
)
def test_whose_border_it_is(options: dict, border: str | None) -> None:
    """The liver is near the faces of what the networks saw, and in the middle of the image."""
    task, report = find_task("total"), ListReporter()
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[5:7, 5:7, 5:7] = task.label("liver")
    image, wishes = Volume(np.ones((1, *labels.shape), np.int16), Geometry(SPACING)), Wishes(**options)
    working = Working(Volume(image.array[:, 4:8, 4:8, 4:8], image.geometry), labels[4:8, 4:8, 4:8])
    result = TaskResult(labels, image.geometry, wishes.options().names(task), working)
    numbers = measured(result, Source(image), task, wishes, report=report)
    told = [] if border is None else [f"1 structure reaches {border}: 0 in the statistics (liver)."]
    assert [event["message"] for event in report.of("warning")] == told
    assert (numbers["liver"]["volume"] > 0) == (border is None)


def test_the_median_of_intensities() -> None:
    labels, image = some_case()
    inside = image.astype(np.int16)[labels == 1]
    assert statistics(labels, image, SPACING, NAMES, aggregation="median")["a"]["intensity"] == np.median(inside)


def test_intensities_are_cut_to_16_bits_towards_zero() -> None:
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[4, 4, 4:6] = 1
    image = np.full(labels.shape, -1.9)
    image[4, 4, 4] = 2.9
    assert statistics(labels, image, SPACING, {1: "a"})["a"]["intensity"] == 0.5


def test_another_grid_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(2, 2, 2\).*\(2, 2, 3\)"):
        statistics(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3)), SPACING, {1: "a"})


def test_of_a_real_case(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "ct-totalsegmentator"
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} does not exist")
    image, segmentation = read_stored(folder / "example_ct.nii.gz"), read_labels(folder / "example_ct_seg.nii.gz")
    labels, names = segmentation.array[0], read_label_names(folder / "example_ct_seg.nii.gz")
    found = statistics(labels, image.array[0], image.geometry.spacing_mm, names)
    write_statistics(tmp_path / "statistics.json", found)
    assert json.loads((tmp_path / "statistics.json").read_text()) == found
    number = next(label for label, name in names.items() if name == "vertebrae_L3")
    mask = labels == number
    mean = np.average(image.array[0].astype(np.int16), weights=mask.astype(np.uint8)).round(5)
    assert found["vertebrae_L3"] == {"volume": mask.sum() * 27.0, "intensity": mean}
    assert found["liver"] == {"volume": 0.0, "intensity": 0.0}  # cut off above
    assert found["skull"] == {"volume": 0.0, "intensity": 0.0}  # not in the image
