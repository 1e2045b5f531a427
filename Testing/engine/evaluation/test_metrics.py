from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from segautoconfiglib.evaluation.metrics import boundary, class_metrics, joint_counts, surface_metrics

#: What nnunetv2 2.8.1 computes for the pair of :func:`striped_pair`: plain labels, label 4 ignored, and regions.
NNUNET = json.loads((Path(__file__).parent / "fixtures" / "nnunet_metrics.json").read_text())
OVERLAP = ("Dice", "IoU", "TP", "FP", "FN", "TN", "n_pred", "n_ref")


def striped_pair() -> tuple[np.ndarray, np.ndarray]:
    index = np.arange(4 * 5 * 6)
    truth = (index * 7 + index // 5) % 5
    prediction = (index * 7 + index // 5 + (index % 3 == 0)) % 4
    return truth.reshape(4, 5, 6).astype(np.uint8), prediction.reshape(4, 5, 6).astype(np.uint8)


def cube(start: int, edge: int, size: int = 20) -> np.ndarray:
    mask = np.zeros((size, size, size), dtype=np.uint8)
    mask[start : start + edge, 5:10, 5:10] = 1
    return mask


class TestOverlap:
    @pytest.mark.parametrize(
        ("name", "classes", "ignore"),
        [
            ("labels", [1, 2, 3, 4], None),
            ("ignore", [1, 2, 3], 4),
            ("regions", [(1, 2, 3), (2, 3), (3,)], 4),
        ],
    )
    def test_equals_nnunet(self, name, classes, ignore):
        found = class_metrics(*striped_pair(), classes, spacing_mm=(1, 1, 1), ignore_label=ignore)
        assert {str(key): {metric: values[metric] for metric in OVERLAP} for key, values in found.items()} == {
            key: pytest.approx(values) for key, values in NNUNET[name].items()
        }

    def test_values_of_no_class_are_wrong_but_counted(self):
        truth = np.array([[[0, 1, 1, 70000]]])
        prediction = np.array([[[-3, 1, 900, 1]]])
        found = class_metrics(truth, prediction, [1], spacing_mm=(1, 1, 1))[1]
        assert [found[key] for key in ("TP", "FP", "FN", "TN")] == [1, 1, 1, 1]

    def test_numbers_with_gaps(self):
        """Labels of another program, such as FreeSurfer's, need no table of all numbers up to the highest."""
        truth, prediction = striped_pair()
        mapping = np.array([0, 4, 77, 14175, 60000], dtype=np.uint16)
        plain = class_metrics(truth, prediction, [1, 3], spacing_mm=(2, 1, 1), ignore_label=4)
        mapped = class_metrics(
            mapping[truth], mapping[prediction], [4, 14175], spacing_mm=(2, 1, 1), ignore_label=60000
        )
        assert list(mapped.values()) == list(plain.values())

    def test_background_can_be_a_class(self):
        truth, prediction = cube(5, 5), cube(6, 5)
        found = class_metrics(truth, prediction, [0], spacing_mm=(1, 1, 1))[0]
        assert found["FP"] == found["FN"] == 25
        assert found["HD95"] >= 0

    def test_inputs_are_not_changed(self):
        truth, prediction = striped_pair()
        class_metrics(truth, prediction, [1, 2], spacing_mm=(1, 1, 1), ignore_label=4)
        assert all(np.array_equal(a, b) for a, b in zip((truth, prediction), striped_pair(), strict=True))

    def test_joint_counts_in_chunks(self, monkeypatch):
        truth, prediction = striped_pair()
        whole = joint_counts(truth, prediction, 5)
        monkeypatch.setattr(
            "segautoconfiglib.evaluation.metrics.EVALUATION", type("Small", (), {"count_chunk_voxels": 7})
        )
        assert np.array_equal(joint_counts(truth, prediction, 5), whole)
        assert whole.sum() == truth.size
        assert whole[2, 3] == np.count_nonzero((truth == 2) & (prediction == 3))


class TestAbsence:
    def test_in_neither(self):
        found = class_metrics(cube(5, 5), cube(5, 5), [2], spacing_mm=(1, 1, 1))[2]
        assert all(math.isnan(found[metric]) for metric in ("Dice", "IoU", "HD95", "NSD"))
        assert found["TN"] == 8000

    @pytest.mark.parametrize("swap", [False, True])
    def test_in_one_alone(self, swap):
        pair = (cube(5, 5), np.zeros_like(cube(5, 5)))
        found = class_metrics(*(pair[::-1] if swap else pair), [1], spacing_mm=(1, 1, 1))[1]
        assert (found["Dice"], found["IoU"], found["NSD"]) == (0, 0, 0)
        assert math.isnan(found["HD95"])


class TestSurface:
    def test_equal_masks(self):
        found = class_metrics(cube(5, 5), cube(5, 5), [1], spacing_mm=(3, 1, 1))[1]
        assert (found["Dice"], found["HD95"], found["NSD"]) == (1, 0, 1)

    def test_shifted_cube(self):
        """A 5-cube moved by two slices of 3 mm.

        Each surface has 98 voxels in slices of 25, 16, 16, 16 and 25. Those of the first slice lie 6 mm off the other
        cube, the next 16 lie 3 mm off; the other slices are slices of the other cube, whose rims they touch, but for
        the 9 inner voxels of its end, 1 or 2 mm from the rim.
        """
        found = class_metrics(cube(5, 5), cube(7, 5), [1], spacing_mm=(3, 1, 1), tolerance_mm=1)[1]
        assert found["HD95"] == 6
        assert found["NSD"] == (98 - 25 - 16 - 1) / 98

    @pytest.mark.parametrize(("tolerance", "share"), [(0.0, 57 - 9), (1.0, 57 - 1), (2.0, 57), (3.0, 73), (6.0, 98)])
    def test_tolerance(self, tolerance, share):
        found = class_metrics(cube(5, 5), cube(7, 5), [1], spacing_mm=(3, 1, 1), tolerance_mm=tolerance)[1]
        assert found["NSD"] == share / 98

    def test_tolerance_survives_rounding(self):
        """Ten steps of 0.1 mm are a millimetre."""
        truth, prediction = np.zeros((2, 1, 1, 30), dtype=np.uint8)
        truth[0, 0, 3], prediction[0, 0, 13] = 1, 1
        found = class_metrics(truth, prediction, [1], spacing_mm=(1, 1, 0.1), tolerance_mm=1.0)[1]
        assert found["NSD"] == 1

    def test_two_dimensions(self):
        """Along an axis of one voxel there is no outside: the inner voxels of a square are no boundary."""
        truth, prediction = np.zeros((2, 1, 20, 20), dtype=np.uint8)
        truth[0, 5:15, 5:15], prediction[0, 5:15, 5:15] = 1, 1
        prediction[0, 9:11, 9:11] = 0
        found = class_metrics(truth, prediction, [1], spacing_mm=(999, 2, 2), tolerance_mm=1)[1]
        assert boundary(truth[0] > 0, (False, False)).sum() == 36
        assert found["NSD"] == pytest.approx((36 + 36) / (36 + 36 + 8))
        assert 4 < found["HD95"] <= 8

    def test_ignored_voxels_hold_no_surface(self):
        truth, prediction = cube(5, 5), cube(5, 5)
        prediction[15:18, 5:10, 5:10] = 1
        truth[12:] = 2
        found = class_metrics(truth, prediction, [1], spacing_mm=(1, 1, 1), ignore_label=2)[1]
        assert (found["Dice"], found["HD95"], found["NSD"]) == (1, 0, 1)

    def test_region_has_the_surface_of_the_union(self):
        truth = cube(5, 6)
        prediction = truth.copy()
        prediction[8:11] *= 2
        found = class_metrics(truth, prediction, [(1, 2), 1], spacing_mm=(1, 1, 1))
        assert (found[1, 2]["HD95"], found[1, 2]["NSD"]) == (0, 1)
        assert found[1]["HD95"] > 0

    def test_image_border_counts_as_surface(self):
        assert boundary(np.ones((4, 4, 4), dtype=bool)).sum() == 64 - 8

    @given(seed=st.integers(0, 10_000), spacing=st.tuples(*[st.floats(0.3, 5)] * 3))
    def test_equals_simpleitk(self, seed, spacing):
        """Against contours and distance maps (float32) of ITK, over the whole image."""
        noise = np.random.default_rng(seed).random((2, 9, 10, 11))
        smooth = (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2) + np.roll(noise, 1, 3)) / 4
        truth, prediction = (mask.astype(np.uint8) for mask in smooth > 0.55)
        found = class_metrics(truth, prediction, [1], spacing_mm=spacing, tolerance_mm=1.2347)[1]
        distances = [*itk_distances(truth, prediction, spacing), *itk_distances(prediction, truth, spacing)]
        assert found["HD95"] == pytest.approx(max(np.percentile(part, 95) for part in distances), rel=1e-4)
        within = sum(int((part <= 1.2347).sum()) for part in distances)
        assert found["NSD"] == pytest.approx(within / sum(map(len, distances)), abs=1e-9)


def itk_distances(source: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> list[np.ndarray]:
    """Distances of the contour voxels of ``source`` to those of ``target``."""
    contours = []
    for mask in (source, target):
        image = sitk.GetImageFromArray(np.pad(mask, 1))
        image.SetSpacing(spacing[::-1])
        contours.append(sitk.LabelContour(image, fullyConnected=False))
    distance = sitk.SignedMaurerDistanceMap(contours[1], squaredDistance=False, useImageSpacing=True)
    return [np.abs(sitk.GetArrayFromImage(distance))[sitk.GetArrayFromImage(contours[0]) > 0]]


def test_surface_metrics_do_not_depend_on_the_box():
    truth, prediction = cube(5, 5) > 0, cube(7, 5) > 0
    whole = surface_metrics(truth, prediction, (3, 1, 1), 1)
    assert surface_metrics(truth[5:12, 5:10, 5:10], prediction[5:12, 5:10, 5:10], (3, 1, 1), 1) == whole
