"""A cascade made by hand, as nnU-Net's users do it: its order, its training, its prediction; and other own plans."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_once import made_once
from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import ListReporter, Reporter, silent
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.cli.main import main
from segautoconfiglib.image.files import read_image, read_labels, write_image
from segautoconfiglib.pipeline.jobs import ready_cases, standard_job
from segautoconfiglib.pipeline.options import TrainOptions
from segautoconfiglib.preprocessing.stages import PredictedStage
from segautoconfiglib.preprocessing.store import CaseStore

DATASET, CASCADE, LOWRES = "Dataset007_Test", "3d_cascade_fullres", "3d_lowres"
SPLITS = [{"train": ["c2", "c3", "c4"], "val": ["c0", "c1"]}, {"train": ["c0", "c1"], "val": ["c2", "c3", "c4"]}]
LENGTH = ("--epochs", 1, "--iterations", 2, "--device", "cpu", "--workers", 0)
FAST = ("--device", "cpu", "--no-mirroring")

pytestmark = pytest.mark.torch


def train(configuration: str, fold: int, *more: Any) -> tuple[Any, ...]:
    return ("train", 7, "-p", "tiny", "-c", configuration, "-f", fold, *LENGTH, *more)


def model(workspace: Path, configuration: str) -> Path:
    return workspace / "nnUNet_results" / DATASET / f"nnUNetTrainer__tiny__{configuration}"


def predicted(workspace: Path, configuration: str = CASCADE) -> PredictedStage:
    return PredictedStage(model(workspace, LOWRES), configuration)


def stored(workspace: Path) -> CaseStore:
    return CaseStore(workspace / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_3d_fullres")


def add_configurations(workspace: Path, **entries: dict[str, Any]) -> None:
    file = workspace / "nnUNet_preprocessed" / DATASET / "tiny.json"
    plans = json.loads(file.read_text())
    plans["configurations"].update(entries)
    file.write_text(json.dumps(plans))


def write_choice(workspace: Path) -> None:
    """A choice file: fold 0 of the coarse stage and of the cascade together, without postprocessing."""
    folders = [model(workspace, configuration) for configuration in (LOWRES, CASCADE)]
    pair = folders[0].parent / "ensembles" / "___".join(("ensemble", *(folder.name for folder in folders), "0"))
    pair.mkdir(parents=True)
    (pair / "postprocessing.json").write_text(json.dumps({"postprocessing_fns": [], "postprocessing_kwargs": []}))
    members = [
        {"configuration": configuration, "trainer": "nnUNetTrainer", "plans_identifier": "tiny"}
        for configuration in (LOWRES, CASCADE)
    ]
    best = {
        "result_on_crossval_pre_pp": 0.5,
        "result_on_crossval_post_pp": 0.5,
        "postprocessing_file": str(pair / "postprocessing.pkl"),
        "some_plans_file": str(pair / "plans.json"),
        "selected_model_or_models": members,
    }
    content = {"folds": [0], "dataset_name_or_id": DATASET, "considered_models": members, "ensembling_allowed": True}
    (folders[0].parent / "inference_information.json").write_text(
        json.dumps({**content, "all_results": {pair.name: 0.5}, "best_model_or_ensemble": best})
    )


@pytest.fixture(scope="session")
def lowres_once(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained workspace with two folds, a cascade in its plans, and both folds of 3d_lowres."""

    def make(workspace: Path) -> None:
        shutil.copytree(trained_once, workspace, dirs_exist_ok=True)
        shutil.rmtree(workspace / "nnUNet_results")
        (workspace / "nnUNet_preprocessed" / DATASET / "splits_final.json").write_text(json.dumps(SPLITS))
        lowres = {"data_identifier": "tiny_3d_lowres", "spacing": [4.5, 1.5, 1.5], "next_stage": CASCADE}
        add_configurations(
            workspace,
            **{
                LOWRES: {"inherits_from": "3d_fullres", **lowres},
                CASCADE: {"inherits_from": "3d_fullres", "previous_stage": LOWRES},
                "cascade_bs3": {"inherits_from": CASCADE, "batch_size": 3},
            },
        )
        for fold in (0, 1):
            assert main([*map(str, train(LOWRES, fold)), "--workspace", str(workspace), "--events", "jsonl"]) == 0

    return made_once(tmp_path_factory, "cascade", make)


@pytest.fixture
def lowres(lowres_once: Path, workspace: Path) -> Path:
    """A copy of it, for tests to damage."""
    shutil.copytree(lowres_once, workspace)
    return workspace


