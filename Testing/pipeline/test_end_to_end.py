"""The main job on a CPU: raw dataset, training, prediction, evaluation, through the command line."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.cli.main import main
from segautoconfiglib.dataset.synthetic import make_demo_dataset
from segautoconfiglib.image.files import read_header

pytestmark = pytest.mark.torch

DATASET = "Dataset998_Small"
CASES, HELD_OUT = 6, 2
#: Mean Dice over both structures that a working engine passes by far after so short a training (reached: 0.6 and 0.9).
FLOOR, FLOOR_2D = 0.4, 0.6
BUDGET = "20s"


@pytest.fixture(scope="module")
def raw_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of raw datasets with one small synthetic dataset."""
    pytest.importorskip("torch")
    root = tmp_path_factory.mktemp("raw") / "nnUNet_raw"
    make_demo_dataset(root / DATASET, cases=CASES, held_out=HELD_OUT, seed=1)
    return root


def strict(file: Path) -> Any:
    """A JSON file; fails for NaN and infinity, which are no JSON."""
    return json.loads(file.read_text(), parse_constant=lambda text: pytest.fail(f"{file} holds {text}"))


def mean_dice(summary: Path) -> float:
    content = strict(summary)
    assert set(content) >= {"foreground_mean", "mean", "metric_per_case"}
    return float(content["foreground_mean"]["Dice"])


def test_train_predict_evaluate_resume(
    raw_root: Path, cli: Callable[..., Any], workspace: Path, tmp_path: Path, tiny_plans: Callable[[Path], None]
) -> None:
    raw = shutil.copytree(raw_root / DATASET, workspace / "nnUNet_raw" / DATASET)
    preprocessed = workspace / "nnUNet_preprocessed" / DATASET
    assert cli("plan", 998).code == 0
    tiny_plans(preprocessed)
    train = ("train", DATASET, "-p", "tiny", "-c", "3d_fullres", "--device", "cpu", "--workers", 0)
    trained = cli(*train, "--epochs", 4, "--iterations", 40)
    assert trained.code == 0, trained.err
    assert "capsule" in trained.out
    model = workspace / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres"
    fold = model / "fold_0"
    for file in (model / "plans.json", model / "dataset.json", model / "dataset_fingerprint.json", fold / "debug.json"):
        assert strict(file)
    for name in ("checkpoint_final.pth", "checkpoint_best.pth", "progress.png"):
        assert (fold / name).stat().st_size > 1000
    assert not (fold / "checkpoint_latest.pth").exists()
    assert len(list(fold.glob("training_log_*.txt"))) == 1
    held_out = strict(preprocessed / "splits_final.json")[0]["val"]
    assert {file.name for file in (fold / "validation").glob("*.nii.gz")} == {f"{case}.nii.gz" for case in held_out}
    assert mean_dice(fold / "validation" / "summary.json") > FLOOR

    predicted = tmp_path / "predicted"
    assert (
        cli("predict", "-d", 998, "-i", raw / "imagesTs", "-o", predicted, "--device", "cpu", "--no-mirroring").code
        == 0
    )
    truths = sorted((raw / "labelsTs").iterdir())
    assert sorted(file.name for file in predicted.glob("*.nii.gz")) == [file.name for file in truths]
    for truth in truths:
        header, expected = read_header(predicted / truth.name), read_header(truth)
        assert header.shape == expected.shape
        assert header.geometry.differences(expected.geometry) == []
    evaluated = cli("evaluate", raw / "labelsTs", predicted)
    assert evaluated.code == 0
    assert "core" in evaluated.out
    assert mean_dice(predicted / "summary.json") > FLOOR

    resumed = cli(*train, "--epochs", 5, "--iterations", 20, "--resume", "--events", "jsonl")
    assert resumed.code == 0, resumed.err
    assert [row["epoch"] for row in resumed.of("metric")] == [4]
    assert next(done for done in resumed.of("done") if done["stage"] == "validate")["mean_dice"] > FLOOR


