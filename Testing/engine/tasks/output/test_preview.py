"""Pictures of label maps: what is in front is shown, where it is, in its colour."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.image.files import read_labels
from segautoconfiglib.image.label_names import read_label_names
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.tasks.catalogue import find_task
from segautoconfiglib.tasks.output.preview import BACKGROUND, draw_preview, families, groups
from segautoconfiglib.tasks.output.rendering import View, render
from segautoconfiglib.tasks.places import places
from segautoconfiglib.tasks.source import Source
from segautoconfiglib.tasks.wishes import Wishes

FRONT, BACK, LEFT = View.turned(0), View.turned(180), View.turned(90)
COLOURS = {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255)}
GRID = Geometry((2.0, 2.0, 2.0))


def balls() -> np.ndarray:
    """In a patient (z to the head, y to the back, x to the left): 1 before 2, radius 6 voxels; 3 above, small."""
    z, y, x = np.ogrid[:40, :40, :40]
    labels = np.zeros((40, 40, 40), np.uint8)
    for label, place, radius in ((1, (12, 10, 20), 6), (2, (12, 30, 20), 6), (3, (34, 20, 30), 3)):
        labels[sum((a - b) ** 2 for a, b in zip((z, y, x), place, strict=True)) <= radius**2] = label
    return labels


def shown(picture: np.ndarray) -> np.ndarray:
    """The label at each pixel, by its colour; 0 where there is nothing."""
    return np.where(picture[..., 3] > 0, picture[..., :3].argmax(axis=-1) + 1, 0)


def centre(picture: np.ndarray, label: int) -> np.ndarray:
    """Row and column, as share of the picture."""
    return np.argwhere(shown(picture) == label).mean(axis=0) / picture.shape[:2]


@pytest.mark.parametrize("view", [FRONT, LEFT, View.turned(18, 8), View.turned(-120, -30)])
def test_views_have_three_directions_at_right_angles(view: View) -> None:
    axes = np.array([view.away, view.down, view.right])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.cross(view.down, view.away), view.right, atol=1e-12)


def test_what_is_nearer_is_shown() -> None:
    front, back, side = render(balls(), GRID, COLOURS, [(1, 2, 3)], [FRONT, BACK, LEFT], longest=120)[0]
    assert set(np.unique(shown(front))) == {0, 1, 3}
    assert set(np.unique(shown(back))) == {0, 2, 3}
    assert set(np.unique(shown(side))) == {0, 1, 2, 3}
    assert centre(front, 3)[0] < centre(front, 1)[0]  # the head is above
    assert centre(front, 3)[1] > centre(front, 1)[1]  # from the front, the patient's left is on the right
    assert centre(back, 3)[1] < centre(back, 2)[1]
    assert centre(side, 1)[1] < centre(side, 2)[1]  # from the left, the front is on the left


def test_what_is_inside_another_is_hidden() -> None:
    z, y, x = np.ogrid[:20, :20, :20]
    radius = np.sqrt((z - 10) ** 2 + (y - 10) ** 2 + (x - 10) ** 2)
    labels = np.where(radius < 6, 2, np.where(radius < 8, 1, 0)).astype(np.uint8)
    (picture,) = render(labels, GRID, COLOURS, [(1, 2)], [View.turned(30, 30)], longest=90)[0]
    assert set(np.unique(shown(picture))) == {0, 1}


def test_surfaces_have_their_size_and_light() -> None:
    (picture,) = render(balls(), GRID, COLOURS, [(1,)], [FRONT], longest=160)[0]
    extent_mm = 2.0 * (np.ptp(np.flatnonzero((balls() > 0).any(axis=(1, 2)))) + 1)
    area = (picture[..., 3] > 0).sum() * (extent_mm / 160) ** 2
    assert area == pytest.approx(np.pi * 12.4**2, rel=0.06)
    rows, columns = np.nonzero(picture[..., 3])
    light = picture[rows, columns, 0]
    upper_left = light[(rows < rows.mean()) & (columns < columns.mean())].mean()
    lower_right = light[(rows > rows.mean()) & (columns > columns.mean())].mean()
    assert upper_left > lower_right + 0.1


def test_groups_share_one_scale_and_place() -> None:
    together, alone = (row[0] for row in render(balls(), GRID, COLOURS, [(1, 2, 3), (3,)], [FRONT], longest=120))
    assert together.shape == alone.shape
    np.testing.assert_array_equal(shown(together) == 3, shown(alone) == 3)


def test_the_way_of_storing_makes_no_difference() -> None:
    labels = balls()
    flipped = Geometry((2.0, 2.0, 2.0), (78.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0))
    stored = labels.transpose(1, 0, 2)[:, :, ::-1]  # y and z exchanged, x from left to right
    views = [FRONT, View.turned(40, 20)]
    for one, other in zip(
        render(labels, GRID, COLOURS, [(1, 2, 3)], views, longest=90)[0],
        render(stored, flipped, COLOURS, [(1, 2, 3)], views, longest=90)[0],
        strict=True,
    ):
        assert (shown(one) != shown(other)).mean() < 0.002
        np.testing.assert_allclose(one, other, atol=0.02 if (shown(one) == shown(other)).all() else 1)


def test_thin_structures_stay() -> None:
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[3:27, 15, 15] = 1
    (picture,) = render(labels, GRID, COLOURS, [(1,)], [FRONT], longest=100)[0]
    assert (picture[..., 3] > 0).any(axis=1).mean() > 0.9


def test_structures_are_grouped_by_what_they_are() -> None:
    names = ["liver", "rib_left_3", "vertebrae_T4", "gluteus_medius_left", "aorta", "lung_upper_lobe_left", "heart"]
    found = groups(dict(enumerate([*names, "skull", "brain", "spleen", "colon", "stomach", "trachea"], start=1)))
    assert found == {
        "Bones": [2, 3, 8], "Muscles": [4], "Heart and vessels": [5, 7], "Lungs and airways": [6, 13],
        "Organs": [1, 9, 10, 11, 12],
    }  # fmt: skip
    assert groups({1: "liver", 2: "aorta"}) == {"": [1, 2]}
    assert groups({}) == {}


def test_names_are_told_once_per_family() -> None:
    names = [
        "rib_left_1",
        "rib_right_12",
        "vertebrae_L5",
        "hip_left",
        "lung_upper_lobe_left",
        "upper_left_canine_fdi23",
    ]
    assert list(families(names)) == ["rib", "vertebrae", "hip", "lung upper lobe", "upper canine"]


def test_a_picture_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_preview(balls(), GRID, {1: "a_left", 2: "a_right", 3: "b"}, tmp_path / "x.png", colours=COLOURS, longest=100)
    with Image.open(tmp_path / "x.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    ground = [int(BACKGROUND[i : i + 2], 16) for i in (1, 3, 5)]
    assert pixels[-1, -1].tolist() == ground
    for channel in range(3):
        others = [other for other in range(3) if other != channel]
        assert (pixels[..., channel] - pixels[..., others].max(axis=-1) > 100).sum() > 200


def test_the_package_that_draws_is_looked_for_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    source = Source(Volume(balls()[None], GRID))
    assert places(tmp_path, Wishes(), find_task("total"), source).preview is None
    with pytest.raises(UserError, match=r"preview needs a package that is not installed \(matplotlib\)") as caught:
        places(tmp_path, Wishes(preview=True), find_task("total"), source)
    assert "segautoconfiglib[train]" in caught.value.hint
    assert caught.value.action == "install"


def test_nothing_found_is_a_picture_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_preview(np.zeros((3, 3, 3), np.uint8), GRID, {1: "a"}, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10  # says so


def test_drawing_tells_of_progress_and_can_be_stopped(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report, cancel = ListReporter(), CancelToken()
    names = {1: "a", 2: "b", 3: "c", 4: "absent"}

    def stop(kind: str, **data: Any) -> None:
        report(kind, **data)
        if data.get("done") == 2:
            cancel.cancel()

    with pytest.raises(Cancelled):
        draw_preview(balls(), GRID, names, tmp_path / "x.png", longest=60, report=stop, cancel=cancel)
    assert not (tmp_path / "x.png").exists()
    assert [event["case"] for event in report.of("progress")] == ["a", "b"]
    draw_preview(balls(), GRID, names, tmp_path / "x.png", longest=60, report=report)
    assert [event["done"] for event in report.of("progress")] == [1, 2, 1, 2, 3]


def test_a_real_case_is_drawn(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = shared_data / "ct-totalsegmentator" / "example_seg.nii.gz"
    if not file.is_file():
        pytest.skip(f"no test data: {file} does not exist")
    segmentation = read_labels(file)
    names = read_label_names(file)
    draw_preview(segmentation.array[0], segmentation.geometry, names, tmp_path / "x.png", title="total", longest=160)
    with Image.open(tmp_path / "x.png") as picture:
        assert min(picture.size) > 600
        assert len(np.unique(np.asarray(picture.convert("RGB")) @ [1, 2**8, 2**16])) > 1000
