"""Choosing among models by their held-out cases, and predicting with the choice."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import EVALUATION
from segautoconfiglib.evaluation.choice import CHOICE_FILE, INSTRUCTIONS_FILE, Choice
from segautoconfiglib.image.files import read_labels
from segautoconfiglib.pipeline import chosen as chosen_module

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made = load("make_nnunet_choice")
EXPECTED = json.loads(made.FIXTURE.read_text())
COMMAND = ("nnUNetv2_find_best_configuration", 17, "-c", "2d", "3d_fullres", "-f", 0, 1, "-np", 1)


@pytest.fixture
def results(workspace: Path) -> Path:
    """The dataset's folder of results, with two validated models of plain labels."""
    made.build(workspace, "labels")
    return workspace / "nnUNet_results" / made.DATASET


def model(results: Path, configuration: str) -> Path:
    return results / f"nnUNetTrainer__nnUNetPlans__{configuration}"


class TestAsNnunet:
    """The same probabilities lead to the same choice as in nnunetv2 2.8.1 (make_nnunet_choice.py)."""

    @pytest.mark.parametrize("kind", list(made.LABELS))
    def test_choice(self, cli, workspace, kind):
        made.build(workspace, kind)
        outcome = cli(*COMMAND)
        assert outcome.code == 0, outcome.err
        found, expected = made.found(workspace / "nnUNet_results" / made.DATASET), EXPECTED[kind]
        assert found["all_results"] == pytest.approx(expected["all_results"], abs=1e-9)
        assert found["dice"] == pytest.approx(expected["dice"], abs=1e-9)
        for key in ("selected", "considered", "folder", "steps", "functions", "ensemble", "postprocessed"):
            assert found[key] == expected[key], key
        for label, metrics in expected["means"].items():
            own = found["means"][label]
            assert {name: own[name] for name in metrics} == pytest.approx(metrics, abs=1e-9)

    def test_the_three_kinds_differ(self):
        """Otherwise the test above would say little."""
        assert len({json.dumps(entry["steps"]) for entry in EXPECTED.values()}) > 1
        assert any(len(entry["selected"]) == 2 for entry in EXPECTED.values())


