from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.evaluation.compare import evaluate_folder, guess_file_ending, labels_found
from segautoconfiglib.evaluation.summary import COLUMNS, Summary
from segautoconfiglib.image.files import write_labels
from segautoconfiglib.image.volume import Geometry

LABELS = LabelSpec({"background": 0, "liver": 1, "tumour": 2})
REGIONS = LabelSpec({"background": 0, "organ": (1, 2), "tumour": 2}, (1, 2))
GRID = Geometry((3.0, 1.0, 1.0))
VOXELS = 6 * 5 * 4


def block(first: int, last: int, tumour: bool = True) -> np.ndarray:
    """(6, 5, 4): liver in some slices, a tumour of four voxels in slice 2."""
    labels = np.zeros((6, 5, 4), dtype=np.uint8)
    labels[first:last] = 1
    if tumour:
        labels[2, 1:3, 1:3] = 2
    return labels


def write(folder: Path, **cases: np.ndarray) -> Path:
    for case, labels in cases.items():
        write_labels(labels, folder / f"{case}.nii.gz", GRID)
    return folder


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Truth and predictions of the cases a (2 of 4 slices right) and b (perfect, without tumour)."""
    truth = write(tmp_path / "truth", a=block(1, 5), b=block(0, 3, tumour=False))
    return truth, write(tmp_path / "predictions", a=block(1, 3), b=block(0, 3, tumour=False))


def evaluate(folders: tuple[Path, Path], spec: LabelSpec = LABELS, **options) -> Summary:
    return evaluate_folder(*folders, spec, file_ending=".nii.gz", workers=1, **options)


class TestFile:
    def test_schema(self, folders, tmp_path):
        evaluate(folders, output=tmp_path / "summary.json")
        text = (tmp_path / "summary.json").read_text()
        assert "NaN" not in text
        data = json.loads(text)
        assert text == json.dumps(data, indent=4, sort_keys=True)
        assert list(data["mean"]) == ["1", "2"]
        metrics = ["Dice", "FN", "FP", "HD95", "IoU", "NSD", "TN", "TP", "n_pred", "n_ref"]
        assert list(data["foreground_mean"]) == list(data["mean"]["1"]) == metrics
        first = data["metric_per_case"][0]
        assert list(first) == ["metrics", "prediction_file", "reference_file"]
        assert first["prediction_file"] == str(folders[1] / "a.nii.gz")
        assert first["reference_file"] == str(folders[0] / "a.nii.gz")
        assert type(first["metrics"]["1"]["TP"]) is int

    def test_numbers(self, folders):
        """Liver of a: 76 voxels, 36 found, none wrong. Tumour: found in a, in neither file of b."""
        summary = evaluate(folders)
        a, b = (case.metrics for case in summary.metric_per_case)
        assert [a["1"][key] for key in ("TP", "FP", "FN", "TN", "n_pred", "n_ref")] == [36, 0, 40, 44, 36, 76]
        assert a["1"]["Dice"] == pytest.approx(72 / 112)
        assert (b["1"]["Dice"], a["2"]["Dice"]) == (1, 1)
        assert math.isnan(b["2"]["Dice"])
        assert summary.mean["1"]["Dice"] == pytest.approx((72 / 112 + 1) / 2)
        assert summary.mean["1"]["TP"] == (36 + 60) / 2
        assert summary.mean["2"]["Dice"] == 1
        assert summary.mean_dice == pytest.approx(((72 / 112 + 1) / 2 + 1) / 2)
        assert summary.cases == 2

    def test_distances_are_in_millimetres(self, folders):
        organ = evaluate(folders, REGIONS).metric_per_case[0].metrics["(1, 2)"]
        assert organ["HD95"] == 6  # two slices of 3 mm
        far = evaluate(folders, REGIONS, tolerance_mm=6.0)
        assert far.metric_per_case[0].metrics["(1, 2)"]["NSD"] == 1 > organ["NSD"] > 0
        assert far.nsd_tolerance_mm == 6

    def test_read_back(self, folders, tmp_path):
        evaluate(folders, output=tmp_path / "summary.json")
        summary = Summary.load(tmp_path / "summary.json")
        assert math.isnan(summary.metric_per_case[1].metrics["2"]["Dice"])
        summary.save(tmp_path / "again.json", sort_keys=True)
        assert (tmp_path / "again.json").read_text() == (tmp_path / "summary.json").read_text()

    def test_region_keys(self, folders):
        summary = evaluate(folders, REGIONS)
        assert list(summary.mean) == ["(1, 2)", "2"]
        organ = summary.metric_per_case[0].metrics["(1, 2)"]
        assert (organ["n_ref"], organ["n_pred"]) == (80, 40)

    def test_ignore_label(self, tmp_path):
        truth, prediction = block(1, 5), block(1, 3)
        truth[3:5] = 3
        pair = write(tmp_path / "truth", a=truth), write(tmp_path / "predictions", a=prediction)
        spec = LabelSpec({"background": 0, "liver": 1, "tumour": 2, "ignore": 3})
        summary = evaluate(pair, spec)
        assert list(summary.mean) == ["1", "2"]
        assert summary.mean_dice == 1

    def test_table(self, folders):
        columns, rows = evaluate(folders).table
        assert columns == COLUMNS == ("class", "Dice", "IoU", "HD95 (mm)", "NSD")
        assert [row[0] for row in rows] == ["liver", "tumour", "mean"]
        assert rows[0][1] == pytest.approx((72 / 112 + 1) / 2)
        assert rows[1][1:] == (1, 1, 0, 1)

    def test_table_of_one_class_has_no_mean(self, folders):
        _, rows = evaluate(folders, LabelSpec({"background": 0, "liver": 1})).table
        assert [row[0] for row in rows] == ["liver"]


@pytest.mark.parametrize("all_declared", [True, False])
def test_values_that_are_no_labels(folders, all_declared):
    labels = block(1, 3)
    labels[0, 0] = [7, 7, 9, 3]
    write(folders[1], a=labels)
    report = ListReporter()
    spec = LabelSpec({"background": 0, "liver": 1, "tumour": 2, "ignore": 3})
    evaluate(folders, spec, report=report, all_declared=all_declared)
    messages = [event["message"] for event in report.of("warning")]
    assert messages == ["1 prediction with values that are no labels (a: 7, 9)."] * all_declared


class TestPairing:
    def test_missing_prediction(self, folders):
        (folders[1] / "b.nii.gz").unlink()
        with pytest.raises(ProblemsError, match=r"b: there is no prediction.*predictions.b\.nii\.gz"):
            evaluate(folders)

    def test_missing_prediction_allowed(self, folders):
        (folders[1] / "b.nii.gz").unlink()
        report = ListReporter()
        summary = evaluate(folders, allow_missing=True, report=report)
        assert summary.cases == 1
        (warning,) = report.of("warning")
        assert warning["message"] == "No prediction for 1 of 2 cases, left out: b."
        assert math.isnan(summary.mean["2"]["Dice"]) is False

    def test_prediction_without_truth(self, folders):
        (folders[0] / "b.nii.gz").unlink()
        with pytest.raises(ProblemsError, match="b: there is no truth"):
            evaluate(folders, allow_missing=True)

    def test_chosen_cases(self, folders):
        write(folders[0], c=block(0, 1))
        write(folders[1], d=block(0, 1))
        assert evaluate(folders, cases=["b"]).metric_per_case[0].prediction_file.endswith("b.nii.gz")
        with pytest.raises(ProblemsError) as caught:
            evaluate(folders, cases=["a", "c", "d", "e"])
        assert [(problem.case, problem.message) for problem in caught.value.problems] == [
            ("d", "there is no truth."),
            ("e", "there is no truth."),
            ("c", "there is no prediction."),
        ]

    def test_no_prediction_of_the_chosen_cases(self, folders):
        with pytest.raises(UserError, match="no prediction of the cases asked for"):
            evaluate(folders, cases=[], allow_missing=True)

    def test_other_files_are_left_alone(self, folders):
        (folders[1] / "summary.json").write_text("{}")
        (folders[1] / "._a.nii.gz").write_text("")
        assert evaluate(folders).cases == 2

    @pytest.mark.parametrize("which", [0, 1])
    def test_missing_folder(self, folders, tmp_path, which):
        wrong = tuple(tmp_path / "nowhere" if index == which else folder for index, folder in enumerate(folders))
        with pytest.raises(UserError, match="nowhere does not exist"):
            evaluate(wrong)

    def test_empty_folder(self, folders):
        with pytest.raises(UserError, match=r"no file ending in \.nrrd"):
            evaluate_folder(*folders, LABELS, file_ending=".nrrd", output=None)


class TestGrids:
    def test_other_size(self, folders):
        write(folders[1], a=block(1, 3)[:, :4])
        with pytest.raises(ProblemsError) as caught:
            evaluate(folders)
        for text in (folders[0] / "a.nii.gz", folders[1] / "a.nii.gz", "size (6, 5, 4) against (6, 4, 4)"):
            assert str(text) in str(caught.value)

    def test_other_place(self, folders):
        write_labels(block(1, 3), folders[1] / "a.nii.gz", Geometry((3.0, 1.0, 1.0), origin=(0.0, 5.0, 0.0)))
        write(folders[1], b=block(0, 3)[:2])
        with pytest.raises(ProblemsError, match="2 predictions are not on the same grid") as caught:
            evaluate(folders)
        assert [problem.case for problem in caught.value.problems] == ["a", "b"]
        assert "origin (0, 0, 0) against (0, 5, 0)" in str(caught.value)


def test_pictures(tmp_path):
    """2D files: millimetres are pixels, and the slice axis does not count."""
    square = np.zeros((1, 20, 20), dtype=np.uint8)
    square[0, 4:12, 4:12] = 1
    flat = Geometry((999.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
    write_labels(square, tmp_path / "truth" / "a.png", flat)
    write_labels(np.roll(square, 2, axis=2), tmp_path / "predictions" / "a.png", flat)
    spec = LabelSpec({"background": 0, "cell": 1})
    summary = evaluate_folder(tmp_path / "truth", tmp_path / "predictions", spec, file_ending=".png", workers=1)
    assert summary.mean["1"]["Dice"] == 0.75
    assert summary.mean["1"]["HD95"] == 2


def test_events(folders, tmp_path):
    reporter = ListReporter()
    evaluate(folders, output=tmp_path / "summary.json", report=reporter)
    assert [event.kind for event in reporter.events] == ["started", "progress", "progress", "artifact"]
    assert reporter.events[2].data == {"stage": "evaluate", "done": 2, "total": 2, "case": "b"}
    assert reporter.events[3].data["path"] == str(tmp_path / "summary.json")


def test_workers_give_the_same(folders, monkeypatch):
    monkeypatch.setattr("segautoconfiglib.evaluation.compare.VOXELS_PER_WORKER", 1)
    alone = evaluate(folders)
    together = evaluate_folder(*folders, LABELS, file_ending=".nii.gz", workers=2)
    assert together.model_dump_json() == alone.model_dump_json()


def test_guess_file_ending(folders, tmp_path):
    (folders[0] / "dataset.json").write_text("{}")
    assert guess_file_ending(folders[0]) == ".nii.gz"
    (folders[0] / "x.png").touch()
    with pytest.raises(UserError, match=r"several kinds \(\.nii\.gz, \.png\)"):
        guess_file_ending(folders[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no label maps"):
        guess_file_ending(tmp_path / "empty")


def test_labels_found(folders):
    write(folders[0], c=np.full((2, 2, 2), 7, dtype=np.uint8))
    spec = labels_found(folders[0], ".nii.gz")
    assert spec.foreground == (1, 2, 7)
    assert spec.names == {1: "label 1", 2: "label 2", 7: "label 7"}


@pytest.mark.parametrize(
    ("pays_from", "requested", "processes"), [(2 * VOXELS + 1, None, 1), (VOXELS, None, 3), (1, None, 7), (1, 2, 2)]
)
def test_processes_are_started_where_they_pay(folders, monkeypatch, pays_from, requested, processes):
    """Two cases of 120 voxels; seven cores."""
    started = []

    def count(function, cases, *, workers, **_):
        started.append(workers)
        return [function(*arguments) for _, arguments in cases]

    module = "segautoconfiglib.evaluation.compare"
    monkeypatch.setattr(f"{module}.map_cases", count)
    monkeypatch.setattr(f"{module}.usable_cores", lambda: 7)
    monkeypatch.setattr(f"{module}.VOXELS_PER_WORKER", pays_from)
    evaluate_folder(*folders, LABELS, file_ending=".nii.gz", workers=requested)
    assert started == [processes]
