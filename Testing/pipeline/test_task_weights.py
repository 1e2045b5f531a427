"""The commands about TotalSegmentator's tasks and their weights."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from task_weights import make_task_weights

Cli = Callable[..., Any]
Refused = Callable[..., str]
BODY = "Dataset300_body_6mm_1559subj/nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for TotalSegmentator that does not exist; and there is no network."""
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    return tmp_path / "home"


def zipped(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    return file


def modes(cli: Cli, name: str, *words: object) -> dict[str, Any]:
    """The resolutions of a task as programs are told."""
    outcome = cli("totalseg_info", *words, "--events", "jsonl")
    assert outcome.code == 0, outcome.err
    (event,) = [event for event in outcome.of("done") if event.get("stage") == "tasks"]
    (row,) = [row for row in event["tasks"] if row["name"] == name]
    return {mode["mode"]: mode for mode in row["modes"]}


def test_tasks_are_listed_with_what_is_missing(cli: Cli, home: Path, tmp_path: Path) -> None:
    make_task_weights(home / "nnunet" / "results", "total", "fastest", real=False)
    make_task_weights(tmp_path / "given", "body", "fast", real=False)
    outcome = cli("totalseg_info")
    assert outcome.code == 0
    line = next(line for line in outcome.out.splitlines() if " total_mr " in f" {line} ")
    assert "MR" in line
    assert "50" in line
    assert modes(cli, "total")["fastest"]["ready"]
    assert [entry["dataset_id"] for entry in modes(cli, "total")["default"]["missing"]] == [291, 292, 293, 294, 295]
    assert not modes(cli, "body")["fast"]["ready"]
    assert modes(cli, "body", "--weights", tmp_path / "given")["fast"]["ready"]
    listed = cli("info", "--tasks", "--weights", tmp_path / "given")
    assert "Tasks of TotalSegmentator" in listed.out


def test_a_program_gets_tasks_with_models_and_datasets_from_one_process(cli: Cli, home: Path, tmp_path: Path) -> None:
    make_task_weights(tmp_path / "given", "body", "fast", real=False)
    words = ("--weights", tmp_path / "given", "--events", "jsonl")
    (alone,) = [event for event in cli("totalseg_info", *words).of("done") if event.get("stage") == "tasks"]
    (together,) = [event for event in cli("info", "--tasks", *words).of("done") if event.get("stage") == "info"]
    assert together["tasks"] == alone["tasks"]
    assert (together["datasets"], together["models"]) == ([], [])
    assert cli("info", "--events", "jsonl").of("done")[0]["tasks"] == []
    assert cli("info", "1", "--tasks").code == 2  # tasks belong to no dataset
    assert "Add --tasks" in cli("info", "--weights", tmp_path / "given").err


def test_programs_get_totalsegmentators_forms(cli: Cli) -> None:
    everything = json.loads(cli("totalseg_info", "--json").out)
    assert everything["tasks"]["body"] == {
        "modality": "CT",
        "license_required": False,
        "classes": {"1": "body_trunc", "2": "body_extremities"},
    }
    short = json.loads(cli("totalseg_info", "--list-tasks", "--json").out)
    assert {"name": "face", "modality": "CT", "license_required": True, "num_classes": 1} in short
    classes = json.loads(cli("totalseg_info", "--classes", "-ta", "total", "--json").out)
    assert (classes["1"], classes["117"]) == ("spleen", "costal_cartilages")
    assert "costal_cartilages" in cli("totalseg_info", "-cl", "-ta", "total").out


def test_one_task_is_shown_with_its_structures(cli: Cli, refused: Refused, home: Path) -> None:
    make_task_weights(home / "nnunet" / "results", "body", "fast", real=False)
    outcome = cli("totalseg_info", "-ta", "body")
    assert outcome.code == 0
    assert ("body_extremities" in outcome.out, "lung_vessels" in outcome.out) == (True, False)
    assert "1 of 1 missing, fast: ready" in outcome.out
    assert "totalseg_download_weights -t body." in outcome.err
    (event,) = [
        event for event in cli("totalseg_info", "-ta", "body", "--events", "jsonl").of("done") if "tasks" in event
    ]
    assert [row["name"] for row in event["tasks"]] == ["body"]
    assert list(json.loads(cli("totalseg_info", "-ta", "body", "--json").out)["tasks"]) == ["body"]
    assert "body_extremities" not in cli("totalseg_info", "-lt", "-ta", "body").out
    closed = cli("totalseg_info", "-ta", "face")
    assert ("needed" in closed.out, "totalseg_download_weights" in closed.err) == (True, False)
    refused("totalseg_info", "-ta", "bodi", says=["no task 'bodi'", "Near: body"])


def test_words_that_mean_nothing(refused: Refused) -> None:
    refused("totalseg_info", "--classes", "-ta", "bodi", says=["no task 'bodi'", "body"])
    refused("totalseg_info", "--classes", says=["The task is missing"])
    refused("totalseg_download_weights", "-t", "totl", says=["no task 'totl'", "Near: total"])
    refused("totalseg_download_weights", "-t", "12", says=["No task has weights of a dataset 12"])
    refused("totalseg_download_weights", "-t", "teeth_fast", says=["teeth has no fast form"])
    refused("totalseg_download_weights", "--sha256", "abc", says=["no SHA-256", "64 characters"])
    refused("totalseg_download_weights", "--sha256", "0" * 64, says=["6 files, of the datasets", "one checksum"])
    refused("totalseg_download_weights", "--sha256", f"7={'0' * 64}", says=["'7' is none of the datasets"])
    refused("totalseg_info", "--weights", "nowhere", says=["There are no weights", "nowhere"])


def test_weights_with_a_licence_key_are_not_fetched(refused: Refused) -> None:
    refused("totalseg_download_weights", "-t", "face", says=["need a licence key", "Dataset303_face_1559subj"])
    refused("totalseg_set_license", "-l", "aca_123", says=["not available", "totalseg_import_weights"])


def test_without_a_network(refused: Refused) -> None:
    address = "https://github.com/wasserth/TotalSegmentator/releases/download/v2.0.0-weights/"
    says = [f"{address}Dataset300_body_6mm_1559subj.zip can't be downloaded", "connection"]
    refused("totalseg_download_weights", "-t", "body_fast", says=says)
    refused("totalseg_download_weights", "-t", "300", says=says)


def test_without_a_network_it_is_told_how_files_come_from_elsewhere(cli: Cli, home: Path) -> None:
    outcome = cli("totalseg_download_weights", "-t", "total", "--events", "jsonl")
    (error,) = outcome.of("error")
    assert error["action"] == "connection"
    assert "totalseg_import_weights -i FILE.zip" in error["hint"]
    assert "--weights" in error["hint"]
    addresses = [line for line in error["hint"].splitlines() if line.startswith("https://")]
    assert [line.rpartition("/Dataset")[2][:3] for line in addresses] == ["298", "291", "292", "293", "294", "295"]
    said = " ".join(event["message"] for event in outcome.of("log"))
    assert said.count("is fetched, too") == 1
    assert (
        "Dataset298_TotalSegmentator_total_6mm_1559subj is fetched, too: a choice of structures (--roi_subset)" in said
    )
    make_task_weights(home / "nnunet" / "results", "total", "fastest", real=False)
    again = cli("totalseg_download_weights", "-t", "total", "--events", "jsonl")
    assert "298" not in again.of("error")[0]["hint"]
    assert not [event for event in again.of("log") if "is fetched, too" in event["message"]]


def test_what_is_there_needs_no_network(cli: Cli, home: Path, workspace: Path) -> None:
    make_task_weights(home / "nnunet" / "results", "body", "fast", real=False)
    outcome = cli("totalseg_download_weights", "-t", "body_fast")
    assert outcome.code == 0
    assert "there already" in outcome.err
    assert not workspace.exists()


def test_a_named_target_gets_what_is_elsewhere(refused: Refused, home: Path, tmp_path: Path) -> None:
    make_task_weights(home / "nnunet" / "results", "body", "fast", real=False)
    refused("totalseg_download_weights", "-t", "body_fast", "--target", tmp_path / "mine", says=["can't be downloaded"])


def test_small_models_beside_big_ones(refused: Refused, cli: Cli, home: Path) -> None:
    make_task_weights(home / "nnunet" / "results", "total_v3", real=False)
    assert "there already" in cli("totalseg_download_weights", "-t", "831").err
    refused("totalseg_download_weights", "-t", "831_small", says=["Dataset831", "can't be downloaded"])
    refused("totalseg_download_weights", "-t", "291_small", says=["total has no small models"])
    make_task_weights(home / "nnunet" / "results", "total_v3", small=True, real=False)
    assert "there already" in cli("totalseg_download_weights", "-t", "831_small").err


@pytest.mark.parametrize(
    ("name", "datasets"),
    [
        ("total", [298, 291, 292, 293, 294, 295]),
        ("total_fast", [298, 297]),
        ("total_fast_mr", [852]),
        ("total_mr", [852, 850, 851]),
        ("body_mr_fast", [598]),
        ("lung_vessels", [297, 117]),
        ("vertebrae_pp_refined", [803, 305]),
        ("835", [835]),
        ("835_small", [835]),
        ("total_v3_fast_small", [298, 836]),
    ],
)
def test_what_a_name_stands_for(name: str, datasets: list[int]) -> None:
    from segautoconfiglib.pipeline.tasks import wanted_parts
    from segautoconfiglib.tasks.catalogue import load_catalogue

    assert [part.dataset_id for part in wanted_parts(name, load_catalogue())] == datasets


def test_small_is_said_behind_name_or_number() -> None:
    from segautoconfiglib.pipeline.tasks import wanted_parts
    from segautoconfiglib.tasks.catalogue import load_catalogue

    found = {name: wanted_parts(name, load_catalogue())[-1].plans for name in ("837_small", "837", "total_v3_small")}
    small = "nnUNetResEncUNetLPlans_8"
    assert found == {"837_small": small, "837": "nnUNetPlans", "total_v3_small": small}


def test_all_are_those_without_a_licence_key() -> None:
    from segautoconfiglib.pipeline.tasks import wanted_parts
    from segautoconfiglib.tasks.catalogue import load_catalogue

    catalogue = load_catalogue()
    found = {part.dataset_id for part in wanted_parts("all", catalogue)}
    assert found == {number for number in catalogue.datasets if catalogue.download_address(number)}


@pytest.mark.torch
@pytest.mark.parametrize("old_plans", [False, True])
def test_a_zip_file_of_weights(cli: Cli, refused: Refused, workspace: Path, tmp_path: Path, old_plans: bool) -> None:
    make_task_weights(tmp_path / "source", "body", "fast", old_plans=old_plans, patch=(16, 16, 16))
    file = zipped(tmp_path / "source", tmp_path / "body.zip")
    assert cli("totalseg_import_weights", "-i", file).code == 0
    target = workspace / "nnUNet_results" / "TotalSegmentator"
    assert (target / BODY / "fold_0" / "checkpoint_final.pth").is_file()
    assert modes(cli, "body")["fast"]["ready"]
    text = refused("totalseg_import_weights", "-i", file, says=["already", "--overwrite", "--target FOLDER"])
    assert "--dataset" not in text
    assert cli("totalseg_import_weights", "-i", file, "--overwrite").code == 0
    assert cli("totalseg_import_weights", "-i", file, "--target", tmp_path / "mine").code == 0
    assert (tmp_path / "mine" / BODY).is_dir()


@pytest.mark.torch
def test_an_own_model_is_no_weights_of_a_task(refused: Refused, workspace: Path, tmp_path: Path) -> None:
    (model,) = make_task_weights(tmp_path / "source", "body", "fast", patch=(16, 16, 16))
    model.parent.rename(tmp_path / "source" / "Dataset999_Demo")
    file = zipped(tmp_path / "source", tmp_path / "own.zip")
    refused("totalseg_import_weights", "-i", file, says=["weights of Dataset999_Demo", "import-model"])
    assert not workspace.exists()


@pytest.mark.torch
def test_what_has_come_is_followed_by_what_can_be_run(cli: Cli, home: Path, tmp_path: Path) -> None:
    results = home / "nnunet" / "results"
    make_task_weights(results, "lung_vessels", real=False)
    make_task_weights(tmp_path / "source", "total", "fast", patch=(16, 16, 16))
    file = zipped(tmp_path / "source", tmp_path / "total.zip")
    outcome = cli("totalseg_import_weights", "-i", file)
    assert outcome.code == 0, outcome.err
    assert "Ready now: total (fast), lung_vessels" in outcome.err
    assert "still missing" not in outcome.err
    elsewhere = cli("totalseg_import_weights", "-i", file, "--target", tmp_path / "mine")
    assert f"Ready now (with --weights {tmp_path / 'mine'}): total (fast)" in elsewhere.err
    first, *rest = make_task_weights(tmp_path / "parts", "total", patch=(16, 16, 16))
    for other in rest:
        shutil.rmtree(other.parent)
    part = cli("totalseg_import_weights", "-i", zipped(first.parents[1], tmp_path / "part.zip"))
    assert part.code == 0, part.err
    assert "Datasets that are still missing: total 292, 293, 294, 295." in part.err
    assert "Ready now" not in part.err


@pytest.mark.torch
def test_weights_that_would_run_code_are_refused(cli: Cli, refused: Refused, workspace: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "run",)

    (model,) = make_task_weights(tmp_path / "source", "body", "fast", real=False)
    (model / "fold_0" / "checkpoint_final.pth").write_bytes(pickle.dumps({"network_weights": Evil()}, protocol=2))
    file = zipped(tmp_path / "source", tmp_path / "body.zip")
    refused("totalseg_import_weights", "-i", file, says=["checkpoint_final.pth"])
    refused("totalseg_info", "--weights", file, says=["checkpoint_final.pth"])
    assert not (tmp_path / "run").exists()
    assert not workspace.exists()


@pytest.mark.parametrize(
    "words",
    [
        "totalseg_get_phase -i ct.nii.gz -o phase.json -q",
        "totalseg_get_body_stats -i ct.nii.gz -o stats.json -m ct -tta",
        "totalseg_aorta_report -rt rois -i ct.nii.gz -o o.nii.gz -j o.json -l o.log --run_models",
    ],
)
def test_commands_that_are_not_here_say_so(refused: Refused, words: str) -> None:
    refused(*words.split(), says=["not available", "TotalSegmentator -ta TASK"])


def test_weights_stay_out_of_the_list_of_models(cli: Cli, workspace: Path) -> None:
    make_task_weights(workspace / "nnUNet_results" / "TotalSegmentator", "body", "fast", real=False)
    outcome = cli("info", "--events", "jsonl")
    (event,) = [event for event in outcome.of("done") if event.get("stage") == "info"]
    assert (event["datasets"], event["models"]) == ([], [])
    shutil.rmtree(workspace)
