from __future__ import annotations

from pathlib import Path

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.workspace import Workspace, dataset_id


def make_workspace(folder: Path, *names: str) -> Workspace:
    workspace = Workspace.at(folder)
    for name in names:
        root, dataset = name.split("/")
        (getattr(workspace, root) / dataset).mkdir(parents=True)
    return workspace


def test_a_given_folder_wins(tmp_path: Path) -> None:
    workspace = Workspace.find(tmp_path, {"nnUNet_raw": "/elsewhere"})
    assert workspace.raw == tmp_path / "nnUNet_raw"
    assert workspace.preprocessed == tmp_path / "nnUNet_preprocessed"
    assert workspace.results == tmp_path / "nnUNet_results"


def test_environment_variables_come_next_and_home_last(tmp_path: Path) -> None:
    workspace = Workspace.find(None, {"nnUNet_raw": str(tmp_path), "nnUNet_results": ""})
    assert workspace.raw == tmp_path
    assert workspace.results == Path.home() / "SegAutoConfig" / "nnUNet_results"


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Workspace.find("here").raw == tmp_path / "here" / "nnUNet_raw"


def test_names_come_from_all_three_roots(tmp_path: Path) -> None:
    workspace = make_workspace(
        tmp_path, "raw/Dataset004_A", "preprocessed/Dataset004_A", "results/Dataset1234_B", "raw/Task04_A", "raw/.git"
    )
    (workspace.raw / "Dataset005_file").touch()
    assert workspace.dataset_names() == ["Dataset004_A", "Dataset1234_B"]


@pytest.mark.parametrize("given", [4, "4", "004", "Dataset004_A"])
def test_a_dataset_is_found_by_number_or_name(tmp_path: Path, given: str | int) -> None:
    assert make_workspace(tmp_path, "raw/Dataset004_A", "raw/Dataset040_B").dataset_name(given) == "Dataset004_A"


@pytest.mark.parametrize("given", ["5", "Dataset005_B", "A", "²", "4.0", "-4", ""])
def test_unknown_datasets_are_refused_with_a_list(tmp_path: Path, given: str) -> None:
    with pytest.raises(UserError) as caught:
        make_workspace(tmp_path, "raw/Dataset004_A").dataset_name(given)
    assert "Dataset004_A" in caught.value.hint


def test_an_id_used_twice_is_refused_with_both_names(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, "raw/Dataset004_A", "results/Dataset004_B")
    with pytest.raises(UserError, match="used twice: Dataset004_A, Dataset004_B"):
        workspace.dataset_name(4)
    assert workspace.dataset_name("Dataset004_B") == "Dataset004_B"


def test_model_folder_follows_nnunet(tmp_path: Path) -> None:
    folder = Workspace.at(tmp_path).model_folder("Dataset004_A", "nnUNetTrainer", "nnUNetPlans", "2d")
    assert folder == tmp_path / "nnUNet_results" / "Dataset004_A" / "nnUNetTrainer__nnUNetPlans__2d"


def test_dataset_id() -> None:
    assert dataset_id("Dataset004_A_b") == 4
    assert dataset_id("Dataset1234_A") == 1234
    with pytest.raises(UserError, match="Dataset04_A"):
        dataset_id("Dataset04_A")


def test_the_variables_of_nnunet_v1_count_where_those_of_v2_are_not_set(tmp_path: Path) -> None:
    old = {"nnUNet_raw_data_base": str(tmp_path / "base"), "RESULTS_FOLDER": str(tmp_path / "models")}
    workspace = Workspace.find(None, old)
    assert workspace.raw == tmp_path / "base" / "nnUNet_raw"
    assert workspace.results == tmp_path / "models"
    assert workspace.v1_tasks == tmp_path / "base" / "nnUNet_raw_data"
    both = Workspace.find(None, {**old, "nnUNet_raw": str(tmp_path / "raw"), "nnUNet_results": str(tmp_path / "new")})
    assert (both.raw, both.results) == (tmp_path / "raw", tmp_path / "new")
    assert both.v1_tasks == workspace.v1_tasks
    assert Workspace.at(tmp_path).v1_tasks == tmp_path / "nnUNet_raw_data"


def test_weights_of_tasks_are_searched_where_totalsegmentator_has_them(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "workspace")
    own = workspace.results / "TotalSegmentator"
    usual = workspace.task_weights({})
    home = Path("~/.totalsegmentator").expanduser()
    assert (usual.searched, usual.target) == ((home / "nnunet" / "results", own), own)
    moved = workspace.task_weights({"TOTALSEG_HOME_DIR": str(tmp_path)})
    assert (moved.searched, moved.target) == ((tmp_path / "nnunet" / "results", own), own)
    named = workspace.task_weights({"TOTALSEG_HOME_DIR": str(tmp_path), "TOTALSEG_WEIGHTS_PATH": str(tmp_path / "w")})
    assert (named.searched, named.target) == ((tmp_path / "w", own), tmp_path / "w")


def test_users_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    searched = Workspace.at(tmp_path).task_weights({}).searched
    assert searched[0].parts[-4:] == ("tmp", ".totalsegmentator", "nnunet", "results")