class TestFindBest:
    def test_own_command_takes_every_validated_model(self, cli, results):
        outcome = cli("find-best", 17, "--workers", 0)
        assert outcome.code == 0, outcome.err
        found = made.found(results)
        assert found["all_results"] == pytest.approx(EXPECTED["labels"]["all_results"], abs=1e-9)
        assert "predict --choice" in outcome.out
        rows = [line.split() for line in cli("info").out.splitlines()]
        assert next(row for row in rows if made.DATASET in row)[-1] == "yes"
        choice = cli("info", 17, "--events", "jsonl").of("done")[0]["choice"]
        assert (choice["path"], choice["folds"]) == (str(results / CHOICE_FILE), [0, 1])
        assert " + ".join(choice["models"]) in cli("info", 17).out
        for name, dice in EXPECTED["labels"]["all_results"].items():
            assert f"{name}: mean Dice {dice:.4f}" in outcome.err.splitlines()

    def test_second_run_does_nothing_again(self, cli, results):
        cli("find-best", 17, "--workers", 0)
        before = {
            file: file.stat().st_mtime_ns for file in results.rglob("*.nii.gz") if "postprocessed" not in str(file)
        }
        outcome = cli("find-best", 17, "--workers", 0)
        assert outcome.code == 0
        assert outcome.err.count("up to date") == 3
        assert before == {file: file.stat().st_mtime_ns for file in before}

    def test_new_predictions_count(self, cli, results):
        cli("find-best", 17, "--workers", 0)
        before = Choice.load(results / CHOICE_FILE).all_results
        file = model(results, "2d") / "fold_0" / "validation" / "a.nii.gz"
        shutil.copyfile(results.parents[1] / "nnUNet_raw" / made.DATASET / "labelsTr" / "a.nii.gz", file)
        os.utime(file, (file.stat().st_mtime + 5,) * 2)
        assert cli("find-best", 17, "--workers", 0).code == 0
        after = Choice.load(results / CHOICE_FILE).all_results
        changed = {name for name in after if after[name] != before[name]}
        assert changed == {model(results, "2d").name}

    def test_without_pairs_no_probabilities_are_needed(self, cli, results):
        for file in results.rglob("*.npz"):
            file.unlink()
        outcome = cli("find-best", 17, "--no-pairs", "--workers", 0)
        assert outcome.code == 0, outcome.err
        choice = Choice.load(results / CHOICE_FILE)
        assert len(choice.all_results) == 2
        assert not choice.ensembling_allowed

    def test_a_model_that_lacks_a_fold_is_left_out(self, cli, results):
        shutil.rmtree(model(results, "2d") / "fold_1")
        outcome = cli("find-best", 17, "--workers", 0)
        assert outcome.code == 0, outcome.err
        left_out = "2d is left out: there are no predictions of the held-out cases of fold 1."
        assert f"nnUNetTrainer__nnUNetPlans__{left_out}" in outcome.err
        assert list(Choice.load(results / CHOICE_FILE).all_results) == [model(results, "3d_fullres").name]

    def test_class_that_no_case_has(self, cli, workspace, results):
        """A Dice that does not exist decides nothing (nnU-Net fails)."""
        for file in [*results.glob("*/dataset.json"), *workspace.rglob("nnUNet_raw/*/dataset.json")]:
            content = json.loads(file.read_text())
            content["labels"]["never seen"] = 3
            file.write_text(json.dumps(content))
        outcome = cli("find-best", 17, "--no-pairs", "--workers", 0)
        assert outcome.code == 0, outcome.err
        found = Choice.load(results / CHOICE_FILE).all_results
        expected = EXPECTED["labels"]["all_results"]
        assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-9)

    def test_instructions_name_the_lower_stage_of_a_cascade(self, cli, results):
        for folder in results.glob("*__3d_fullres"):
            plans = json.loads((folder / "plans.json").read_text())
            lowres = plans["configurations"]["3d_fullres"] | {"next_stage": "3d_cascade_fullres"}
            plans["configurations"]["3d_lowres"] = lowres
            plans["configurations"]["3d_cascade_fullres"] = {
                "inherits_from": "3d_fullres",
                "previous_stage": "3d_lowres",
            }
            (folder / "plans.json").write_text(json.dumps(plans))
            folder.rename(folder.with_name("nnUNetTrainer__nnUNetPlans__3d_cascade_fullres"))
        assert cli("find-best", 17, "-c", "3d_cascade_fullres", "--workers", 0).code == 0
        lines = (results / INSTRUCTIONS_FILE).read_text().splitlines()
        commands = [line for line in lines if line.startswith("nnUNetv2_predict")]
        assert commands == [
            f"nnUNetv2_predict -d {made.DATASET} -i INPUT_FOLDER -o OUTPUT_FOLDER_3d_lowres -f 0 1 "
            "-tr nnUNetTrainer -c 3d_lowres -p nnUNetPlans",
            f"nnUNetv2_predict -d {made.DATASET} -i INPUT_FOLDER -o OUTPUT_FOLDER -f 0 1 "
            "-tr nnUNetTrainer -c 3d_cascade_fullres -p nnUNetPlans -prev_stage_predictions OUTPUT_FOLDER_3d_lowres",
        ]
        model(results, "2d").rename(model(results, "3d_lowres"))
        shutil.copyfile(model(results, "3d_cascade_fullres") / "plans.json", model(results, "3d_lowres") / "plans.json")
        assert cli("find-best", 17, "-c", "3d_lowres", "3d_cascade_fullres", "--workers", 0).code == 0
        lines = (results / INSTRUCTIONS_FILE).read_text().splitlines()
        commands = [line.partition(" -f 0 1 ")[2] for line in lines if line.startswith("nnUNetv2_predict")]
        assert commands == [
            "-tr nnUNetTrainer -c 3d_lowres -p nnUNetPlans --save_probabilities",
            "-tr nnUNetTrainer -c 3d_cascade_fullres -p nnUNetPlans -prev_stage_predictions OUTPUT_FOLDER_MODEL_1 "
            "--save_probabilities",
        ]


