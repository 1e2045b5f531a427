"""Datasets that grow, shrink or are corrected after they were planned and trained on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.image.files import read_stored, write_image, write_labels
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.pipeline.changes import follow_dataset
from segautoconfiglib.preprocessing.in_use import in_use
from segautoconfiglib.preprocessing.store import CaseStore

DATASET = "Dataset007_Test"
LABELS = {"background": 0, "organ": 1, "core": 2}
TRAIN = ("train", 7, "-p", "tiny", "-c", "3d_fullres", "--device", "cpu", "--epochs", 1, "--iterations", 2)
FAST = ("--workers", 0, "--events", "jsonl")
GRID = Geometry((3.0, 1.0, 1.0))


def stage(folder: Path, *ids: str, highest: int = 2, **content: Any) -> Path:
    """Cases like those of dataset 7, as a staging folder; the brightest block has the label ``highest``."""
    entries = []
    for number, case in enumerate(ids):
        random = np.random.default_rng(50 + number)
        labels = np.zeros((8, 20, 22), np.uint8)
        labels[2:6, 4:15, 4:15] = 1
        labels[3:5, 7:12, 7:12] = highest
        image = (120 * labels + random.normal(100, 12, labels.shape)).astype(np.float32)
        write_image(image, folder / f"{case}_image.nrrd", GRID)
        write_labels(labels, folder / f"{case}_labels.nrrd", GRID)
        entries.append({"id": case, "images": [f"{case}_image.nrrd"], "labels": f"{case}_labels.nrrd"})
    for entry in entries:
        entry.update(content.pop(str(entry["id"]), {}))
    (folder / "cases.json").write_text(json.dumps({"cases": entries, **content}))
    return folder


def messages(outcome: Any) -> str:
    return "\n".join(event["message"] for kind in ("log", "warning") for event in outcome.of(kind))


def read(file: Path) -> Any:
    return json.loads(file.read_text())


@pytest.fixture
def preprocessed(workspace: Path) -> Path:
    """The preprocessed folder of dataset 7."""
    return workspace / "nnUNet_preprocessed" / DATASET


def test_a_new_dataset_from_the_command_line(workspace: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    source = stage(tmp_path / "new", "a", "b", channel_names={"0": "MRI"}, labels=LABELS, b={"test": True})
    outcome = cli("add-cases", DATASET, "--from", source, *FAST)
    assert outcome.code == 0
    folder = workspace / "nnUNet_raw" / DATASET
    done = next(event for event in outcome.of("done") if event["stage"] == "add-cases")
    assert {key: value for key, value in done.items() if key not in ("version", "time", "stage")} == {
        "dataset": DATASET, "folder": str(folder), "cases": ["a", "b"], "replaced": [], "training": 1, "test": 1,
    }  # fmt: skip
    assert cli("verify", 7).code == 0
    outcome = cli("remove-cases", 7, "b", "--events", "jsonl")
    done = next(event for event in outcome.of("done") if event["stage"] == "remove-cases")
    assert (done["cases"], done["training"], done["test"]) == (["b"], 1, 0)
    assert Path(done["removed"], "b", "imagesTs", "b_0000.nrrd").is_file()


def test_what_people_see(raw: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    outcome = cli("add-cases", 7, "--from", stage(tmp_path / "new", "x"))
    assert outcome.code == 0
    assert "add-cases done" in outcome.err
    assert "training 6" in outcome.err
    train = f"train {DATASET} --budget 20m --workspace {raw.parents[1]}"
    assert f"Next: python -m segautoconfiglib {train}" in outcome.err.splitlines()
    assert '"cases": [{"id"' in cli("add-cases", "--help").out


def test_names_of_datasets(raw: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    source = stage(tmp_path / "new", "x", channel_names={"0": "MRI"}, labels=LABELS)
    refused("add-cases", "Dataset007_Other", "--from", source, says=["number 7", DATASET])
    refused("add-cases", 8, "--from", source, says=["no dataset with id 8"])
    refused("add-cases", "Dataset8_Other", "--from", source, says=["is not a dataset name"])
    refused("add-cases", "Dataset008_a/b", "--from", source, says=["can't be the name of a folder"])
    refused("add-cases", 7, "--from", tmp_path / "none", says=["cases.json does not exist"])
    refused("remove-cases", 7, "c0", "c9", says=["c9", "It has: c0"])


def test_problems_as_events(raw: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    source = stage(tmp_path / "new", "x", "c1", highest=3)
    outcome = cli("add-cases", 7, "--from", source, *FAST)
    assert outcome.code == 2
    problems = outcome.of("error")[0]["problems"]
    assert [(problem["case"], Path(problem["file"]).name) for problem in problems] == [
        ("c1", ""),
        ("x", "x_labels.nrrd"),
        ("c1", "c1_labels.nrrd"),
    ]


def test_the_fingerprint_follows_the_dataset(
    raw: Path, cli: Callable[..., Any], tmp_path: Path, preprocessed: Path
) -> None:
    assert cli("plan", 7).code == 0
    file = preprocessed / "dataset_fingerprint.json"
    first, made = read(file), file.stat().st_mtime_ns
    cli("fingerprint", 7)
    assert file.stat().st_mtime_ns == made
    cli("add-cases", 7, "--from", stage(tmp_path / "new", "x"))
    assert "has changed since it was measured" in cli("plan", 7).err
    assert len(read(file)["spacings"]) == 6
    assert read(preprocessed / "dataset.json")["numTraining"] == 6
    cli("remove-cases", 7, "x")
    cli("plan", 7)
    assert read(file) == first


@pytest.mark.parametrize(
    ("options", "note", "edited", "again"),
    [
        ((), True, False, True),
        (("-overwrite_target_spacing", 2, 1, 1), True, False, True),  # made again with the same options
        ((), False, False, True),  # as nnU-Net leaves them
        (("-overwrite_target_spacing", 2, 1, 1), False, False, False),
        ((), True, True, False),
    ],
)
def test_which_plans_are_made_again(
    raw: Path, cli: Callable[..., Any], tmp_path: Path, preprocessed: Path,
    options: tuple[Any, ...], note: bool, edited: bool, again: bool,
) -> None:  # fmt: skip
    assert cli("plan", 7, *options).code == 0
    file = preprocessed / "nnUNetPlans.json"
    before = read(file)
    if edited:
        before["configurations"]["3d_fullres"]["batch_size"] += 1
        file.write_text(json.dumps(before))
    if not note:
        (preprocessed / ".segautoconfig" / file.name).unlink()
    cli("add-cases", 7, "--from", stage(tmp_path / "new", "x"))
    report = ListReporter()
    context = Context(Workspace.at(raw.parents[1]), report)
    fold = context.workspace.results / DATASET / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0"
    for _ in range(2):
        follow_dataset(context, DATASET, "nnUNetPlans", fold, overwrite=False)
    said = [event["message"] for event in report.of("log") if DATASET in event["message"]]
    assert read(preprocessed / "dataset.json")["numTraining"] == 6
    if again:
        assert [message.partition(":")[0] for message in said] == [
            f"{DATASET} has changed since it was planned",
            f"{DATASET} has changed since it was measured.",
        ]
        shutil.copytree(preprocessed, tmp_path / "followed")
        assert cli("plan", 7, *options).code == 0
        assert read(file) == read(tmp_path / "followed" / file.name) != before
    else:
        assert ["that plan stays, because it was not made by plan" in message for message in said] == [True, True]
        assert read(file) == before


def test_changed_channels_need_a_plan(raw: Path, cli: Callable[..., Any], preprocessed: Path) -> None:
    assert cli("plan", 7).code == 0
    file = preprocessed / "nnUNetPlans.json"
    file.write_text(file.read_text().replace('"batch_dice": false', '"batch_dice": true'))
    (raw / "dataset.json").write_text(json.dumps({**read(raw / "dataset.json"), "channel_names": {"0": "CT"}}))
    context = Context(Workspace.at(raw.parents[1]))
    fold = context.workspace.results / DATASET / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0"
    with pytest.raises(UserError, match="channel_names in"):
        follow_dataset(context, DATASET, "nnUNetPlans", fold, overwrite=False)


@pytest.mark.torch
def test_a_dataset_that_grew_is_trained_again(
    trained: Path, cli: Callable[..., Any], tmp_path: Path, preprocessed: Path
) -> None:
    before = read(preprocessed / "splits_final.json")
    source = stage(tmp_path / "new", "x", "c1", c1={"replace": True})
    assert cli("add-cases", 7, "--from", source, *FAST).code == 0
    assert cli("remove-cases", 7, "c2").code == 0
    assert read(preprocessed / "splits_final.json") == before  # until the cases are preprocessed
    outcome = cli(*TRAIN, "--resume", "--epochs", 2, *FAST)
    assert outcome.code == 0
    assert "that plan stays, because 1 model was trained with it (nnUNetTrainer__tiny__3d_fullres)" in messages(outcome)
    assert "splits_final.json: x dealt to the folds; c2 dropped." in messages(outcome)
    expected = []
    for fold in before:
        sides = {side: [case for case in fold[side] if case != "c2"] for side in ("train", "val")}
        sides["train" if fold["val"] != ["c2"] else "val"].append("x")
        expected.append(sides)
    assert read(preprocessed / "splits_final.json") == expected
    store = CaseStore(preprocessed / "nnUNetPlans_3d_fullres")
    assert store.case_ids(hidden=True) == ["c0", "c1", "c3", "c4", "x"]
    assert [event["case"] for event in outcome.of("progress") if event["stage"] == "preprocess"] == ["c1", "x"]
    assert sorted(path.name for path in (preprocessed / "gt_segmentations").iterdir()) == [
        f"{case}.nii.gz" for case in ("c0", "c1", "c3", "c4", "x")
    ]
    raw = trained / "nnUNet_raw" / DATASET
    for file in (preprocessed / "gt_segmentations").iterdir():
        assert np.array_equal(read_stored(file).array, read_stored(raw / "labelsTr" / file.name).array)
    assert read(preprocessed / "dataset.json")["numTraining"] == 5
    model = trained / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres"
    assert read(model / "dataset.json")["numTraining"] == 5
    assert cli(*TRAIN, "--overwrite", *FAST).code == 0


@pytest.mark.torch
def test_labels_and_plans_follow_until_a_model_needs_them(
    raw: Path, cli: Callable[..., Any], refused: Callable[..., str], tmp_path: Path, preprocessed: Path
) -> None:
    train = ("train", 7, "-c", "3d_fullres", "--device", "cpu", "--epochs", 1, "--iterations", 1)
    assert cli("plan", 7).code == 0
    vein = {"labels": {**LABELS, "vein": 3}, "segments": {"vein": {"color": [1, 0, 0]}}}
    assert cli("add-cases", 7, "--from", stage(tmp_path / "new", "x", highest=3, **vein)).code == 0
    outcome = cli(*train, *FAST)  # nothing was trained: all is made again
    assert outcome.code == 0
    assert "it is measured and planned anew" in messages(outcome)
    assert len(read(preprocessed / "dataset_fingerprint.json")["spacings"]) == 6
    model = preprocessed.parents[1] / "nnUNet_results" / DATASET / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    assert read(model / "dataset.json")["labels"] == {**LABELS, "vein": 3}
    assert read(model / "dataset.json")["segments"] == vein["segments"]
    planned = read(preprocessed / "nnUNetPlans.json")

    nerve = {"labels": {**LABELS, "vein": 3, "nerve": 4}}
    assert cli("add-cases", 7, "--from", stage(tmp_path / "more", "y", highest=4, **nerve)).code == 0
    says = [
        "labels of",
        "after training fold_0 of nnUNetTrainer__nnUNetPlans__3d_fullres",
        "--overwrite-plans-name NAME",
        "--continue-from",
    ]
    for more, remedy in (
        (("--resume",), "train with --overwrite"),
        ((), "train with --overwrite"),
        (("--fold", 1), f"delete-model {model}"),
    ):
        refused(*train, *more, "--workers", 0, says=[*says, remedy])
    assert read(preprocessed / "nnUNetPlans.json") == planned
    outcome = cli(*train, "--overwrite", *FAST)
    assert outcome.code == 0
    assert "it is measured and planned anew" in messages(outcome)
    assert read(preprocessed / "nnUNetPlans.json") != planned
    assert len(read(model / "dataset.json")["labels"]) == 5


@pytest.mark.torch
def test_cases_that_a_training_reads_stay_where_they_are(
    trained: Path, cli: Callable[..., Any], refused: Callable[..., str], tmp_path: Path, preprocessed: Path
) -> None:
    store = CaseStore(preprocessed / "nnUNetPlans_3d_fullres")
    preprocess = ("preprocess", 7, "-p", "tiny", "-c", "3d_fullres")
    new = stage(tmp_path / "new", "x")
    changed = stage(tmp_path / "changed", "c1", c1={"replace": True})
    with in_use(store.folder, "a model, fold 0"):
        cli("add-cases", 7, "--from", new)
        cli("remove-cases", 7, "c2")
        assert cli(*preprocess).code == 0
        assert store.case_ids() == ["c0", "c1", "c3", "c4", "x"]
        assert store.open("c2").labels[:].max() == 2
        assert (preprocessed / "gt_segmentations" / "c2.nii.gz").exists()
        cli("add-cases", 7, "--from", changed)
        refused(*preprocess, says=["1 case must be preprocessed again (c1)", "a model, fold 0"])
    assert cli(*preprocess).code == 0
    assert store.case_ids(hidden=True) == ["c0", "c1", "c3", "c4", "x"]
    assert not [*preprocessed.glob(".*.lock"), *preprocessed.glob(".*.reading")]


@pytest.mark.torch
def test_a_training_validates_on_the_cases_that_it_held_out(
    trained: Path, cli: Callable[..., Any], preprocessed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segautoconfiglib.training import run

    original = run.train_fold

    def train_fold(job: Any, **options: Any) -> Any:
        result = original(job, **options)
        splits = read(preprocessed / "splits_final.json")
        splits[1]["val"].append("added meanwhile")
        (preprocessed / "splits_final.json").write_text(json.dumps(splits))
        return result

    monkeypatch.setattr(run, "train_fold", train_fold)
    outcome = cli(*TRAIN, "--fold", 1, *FAST)
    assert outcome.code == 0
    assert next(event for event in outcome.of("done") if event["stage"] == "validate")["cases"] == 1


def test_removing_and_replacing_wait_for_preprocessing(
    raw: Path, cli: Callable[..., Any], refused: Callable[..., str], preprocessed: Path, tmp_path: Path
) -> None:
    from segautoconfiglib.base.lock import alone

    with alone(preprocessed / ".data.lock", "Preprocessing"):
        refused("remove-cases", 7, "c0", says=["being planned or preprocessed"])
        again = stage(tmp_path / "again", "c0")
        content = json.loads((again / "cases.json").read_text())
        content["cases"][0]["replace"] = True
        (again / "cases.json").write_text(json.dumps(content))
        refused("add-cases", 7, "--from", again, says=["being planned or preprocessed"])
        assert cli("add-cases", 7, "--from", stage(tmp_path / "new", "n")).code == 0