def test_lowres_predicts_the_next_stage(lowres: Path) -> None:
    stage, store = predicted(lowres), stored(lowres)
    assert sorted(file.name for file in stage.folder.iterdir()) == [f"c{number}.b2nd" for number in range(5)]
    for case in store.case_ids():
        assert stage.shape(case) == tuple(store.open(case).data.shape[1:])
        assert set(np.unique(stage.open(case)[...])) <= {0, 1, 2}
        assert stage.open(case).dtype == np.uint8
    kinds = {file.suffix for file in store.folder.iterdir() if file.is_file()}
    assert kinds == {".b2nd", ".pkl"}  # nnU-Net tells by the only ending besides .pkl how cases are stored


def test_all_folds_of_lowres_come_first(lowres: Path, cli: Callable[..., Any], refused: Callable[..., str]) -> None:
    for fold in (0, 1):
        (model(lowres, LOWRES) / f"fold_{fold}" / "checkpoint_final.pth").unlink()
    shutil.rmtree(predicted(lowres).folder)
    command = "python -m segautoconfiglib train Dataset007_Test --configuration 3d_lowres --fold"
    length = " ".join(map(str, LENGTH))
    lines = [f"  {command} {fold} --plans tiny {length} --workspace {lowres}\n" for fold in (0, 1)]
    says = ["5 of 5 cases", "folds 0, 1 of 3d_lowres", "".join(lines)]
    refused(*train(CASCADE, 0), says=says)
    assert cli(*train(LOWRES, 1, "--overwrite")).code == 0
    text = refused(*train(CASCADE, 0), says=["2 of 5 cases", "fold 0 of 3d_lowres"])
    assert f"{command} 1" not in text
    for fold, folder in ((0, "train"), (1, "val")):
        assert {path.stem for path in predicted(lowres).folder.iterdir()} == set(SPLITS[fold][folder])


def test_training_and_prediction(lowres: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    import torch

    stage = predicted(lowres)
    stage.file("c3").unlink()
    stage.save("c0", np.zeros((2, 3, 4), np.uint8), (8, 8, 8))
    os.utime(stage.file("c2"), ns=(0, 0))
    kept = {case: stage.file(case).stat().st_mtime_ns for case in ("c1", "c4")}
    outcome = cli(*train(CASCADE, 0), "--events", "jsonl")
    assert outcome.code == 0, outcome.err
    made = [event["case"] for event in outcome.of("progress") if event["stage"] == f"predict {CASCADE}"]
    assert made == ["c0", "c2", "c3"]
    said = [event["message"] for event in outcome.of("log")]
    assert said.count("3d_lowres: 5 of 5 cases are preprocessed already.") == 1
    assert all(stage.file(case).stat().st_mtime_ns == changed for case, changed in kept.items())
    assert stage.shape("c0") == tuple(stored(lowres).open("c0").data.shape[1:])
    folder = model(lowres, CASCADE)
    assert len(json.loads((folder / "fold_0" / "validation" / "summary.json").read_text())["metric_per_case"]) == 2
    content = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=False)
    assert content["network_weights"]["encoder.stages.0.0.convs.0.conv.weight"].shape[1] == 3

    images = lowres / "nnUNet_raw" / DATASET / "imagesTr"
    given = ("-d", 7, "-i", images, "-p", "tiny", *FAST, "-f", 0, "--save_probabilities")
    assert cli("nnUNetv2_predict", *given, "-c", CASCADE, "-o", tmp_path / "both").code == 0
    assert cli("nnUNetv2_predict", *given, "-c", LOWRES, "-o", tmp_path / "first").code == 0
    two = ("-o", tmp_path / "second", "-prev_stage_predictions", tmp_path / "first")
    assert cli("predict", *given, "-c", CASCADE, *two).code == 0
    for number in range(5):
        both, second = (read_labels(tmp_path / name / f"c{number}.nii.gz").array for name in ("both", "second"))
        assert np.array_equal(both, second)

    assert cli("ensemble", "-i", tmp_path / "first", tmp_path / "both", "-o", tmp_path / "mean").code == 0
    write_choice(lowres)
    outcome = cli("predict", "--choice", 7, "-i", images, "-o", tmp_path / "chosen", *FAST)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count(f"of nnUNetTrainer__tiny__{LOWRES} on cpu") == 1  # as a member; not again as a lower stage
    for number in range(5):
        mean, chosen = (read_labels(tmp_path / name / f"c{number}.nii.gz").array for name in ("mean", "chosen"))
        assert np.array_equal(mean, chosen)