class TestRefused:
    def test_nothing_was_validated(self, refused, results):
        for folder in results.glob("*/fold_*"):
            shutil.rmtree(folder)
        refused("find-best", 17, says=["No model of Dataset017_Choice", "nnUNetTrainer__nnUNetPlans__2d (no folds)"])

    def test_probabilities_are_missing(self, refused, results):
        (model(results, "2d") / "fold_1" / "validation" / "e.npz").unlink()
        says = ["not validated on the same cases", "2d: lacks 1 case: e.", "--resume --save-probabilities"]
        refused("find-best", 17, says=[*says, "--no-pairs"])

    def test_all_missing_probabilities_are_listed_with_the_commands_that_make_them(self, refused, results):
        for file in [*model(results, "2d").rglob("*.npz"), *model(results, "3d_fullres").glob("fold_1/*/*.npz")]:
            file.unlink()
        begin = "  python -m segautoconfiglib train Dataset017_Choice --configuration"
        end = f"--plans nnUNetPlans --resume --save-probabilities --workspace {results.parents[1]}\n"
        lacking = (("2d", 0), ("2d", 1), ("3d_fullres", 1))
        says = [
            "nnUNetTrainer__nnUNetPlans__2d: has none of the held-out cases of folds 0, 1.",
            "nnUNetTrainer__nnUNetPlans__3d_fullres: has none of the held-out cases of fold 1.",
            "--no-pairs",
            "".join(f"{begin} {name} --fold {fold} {end}" for name, fold in lacking),
        ]
        for command in (COMMAND, ("find-best", 17)):
            text = refused(*command, says=says)
            assert text.count("python -m") == len(lacking)

    def test_fold_is_missing(self, refused, results):
        shutil.rmtree(model(results, "2d") / "fold_1")
        refused(*COMMAND, says=["2d: has none of the held-out cases of fold 1", "--fold 1"])
        refused(*COMMAND, "--disable_ensembling", says=["no complete cross-validation", "fold 1 has no .nii.gz files"])

    def test_model_is_missing(self, cli, refused, results):
        shutil.rmtree(model(results, "2d"))
        says = [
            "2d was not trained with nnUNetTrainer and nnUNetPlans.",
            "leave it out",
            "-c; in nnU-Net 1's command -m",
        ]
        refused(*COMMAND, says=says)
        v1 = ("nnUNet_find_best_configuration", "-t", 17, "-m", "2d", "3d_fullres", "-f", 0, 1)
        refused(*v1, says=says)
        outcome = cli("find-best", 17, "-c", "2d", "3d_fullres", "-p", "nnUNetPlans", "--workers", 0)
        assert outcome.code == 0, outcome.err
        assert "2d is left out: it was not trained with any trainer and nnUNetPlans." in outcome.err

    def test_no_such_configuration(self, refused, results):
        refused("nnUNetv2_find_best_configuration", 17, "-c", "3d_lowres", says=["None of these configurations"])

    def test_no_choice_yet(self, refused, results, tmp_path):
        refused("predict", "--choice", 17, "-i", tmp_path, "-o", tmp_path / "out", says=["no choice file", "find-best"])

    def test_choice_that_points_elsewhere(self, refused, results, tmp_path):
        content = sample_choice()
        content["best_model_or_ensemble"]["selected_model_or_models"][0]["configuration"] = "../../secret"
        (results / CHOICE_FILE).write_text(json.dumps(content))
        words = ("predict", "--choice", 17, "-i", tmp_path, "-o", tmp_path / "out")
        refused(*words, says=["../../secret", "plain name"])

    def test_choice_and_configuration(self, refused, results, tmp_path):
        words = ("predict", "--choice", 17, "-i", tmp_path, "-o", tmp_path / "out")
        refused(*words, "-c", "2d", says=["--configuration has no meaning"])
        refused(*words, "--previous-stage", tmp_path, says=["--previous-stage has no meaning"])


