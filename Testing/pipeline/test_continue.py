"""Training that continues a model: weights, plan, names, resuming, other datasets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.image.files import write_image, write_labels
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.pipeline.continuation import continued_plans
from segautoconfiglib.pipeline.options import TrainOptions

DATASET = "Dataset007_Test"
NEW = "nnUNetTrainer__tiny_c1__3d_fullres"
FAST = ("--epochs", 1, "--iterations", 2, "--device", "cpu", "--workers", 0)
Cli = Callable[..., Any]
Refused = Callable[..., str]

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def with_torch() -> None:
    pytest.importorskip("torch")


@pytest.fixture
def model(trained: Path) -> Path:
    return trained / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres"


def weights(model: Path, fold: int = 0) -> dict[str, Any]:
    from segautoconfiglib.networks.checkpoint import canonical_weights, read_checkpoint

    return canonical_weights(read_checkpoint(model / f"fold_{fold}" / "checkpoint_final.pth")["network_weights"])


def listing(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def add_case(raw: Path, case: str) -> None:
    """One more case of the test's kind."""
    grid, shape = Geometry((3.0, 1.0, 1.0)), (8, 20, 22)
    labels = np.zeros(shape, np.uint8)
    labels[2:6, 4:15, 4:15], labels[3:5, 7:12, 7:12] = 1, 2
    image = 120 * labels + np.random.default_rng(9).normal(100, 12, shape)
    write_image(image.astype(np.float32), raw / "imagesTr" / f"{case}_0000.nii.gz", grid)
    write_labels(labels, raw / "labelsTr" / f"{case}.nii.gz", grid)
    description = json.loads((raw / "dataset.json").read_text())
    description["numTraining"] += 1
    (raw / "dataset.json").write_text(json.dumps(description))