def test_2d_by_nnunets_names_and_folders(
    raw: Path,
    tmp_path: Path,
    tiny_plans: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    results, preprocessed = tmp_path / "results", tmp_path / "preprocessed"
    for variable, folder in (("raw", raw.parent), ("preprocessed", preprocessed), ("results", results)):
        monkeypatch.setenv(f"nnUNet_{variable}", str(folder))

    def run(*words: object) -> str:
        assert main(list(map(str, words))) == 0
        return capsys.readouterr().out

    name = raw.name
    run("nnUNetv2_plan_and_preprocess", "-d", 7, "-c", "2d", "-np", 1, "--verify_dataset_integrity")
    assert len(list((preprocessed / name / "nnUNetPlans_2d").glob("*.pkl"))) == 5
    tiny_plans(preprocessed / name)
    length = ("--epochs", 5, "--iterations", 30, "--workers", 0)
    run("nnUNetv2_train", 7, "2d", 0, "-p", "tiny", "-device", "cpu", *length)
    fold = results / name / "nnUNetTrainer__tiny__2d" / "fold_0"
    trained = mean_dice(fold / "validation" / "summary.json")
    assert trained > FLOOR_2D
    (fold / "validation" / "summary.json").unlink()
    run("nnUNetv2_train", 7, "2d", 0, "-p", "tiny", "-device", "cpu", "--val")
    assert mean_dice(fold / "validation" / "summary.json") == pytest.approx(trained, abs=1e-3)

    output = tmp_path / "predicted"
    where = ("-i", raw / "imagesTr", "-o", output, "-device", "cpu")
    run("nnUNetv2_predict", "-d", 7, "-c", "2d", "-p", "tiny", "-f", 0, *where, "--save_probabilities")
    assert len(list(output.glob("*.npz"))) == 5
    files = ("-djfile", output / "dataset.json", "-pfile", output / "plans.json")
    table = run("nnUNetv2_evaluate_folder", raw / "labelsTr", output, *files)
    assert "organ" in table
    assert mean_dice(output / "summary.json") > FLOOR_2D
    run("nnUNetv2_evaluate_simple", raw / "labelsTr", output, "-l", 1, 2, "-o", tmp_path / "simple.json")
    assert mean_dice(tmp_path / "simple.json") == mean_dice(output / "summary.json")


def test_validation_alone_finds_the_model_of_a_budget(trained: Path, cli: Callable[..., Any]) -> None:
    """Training with a budget has plans, and so a model folder, of its own; here it is a copy of another model."""
    models = trained / "nnUNet_results" / "Dataset007_Test"
    words = (
        "nnUNetv2_train",
        7,
        "3d_fullres",
        0,
        "-p",
        "tiny",
        "--budget",
        "20m",
        "-device",
        "cpu",
        "--val_best",
        "--val",
    )
    before = cli(*words)
    assert before.code == 2
    assert "nnUNetTrainer__tiny_20m_cpu__3d_fullres" in before.err
    model = shutil.copytree(
        models / "nnUNetTrainer__tiny__3d_fullres", models / "nnUNetTrainer__tiny_20m_cpu__3d_fullres"
    )
    assert cli(*words).code == 0
    assert (model / "fold_0" / "validation_best" / "summary.json").is_file()


def test_a_budget_is_kept(raw: Path, cli: Callable[..., Any], workspace: Path, short_budgets: None) -> None:
    pytest.importorskip("torch")
    begin = time.monotonic()
    outcome = cli("train", 7, "--fold", "all", "--budget", BUDGET, "--device", "cpu", "--events", "jsonl")
    seconds = time.monotonic() - begin
    assert outcome.code == 0, outcome.out
    assert seconds < 25
    reasons = " ".join(event["message"] for event in outcome.of("log"))
    for part in ("Network: PlainConvUNet in 3D", "steps in", "fit into", "none is held out"):
        assert part in reasons
    (model,) = (workspace / "nnUNet_results" / raw.name).iterdir()
    assert (model / "fold_all" / "checkpoint_final.pth").is_file()
    assert outcome.of("metric")[-1]["mean_dice"] > FLOOR
    assert_resumed_with_the_budget_alone(model / "fold_all", cli)


def assert_resumed_with_the_budget_alone(fold: Path, cli: Callable[..., Any]) -> None:
    """Finished: nothing is done. Stopped: another plan's run does not find it; the same budget goes on with it."""
    words = ("train", 7, "--fold", "all", "--device", "cpu")
    final = fold / "checkpoint_final.pth"
    assert cli(*words, "--budget", BUDGET).code == 2
    again = cli(*words, "--budget", BUDGET, "--resume", "--events", "jsonl")
    assert again.code == 0
    assert "trained already" in again.of("log")[0]["message"]
    final.rename(fold / "checkpoint_latest.pth")
    other = cli(*words, "--resume")
    assert other.code == 2
    assert str(fold) in other.err
    assert "--budget" in other.err
    assert not list(fold.parents[1].glob("nnUNetTrainer__nnUNetPlans__*"))
    resumed = cli(*words, "--budget", BUDGET, "--resume", "--events", "jsonl")
    assert resumed.code == 0
    assert "another recipe" not in str(resumed.of("warning"))
    assert "Resuming in epoch" in " ".join(event["message"] for event in resumed.of("log"))
    assert resumed.of("metric")[0]["epoch"] > 0
    assert final.is_file()