class TestOtherCommands:
    def test_cross_validation(self, cli, results, tmp_path):
        outcome = cli("nnUNetv2_accumulate_crossval_results", 17, "-c", "2d", "-f", 0, 1, "-o", tmp_path / "out")
        assert outcome.code == 0, outcome.err
        names = {file.name for file in (tmp_path / "out").iterdir()}
        assert names == {f"{case}.nii.gz" for case in ("a", "b", "c", "d", "e", "f.1")} | {
            "dataset.json", "plans.json", "summary.json"
        }  # fmt: skip
        outcome = cli("cross-validation", 17, "--workers", 0)
        assert outcome.code == 0, outcome.err
        assert outcome.err.count("6 held-out cases") == 2
        assert all(f"nnUNetTrainer__nnUNetPlans__{name}" in outcome.out for name in made.MODELS)
        assert (model(results, "2d") / "crossval_results_folds_0_1" / "summary.json").is_file()

    def test_output_must_be_empty(self, refused, results, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("precious")
        words = ("nnUNetv2_accumulate_crossval_results", 17, "-c", "2d", "-f", 0, 1, "-o", tmp_path / "out")
        refused(*words, says=["is not empty"])

    def test_ensemble_then_postprocessing(self, cli, results, tmp_path):
        folders = [model(results, name) / "fold_0" / "validation" for name in ("2d", "3d_fullres")]
        for folder in folders:
            for name in ("dataset.json", "plans.json"):
                shutil.copyfile(folder.parents[1] / name, folder / name)
        mean, done = tmp_path / "mean", tmp_path / "done"
        assert cli("nnUNetv2_ensemble", "-i", *folders, "-o", mean, "--save_npz", "-np", 1).code == 0
        assert {made.digest(mean / f"{case}.nii.gz") for case in "abc"} == {
            EXPECTED["labels"]["ensemble"][f"{case}.nii.gz"] for case in "abc"
        }
        truth = results.parents[1] / "nnUNet_preprocessed" / made.DATASET / "gt_segmentations"
        words = ("nnUNetv2_determine_postprocessing", "-i", mean, "-ref", truth, "-np", 1, "--remove_postprocessed")
        outcome = cli(*words)
        assert outcome.code == 0, outcome.err
        assert not (mean / "postprocessed").exists()
        words = ("nnUNetv2_apply_postprocessing", "-i", mean, "-o", done, "-pp_pkl_file", mean / "postprocessing.pkl")
        assert cli(*words, "-np", 1).code == 0
        own = tmp_path / "own"
        assert cli("postprocess", "-i", mean, "-o", own, "--with", mean / "postprocessing.json").code == 0
        for case in "abc":
            assert made.digest(own / f"{case}.nii.gz") == made.digest(done / f"{case}.nii.gz")
        assert any(made.digest(done / f"{case}.nii.gz") != made.digest(mean / f"{case}.nii.gz") for case in "abc")


@pytest.fixture
def chosen(cli, trained: Path) -> Path:
    """The results folder of dataset 7 with two trained models, the best being both together."""
    results = trained / "nnUNet_results" / "Dataset007_Test"
    (first,) = results.glob("*__*__*")
    second = first.with_name(first.name.replace("nnUNetTrainer", "nnUNetTrainerOther"))
    shutil.copytree(first, second)
    truth = trained / "nnUNet_raw" / "Dataset007_Test" / "labelsTr"
    random = np.random.default_rng(0)
    for folder in (first, second):
        for file in (folder / "fold_0" / "validation").glob("*.nii.gz"):
            labels = read_labels(truth / file.name).array[0]
            values = 0.4 * np.eye(3, dtype=np.float32)[labels].transpose(3, 0, 1, 2)
            values += random.random(values.shape, np.float32)
            case = file.name.removesuffix(".nii.gz")
            np.savez_compressed(file.with_name(f"{case}.npz"), probabilities=values / values.sum(0))
            file.with_name(f"{case}.pkl").write_bytes(pickle.dumps(made.properties()))
    outcome = cli("find-best", 7, "--workers", 0)
    assert outcome.code == 0, outcome.err
    return results


class TestPredictChoice:
    def test_mean_of_two_with_postprocessing(self, cli, chosen, trained, tmp_path):
        choice = json.loads((chosen / CHOICE_FILE).read_text())
        assert len(choice["best_model_or_ensemble"]["selected_model_or_models"]) == 2
        images = trained / "nnUNet_raw" / "Dataset007_Test" / "imagesTr"
        place = tmp_path / "out"
        words = ("predict", "-i", images, "--disable_tta", "--device", "cpu")
        outcome = cli(*words, "--choice", 7, "-o", place, "--save_probabilities")
        assert outcome.code == 0, outcome.err
        names = {file.name for file in place.iterdir()}
        expected = {f"c{n}{ending}" for n in range(5) for ending in (".nii.gz", ".npz", ".pkl")}
        assert names == expected | {"dataset.json", "plans.json"}
        single = sorted(chosen.glob("*__*__*"))[0]
        assert cli(*words, "-m", single, "-o", tmp_path / "one", "--save_probabilities").code == 0
        for name in ("c0.npz", "c4.npz"):  # both models are the same network
            one, mean = (np.load(folder / name)["probabilities"] for folder in (tmp_path / "one", place))
            assert np.allclose(one, mean, atol=1e-6)

    def test_several_batches_and_continue(self, cli, chosen, trained, tmp_path, monkeypatch):
        monkeypatch.setattr(chosen_module, "EVALUATION", replace(EVALUATION, probabilities_on_disk=1))
        images = trained / "nnUNet_raw" / "Dataset007_Test" / "imagesTr"
        place = tmp_path / "out"
        place.mkdir()
        shutil.copyfile(images / "c0_0000.nii.gz", place / "c0.nii.gz")
        left = place / ".unfinished-deadbeef"
        left.mkdir()
        (left / "in-use").write_text("process 1 on nowhere")
        words = ("predict", "-i", images, "-o", place, "--choice", chosen / CHOICE_FILE, "--disable_tta", "--continue")
        outcome = cli(*words, "--device", "cpu", "--num-parts", 2)  # c0, c2, c4
        assert outcome.code == 0, outcome.err
        assert sorted(file.name for file in place.iterdir() if file.suffix == ".gz") == [
            "c0.nii.gz", "c2.nii.gz", "c4.nii.gz"
        ]  # fmt: skip
        assert (place / "c0.nii.gz").read_bytes() == (images / "c0_0000.nii.gz").read_bytes()
        assert not list(place.glob(".*"))
        assert outcome.err.count("Predicting with nnUNetTrainer") == 4

    def test_damaged_image_does_not_stop_the_others(self, cli, chosen, trained, tmp_path):
        images = tmp_path / "images"
        images.mkdir()
        source = trained / "nnUNet_raw" / "Dataset007_Test" / "imagesTr"
        for case in ("c0", "c1"):
            shutil.copyfile(source / f"{case}_0000.nii.gz", images / f"{case}_0000.nii.gz")
        content = (images / "c0_0000.nii.gz").read_bytes()
        (images / "c0_0000.nii.gz").write_bytes(content[: len(content) // 2])
        place = tmp_path / "out"
        outcome = cli("predict", "-i", images, "-o", place, "--choice", 7, "--disable_tta", "--device", "cpu")
        assert outcome.code == 2
        assert "c0" in outcome.err[outcome.err.index("Error: ") :]
        assert (place / "c1.nii.gz").is_file()
        assert not list(place.glob(".*"))


def test_without_torch(workspace):
    """Comparing, averaging and postprocessing need no torch."""
    made.build(workspace, "regions")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from segautoconfiglib.cli.main import main\n"
        f"sys.exit(main({[*map(str, COMMAND), '--workspace', str(workspace)]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr


def test_postprocessing_of_the_choice_is_missing(workspace, results):
    with pytest.raises(UserError, match="Run find-best again"):
        Choice.from_json(sample_choice(), "x").postprocessing_file(results)


def sample_choice() -> dict[str, Any]:
    member = {"configuration": "2d", "trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans"}
    return {
        "folds": ["0", 1],
        "dataset_name_or_id": 17,
        "considered_models": [],
        "ensembling_allowed": True,
        "all_results": {"x": None},
        "best_model_or_ensemble": {
            "result_on_crossval_pre_pp": 0.5,
            "result_on_crossval_post_pp": None,
            "postprocessing_file": "/elsewhere/postprocessing.pkl",
            "some_plans_file": "/elsewhere/plans.json",
            "selected_model_or_models": [member],
        },
    }
