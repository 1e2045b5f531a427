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
    assert (cases[0]["prediction_file"], cases[0]["reference_file"]) == ("case_001.nii.gz", "case_001.nii.gz")
    assert cases[1]["prediction_file"] == "case_002.nii.gz"
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


def private(folder: Path) -> None:
    """Write names of cases and paths of this computer wherever a model may hold them."""
    for name, entries in (
        (
            "dataset.json",
            {"dataset": {"secret1": {"images": ["/data/secret1.nii.gz"], "label": "x"}}, "licence": "a/b"},
        ),
        (
            "plans.json",
            {"continued_from": "/home/secret2/model", "note": "C:\\Users\\secret3\\plans", "free": "see /x"},
        ),
    ):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **entries}))


def test_nothing_is_told_about_cases_and_computer(make_model: MakeModel, tmp_path: Path) -> None:
    folder, file = make_model(), tmp_path / "model.zip"
    private(folder)
    export_models([ModelFolder(folder)], file)
    with zipfile.ZipFile(file) as archive:
        texts = {name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if "json" in name}
    for part in ("secret1", "secret2", "secret3", "somebody", "c0.nii.gz"):
        assert not [name for name, text in texts.items() if part in text], part
    description, plans = json.loads(texts["dataset.json"]), json.loads(texts["plans.json"])
    assert (description["licence"], plans["free"], plans["note"]) == ("a/b", "see /x", "plans")
    assert description["labels"] == {"background": 0, "ball": 1, "core": 2}
    export_models([ModelFolder(folder)], file, case_names=True)
    with zipfile.ZipFile(file) as archive:
        content = archive.read(f"{PLACE}/dataset.json").decode()
        summary = archive.read(f"{PLACE}/fold_0/validation/summary.json").decode()
    assert "secret1" in content
    assert "/data" not in content
    assert "c0.nii.gz" in summary
    assert "somebody" not in summary


def test_checkpoints_are_cleaned_by_whoever_can_read_them(make_model: MakeModel, tmp_path: Path) -> None:
    model, file, report = ModelFolder(make_model(folds=(0, 1))), tmp_path / "model.zip", ListReporter()

    def clean(source: Path, target: Path) -> bool:
        private = source.parent.name == "fold_1"
        if private:
            target.write_bytes(b"clean")
        return private

    export_models([model], file, clean=clean, report=report)
    with zipfile.ZipFile(file) as archive:
        assert archive.read(f"{PLACE}/fold_0/checkpoint_final.pth") == b"weights" * 1000
        assert archive.read(f"{PLACE}/fold_1/checkpoint_final.pth") == b"clean"
    assert report.of("progress")[-1]["done"] == 1
    assert {entry.name for entry in tmp_path.iterdir()} == {"workspace", "model.zip"}


def test_the_choice_goes_along_where_all_of_it_does(make_model: MakeModel, tmp_path: Path) -> None:
    folder, other = make_model(), make_model("nnUNetTrainer__nnUNetPlans__2d")
    results, file = folder.parent, tmp_path / "model.zip"
    members = [
        {"trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans", "configuration": name}
        for name in ("2d", "3d_fullres")
    ]
    best = {"selected_model_or_models": members, "postprocessing_file": f"{results}/ensembles/x/postprocessing.pkl"}
    (results / "inference_information.json").write_text(json.dumps({"best_model_or_ensemble": best}))
    (results / "inference_instructions.txt").write_text(f"apply -pp_pkl_file {results}/x.pkl")
    ensemble = results / "ensembles" / f"ensemble___{other.name}___{folder.name}___0_1"
    ensemble.mkdir(parents=True)
    for name in ("summary.json", "postprocessing.json", "case.npz"):
        (ensemble / name).write_text("{}")
    export_models([ModelFolder(folder)], file)
    assert not [name for name in names(file) if "inference" in name or "ensemble" in name]
    export_models([ModelFolder(folder), ModelFolder(other)], file)
    place = f"Dataset005_Tiny/ensembles/{ensemble.name}"
    assert [name for name in names(file) if not name.startswith("Dataset005_Tiny/nnU")] == [
        *(f"{place}/postprocessing.json", f"{place}/summary.json"),
        *("Dataset005_Tiny/inference_information.json", "Dataset005_Tiny/inference_instructions.txt"),
    ]
    with zipfile.ZipFile(file) as archive:
        content = json.loads(archive.read("Dataset005_Tiny/inference_information.json"))
        assert archive.read("Dataset005_Tiny/inference_instructions.txt") == (
            b"apply -pp_pkl_file $nnUNet_results/Dataset005_Tiny/x.pkl"
        )
    assert content["best_model_or_ensemble"] == {**best, "postprocessing_file": "postprocessing.pkl"}
    (results / "inference_information.json").write_text("{}")
    with pytest.raises(UserError, match="is no choice file"):
        export_models([ModelFolder(folder)], file)