def test_exported_and_used_elsewhere(lowres: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    assert cli(*train(CASCADE, 0)).code == 0
    images = tmp_path / "images"
    images.mkdir()
    shutil.copyfile(lowres / "nnUNet_raw" / DATASET / "imagesTr" / "c0_0000.nii.gz", images / "c0_0000.nii.gz")
    write_choice(lowres)
    given = ("-i", images, *FAST)
    assert cli("predict", "--choice", 7, *given, "-o", tmp_path / "chosen").code == 0
    assert cli("predict", "-m", model(lowres, CASCADE), *given, "-o", tmp_path / "one").code == 0
    found = model(lowres, LOWRES) / "crossval_results_folds_0_1" / "postprocessing.json"
    found.parent.mkdir()
    found.write_text(json.dumps({"postprocessing_fns": [], "postprocessing_kwargs": []}))
    v1 = ("nnUNet_predict", "-t", 7, "-m", CASCADE, "-p", "tiny", "-i", images, "-o", tmp_path / "v1", "--disable_tta")
    assert cli(*v1, "--device", "cpu").code == 0
    assert (tmp_path / "v1" / "3d_lowres_predictions" / "c0.nii.gz").is_file()

    outcome = cli("export-model", model(lowres, CASCADE), tmp_path / "cascade.zip")
    assert f"with it goes what it needs: nnUNetTrainer__tiny__{LOWRES}." in outcome.err
    named_alone = cli(
        "nnUNetv2_export_model_to_zip", "-d", 7, "-p", "tiny", "-c", CASCADE, "-o", tmp_path / "alone.zip"
    )
    assert f"is a cascade; what it needs is not part of the file: nnUNetTrainer__tiny__{LOWRES}." in named_alone.err
    assert cli("export-model", 7, tmp_path / "choice.zip").code == 0
    shutil.rmtree(lowres)

    place = lowres / "nnUNet_results" / "Dataset012_There"
    for file, words in (("cascade", ("-m", place / model(lowres, CASCADE).name)), ("choice", ("--choice", 12))):
        outcome = cli("import-model", tmp_path / f"{file}.zip", "-d", place.name)
        assert outcome.code == 0, outcome.err
        assert "Next: python -m segautoconfiglib predict --choice Dataset012_There " in outcome.err
        assert cli("predict", *words, *given, "-o", tmp_path / f"{file} there").code == 0
        shutil.rmtree(lowres)
    for before, after in (("one", "cascade there"), ("chosen", "choice there"), ("one", "v1")):
        one, other = (read_labels(tmp_path / name / "c0.nii.gz").array for name in (before, after))
        assert np.array_equal(one, other)


def made_ready(workspace: Path, also: Reporter = silent) -> list[str]:
    """What the stage before predicts again for fold 0 of the cascade."""
    events = ListReporter()

    def report(kind: str, **data: Any) -> None:
        events(kind, **data)
        also(kind, **data)

    context = Context(Workspace.at(workspace), report)
    options = TrainOptions(configuration=CASCADE, fold=0, plans_name="tiny", device="cpu", workers=0)
    ready_cases(context, standard_job(context, DATASET, options))
    return [row["case"] for row in events.of("progress") if row["stage"] == f"predict {CASCADE}"]


def test_predictions_of_images_that_were_replaced(lowres: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    assert made_ready(lowres) == []
    assert emptied == []
    file = lowres / "nnUNet_raw" / DATASET / "imagesTr" / "c1_0000.nii.gz"
    image = read_image([file])
    write_image(image.array[0][:, ::-1], file, image.geometry)
    old = predicted(lowres).open("c1")[...]
    assert made_ready(lowres) == ["c1"]
    assert not np.array_equal(predicted(lowres).open("c1")[...], old)
    assert emptied == [True]
    assert made_ready(lowres) == []


def test_a_discarded_model_leaves_no_predictions(
    lowres: Path, cli: Callable[..., Any], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise UserError("It broke.")

    monkeypatch.setattr("segautoconfiglib.training.run._train", fail)
    assert cli(*train(LOWRES, 0, "--overwrite")).code == 2
    assert {path.stem for path in predicted(lowres).folder.iterdir()} == set(SPLITS[0]["train"])
    refused(*train(CASCADE, 0), says=["2 of 5 cases", "fold 0 of 3d_lowres"])


def test_folds_that_start_together_predict_once(lowres: Path) -> None:
    file = predicted(lowres).file("c3")
    kept = file.read_bytes()
    file.unlink()
    lock = model(lowres, LOWRES) / f".predicted_next_stage.{CASCADE}.lock"
    waiting = threading.Event()

    def note(kind: str, **data: Any) -> None:
        if "waiting for another process" in data.get("message", ""):
            waiting.set()

    with ThreadPoolExecutor() as pool:
        with alone(lock, "Predicting"):
            second = pool.submit(made_ready, lowres, note)
            assert waiting.wait(60)
            file.write_bytes(kept)
        assert second.result() == []
    assert not lock.exists()


def test_a_cascade_of_ones_own(lowres: Path, cli: Callable[..., Any]) -> None:
    outcome = cli(*train("cascade_bs3", 1, "--save-probabilities"), "--events", "jsonl")
    assert outcome.code == 0, outcome.err
    validated = model(lowres, "cascade_bs3") / "fold_1" / "validation"
    assert sorted(file.stem for file in validated.glob("*.npz")) == SPLITS[1]["val"]
    assert len(list(predicted(lowres, "cascade_bs3").folder.iterdir())) == 5
    debug = json.loads((model(lowres, "cascade_bs3") / "fold_1" / "debug.json").read_text())
    assert debug["batch_size"] == 3


def test_wishes_that_do_not_go_with_a_cascade(lowres: Path, refused: Callable[..., str]) -> None:
    command = ("train", 7, "-p", "tiny", "--device", "cpu", "-c")
    refused(*command, CASCADE, "--budget", "60s", says=["cascade, and --budget", "--epochs"])
    add_configurations(lowres, odd={"inherits_from": CASCADE, "previous_stage": "lost"})
    refused(*command, "odd", says=["cascade after 'lost'", "not in these plans", "3d_lowres"])
    add_configurations(lowres, odd={"inherits_from": CASCADE, "previous_stage": "odd"})
    refused(*command, "odd", says=["cascade after 'odd', which is itself"])
    shutil.copytree(model(lowres, LOWRES), model(lowres, CASCADE))
    refused("train", 7, "--continue-from", model(lowres, CASCADE), says=["is a cascade", "--pretrained-weights"])
    (lowres / "nnUNet_preprocessed" / DATASET / "splits_final.json").write_text(json.dumps(SPLITS[:1]))
    shutil.rmtree(predicted(lowres).folder)
    refused(*command, CASCADE, says=["No fold of splits_final.json holds out c2, c3, c4"])


def test_configurations_of_ones_own(lowres: Path, cli: Callable[..., Any], refused: Callable[..., str]) -> None:
    own = {
        "3d_fullres_bs4": {"inherits_from": "3d_fullres", "batch_size": 4},
        "small": {"inherits_from": "3d_fullres_bs4", "patch_size": [8, 16, 16]},
        "coarse": {"inherits_from": "small", "spacing": [3.0, 2.0, 2.0], "data_identifier": "tiny_coarse"},
        "wrong": {"inherits_from": "small", "spacing": [3.0, 2.0, 2.0]},
    }
    add_configurations(lowres, **own)
    before = {file: file.stat().st_mtime_ns for file in stored(lowres).folder.glob("*.b2nd")}
    clash = "wrong and 3d_fullres of tiny keep different cases (spacing) in one folder, nnUNetPlans_3d_fullres"
    refused(*train("wrong", 0), says=[clash, "tiny_wrong"])
    file = lowres / "nnUNet_preprocessed" / DATASET / "tiny.json"
    plans = json.loads(file.read_text())
    del plans["configurations"]["wrong"]
    file.write_text(json.dumps(plans))
    assert cli(*train("coarse", 0)).code == 0
    assert {path: path.stat().st_mtime_ns for path in stored(lowres).folder.glob("*.b2nd")} == before
    debug = json.loads((model(lowres, "coarse") / "fold_0" / "debug.json").read_text())
    assert debug["batch_size"] == 4
    assert debug["configuration"]["patch_size"] == [8, 16, 16]
    case = CaseStore(stored(lowres).folder.with_name("tiny_coarse")).open("c0")
    assert case.data.shape == (1, 8, 10, 11)
    images = lowres / "nnUNet_raw" / DATASET / "imagesTr"
    assert cli("predict", "-d", 7, "-c", "coarse", "-i", images, "-o", lowres / "out", *FAST).code == 0
    assert read_labels(lowres / "out" / "c0.nii.gz").array.shape == (1, 8, 20, 22)
