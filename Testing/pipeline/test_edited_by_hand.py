"""Plans, splits and folders that a user has changed: found before anything else is done, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.image.files import write_labels
from segautoconfiglib.image.volume import Geometry

DATASET = "Dataset007_Test"
TRAIN = ("train", 7, "-p", "tiny", "-c", "3d_fullres", "--device", "cpu", "--epochs", 1, "--iterations", 2)
FAST = ("--device", "cpu", "--no-mirroring")


def change_plans(workspace: Path, **entries: Any) -> Path:
    """Change the configuration 3d_fullres of ``tiny.json``; its file."""
    file = workspace / "nnUNet_preprocessed" / DATASET / "tiny.json"
    plans = json.loads(file.read_text())
    plans["configurations"]["3d_fullres"].update(entries)
    file.write_text(json.dumps(plans))
    return file


@pytest.mark.torch
@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"spacing": [3, -1, 1]}, ["spacing.1", "-1"]),
        ({"spacing": [0, 1, 1]}, ["spacing.0", "got 0"]),
        ({"patch_size": [8, -16, 16]}, ["patch_size.1", "-16"]),
        ({"patch_size": [16, 16], "spacing": [1, 1]}, ["patch_size [16, 16] has 2 axes", "conv_op"]),
        ({"patch_size": [7, 17, 19]}, ["patch_size [7, 17, 19] is no multiple of"]),
        ({"batch_size": 0}, ["batch_size", "got 0"]),
    ],
    ids=str,
)
def test_plans_with_nonsense(
    trained: Path, refused: Callable[..., str], entries: dict[str, Any], says: list[str]
) -> None:
    file = change_plans(trained, **entries)
    says = [f"Configuration '3d_fullres' of {file}", *says]
    for command in ((*TRAIN, "--fold", 1), ("preprocess", 7, "-p", "tiny", "-c", "3d_fullres"), ("info", 7)):
        refused(*command, says=says)


@pytest.mark.torch
@pytest.mark.parametrize("schemes", [["Foo"], ["ZScoreNormalization"] * 2], ids=str)
def test_plans_that_can_not_be_followed_cost_no_case(
    trained: Path, refused: Callable[..., str], schemes: list[str]
) -> None:
    change_plans(trained, normalization_schemes=schemes, use_mask_for_norm=[False] * len(schemes))
    refused(*TRAIN, "--fold", 1, says=["Foo" if schemes == ["Foo"] else "names 2 channels"])


@pytest.mark.torch
def test_one_case_is_too_few_for_a_fold(
    raw_dataset: Callable[..., Path], refused: Callable[..., str], workspace: Path
) -> None:
    raw_dataset(cases=1)
    refused("train", 7, "--device", "cpu", says=["1 case is too few", "--fold all"])
    assert not (workspace / "nnUNet_preprocessed").exists()


@pytest.mark.torch
def test_own_splits_are_checked_first(raw: Path, refused: Callable[..., str]) -> None:
    (raw / "splits_final.json").write_text(json.dumps([{"train": ["c0"], "val": ["lost"]}]))
    refused("train", 7, "--device", "cpu", says=["Fold 0", str(raw), "'lost'"])


@pytest.mark.torch
def test_a_stopped_training_of_other_plans_is_named_with_its_arguments(
    trained: Path, refused: Callable[..., str]
) -> None:
    results = trained / "nnUNet_results" / DATASET
    stopped = results / "nnUNetTrainer__nnUNetPlans_60s_cpu__3d_fullres"
    (results / "nnUNetTrainer__tiny__3d_fullres").rename(stopped)
    (stopped / "fold_0" / "checkpoint_final.pth").rename(stopped / "fold_0" / "checkpoint_latest.pth")
    command = ("train", 7, "--device", "cpu", "--budget", "40s", "--resume")
    hint = "--plans nnUNetPlans_60s_cpu --configuration 3d_fullres --budget TIME"
    refused(*command, says=[str(stopped / "fold_0"), hint])


@pytest.mark.torch
def test_what_is_not_predicted_is_named(trained: Path, cli: Callable[..., Any]) -> None:
    folder = trained / "images"
    folder.mkdir()
    source = trained / "nnUNet_raw" / DATASET / "imagesTr" / "c0_0000.nii.gz"
    for name in ("a_0000.nii.gz", "b.nii.gz", "c_0000.nrrd", "a.json", ".hidden.nrrd"):
        shutil.copyfile(source, folder / name)
    (folder / "t_0000.nii.gz").mkdir()
    outcome = cli("predict", "-d", 7, "-i", folder, "-o", trained / "out", *FAST, "--events", "jsonl")
    assert outcome.code == 0
    assert [event["message"].split(" in ")[0] for event in outcome.of("warning")] == ["1 file", "1 file", "1 folder"]
    names = [event["message"].rpartition(": ")[2] for event in outcome.of("warning")]
    assert names == ["b.nii.gz.", "c_0000.nrrd.", "t_0000.nii.gz."]
    assert outcome.of("artifact")[0]["description"] == "1 segmentation"


@pytest.mark.parametrize(
    ("command", "options", "warnings"), [("evaluate", (), 1), ("nnUNetv2_evaluate_simple", ("-l", 1, 2), 0)]
)
def test_values_that_are_no_labels(
    raw: Path, cli: Callable[..., Any], tmp_path: Path, command: str, options: tuple[Any, ...], warnings: int
) -> None:
    shutil.copytree(raw / "labelsTr", tmp_path / "found")
    write_labels(np.full((8, 20, 22), 5, np.uint8), tmp_path / "found" / "c0.nii.gz", Geometry((3.0, 1.0, 1.0)))
    outcome = cli(command, raw / "labelsTr", tmp_path / "found", *options, "--events", "jsonl")
    assert outcome.code == 0
    assert len(outcome.of("warning")) == warnings


def test_a_gpu_memory_target_that_is_hardly_meant(raw: Path, cli: Callable[..., Any]) -> None:
    outcome = cli("plan", 7, "-gpu_memory_target", 0.001, "--events", "jsonl")
    assert ["0.001 GB" in event["message"] for event in outcome.of("warning")] == [True]
    assert not cli("plan", 7, "-gpu_memory_target", 1, "--events", "jsonl").of("warning")


def test_a_target_spacing_that_leaves_nothing(raw: Path, refused: Callable[..., str]) -> None:
    command = ("plan", 7, "-overwrite_target_spacing", 1000, 1, 1, "-overwrite_plans_name", "foo")
    refused(*command, says=["1000", "vanishes"], may_write="nnUNet_preprocessed")
