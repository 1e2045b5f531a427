from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from segautoconfiglib.dataset.description import load_description
from segautoconfiglib.dataset.synthetic import make_demo_dataset
from segautoconfiglib.evaluation.pictures import Overlay, _places, draw_overlay, draw_overlays, shown_window


def boxes() -> Overlay:
    """A bright ramp with a truth of two nested boxes and a prediction that is one voxel off."""
    truth = np.zeros((6, 60, 80), np.uint8)
    truth[1:5, 20:40, 20:60] = 1
    truth[2:4, 25:35, 30:50] = 2
    image = np.broadcast_to(np.arange(80, dtype=np.float32), truth.shape)
    return Overlay(image, truth, np.roll(truth, 1, axis=1), (3.0, 1.0, 1.0), {"whole": (1, 2), "core": 2})


def test_dice_of_labels_and_regions() -> None:
    dice = boxes().dice()
    assert dice["whole"] == pytest.approx(19 / 20)
    assert dice["core"] == pytest.approx(9 / 10)


def test_dice_leaves_out_ignored_voxels_and_absent_classes() -> None:
    truth, prediction = np.array([[[0, 1, 3, 3]]]), np.array([[[0, 1, 1, 0]]])
    overlay = Overlay(truth * 1.0, truth, prediction, (1, 1, 1), {"a": 1, "b": 2}, ignore_label=3)
    assert overlay.dice()["a"] == 1.0
    assert math.isnan(overlay.dice()["b"])


def test_slices_are_spread_over_the_structure() -> None:
    shown = np.zeros((100, 2, 2), bool)
    shown[10:90] = True
    assert _places(shown, 0, 4) == [20, 40, 59, 79]
    shown[:] = False
    assert _places(shown, 0, 4) == [50]
    shown[7] = True
    assert _places(shown, 0, 4) == [7]


def test_the_window_holds_the_structure_with_a_margin_and_stays_inside() -> None:
    shown = np.zeros((4, 200, 200), bool)
    shown[2, 50:150, 180:190] = True
    assert shown_window(shown, (1.0, 1.0, 1.0), 0) == (slice(15, 185), slice(165, 200))
    assert shown_window(np.zeros((4, 20, 30), bool), (1.0, 1.0, 1.0), 0) == (slice(0, 20), slice(0, 30))


def has_colour(file: Path, colour: tuple[int, int, int]) -> bool:
    pixels = np.asarray(Image.open(file).convert("RGB"), dtype=int)
    return bool((np.abs(pixels - colour).max(-1) <= 2).any())


def test_the_picture_shows_both_classes_and_replaces_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "case.png"
    file.write_text("old")
    draw_overlay(boxes(), file, title="case")
    assert has_colour(file, (0x56, 0xB4, 0xE9))
    assert has_colour(file, (0xE6, 0x9F, 0x00))
    width, height = Image.open(file).size
    assert 1.5 < width / height < 6


@pytest.mark.parametrize("shape", [(1, 40, 40), (40, 40, 1), (300, 8, 8)])
def test_odd_shapes_and_empty_labels_can_be_drawn(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    empty = np.zeros(shape, np.uint8)
    classes = {f"class {number}": number for number in range(1, 30)}
    draw_overlay(Overlay(np.zeros(shape), empty, empty, (999.0, 1.0, 1.0), classes), tmp_path / "a.png")
    some = empty.copy()
    some[:, 3, :] = 29
    draw_overlay(Overlay(np.zeros(shape), some, empty, (1.0, 1.0, 999.0), classes), tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").size[0] > 300


def test_cases_with_truth_and_prediction_get_a_picture(tmp_path: Path) -> None:
    raw = tmp_path / "Dataset001_X"
    make_demo_dataset(raw, cases=1, held_out=3)
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for case in ("demo_001", "demo_003"):
        (predictions / f"{case}.nii.gz").write_bytes((raw / "labelsTs" / f"{case}.nii.gz").read_bytes())
    folders = (raw / "imagesTs", raw / "labelsTs", predictions)
    files = draw_overlays(*folders, load_description(raw / "dataset.json"), tmp_path / "png")
    assert [file.name for file in files] == ["demo_001.png", "demo_003.png"]
    assert all(file.stat().st_size > 10_000 for file in files)
    assert len(draw_overlays(*folders, load_description(raw / "dataset.json"), tmp_path / "one", most=1)) == 1
