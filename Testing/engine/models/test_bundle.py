"""Models in zip files: what is in them, and that nothing half-written is left."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.models import bundle
from segautoconfiglib.models.bundle import export_models
from segautoconfiglib.models.card import ModelCard
from segautoconfiglib.models.folder import ModelFolder

MakeModel = Callable[..., Path]
PLACE = "Dataset005_Tiny/nnUNetTrainer__nnUNetPlans__3d_fullres"


def names(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        return sorted(archive.namelist())


def test_the_layout_is_nnunets(make_model: MakeModel, tmp_path: Path) -> None:
    folder, file, report = make_model(folds=(0, 1)), tmp_path / "model.zip", ListReporter()
    ModelCard(title="Mine", origin="imported from elsewhere.zip").save(folder / "model.json")
    results = folder / "crossval_results_folds_0_1"
    results.mkdir()
    (results / "postprocessing.pkl").write_bytes(b"pickle")
    assert export_models([ModelFolder(folder)], file, report=report) == file
    assert names(file) == sorted(
        f"{PLACE}/{name}"
        for name in (
            *("plans.json", "dataset.json", "dataset_fingerprint.json", "model.json"),
            "crossval_results_folds_0_1/postprocessing.pkl",
            *(f"fold_{n}/{x}" for n in (0, 1) for x in ("checkpoint_final.pth", "progress.png")),
            *(f"fold_{n}/validation/summary.json" for n in (0, 1)),
        )
    )
    with zipfile.ZipFile(file) as archive:
        assert archive.read(f"{PLACE}/fold_1/checkpoint_final.pth") == b"weights" * 1000
        assert archive.read(f"{PLACE}/plans.json") == (folder / "plans.json").read_bytes()
        assert json.loads(archive.read(f"{PLACE}/model.json")) == {"title": "Mine"}
        summary = archive.read(f"{PLACE}/fold_0/validation/summary.json").decode()
    assert "somebody" not in summary
    cases = json.loads(summary)["metric_per_case"]
    assert (cases[0]["prediction_file"], cases[0]["reference_file"]) == ("c0.nii.gz", "c0.nii.gz")
    assert json.loads(summary)["mean"]["1"]["Dice"] == 0.5
    progress = report.of("progress")
    assert progress[-1]["done"] == progress[-1]["total"] == report.of("started")[0]["total"] == 1
    assert report.of("artifact")[0]["path"] == str(file)


def test_folds_checkpoints_and_predictions(make_model: MakeModel, tmp_path: Path) -> None:
    folder, file = make_model(folds=(0, 1, "all")), tmp_path / "model.zip"
    (folder / "fold_1" / "checkpoint_best.pth").write_bytes(b"best")
    model = ModelFolder(folder)
    file.write_bytes(b"an old one")
    export_models([model], file, folds=[1], checkpoints=["checkpoint_final.pth", "checkpoint_best.pth"])
    assert [name.rpartition("/")[2] for name in names(file) if "fold_" in name] == [
        *("checkpoint_best.pth", "checkpoint_final.pth", "progress.png", "summary.json")
    ]
    export_models([model], file, checkpoints=["checkpoint_best.pth"], predictions=True)
    assert [name.rpartition("fold_1/")[2] for name in names(file) if "fold_" in name] == [
        *("checkpoint_best.pth", "progress.png", "validation/c0.nii.gz", "validation/summary.json")
    ]
    for arguments, says in (
        ({"folds": [3]}, r"fold_3.checkpoint_final.pth does not exist.*fold_0/checkpoint_final.pth"),
        ({"folds": [1, 0], "checkpoints": ["checkpoint_final.pth", "checkpoint_best.pth"]}, r"fold_0.checkpoint_best"),
        ({"checkpoints": ["checkpoint_latest.pth"]}, "No fold .* has checkpoint_latest.pth"),
    ):
        options: dict[str, Any] = arguments
        with pytest.raises(UserError, match=says):
            export_models([model], tmp_path / "other.zip", **options)
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["model.zip"]


def test_what_can_not_be_exported(make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelFolder(make_model())
    with pytest.raises(UserError, match="is a folder"):
        export_models([model], tmp_path)
    with pytest.raises(UserError, match=r"mine is no name.*trainer__plans__configuration"):
        export_models([ModelFolder(make_model("mine"))], tmp_path / "a.zip")
    monkeypatch.setattr(bundle.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5000}))
    with pytest.raises(UserError, match=r"0\.00 GB are free"):
        export_models([model], tmp_path / "a.zip")


def test_a_stop_leaves_nothing(make_model: MakeModel, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    (tmp_path / "a.zip").write_bytes(b"an old one")
    with pytest.raises(Cancelled):
        export_models([ModelFolder(make_model())], tmp_path / "a.zip", cancel=cancel)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir() if file.is_file()] == [
        ("a.zip", b"an old one")
    ]
