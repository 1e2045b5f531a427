"""What an earlier training left decides about a new one; nothing is changed before it can start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.base.events import ListReporter  # noqa: E402
from segautoconfiglib.base.lock import alone  # noqa: E402
from segautoconfiglib.dataset.splits import Split  # noqa: E402
from segautoconfiglib.planning.plans import Plans  # noqa: E402
from segautoconfiglib.training import folder  # noqa: E402
from segautoconfiglib.training.hooks import BEST, FINAL, LATEST  # noqa: E402
from segautoconfiglib.training.job import Means, TrainJob  # noqa: E402

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.mark.parametrize(
    ("present", "chosen", "said"),
    [
        ([], None, None),
        ([LATEST, BEST], LATEST, "fold_0 of model was trained before and not finished"),
        ([FINAL, BEST], FINAL, "fold_0 of model is trained already"),
        ([LATEST, FINAL], LATEST, "not finished"),  # a finished one was continued
        ([BEST], BEST, "not finished"),
    ],
)
def test_what_is_resumed_and_what_is_refused(tmp_path: Path, present: list[str], chosen: str | None, said: str | None):
    fold = tmp_path / "model" / "fold_0"
    touch(*(fold / name for name in present))
    assert folder.find_checkpoint(fold, resume=True, overwrite=False) == (fold / chosen if chosen else None)
    assert folder.find_checkpoint(fold, resume=False, overwrite=True) is None
    if said is None:
        assert folder.find_checkpoint(fold, resume=False, overwrite=False) is None
    else:
        with pytest.raises(UserError, match=f"{said}.*{present[0]}.*--resume.*--overwrite"):
            folder.find_checkpoint(fold, resume=False, overwrite=False)


def test_checking_makes_nothing(make_job: Any, tmp_path: Path):
    report = ListReporter()
    assert folder.check_folders(make_job(), report) is None
    assert not report.events
    assert folder.check_folders(make_job(resume=True), report) is None
    assert "holds no checkpoint to resume from" in report.of("warning")[0]["message"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(make_job: Any, tmp_path: Path):
    touch(tmp_path / "model")
    with pytest.raises(UserError, match=r"model.*is no folder"):
        folder.check_folders(make_job(), ListReporter())


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        (lambda options: options.update(batch_size=4), True),
        (lambda options: options.update(patch_size=[8, 16, 12]), False),
        (lambda options: options.update(spacing=[1.0, 1.0, 2.0]), False),
        (lambda options: options["architecture"]["arch_kwargs"].update(features_per_stage=[4, 8, 9]), False),
    ],
)
def test_folds_must_be_of_one_plan(make_job: Any, change: Any, fits: bool):
    """What predictions are averaged over must fit together; the batch size does not matter for that."""
    job: TrainJob = make_job()
    folder.write_model_files(job)
    changed = job.plans.to_json()
    change(changed["configurations"]["3d_fullres"])
    other = replace(job, plans=Plans.from_json(changed, "plans"))
    folder.check_folders(other, ListReporter())  # there is no other fold yet
    touch(job.model_folder / "fold_3" / BEST)
    if fits:
        folder.check_folders(other, ListReporter())
        return
    with pytest.raises(UserError, match="holds fold_3, which was trained with another plan"):
        folder.check_folders(other, ListReporter())


def test_a_fold_in_training_must_be_of_the_same_plan_too(make_job: Any):
    """It has no checkpoint yet."""
    job: TrainJob = make_job()
    folder.write_model_files(job)
    changed = job.plans.to_json()
    changed["configurations"]["3d_fullres"]["patch_size"] = [8, 16, 12]
    other = replace(job, fold=3, plans=Plans.from_json(changed, "plans"))
    with alone(other.lock_file, "Testing"):
        assert other.other_folds() == []
        with alone(job.lock_file, "Testing"):
            assert other.other_folds() == ["fold_0"]
            with pytest.raises(UserError, match="holds fold_0, which was trained with another plan"):
                folder.check_folders(other, ListReporter())
        touch(job.fold_folder / BEST, other.fold_folder / BEST, job.model_folder / "fold_all" / FINAL)
        assert other.other_folds() == ["fold_0", "fold_all"]
    job.lock_file.touch()  # of one that was killed
    assert replace(job, fold=1).other_folds() == ["fold_0", "fold_3", "fold_all"]
    assert replace(job, model_folder=job.model_folder.with_name("new"), fold=1).other_folds() == []


def test_discarding_takes_results_and_leaves_logs(tmp_path: Path):
    touch(*(tmp_path / name for name in (LATEST, BEST, FINAL, "progress.png", "training_log_1.txt", "debug.json")))
    touch(tmp_path / "validation" / "summary.json", tmp_path / "validation_best" / "c1.nii.gz")
    folder.discard_training(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["debug.json", "training_log_1.txt"]


def test_discarding_takes_what_next_stages_would_learn_from(tmp_path: Path):
    stages = tmp_path / "predicted_next_stage"
    touch(*(stages / name / f"{case}.b2nd" for name in ("cascade", "bs3") for case in ("c1", "c10", "c2")))
    folder.discard_training(tmp_path / "fold_0", ["c1", "c3"])
    left = sorted(path.relative_to(stages).as_posix() for path in stages.glob("*/*"))
    assert left == ["bs3/c10.b2nd", "bs3/c2.b2nd", "cascade/c10.b2nd", "cascade/c2.b2nd"]


def test_model_files_are_what_prediction_needs(make_job: Any, tmp_path: Path):
    job: TrainJob = make_job(dataset_folder=tmp_path / "preprocessed")
    job.dataset_folder.mkdir()
    (job.dataset_folder / "dataset_fingerprint.json").write_text('{"spacings": []}')
    folder.write_model_files(job)
    assert sorted(path.name for path in job.model_folder.iterdir()) == [
        "dataset.json",
        "dataset_fingerprint.json",
        "plans.json",
    ]
    assert json.loads((job.model_folder / "plans.json").read_text()) == job.plans.to_json()
    assert json.loads((job.model_folder / "dataset.json").read_text()) == job.description.to_json()
    assert (job.model_folder / "dataset_fingerprint.json").read_text() == '{"spacings": []}'


def test_a_checkpoint_says_what_nnunet_asks_for(make_job: Any):
    job: TrainJob = make_job()
    identity = folder.checkpoint_identity(job, CPU)
    assert identity["trainer_name"] == "nnUNetTrainer"
    assert identity["inference_allowed_mirroring_axes"] == (0, 1, 2)
    assert identity["init_args"]["configuration"] == "3d_fullres"
    assert identity["init_args"]["plans"]["plans_name"] == "nnUNetPlans"
    still = replace(job, recipe=replace(job.recipe, mirror=False))
    assert folder.checkpoint_identity(still, CPU)["inference_allowed_mirroring_axes"] is None


def test_the_debug_file_explains_the_run(make_job: Any):
    job: TrainJob = make_job(initial_weights=Path("first.pth"))
    folder.write_debug_file(job, Means(Split(("a",), ("b",)), CPU, workers=2, threads=3))
    content = json.loads((job.fold_folder / "debug.json").read_text(), parse_constant=pytest.fail)
    assert content["job"]["initial_weights"] == "first.pth"
    assert content["recipe"]["seed"] == 7
    assert (content["split"], content["batch_size"]) == ({"train": ["a"], "val": ["b"]}, 2)
    assert (content["workers"], content["threads"], content["device"]) == (2, 3, "cpu")
    assert content["torch_version"] == torch.__version__
