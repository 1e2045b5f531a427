"""Whole trainings of a tiny network."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.cancel import CancelToken  # noqa: E402
from segautoconfiglib.base.errors import Cancelled, UserError  # noqa: E402
from segautoconfiglib.base.events import ListReporter  # noqa: E402
from segautoconfiglib.networks.checkpoint import read_checkpoint, write_checkpoint  # noqa: E402
from segautoconfiglib.planning.recipe import Recipe  # noqa: E402
from segautoconfiglib.training import batches, step  # noqa: E402
from segautoconfiglib.training.hooks import BEST, FINAL, LATEST  # noqa: E402
from segautoconfiglib.training.run import TrainJob, train_fold  # noqa: E402
from segautoconfiglib.training.state import HISTORY_KEYS, OWN_KEY  # noqa: E402

pytestmark = pytest.mark.torch
EPOCH_KEYS = [key for key in HISTORY_KEYS if "timestamps" not in key]


class StopAfter(CancelToken):
    """Cancels when it was asked a number of times: before every step and every validation batch."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self._left = asked

    @property
    def cancelled(self) -> bool:
        self._left -= 1
        return self._left < 0


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    """Equal to the last bit, through dictionaries and lists."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}/{index}")
    elif isinstance(one, float) and math.isnan(one):
        assert math.isnan(other), where
    else:
        assert one == other, where


def assert_same_training(one: dict, other: dict) -> None:
    """Two checkpoints that agree in all but times."""
    for checkpoint in (one, other):
        for key in ("epoch_start_timestamps", "epoch_end_timestamps"):
            del checkpoint["logging"][key]
        del checkpoint[OWN_KEY]["recipe"]["epochs"]
        checkpoint[OWN_KEY]["position"]["epoch_seconds"] = 0
    assert_equal(one, other)


def test_folders_and_files_are_nnunets(make_job):
    report = ListReporter()
    job = make_job()
    result = train_fold(job, report=report)
    assert (result.epochs_done, result.finished) == (4, True)
    assert {file.name for file in job.model_folder.iterdir()} == {"plans.json", "dataset.json", "fold_0"}
    names = {file.name for file in job.fold_folder.iterdir()}
    (log,) = (name for name in names if name.startswith("training_log_"))
    assert names == {log, FINAL, BEST, "debug.json", "progress.png"}
    text = (job.fold_folder / log).read_text()
    assert "Epoch 3" in text
    assert text.count("Pseudo dice [") == 4
    debug = json.loads((job.fold_folder / "debug.json").read_text(), parse_constant=pytest.fail)
    assert debug["batch_size"] == 2

    rows = report.of("metric")
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert set(rows[0]) == {
        "stage", "epoch", "train_loss", "val_loss", "dice", "mean_dice", "ema_dice", "learning_rate", "seconds",
    }  # fmt: skip
    assert rows[2]["learning_rate"] == pytest.approx(0.01 * 0.5**0.9)
    assert rows[1]["ema_dice"] == pytest.approx(0.9 * rows[0]["ema_dice"] + 0.1 * rows[1]["mean_dice"])
    assert report.of("progress")[-1]["done"] == report.of("progress")[-1]["total"] == 12
    assert report.of("done") == [
        {
            "stage": "train",
            "fold_folder": str(job.fold_folder),
            "model_folder": str(job.model_folder),
            "epochs_done": 4,
            "best_mean_dice": max(row["mean_dice"] for row in rows),
            "finished": True,
        }
    ]


def test_checkpoint_has_nnunets_keys(make_job):
    job = make_job()
    train_fold(job)
    content = read_checkpoint(job.fold_folder / FINAL)
    assert set(content) == {
        "network_weights", "optimizer_state", "grad_scaler_state", "logging", "_best_ema", "current_epoch",
        "init_args", "trainer_name", "inference_allowed_mirroring_axes", OWN_KEY,
    }  # fmt: skip
    assert content["trainer_name"] == "nnUNetTrainer"
    assert content["inference_allowed_mirroring_axes"] == (0, 1, 2)
    assert content["current_epoch"] == 4
    assert content["init_args"].keys() == {"plans", "configuration", "fold", "dataset_json", "device"}
    assert content["init_args"]["fold"] == 0
    assert all(len(content["logging"][key]) == 4 for key in HISTORY_KEYS)
    weights = content["network_weights"]
    name = "encoder.stages.0.0.convs.0."
    assert torch.equal(weights[name + "conv.weight"], weights["decoder." + name + "all_modules.0.weight"])
    assert content[OWN_KEY]["recipe"]["seed"] == 7


@pytest.mark.parametrize(
    ("recipe", "stops"),
    [
        ({}, [10]),
        ({"optimizer": "adamw", "schedule": "cosine_warmup", "average_weights": 0.9}, [13, 1, 5]),
        ({"optimizer": "muon", "schedule": "poly_warmup", "average_weights": 0.99}, [13, 1]),
        ({"schedule": "cosine", "warmup_epochs": 2, "loss": "topk", "augmentation": "da5"}, [10]),
        (
            {
                "optimizer": "adamw_amsgrad",
                "schedule": "cosine_steps",
                "warmup_epochs": 1,
                "oversampling": "probabilistic",
                "image_order": 0,
            },
            [13, 1],
        ),
    ],
)
def test_resuming_is_exact(make_job, tmp_path, tiny_recipe: Recipe, recipe: dict, stops: list[int]):
    """An epoch asks 3 + 2 times: stops after two epochs; within the third, after one step more, and in a validation."""
    chosen = replace(tiny_recipe, **recipe)
    unbroken = make_job(recipe=chosen)
    train_fold(unbroken)
    stopped = make_job(recipe=chosen, model_folder=tmp_path / "stopped")
    for count, asked in enumerate(stops):
        with pytest.raises(Cancelled):
            train_fold(replace(stopped, resume=count > 0), cancel=StopAfter(asked))
        assert (stopped.fold_folder / LATEST).is_file()
        assert not (stopped.fold_folder / FINAL).exists()
        torch.manual_seed(99)  # whatever happens in between
    train_fold(replace(stopped, resume=True))
    assert not (stopped.fold_folder / LATEST).exists()
    for name in (FINAL, BEST):
        one, other = (read_checkpoint(job.fold_folder / name) for job in (unbroken, stopped))
        assert_same_training(one, other)


def test_a_stop_file_stops_and_the_rest_is_exact(make_job, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("segautoconfiglib.base.cancel.LOOK_EVERY_S", 0.0)
    unbroken, stopped = make_job(), make_job(model_folder=tmp_path / "stopped")
    train_fold(unbroken)
    stop = stopped.fold_folder / "stop"
    stop.parent.mkdir(parents=True)
    stop.touch()  # left over

    def make_file(kind: str, **data: Any) -> None:
        if kind == "metric" and data["epoch"] == 1:
            stop.touch()

    with pytest.raises(Cancelled):
        train_fold(stopped, report=make_file)
    assert not stop.exists()
    assert read_checkpoint(stopped.fold_folder / LATEST)["current_epoch"] == 2
    train_fold(replace(stopped, resume=True))
    one, other = (read_checkpoint(job.fold_folder / FINAL) for job in (unbroken, stopped))
    assert_same_training(one, other)


def test_same_seed_same_weights_with_workers(make_job, tmp_path):
    for workers in (0, 2):
        train_fold(make_job(workers=workers, model_folder=tmp_path / str(workers)))
    one, other = (read_checkpoint(tmp_path / str(workers) / "fold_0" / FINAL) for workers in (0, 2))
    assert_same_training(one, other)


def test_other_seed_other_weights(make_job, tmp_path, tiny_recipe: Recipe):
    train_fold(make_job())
    train_fold(make_job(recipe=replace(tiny_recipe, seed=8), model_folder=tmp_path / "other"))
    one, other = (
        read_checkpoint(folder / "fold_0" / FINAL)["network_weights"]
        for folder in (tmp_path / "model", tmp_path / "other")
    )
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_trained_folds_are_kept_unless_told_otherwise(make_job):
    job = make_job()
    train_fold(job)
    with pytest.raises(UserError, match=r"trained already.*--overwrite"):
        train_fold(job)
    report = ListReporter()
    before = (job.fold_folder / FINAL).stat().st_mtime_ns
    assert train_fold(replace(job, resume=True), report=report).finished
    assert (job.fold_folder / FINAL).stat().st_mtime_ns == before
    assert "nothing is left" in report.of("log")[0]["message"]
    assert not report.of("metric")
    (job.fold_folder / "validation").mkdir()
    assert train_fold(replace(job, overwrite=True)).epochs_done == 4
    assert not (job.fold_folder / "validation").exists()


def test_unfinished_fold_without_resume_is_refused(make_job):
    job = make_job()
    with pytest.raises(Cancelled):
        train_fold(job, cancel=StopAfter(1))
    with pytest.raises(UserError, match=r"not finished.*--resume"):
        train_fold(job)


def test_more_epochs_continue_a_finished_run(make_job, tiny_recipe: Recipe):
    job = make_job()
    train_fold(job)
    report = ListReporter()
    longer = replace(job, resume=True, recipe=replace(tiny_recipe, epochs=6))
    assert train_fold(longer, report=report).epochs_done == 6
    assert [row["epoch"] for row in report.of("metric")] == [4, 5]
    assert "epochs is 6, was 4" in report.of("warning")[0]["message"]


def test_more_epochs_continue_a_run_that_nnunet_finished(make_job, tiny_recipe: Recipe):
    """Its checkpoints do not tell how many epochs were wanted."""
    job = make_job()
    train_fold(job)
    content = read_checkpoint(job.fold_folder / FINAL)
    del content[OWN_KEY]
    write_checkpoint(job.fold_folder / FINAL, content)
    assert train_fold(replace(job, resume=True)).epochs_done == 4
    longer = replace(job, resume=True, recipe=replace(tiny_recipe, epochs=6))
    assert train_fold(longer).epochs_done == 6


def test_resuming_another_network_is_refused(make_job):
    job = make_job()
    with pytest.raises(Cancelled):
        train_fold(job, cancel=StopAfter(1))
    wider = job.plans.to_json()
    wider["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 6, 8]
    other = replace(job, plans=type(job.plans).from_json(wider, "plans"), resume=True)
    with pytest.raises(UserError, match=r"do not fit this network"):
        train_fold(other)
    with pytest.raises(UserError, match=r"optimizer 'sgd'"):
        train_fold(replace(job, resume=True, recipe=replace(job.recipe, optimizer="adamw")))


def test_what_cannot_start_leaves_nothing(make_job, tmp_path):
    """Neither initial weights that do not fit nor a damaged checkpoint make folders or logs, or remove anything."""
    job = make_job()
    with pytest.raises(Cancelled):
        train_fold(job, cancel=StopAfter(1))
    wider = job.plans.to_json()
    wider["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 6, 8]
    other = replace(
        job,
        plans=type(job.plans).from_json(wider, "plans"),
        initial_weights=job.fold_folder / LATEST,
        model_folder=tmp_path / "other",
    )
    with pytest.raises(UserError, match=r"do not fit this network"):
        train_fold(other)
    assert not other.model_folder.exists()

    file = job.fold_folder / LATEST
    content = read_checkpoint(file)
    del content["logging"]
    write_checkpoint(file, content)
    before = {path: path.stat().st_mtime_ns for path in job.model_folder.rglob("*")}
    with pytest.raises(UserError, match=r"can't be resumed.*logging"):
        train_fold(replace(job, resume=True))
    assert {path: path.stat().st_mtime_ns for path in job.model_folder.rglob("*")} == before


def test_without_checkpoints_nothing_is_kept(make_job):
    report = ListReporter()
    job = make_job(checkpoints=False)
    result = train_fold(job, report=report)
    assert (result.epochs_done, result.finished) == (4, False)
    assert not list(job.fold_folder.glob("*.pth"))
    assert any("No checkpoints are written" in row["message"] for row in report.of("log"))
    assert [Path(row["path"]).name for row in report.of("artifact")] == ["progress.png"]

    kept = replace(job, checkpoints=True)
    train_fold(kept)
    before = (job.fold_folder / FINAL).stat().st_mtime_ns
    assert not train_fold(job).finished  # an earlier training is neither in the way nor touched
    assert (job.fold_folder / FINAL).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("threads", "workers", "text"),
    [(1, 0, "batch 2; 1 thread, 0 worker processes."), (2, 1, "batch 2; 2 threads, 1 worker process.")],
)
def test_numbers_and_nouns_agree(make_job, tiny_recipe: Recipe, threads: int, workers: int, text: str):
    report = ListReporter()
    short = replace(tiny_recipe, epochs=1, iterations_per_epoch=1, validation_iterations=0)
    train_fold(make_job(threads=threads, workers=workers, recipe=short), report=report)
    assert report.of("log")[0]["message"].endswith(text)


def test_folds_of_different_plans_are_not_mixed(make_job):
    job = make_job()
    train_fold(job)
    changed = job.plans.to_json()
    changed["configurations"]["3d_fullres"]["patch_size"] = [8, 16, 12]
    with pytest.raises(UserError, match=r"fold_0.*another plan"):
        train_fold(replace(job, fold=1, plans=type(job.plans).from_json(changed, "plans")))


def test_resume_without_checkpoint_starts_anew(make_job):
    report = ListReporter()
    assert train_fold(make_job(resume=True), report=report).finished
    assert "no checkpoint to resume from" in report.of("warning")[0]["message"]


@pytest.mark.parametrize("heads", [False, True])
def test_initial_weights_with_and_without_heads(make_job, tmp_path, tiny_recipe: Recipe, heads: bool):
    job = make_job()
    train_fold(job)
    file = job.fold_folder / FINAL
    short = replace(tiny_recipe, epochs=1, iterations_per_epoch=1, validation_iterations=0, learning_rate=1e-30, seed=8)
    tuned = make_job(initial_weights=file, initial_heads=heads, recipe=short, model_folder=tmp_path / "tuned")
    report = ListReporter()
    train_fold(tuned, report=report)
    (log,) = [event["message"] for event in report.of("log") if "Starting from" in event["message"]]
    assert ("last layers start anew" in log) is not heads
    before = read_checkpoint(file)["network_weights"]
    after = read_checkpoint(tuned.fold_folder / FINAL)["network_weights"]
    for name in before:
        if name.endswith("weight"):  # biases of new heads are 0 like those of heads that were never used
            assert torch.equal(before[name], after[name]) == (heads or ".seg_layers." not in name), name


def test_bad_losses_are_skipped_then_stop_training(make_job, monkeypatch: pytest.MonkeyPatch, tiny_recipe: Recipe):
    evaluate = step.Objective.evaluate
    calls = []

    def broken(self, forward, image, target):
        calls.append(1)
        outputs, loss = evaluate(self, forward, image, target)
        return outputs, loss * (math.nan if len(calls) in bad else 1)

    monkeypatch.setattr(step.Objective, "evaluate", broken)
    bad = {2}
    report = ListReporter()
    job = make_job(recipe=replace(tiny_recipe, validation_iterations=0))
    assert train_fold(job, report=report).finished
    assert len(report.of("warning")) == 1
    assert "Epoch 0, step 2" in report.of("warning")[0]["message"]
    assert all(math.isfinite(row["train_loss"]) for row in report.of("metric"))

    calls.clear()
    bad = set(range(3, 1000))
    with pytest.raises(UserError, match=r"NaN or infinite.*11 steps in a row.*learning rate"):
        train_fold(replace(job, overwrite=True, recipe=replace(tiny_recipe, epochs=9, validation_iterations=0)))


def test_deadline_ends_the_run_early_and_in_time(make_job, tiny_recipe: Recipe):
    report = ListReporter()
    deadline = time.monotonic() + 5
    job = make_job(recipe=replace(tiny_recipe, epochs=10**6), deadline=deadline)
    result = train_fold(job, report=report)
    assert result.finished
    assert -0.5 < deadline - time.monotonic() < 4
    rates = [row["learning_rate"] for row in report.of("metric")]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.5 * rates[0]


def test_deadline_in_the_past_still_gives_a_model(make_job):
    result = train_fold(make_job(deadline=time.monotonic() - 1))
    assert (result.epochs_done, result.finished) == (1, True)


def test_averaged_weights_are_saved_and_validated(make_job, tiny_recipe: Recipe):
    job = make_job(recipe=replace(tiny_recipe, average_weights=0.5))
    train_fold(job)
    content = read_checkpoint(job.fold_folder / FINAL)
    name = "decoder.stages.0.convs.0.conv.weight"
    assert not torch.equal(content["network_weights"][name], content[OWN_KEY]["weights"][name])


def test_no_deep_supervision_no_mirroring_no_validation(make_job, tiny_recipe: Recipe):
    recipe = replace(tiny_recipe, deep_supervision=False, mirror=False, validation_iterations=0, augmentation="none")
    job = make_job(recipe=recipe)
    result = train_fold(job)
    assert result.best_mean_dice is None
    content = read_checkpoint(job.fold_folder / FINAL)
    assert content["inference_allowed_mirroring_axes"] is None
    assert not (job.fold_folder / BEST).exists()
    assert not any("timestamps" not in key and len(content["logging"][key]) != 4 for key in EPOCH_KEYS)


@pytest.mark.parametrize(
    "labels",
    [
        {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]},
        {"labels": {"background": 0, "whole": [1], "ignore": 2}},
    ],
)
def test_regions_and_ignore_train(make_job, describe, labels: dict):
    report = ListReporter()
    train_fold(make_job(description=describe(**labels)), report=report)
    assert report.of("metric")[-1]["train_loss"] < report.of("metric")[0]["train_loss"]
    assert len(report.of("metric")[0]["dice"]) == (2 if "regions_class_order" in labels else 1)


def test_fold_all_uses_every_case(make_job, tiny_recipe: Recipe):
    job: TrainJob = make_job(fold="all", recipe=replace(tiny_recipe, epochs=1))
    train_fold(job)
    assert job.fold_folder.name == "fold_all"
    assert len(json.loads((job.fold_folder / "debug.json").read_text())["split"]["val"]) == 6


@pytest.mark.parametrize(("configuration", "threshold"), [("3d_fullres", 0.9), ("2d", 0.9)])
def test_a_tiny_network_learns_the_blobs(make_job, configuration: str, threshold: float):
    recipe = Recipe(
        epochs=8, iterations_per_epoch=25, validation_iterations=4, optimizer="adamw", learning_rate=0.02,
        schedule="cosine_steps", augmentation="fast",
    )  # fmt: skip
    result = train_fold(make_job(configuration=configuration, recipe=recipe, fold=0))
    assert result.best_mean_dice > threshold


def test_missing_data_says_what_to_do(make_job, tmp_path):
    with pytest.raises(UserError, match=r"no preprocessed cases.*Preprocess configuration 3d_fullres"):
        train_fold(make_job(dataset_folder=tmp_path))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_too_little_memory_is_a_user_error(make_job, monkeypatch: pytest.MonkeyPatch, error: Exception):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(step.Objective, "evaluate", fail)
    with pytest.raises(UserError, match=r"memory of cpu.*batch of 2 patches of 8x16x16"):
        train_fold(make_job())


def test_too_little_memory_for_a_batch_names_the_patch(make_job, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 149 GiB")

    monkeypatch.setattr(batches, "make_batch", fail)
    with pytest.raises(UserError, match=r"memory of cpu.*batch of 2 patches of 8x16x16"):
        train_fold(make_job())


@pytest.mark.parametrize(("fold", "warnings"), [(1, 0), (2, 1)])
def test_a_fold_beyond_the_splits_file_is_said_to_be_drawn(make_job, tmp_path, fold: int, warnings: int):
    folder = tmp_path / "Dataset999_Blobs"
    shutil.copytree(make_job().dataset_folder, folder)
    even, odd = (["blob_0", "blob_2", "blob_4"], ["blob_1", "blob_3", "blob_5"])
    file = folder / "splits_final.json"
    file.write_text(json.dumps([{"train": even, "val": odd}, {"train": odd, "val": even}]))
    report = ListReporter()
    train_fold(make_job(dataset_folder=folder, model_folder=tmp_path / "model", fold=fold), report=report)
    messages = [event["message"] for event in report.of("warning")]
    assert messages == [f"{file} has 2 folds, no fold 2: its cases are drawn at random."] * warnings


def test_cases_in_no_fold_are_named(make_job, tmp_path):
    folder = tmp_path / "Dataset999_Blobs"
    shutil.copytree(make_job().dataset_folder, folder)
    fold = {"train": ["blob_0", "blob_1"], "val": ["blob_2"]}
    (folder / "splits_final.json").write_text(json.dumps([fold, {"train": ["blob_0"], "val": ["blob_3"]}]))
    report = ListReporter()
    train_fold(make_job(dataset_folder=folder, model_folder=tmp_path / "one"), report=report)
    (warning,) = report.of("warning")
    assert "In no fold of splits_final.json, and left out: 2 cases (blob_4, blob_5)." in warning["message"]
    report = ListReporter()
    train_fold(make_job(dataset_folder=folder, model_folder=tmp_path / "all", fold="all"), report=report)
    assert report.of("warning") == []
