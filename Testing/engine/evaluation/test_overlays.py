from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.evaluation.overlays import class_colours, draw_comparison, draw_labels
from segautoconfiglib.evaluation.slices import Slices

BLUE, ORANGE = (0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00)
SPEC = LabelSpec({"background": 0, "whole": (1, 2), "core": 2}, (1, 2))


def nested() -> np.ndarray:
    labels = np.zeros((6, 60, 90), np.uint8)
    labels[1:5, 20:40, 20:60] = 1
    labels[2:4, 25:35, 30:50] = 2
    return labels


def dark(labels: np.ndarray) -> Slices:
    """A black image with one bright column."""
    image = np.zeros(labels.shape, np.float32)
    image[..., 0] = 1
    return Slices(image, (3.0, 1.0, 1.0), 0)


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"), dtype=int)


def share(file: Path, colour: tuple[int, int, int], opacity: float = 1.0) -> float:
    """Share of pixels that have the colour over black."""
    wanted = np.array(colour) * opacity
    return float((np.abs(pixels(file) - wanted).max(-1) <= 2).mean())


def test_labels_are_painted_over_the_image_with_the_smaller_on_top(tmp_path: Path) -> None:
    file = tmp_path / "case.png"
    file.write_text("old")
    draw_labels(dark(nested()), nested(), SPEC, file, title="case")
    whole, core = share(file, BLUE, 0.6), share(file, ORANGE, 0.6)
    assert core > 0.01
    assert whole / core == pytest.approx((800 - 200) / 200, rel=0.25)  # outlines take some of both
    draw_labels(dark(nested()), nested(), SPEC, file, title="case", intensity=1.0)
    assert share(file, BLUE, 0.6) < 0.1 * whole


def test_large_slices_are_shown_larger_and_outlined(tmp_path: Path) -> None:
    labels = nested()[:1].repeat(12, axis=1).repeat(12, axis=2)
    labels[0, 100:600, 100:900] = 1
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    draw_labels(dark(nested()), nested(), SPEC, small, title="")
    draw_labels(dark(labels), labels, SPEC, large, title="")
    assert Image.open(large).size[0] > 1.5 * Image.open(small).size[0]
    assert share(large, BLUE) > 0.003


@pytest.mark.parametrize(("changed", "panels"), [(False, 2), (True, 4)])
def test_truth_and_prediction_lie_side_by_side(tmp_path: Path, changed: bool, panels: int) -> None:
    truth, prediction = nested(), nested()
    if changed:
        prediction[1, 20:40, 20:60] = 0
    file = tmp_path / "case.png"
    draw_comparison(dark(truth), truth, prediction, SPEC, file, title="case")
    width, height = Image.open(file).size
    assert width / height > 0.6 * panels
    assert share(file, ORANGE) > 0.001


def test_a_prediction_without_truth_has_one_panel(tmp_path: Path) -> None:
    draw_comparison(dark(nested()), None, nested(), SPEC, tmp_path / "a.png", title="case")
    width, height = Image.open(tmp_path / "a.png").size
    assert width / height < 1.6


@pytest.mark.parametrize("shape", [(1, 40, 40), (40, 40, 1), (3, 300, 4)])
def test_odd_shapes_many_classes_and_ignored_voxels_can_be_drawn(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    spec = LabelSpec({"background": 0} | {f"class {n}": n for n in range(1, 60)} | {"ignore": 60})
    labels = (np.arange(np.prod(shape)) % 61).reshape(shape).astype(np.uint8)
    axis = 2 if shape[2] == 1 else 0
    shown = Slices(np.zeros(shape, np.float32), (999.0, 1.0, 1.0), axis)
    draw_labels(shown, labels, spec, tmp_path / "a.png", title="a long name " * 9)
    draw_comparison(shown, np.zeros_like(labels), labels, spec, tmp_path / "b.png", title="b")
    assert Image.open(tmp_path / "a.png").size[0] < 2500
    assert Image.open(tmp_path / "b.png").size[0] > 300


def test_no_two_classes_have_the_same_colour() -> None:
    assert len(set(class_colours(100))) == 100
    assert len(class_colours(3)) == 3
