"""The commands about models as a user and a program see them."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.lock import alone
from segautoconfiglib.image.files import read_image, read_labels, write_image

DATASET = "Dataset007_Test"
NAME = "nnUNetTrainer__tiny__3d_fullres"
DATASET_KEYS = {
    *("dataset", "id", "name", "folder", "cases", "test_cases", "channels", "labels", "regions_class_order"),
    *("file_ending", "segments", "case_ids", "case_files", "plans", "models", "choice", "problem"),
}
MODEL_KEYS = {
    *("path", "title", "dataset", "trainer", "plans", "configuration", "folds", "unfinished", "channels", "labels"),
    *("regions_class_order", "segments", "file_ending", "dice", "date", "origin", "size_mb", "problem"),
}
Cli = Callable[..., Any]
Refused = Callable[..., str]


@pytest.fixture
def model(trained: Path) -> Path:
    return trained / "nnUNet_results" / DATASET / NAME


def test_info_of_a_raw_dataset(raw: Path, cli: Cli) -> None:
    for case in ("t0", "t1"):
        for source, target in (("imagesTr/c0_0000.nii.gz", f"imagesTs/{case}_0000.nii.gz"),):
            (raw / target).parent.mkdir(exist_ok=True)
            shutil.copyfile(raw / source, raw / target)
    (raw / "labelsTs").mkdir()
    shutil.copyfile(raw / "labelsTr" / "c0.nii.gz", raw / "labelsTs" / "t1.nii.gz")
    segments = {"organ": {"color": [1, 0.5, 0], "terminology": "T"}}
    description = {**json.loads((raw / "dataset.json").read_text()), "segments": segments}
    (raw / "dataset.json").write_text(json.dumps(description))
    (done,) = cli("info", "--events", "jsonl").of("done")[:1]
    (row,) = done["datasets"]
    assert set(row) == DATASET_KEYS
    files = row.pop("case_files")
    assert row == {
        "dataset": DATASET,
        "id": 7,
        "name": "Test",
        "folder": str(raw),
        "cases": 5,
        "test_cases": 2,
        "channels": ["MRI"],
        "labels": {"background": 0, "organ": 1, "core": 2},
        "regions_class_order": None,
        "file_ending": ".nii.gz",
        "segments": segments,
        "case_ids": ["c0", "c1", "c2", "c3", "c4"],
        "plans": [],
        "models": 0,
        "choice": None,
        "problem": None,
    }
    assert files["c4"] == {
        "images": [str(raw / "imagesTr" / "c4_0000.nii.gz")],
        "labels": str(raw / "labelsTr" / "c4.nii.gz"),
        "test": False,
    }
    assert (files["t0"]["labels"], files["t0"]["test"]) == (None, True)
    assert files["t1"]["labels"] == str(raw / "labelsTs" / "t1.nii.gz")
    assert done["models"] == []


@pytest.mark.parametrize("damage", ["json", "no labels", "a file"])
def test_a_damaged_dataset_is_a_row(raw: Path, cli: Cli, damage: str) -> None:
    if damage == "json":
        (raw / "dataset.json").write_text("{")
    elif damage == "no labels":
        shutil.rmtree(raw / "labelsTr")
    else:
        shutil.rmtree(raw / "imagesTr")
        (raw / "imagesTr").touch()
    outcome = cli("info", "--events", "jsonl")
    assert outcome.code == 0
    (row,) = outcome.of("done")[0]["datasets"]
    assert row["problem"]
    assert row["case_ids"] == []
    assert set(row) == DATASET_KEYS


@pytest.mark.torch
def test_info_of_a_model(model: Path, cli: Cli) -> None:
    done = cli("info", "--events", "jsonl").of("done")[0]
    (row,) = done["models"]
    assert set(row) == MODEL_KEYS
    assert (row["path"], row["folds"], row["unfinished"]) == (str(model), [0], [])
    assert (row["origin"], row["title"]) == ("trained here", "Test (3d_fullres, tiny)")
    assert done["datasets"][0]["models"] == 1
    report = cli("info", "--model", model, "--events", "jsonl").of("done")[0]["model"]
    assert set(report) == MODEL_KEYS | {"fold_table", "plan", "plans_text"}
    (fold,) = report["fold_table"]
    assert (fold["fold"], fold["state"], fold["epochs"]) == (0, "finished", 1)
    assert [entry["label"] for entry in fold["per_label"]] == ["organ", "core"]
    assert len(fold["cases"]) == 1
    assert Path(fold["progress_picture"]).is_file()
    assert Path(fold["log"]).is_file()
    assert report["plan"]["patch_size"] == [8, 20, 24]
    assert json.loads(report["plans_text"])["plans_name"] == "tiny"
    table = cli("info", "--model", model).out
    for part in ("Test (3d_fullres, tiny)", "trained here", "patch size", "PlainConvUNet", "organ", "finished"):
        assert part in table
    (model / "plans.json").write_text("{")
    damaged = cli("info", "--events", "jsonl")
    assert damaged.code == 0
    assert "not valid JSON" in damaged.of("done")[0]["models"][0]["problem"]
    assert cli("info", "--model", model).code == 0


def test_info_refuses_what_is_not_there(raw: Path, refused: Refused) -> None:
    refused("info", "--model", raw / "none", says=["no model folder"])
    refused("info", 7, "--model", raw, says=["not allowed with"])


def test_many_models_are_listed_without_torch(workspace: Path) -> None:
    plans = {"dataset_name": DATASET, "plans_name": "P", "configurations": {}}
    for number in range(50):
        folder = workspace / "nnUNet_results" / DATASET / f"T{number}__P__3d_fullres"
        (folder / "fold_0").mkdir(parents=True)
        (folder / "plans.json").write_text(json.dumps(plans))
        (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"not opened")
    code = (
        "import sys\n"
        "from segautoconfiglib.cli.main import main\n"
        f"assert main(['info', '--workspace', {str(workspace)!r}, '--events', 'jsonl']) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    done = next(event for event in map(json.loads, result.stdout.splitlines()) if event["kind"] == "done")
    assert len(done["models"]) == 50


@pytest.mark.torch
def test_a_model_goes_round(model: Path, trained: Path, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    file, images = tmp_path / "a model.zip", trained / "nnUNet_raw" / DATASET / "imagesTr"
    assert cli("rename-model", model, "Mine").code == 0
    done = cli("export-model", model, file, "--events", "jsonl").of("done")[0]
    assert (done["stage"], done["file"]) == ("export-model", str(file))
    refused("import-model", file, says=["There is a model already at", str(model), "--overwrite"])
    predict = ("predict", "--model", model, "-i", images, "--device", "cpu", "--no-mirroring")
    assert cli(*predict, "-o", tmp_path / "before").code == 0
    assert cli("delete-model", model).code == 0
    assert not (trained / "nnUNet_results" / DATASET).exists()
    imported = cli("import-model", file, "--events", "jsonl")
    assert imported.code == 0, imported.out
    (row,) = imported.of("done")[0]["models"]
    assert set(row) == MODEL_KEYS
    assert (row["path"], row["title"], row["origin"]) == (str(model), "Mine", "imported from a model.zip")
    assert not imported.of("warning")
    assert cli(*predict, "-o", tmp_path / "after").code == 0
    for case in ("c0", "c4"):
        before, after = (tmp_path / name / f"{case}.nii.gz" for name in ("before", "after"))
        assert (read_labels(before).array == read_labels(after).array).all()
    other = cli("import-model", file, "--dataset", "Dataset007_Other", "--events", "jsonl")
    assert other.code == 0
    assert "id 7 is used twice" in other.of("warning")[0]["message"]
    assert cli("import-model", file, "--dataset", "Dataset007_Other", "--overwrite").code == 0
    refused("import-model", file, "--dataset", "Liver", says=["'Liver' is not a dataset"])


@pytest.mark.torch
def test_checkpoints_are_opened_before_a_model_is_there(
    model: Path, trained: Path, cli: Cli, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, checkpoint = tmp_path / "model.zip", model / "fold_0" / "checkpoint_final.pth"
    good = checkpoint.read_bytes()
    plans = json.loads((model / "plans.json").read_text())

    def packed() -> None:
        assert cli("export-model", model, file, "--overwrite").code == 0

    where = ("import-model", file, "--dataset", "Dataset008_New")
    checkpoint.write_bytes(pickle.dumps(print, protocol=2))
    packed()
    refused(*where, says=["model.zip can't be used", "fold_0"])
    checkpoint.write_bytes(good[: len(good) // 2])
    packed()
    refused(*where, says=["model.zip can't be used", "damaged"])
    checkpoint.write_bytes(good)
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"][0] = 4
    (model / "plans.json").write_text(json.dumps(plans))
    packed()
    refused(*where, says=["model.zip can't be used", "do not fit this network"])
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "segautoconfiglib.inference.model")
    unchecked = cli(*where, "--events", "jsonl")
    assert unchecked.code == 0, unchecked.out
    assert "were not opened, because torch is not installed" in unchecked.of("warning")[0]["message"]


@pytest.mark.torch
def test_a_model_that_is_trained_is_not_deleted(model: Path, cli: Cli, refused: Refused) -> None:
    with alone(model.with_name(f".{NAME}.fold_0.lock"), "training"):
        refused("delete-model", model, says=["Fold 0 of", "is being trained", "Stop"])
    refused("delete-model", model.parent, says=["no model folder; nothing was removed"])
    refused("rename-model", model, " ", says=["can't be a title"])
    assert cli("delete-model", model).code == 0


@pytest.mark.torch
def test_nnunets_commands_for_zip_files(model: Path, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    shutil.copytree(model, model.with_name("nnUNetTrainer__tiny__2d"))
    export = ("nnUNetv2_export_model_to_zip", "-d", 7, "-p", "tiny", "-o", file)
    refused(*export, "-c", "3d_lowres", says=["configuration 3d_lowres", NAME])
    refused(*export, "-c", "3d_fullres", "3d_lowres", says=["configuration 3d_lowres"])
    refused(*export[:3], "-o", file, says=["plans nnUNetPlans", NAME])
    assert cli(*export).code == 0
    with zipfile.ZipFile(file) as archive:
        assert {name.split("/")[1] for name in archive.namelist()} == {NAME, "nnUNetTrainer__tiny__2d"}
    assert cli(*export, "-c", "3d_fullres", "3d_lowres", "--not_strict", "--exp_cv_preds", "-f", 0).code == 0
    with zipfile.ZipFile(file) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".nii.gz")]) == 1
    shutil.rmtree(model)
    assert cli("nnUNetv2_install_pretrained_model_from_zip", file).code == 0
    refused("nnUNetv2_install_pretrained_model_from_zip", file, says=["There is a model already"])
    assert cli("nnUNetv2_install_pretrained_model_from_zip", file, "--overwrite").code == 0
    assert (model / "fold_0" / "checkpoint_final.pth").is_file()


@pytest.mark.torch
def test_predicting_other_files_and_an_incomplete_batch(model: Path, trained: Path, cli: Cli, tmp_path: Path) -> None:
    images, output = tmp_path / "images", tmp_path / "out"
    image = read_image([trained / "nnUNet_raw" / DATASET / "imagesTr" / "c0_0000.nii.gz"])
    for name in ("a_0000", "b_0001", "c_0000"):
        write_image(image.array[0], images / f"{name}.nrrd", image.geometry)
    (images / "c_0000.nrrd").write_bytes((images / "c_0000.nrrd").read_bytes()[:2000])
    options = ("--file-ending", ".nrrd", "--probability-images", "--uncertainty-image", "--no-mirroring")
    words = ("predict", "-m", model, "-i", images, "-o", output, "--device", "cpu", *options)
    outcome = cli(*words, "--events", "jsonl")
    assert outcome.code == 2
    (error,) = outcome.of("error")
    assert error["message"] == "2 of 3 cases could not be predicted:"
    assert [problem["case"] for problem in error["problems"]] == ["b", "c"]
    assert error["problems"][0]["message"] == "The model needs 1 channel: MRI; it has _0001."
    written = {file.name for file in output.glob("*.nrrd")}
    assert written == {"a.nrrd", "a_probability_1.nrrd", "a_probability_2.nrrd", "a_uncertainty.nrrd"}
    for name in written:
        assert not read_image([output / name]).geometry.differences(image.geometry)
    assert cli(*words[:-4], "--file-ending", ".xyz").code == 2


@pytest.mark.torch
def test_predicting_while_the_fold_is_trained(trained: Path, start: Callable[..., Any], cli: Cli) -> None:
    """A checkpoint is replaced in one step: whoever reads it has the old or the new one, whole."""
    pytest.importorskip("torch")
    from segautoconfiglib.networks.checkpoint import read_checkpoint

    images = trained / "nnUNet_raw" / DATASET / "imagesTr"
    words = ("-p", "tiny", "-c", "3d_fullres", "--device", "cpu", "--workers", 0)
    training = start("train", 7, *words, "--fold", 1, "--epochs", 1000, "--iterations", 1)
    training.wait_for('"epoch": 2')
    latest = trained / "nnUNet_results" / DATASET / NAME / "fold_1" / "checkpoint_latest.pth"
    epochs, until = set(), time.monotonic() + 60
    while len(epochs) < 4 and time.monotonic() < until:
        epochs.add(read_checkpoint(latest)["current_epoch"])
    assert len(epochs) == 4
    predict = ("predict", "-m", latest.parents[1], "-i", images, "-o", trained / "out", "--no-mirroring")
    outcome = cli(*predict, "-f", 1, "-chk", "checkpoint_latest.pth", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert len(list((trained / "out").glob("*.nii.gz"))) == 5
    row = cli("info", "--events", "jsonl").of("done")[0]["models"][0]
    assert (row["folds"], row["unfinished"]) == ([0], [1])
    training.interrupt()
    assert training.outcome().code == 130
