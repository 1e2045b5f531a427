"""Rows of models: what programs read, without opening a checkpoint."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.models.card import ModelCard
from segautoconfiglib.models.folder import ModelFolder
from segautoconfiglib.models.listing import model_details, model_folders, model_row

MakeModel = Callable[..., Path]


def test_a_row_has_exactly_these_keys(make_model: MakeModel) -> None:
    folder = make_model(folds=(0, 2, "all"))
    (folder / "fold_2" / "checkpoint_final.pth").rename(folder / "fold_2" / "checkpoint_latest.pth")
    for file in folder.glob("fold_*/*.pth"):
        os.utime(file, (1e9, 1e9))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert model_row(ModelFolder(folder)) == {
        "path": str(folder),
        "title": "Tiny (3d_fullres, nnUNetPlans)",
        "dataset": "Dataset005_Tiny",
        "trainer": "nnUNetTrainer",
        "plans": "nnUNetPlans",
        "configuration": "3d_fullres",
        "folds": [0, "all"],
        "unfinished": [2],
        "channels": ["MRI"],
        "labels": {"background": 0, "ball": 1, "core": 2},
        "regions_class_order": None,
        "segments": {"ball": {"color": [1, 0, 0], "terminology": "T"}},
        "file_ending": ".nii.gz",
        "dice": 0.75,
        "date": datetime.fromtimestamp(1e9).astimezone().isoformat(timespec="seconds"),
        "origin": "trained here",
        "size_mb": round(size / 1e6, 1),
        "problem": None,
    }


def test_titles_and_origins(make_model: MakeModel) -> None:
    folder = make_model()
    ModelCard(title="My model", origin="imported from a.zip").save(folder / "model.json")
    row = model_row(ModelFolder(folder))
    assert (row["title"], row["origin"]) == ("My model", "imported from a.zip")
    (folder / "model.json").write_text("{")
    (folder / "fold_0" / "debug.json").write_text(json.dumps({"batch_size": "2"}))
    row = model_row(ModelFolder(folder))
    assert (row["title"], row["origin"]) == ("Tiny (3d_fullres, nnUNetPlans)", "nnU-Net")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("plans.json", None, "plans.json does not exist"),
        ("plans.json", "{,}", "not valid JSON"),
        ("plans.json", '{"dataset_name": "D", "plans_name": "P", "configurations": {}}', "3d_fullres"),
        ("dataset.json", "[]", "no dataset.json"),
        ("dataset.json", '{"labels": 1}', "channel_names is missing"),
    ],
)
def test_a_damaged_model_is_a_row_that_says_so(make_model: MakeModel, file: str, content: str, says: str) -> None:
    folder = make_model()
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    row = model_row(ModelFolder(folder))
    assert says in row["problem"]
    assert (row["folds"], row["configuration"]) == ([0], "3d_fullres")
    assert model_details(ModelFolder(folder))["problem"] == row["problem"]


@pytest.mark.parametrize("content", ["{", "[]", '{"foreground_mean": []}', '{"mean": 3, "metric_per_case": [{}]}'])
def test_damaged_results_are_left_out(make_model: MakeModel, content: str) -> None:
    folder = make_model()
    (folder / "fold_0" / "validation" / "summary.json").write_text(content)
    (fold,) = model_details(ModelFolder(folder))["fold_table"]
    assert (fold["dice"], fold["per_label"], fold["cases"]) == (None, [], [])
    assert model_row(ModelFolder(folder))["problem"] is None


def test_the_folds_and_the_plan(make_model: MakeModel) -> None:
    folder = make_model(folds=(1,), checkpoint="checkpoint_best.pth")
    details = model_details(ModelFolder(folder))
    assert details["fold_table"] == [
        {
            "fold": 1,
            "random_split": False,
            "state": "unfinished",
            "dice": 0.75,
            "per_label": [
                {"label": "ball", "dice": 0.5, "hd95": 2.0, "nsd": None},
                {"label": "core", "dice": 1.0, "hd95": None, "nsd": None},
            ],
            "cases": [{"case": "c0", "dice": 0.75}, {"case": "c1", "dice": None}],
            "progress_picture": str(folder / "fold_1" / "progress.png"),
            "log": str(folder / "fold_1" / "training_log_2026_1_2_10_00_00.txt"),
            "epochs": 2,
        }
    ]
    assert details["plan"] == {
        "patch_size": (8, 16, 16),
        "spacing": (2.0, 1.0, 1.0),
        "batch_size": 2,
        "network": "PlainConvUNet",
        "features": [2, 4],
        "normalization": ["ZScore"],
        "planner": "ExperimentPlanner",
        "median_image_size": (),
    }
    assert details["plans_text"] == (folder / "plans.json").read_text()


def test_what_is_listed(make_model: MakeModel, workspace: Workspace) -> None:
    one, other = make_model(), make_model("A__B__2d", dataset="Dataset004_Other")
    (other / "plans.json").unlink()  # its checkpoints are there still
    (workspace.results / "Dataset004_Other" / "C__D__empty").mkdir()
    (workspace.results / "Dataset004_Other" / "ensembles").mkdir()
    (one.parent / f".{one.name}.fold_0.lock").touch()
    shutil.copytree(one, one.with_name(".removed-T__P__c"))
    assert [model.path for model in model_folders(workspace)] == [other, one]
    assert model_folders(Workspace.at(workspace.raw / "nowhere")) == []


@pytest.mark.parametrize(
    ("trainer", "planned", "title"),
    [
        ("nnUNetTrainerUMambaEnc_50epochs", None, "Tiny (3d_fullres, nnUNetPlans, UMambaEnc)"),
        ("nnUNetTrainer", "UMambaBot", "Tiny (3d_fullres, nnUNetPlans, UMambaBot)"),
        ("nnUNetTrainer", "Own", "Tiny (3d_fullres, nnUNetPlans, Own)"),
    ],
)
def test_titles_and_details_name_unusual_networks(
    make_model: MakeModel, trainer: str, planned: str | None, title: str
) -> None:
    folder = make_model()
    plans = json.loads((folder / "plans.json").read_text())
    if planned is not None:
        plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = planned
        (folder / "plans.json").write_text(json.dumps(plans))
    folder = folder.rename(folder.with_name(folder.name.replace("nnUNetTrainer", trainer)))
    details = model_details(ModelFolder(folder))
    assert (details["title"], details["plan"]["network"]) == (title, title[:-1].rpartition(" ")[2])