def test_the_copy_starts_with_the_models_weights(
    model: Path, trained: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segautoconfiglib.training import run

    started: list[dict[str, Any]] = []
    fit = run.fit

    def noting(state: Any, *arguments: Any) -> None:
        started.append({name: tensor.clone() for name, tensor in state.network.state_dict().items()})
        rates.append(state.optimizer.param_groups[0]["lr"])
        fit(state, *arguments)

    rates: list[float] = []
    monkeypatch.setattr(run, "fit", noting)
    before, old = listing(model), weights(model)
    cases = listing(trained / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_3d_fullres")
    outcome = cli("train", 7, "--continue-from", model, *FAST, "--events", "jsonl")
    assert outcome.code == 0, outcome.err
    assert listing(model) == before
    assert {name: bool((tensor == old[name]).all()) for name, tensor in started[0].items()} == dict.fromkeys(old, True)
    assert rates == [pytest.approx(0.003)]
    done = next(data for data in outcome.of("done") if data["stage"] == "train")
    new = model.with_name("nnUNetTrainer__tiny_c1__3d_fullres")
    assert done["model_folder"] == str(new)
    assert not [event for event in outcome.of("log") if "last layers start anew" in event["message"]]
    now = listing(trained / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_3d_fullres")
    assert now == cases, "cases were preprocessed again"
    plans = json.loads((new / "plans.json").read_text())
    assert (plans["plans_name"], plans["continued_from"]) == ("tiny_c1", str(model))
    assert list(plans["configurations"]) == ["3d_fullres"]
    assert json.loads((trained / "nnUNet_preprocessed" / DATASET / "tiny_c1.json").read_text()) == plans


def test_which_copy_a_fold_gets(model: Path, trained: Path) -> None:
    context = Context(Workspace.at(trained))

    def copy(fold: int | str = 0, **options: Any) -> str:
        plans = continued_plans(context, DATASET, TrainOptions(continue_from=model, fold=fold, **options))
        assert (trained / "nnUNet_preprocessed" / DATASET / f"{plans.plans_name}.json").is_file()
        return plans.plans_name

    def train(plans_name: str, fold: int | str = 0) -> None:
        place = model.with_name(f"nnUNetTrainer__{plans_name}__3d_fullres")
        (place / f"fold_{fold}").mkdir(parents=True)
        (place / f"fold_{fold}" / "checkpoint_latest.pth").touch()
        shutil.copyfile(model / "dataset.json", place / "dataset.json")

    assert copy() == copy() == copy(resume=True) == "tiny_c1"  # nothing is trained yet
    train("tiny_c1")
    assert copy(1) == "tiny_c1"  # the folds of one model belong together
    assert copy(resume=True) == copy(overwrite=True) == "tiny_c1"
    assert copy() == "tiny_c2"
    assert copy(resume=True) == "tiny_c1"
    train("tiny_c2")
    assert copy(resume=True) == copy(overwrite=True) == copy(1) == "tiny_c2"
    assert copy("all") == "tiny_c2"
    train("tiny_c3")  # of somebody who has removed the plans
    assert copy() == "tiny_c4"
    train("tiny_c4")
    shutil.rmtree(model.with_name("nnUNetTrainer__tiny_c4__3d_fullres"))
    assert copy() == "tiny_c4"
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["batch_size"] = 7
    (model / "plans.json").write_text(json.dumps(plans))  # the model was replaced
    assert copy(resume=True) == "tiny_c5"


def test_what_was_begun_goes_on(model: Path, cli: Cli, refused: Refused) -> None:
    words = ("train", 7, "--continue-from", model, *FAST)
    assert cli(*words).code == 0
    longer = ("--epochs", 3, *FAST[2:])
    assert cli("train", 7, "--continue-from", model, *longer, "--resume").code == 0
    log = "".join(file.read_text() for file in model.with_name(NEW).glob("fold_0/training_log_*.txt"))
    assert "Epoch 2" in log
    shutil.rmtree(model)
    assert cli("train", 7, "-p", "tiny_c1", *longer, "--resume").code == 0
    refused(*words, says=[f"no model folder {model}"])
    refused("train", 7, "-p", "tiny_c1", "--fold", 2, *FAST, says=[f"no model folder {model}"], may_write="preproc")


def test_a_fold_of_its_own_and_others(model: Path, cli: Cli) -> None:
    outcome = cli("train", 7, "--continue-from", model, "--fold", 1, *FAST, "--events", "jsonl")
    assert outcome.code == 0
    (warning,) = [event["message"] for event in outcome.of("warning") if "weights" in event["message"]]
    assert "those of fold 0: it has learned from cases that fold 1 holds out" in warning
    (log,) = [event["message"] for event in outcome.of("log") if "Starting from" in event["message"]]
    assert str(model / "fold_0" / "checkpoint_final.pth") in log
    (model / "fold_0" / "checkpoint_final.pth").rename(model / "fold_0" / "checkpoint_latest.pth")
    (model / "fold_0" / "checkpoint_best.pth").unlink()
    everything = cli("train", 7, "--continue-from", model, "--fold", "all", *FAST, "--events", "jsonl")
    assert everything.code == 0
    assert not [event for event in everything.of("warning") if "weights" in event["message"]]
    assert "checkpoint_latest.pth" in everything.out


def test_more_cases_and_more_labels(model: Path, trained: Path, cli: Cli) -> None:
    raw = trained / "nnUNet_raw" / DATASET
    add_case(raw, "d0")
    outcome = cli("train", 7, "--continue-from", model, *FAST, "--events", "jsonl")
    assert outcome.code == 0, outcome.out
    assert "last layers" not in outcome.out
    assert (trained / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_3d_fullres" / "d0.pkl").is_file()
    description = json.loads((raw / "dataset.json").read_text())
    description["labels"]["new"] = 3
    (raw / "dataset.json").write_text(json.dumps(description))
    more = cli("train", 7, "--continue-from", model, "--fold", 1, *FAST, "--events", "jsonl")
    assert more.code == 0, more.out
    assert "structures taken over: background, organ, core" in more.out
    new = model.with_name("nnUNetTrainer__tiny_c2__3d_fullres")
    assert weights(new, 1)["decoder.seg_layers.0.weight"].shape[0] == 4


def test_within_a_time(model: Path, cli: Cli, short_budgets: None) -> None:
    words = ("train", 7, "--continue-from", model, "--budget", "15s", "--device", "cpu", "--workers", 0)
    outcome = cli(*words, "--events", "jsonl")
    assert outcome.code == 0, outcome.out
    new = model.with_name("nnUNetTrainer__tiny_c1__3d_fullres")
    done = next(data for data in outcome.of("done") if data["stage"] == "train")
    assert (done["model_folder"], done["finished"]) == (str(new), True)
    recipe = json.loads((new / "fold_0" / "debug.json").read_text())["recipe"]
    assert (recipe["optimizer"], recipe["learning_rate"]) == ("muon", pytest.approx(0.3 * 8e-3))
    old, plans = (json.loads((folder / "plans.json").read_text()) for folder in (model, new))
    name = "3d_fullres"
    for key in ("patch_size", "architecture", "spacing", "data_identifier"):
        assert plans["configurations"][name][key] == old["configurations"][name][key]
    assert "nothing is left to train" in cli(*words, "--resume").err


def test_a_model_of_another_dataset(model: Path, trained: Path, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    """It comes as a zip file, has plans of its own, and this dataset's own preprocessed cases stay as they are."""
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["spacing"] = [3.0, 1.5, 1.5]
    (model / "plans.json").write_text(json.dumps(plans))
    assert cli("export-model", model, tmp_path / "model.zip").code == 0
    assert cli("import-model", tmp_path / "model.zip", "--dataset", "Dataset055_Elsewhere").code == 0
    foreign = trained / "nnUNet_results" / "Dataset055_Elsewhere" / model.name
    prepared = trained / "nnUNet_preprocessed" / DATASET
    cases = listing(prepared / "nnUNetPlans_3d_fullres")
    outcome = cli("train", 7, "--continue-from", foreign, "--fold", 1, *FAST, "--events", "jsonl")
    assert outcome.code == 0, outcome.out
    assert "holds out" not in outcome.out
    assert listing(prepared / "nnUNetPlans_3d_fullres") == cases
    new = json.loads((model.with_name("nnUNetTrainer__tiny_c1__3d_fullres") / "plans.json").read_text())
    assert new["dataset_name"] == DATASET
    assert new["configurations"]["3d_fullres"]["data_identifier"] == "tiny_c1_3d_fullres"
    assert len(list((prepared / "tiny_c1_3d_fullres").glob("c*.pkl"))) == 5
    shutil.rmtree(prepared)  # a dataset that was never planned
    again = cli("train", 7, "--continue-from", foreign, *FAST, "--events", "jsonl")
    assert again.code == 0, again.out
    assert (prepared / "tiny_c2.json").is_file()

    description = json.loads((foreign / "dataset.json").read_text())
    description["channel_names"] = {"0": "T1", "1": "T2"}
    (foreign / "dataset.json").write_text(json.dumps(description))
    says = ["2 channels (T1, T2)", f"{DATASET} has 1 (MRI)", "same channels", "move-plans --own-channels"]
    refused("train", 7, "--continue-from", foreign, *FAST, says=says)


def test_mirroring_stays_as_it_was(model: Path, cli: Cli) -> None:
    from segautoconfiglib.networks.checkpoint import read_checkpoint, write_checkpoint

    file = model / "fold_0" / "checkpoint_final.pth"
    for number, axes in ((1, None), (2, (0,)), (3, (0, 1, 2))):
        content = read_checkpoint(file)
        write_checkpoint(file, {**content, "inference_allowed_mirroring_axes": axes})
        assert cli("train", 7, "--continue-from", model, *FAST).code == 0
        new = model.with_name(f"nnUNetTrainer__tiny_c{number}__3d_fullres") / "fold_0" / "checkpoint_final.pth"
        assert read_checkpoint(new)["inference_allowed_mirroring_axes"] == axes


def test_what_contradicts_itself(model: Path, refused: Refused, tmp_path: Path) -> None:
    start = ("train", 7, "--continue-from", model, *FAST)
    refused(*start, "-p", "tiny", says=["--continue-from takes weights and plan", "--plans"])
    refused(*start, "--planner", "resenc", says=["--continue-from takes weights and plan"])
    refused(*start, "--pretrained-weights", tmp_path / "a.pth", says=["--continue-from takes weights and plan"])
    refused(
        *start, "--adapt", "heads", "channels",
        says=["--adapt channels can't change", "move-plans --own-channels", "--pretrained-weights FILE"],
    )  # fmt: skip
    refused(*start, "-c", "2d", says=["was trained with 3d_fullres, not 2d"])
    shutil.rmtree(model / "fold_0")
    refused(*start, says=["has no checkpoint to start from"])
