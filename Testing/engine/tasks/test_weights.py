"""Weights on this computer, in true folders with zip files of a few bytes for checkpoints."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.models.folder import ModelFolder
from segautoconfiglib.tasks.catalogue import Part, find_task, load_catalogue
from segautoconfiglib.tasks.listing import task_row, task_rows
from segautoconfiglib.tasks.weights import WeightsFolders, check_fits
from task_weights import make_task_weights, no_checkpoint

BODY = find_task("body").mode(fast=True).parts[0]
FOLDER = "Dataset300_body_6mm_1559subj/nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace, and a home for TotalSegmentator that does not exist."""
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    return Workspace.at(tmp_path / "workspace")


def make(folder: Path, task: str = "body", mode: Any = "fast", **options: Any) -> Path:
    return make_task_weights(folder, task, mode, real=False, **options)[0]


def change(model: Path, file: str = "dataset.json", **entries: Any) -> None:
    path = model / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def zipped(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return file


@pytest.mark.parametrize("place", ["home/nnunet/results", "workspace/nnUNet_results/TotalSegmentator", "given",
                                   "workspace/nnUNet_results", "given/nnunet/results"])  # fmt: skip
def test_weights_are_found_where_they_may_lie(workspace: Workspace, tmp_path: Path, place: str) -> None:
    made = make(tmp_path / place)
    given = tmp_path / "given" if place.startswith("given") else None
    found = WeightsFolders.search(given, workspace)
    assert found.model(BODY).path == made
    assert found.missing([BODY, find_task("total").mode(fastest=True).parts[0]])[0].dataset_id == 298


def test_the_given_ones_come_first(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_home, named = make(tmp_path / "home" / "nnunet" / "results"), make(tmp_path / "named")
    given = make(tmp_path / "given")
    assert WeightsFolders.search(None, workspace).model(BODY).path == in_home
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "named"))
    assert WeightsFolders.search(None, workspace).model(BODY).path == named
    for path in (tmp_path / "given", given.parent, given):
        assert WeightsFolders.search(path, workspace).model(BODY).path == given
    with pytest.raises(UserError, match="There are no weights"):
        WeightsFolders.search(tmp_path / "nowhere", workspace)


def test_any_name_and_any_trainer_will_do(workspace: Workspace, tmp_path: Path) -> None:
    made = make(tmp_path / "w")
    other = made.parent.with_name("Dataset300_mine") / "nnUNetTrainerOfMine__nnUNetPlans__3d_fullres"
    made.parent.rename(other.parent)
    (other.parent / made.name).rename(other)
    weights = WeightsFolders.search(tmp_path / "w", workspace)
    assert weights.model(BODY).path == other
    shutil.copytree(other, other.with_name("A__nnUNetPlans__3d_fullres"))
    shutil.copytree(other, other.with_name(made.name))
    assert weights.model(BODY).path.name == made.name, "the usual one of several"


@pytest.mark.parametrize(
    "name", ["total_v3", "headneck_muscles", "brain_aneurysm", "aorta_annulus", "lung_vessels_LEGACY"]
)
@pytest.mark.parametrize("old_plans", [False, True])
def test_old_and_new_plans_fit(workspace: Workspace, tmp_path: Path, name: str, old_plans: bool) -> None:
    made = make_task_weights(tmp_path, name, real=False, old_plans=old_plans)
    parts = find_task(name).mode().parts
    found = WeightsFolders.search(tmp_path, workspace).models(parts)
    assert [model.path for model in found] == made
    for model, part in zip(found, parts, strict=True):
        assert list(model.chosen_folds(None)) == list(part.folds or (0,))
        features = model.plans.configuration(part.configuration).architecture.arch_kwargs["features_per_stage"]
        assert features == [4, 8, 16, 32, 40, 40]


def test_small_and_large_models_of_a_dataset(workspace: Workspace, tmp_path: Path) -> None:
    task = find_task("total_v3")
    make(tmp_path, "total_v3", "fastest")
    weights = WeightsFolders.search(tmp_path, workspace)
    assert weights.missing(task.mode(fastest=True).parts) == []
    assert weights.missing(task.mode(fastest=True, small=True).parts)
    with pytest.raises(UserError) as error:
        weights.models(task.mode(fastest=True, small=True).parts)
    assert "totalseg_download_weights -t 837_small." in error.value.hint
    make(tmp_path, "total_v3", "fastest", small=True)
    assert weights.model(task.mode(fastest=True, small=True).parts[0]).path.name.endswith("Plans_8__3d_fullres")


def test_missing_weights_are_named_with_the_remedy(workspace: Workspace, tmp_path: Path) -> None:
    weights = WeightsFolders.search(make(tmp_path / "given", "total", "fast").parents[1], workspace)
    task = find_task("lung_vessels")
    with pytest.raises(UserError) as error:
        weights.models(load_catalogue().needed(task, task.mode(), load_catalogue().rough_crop(task)))
    assert "Dataset117_lung_airways_arteries_veins_282subj/nnUNetTrainerSkeletonRecall__" in error.value.message
    assert "Dataset297" not in error.value.message
    assert all(str(tmp_path / place) in error.value.message for place in ("given", "home", "workspace"))
    assert "totalseg_download_weights -t 117." in error.value.hint
    assert "licence" not in error.value.hint
    with pytest.raises(UserError) as error:
        weights.model(find_task("face").mode().parts[0])
    assert "licence key" in error.value.hint
    assert "totalseg_download_weights" not in error.value.hint
    assert error.value.action == "task-weights"


def test_missing_folds(workspace: Workspace, tmp_path: Path) -> None:
    make(tmp_path, "aorta_annulus", "default", folds=(0, 1, 3, 4))
    parts = find_task("aorta_annulus").mode().parts
    assert WeightsFolders.search(tmp_path, workspace).missing(parts) == list(parts)
    with pytest.raises(UserError, match=r"fold_2.checkpoint_final\.pth does not exist"):
        WeightsFolders.search(tmp_path, workspace).model(find_task("aorta_annulus").mode().parts[0])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_checkpoint_that_was_cut_off_does_not_fit(tmp_path: Path, share: float) -> None:
    made, whole = make(tmp_path / "1", "aorta_annulus", "default"), make(tmp_path / "2", "aorta_annulus", "default")
    parts = find_task("aorta_annulus").mode().parts
    file = made / "fold_3" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    weights = WeightsFolders((tmp_path / "1", tmp_path / "2"))
    assert weights.model(parts[0]).path == whole
    alone = WeightsFolders((tmp_path / "1",))
    assert alone.missing(parts) == list(parts)
    with pytest.raises(UserError) as error:
        alone.models(parts)
    assert error.value.message == f"Damaged, or not copied to its end: {file}."
    assert "totalseg_download_weights" in error.value.hint or "licence key" in error.value.hint
    assert error.value.action == "task-weights"
    (row,) = task_row(find_task("aorta_annulus"), alone, load_catalogue())["modes"]
    assert (row["ready"], str(file) in row["problem"]) == (False, True)


@pytest.mark.torch
@pytest.mark.parametrize("as_zip", [True, False])
def test_all_forms_of_checkpoints_that_can_be_read_fit(tmp_path: Path, as_zip: bool) -> None:
    import torch

    from segautoconfiglib.networks.checkpoint import read_plain

    file = make(tmp_path) / "fold_0" / "checkpoint_final.pth"
    torch.save({"a": torch.ones(2)}, file, _use_new_zipfile_serialization=as_zip)
    assert zipfile.is_zipfile(file) == as_zip
    assert read_plain(file)["a"].tolist() == [1, 1]
    assert WeightsFolders((tmp_path,)).missing([BODY]) == []


@pytest.mark.parametrize(
    ("file", "entries", "says"),
    [
        ("dataset.json", {"labels": {"background": 0, "a": 1}}, r"1 label, the task 2"),
        ("dataset.json", {"channel_names": {"0": "CT", "1": "PET"}}, r"takes 2 channels, the task 1"),
        ("plans.json", {}, r"voxels have 3 x 3 x 3 mm \(z, y, x\), the task's 6 x 6 x 6 mm"),
        ("dataset.json", {"labels": {"background": 0, "a": 1, "b": 2, "c": 3}}, r"3 labels, the task 2"),
    ],
)
def test_weights_of_another_task(
    workspace: Workspace, tmp_path: Path, file: str, entries: dict[str, Any], says: str
) -> None:
    made = make(tmp_path)
    if file == "plans.json":
        plans = json.loads((made / file).read_text())
        plans["configurations"]["3d_fullres"]["spacing"] = [3.0, 3.0, 3.0]
        entries = plans
    change(made, file, **entries)
    change(made, "plans.json", dataset_name="Dataset007_Other")
    with pytest.raises(UserError, match=f"weights of another task: .*{says}"):
        WeightsFolders.search(tmp_path, workspace).model(BODY)


def test_more_labels_than_are_used_are_no_other_task(tmp_path: Path) -> None:
    made = make(tmp_path)
    change(made, labels={"background": 0, "body_trunc": 1, "body_extremities": 2, "auxiliary": 3})
    model = WeightsFolders((tmp_path,)).find(BODY)
    assert model is not None
    check_fits(model, BODY)


def test_spacing_is_compared_in_the_order_of_files(tmp_path: Path) -> None:
    part = find_task("liver_segments_mr").mode().parts[0]
    made = make(tmp_path, "liver_segments_mr", "default")
    plans = json.loads((made / "plans.json").read_text())
    spacing = plans["configurations"]["3d_fullres"]["spacing"]
    plans["configurations"]["3d_fullres"]["spacing"] = [spacing[2], spacing[0], spacing[1]]
    plans |= {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}
    (made / "plans.json").write_text(json.dumps(plans))
    model = WeightsFolders((tmp_path,)).model(part)
    assert model.path == made
    change(made, "plans.json", transpose_forward=[0, 1, 2], transpose_backward=[0, 1, 2])
    with pytest.raises(UserError, match="another task"):
        WeightsFolders((tmp_path,)).model(part)


def accept(model: ModelFolder) -> None:
    """Files of a few bytes are no checkpoints."""


def test_a_zip_file_is_unpacked_once(workspace: Workspace, tmp_path: Path) -> None:
    make(tmp_path / "source")
    file = zipped(tmp_path / "source", tmp_path / "body.zip")
    own = tmp_path / "workspace" / "nnUNet_results" / "TotalSegmentator" / "unpacked"
    for _ in range(2):
        found = WeightsFolders.search(file, workspace, check=accept).model(BODY).path
        assert found.parents[2] == own
        (found / "kept").touch()
    assert [entry.name for entry in own.iterdir()] == [found.parents[1].name], "no lock is left"
    assert not (tmp_path / "home").exists()
    assert workspace.dataset_names() == [], "no dataset of the user's own"
    assert WeightsFolders.search(None, workspace).find(BODY) is None, "for once"
    checkpoint = found / "fold_0" / "checkpoint_final.pth"
    checkpoint.unlink()
    assert WeightsFolders.search(file, workspace, check=accept).model(BODY).path == found
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    assert WeightsFolders.search(file, workspace, check=accept).model(BODY).path == found
    (tmp_path / "no.zip").write_bytes(b"no")
    with pytest.raises(UserError, match="no zip file"):
        WeightsFolders.search(tmp_path / "no.zip", workspace)


def test_the_zip_file_counts_and_not_one_of_equal_size(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "named"))
    make(tmp_path / "named")
    made, before = make(tmp_path / "source"), sorted((tmp_path / "named").rglob("*"))
    for content in (no_checkpoint(b"weights"), no_checkpoint(b"WEIGHTS")):
        (made / "fold_0" / "checkpoint_final.pth").write_bytes(content)
        file = zipped(tmp_path / "source", tmp_path / "body.zip")
        found = WeightsFolders.search(file, workspace, check=accept).model(BODY).path
        assert (found / "fold_0" / "checkpoint_final.pth").read_bytes() == content
    assert sorted((tmp_path / "named").rglob("*")) == before, "TotalSegmentator's folder is only read"


@pytest.mark.torch
def test_checkpoints_of_a_zip_file_are_opened(workspace: Workspace, tmp_path: Path) -> None:
    make(tmp_path / "source")
    with pytest.raises(UserError, match=r"checkpoint_final\.pth"):
        WeightsFolders.search(zipped(tmp_path / "source", tmp_path / "body.zip"), workspace)
    assert not (tmp_path / "workspace").exists()


def users_own(folder: Path, task: str, name: str, scheme: str = "CTNormalization") -> Path:
    """A model that the user has trained, with the number of a task's dataset and as many labels."""
    (published,) = make_task_weights(folder, task, real=False)
    model = folder / name / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    model.parent.mkdir()
    published.rename(model)
    published.parent.rmdir()
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = [scheme]
    (model / "plans.json").write_text(json.dumps({**plans, "dataset_name": name}))
    return model


def test_a_users_own_dataset_of_the_same_number_is_not_used(workspace: Workspace, tmp_path: Path) -> None:
    part, own = find_task("cerebral_bleed").mode().parts[0], tmp_path / "workspace" / "nnUNet_results"
    mine = users_own(own, "cerebral_bleed", "Dataset150_MyLungTumour")
    weights = WeightsFolders.search(None, workspace)
    assert weights.missing([part]) == [part]
    with pytest.raises(UserError, match="Weights are missing: Dataset150_icb_v0") as error:
        weights.model(part)
    assert str(mine) not in error.value.message
    (theirs,) = make_task_weights(own, "cerebral_bleed", real=False)
    assert WeightsFolders.search(None, workspace).model(part).path == theirs
    assert WeightsFolders.search(mine, workspace).model(part).path == mine, "the user says so"


def test_images_of_another_kind_do_not_fit(tmp_path: Path) -> None:
    part = find_task("cerebral_bleed").mode().parts[0]
    users_own(tmp_path, "cerebral_bleed", "Dataset150_MyStroke", "ZScoreNormalization")
    with pytest.raises(UserError, match="another task: it normalises images by ZScoreNormalization, the task's by CT"):
        WeightsFolders((tmp_path,)).model(part)
    both = find_task("thigh_shoulder_muscles").mode().parts[0]  # for CT and MR
    other = users_own(tmp_path, "thigh_shoulder_muscles_mr", "Dataset857_Named", "ZScoreNormalization")
    assert WeightsFolders((tmp_path,)).model(both).path == other


def test_the_next_folder_counts_where_a_model_does_not_fit(tmp_path: Path) -> None:
    wrong, damaged, right = make(tmp_path / "1"), make(tmp_path / "2"), make(tmp_path / "4")
    change(wrong, labels={"background": 0, "a": 1})
    (damaged / "plans.json").write_text("{")
    make(tmp_path / "3", folds=(1,))
    weights = WeightsFolders(tuple(tmp_path / name for name in "1234"))
    assert weights.model(BODY).path == right
    assert weights.missing([BODY]) == []
    weights = WeightsFolders(weights.folders[:3])
    assert weights.missing([BODY]) == [BODY]
    with pytest.raises(UserError, match="another task: it has 1 label") as error:
        weights.models([BODY])
    assert "totalseg_download_weights -t 300" in error.value.hint
    total = find_task("total").mode(fastest=True).parts[0]
    with pytest.raises(UserError, match=r"missing: .*298.*300.* another task: it has 1 label"):
        weights.models([total, BODY])


def test_given_weights_that_are_not_used_are_told(workspace: Workspace, tmp_path: Path) -> None:
    damaged, other = make(tmp_path / "given"), make(workspace.task_weights().target)
    (damaged / "plans.json").write_text("{")
    report = ListReporter()
    weights = WeightsFolders.search(tmp_path / "given", workspace, report=report)
    assert [model.path for model in weights.models([BODY, BODY])] == [other, other]
    (warning,) = report.of("warning")
    assert str(damaged) in warning["message"]
    assert warning["message"].endswith(f"{other} is used instead.")
    shutil.rmtree(damaged.parent)
    weights.models([BODY])  # nothing was given for it
    assert len(report.of("warning")) == 1


def test_rows_say_what_is_missing_and_what_is_wrong(tmp_path: Path) -> None:
    make(tmp_path, "body", "default")
    make(tmp_path, "total", "fast")
    made, weights = make(tmp_path, "total", "fastest"), WeightsFolders((tmp_path,))
    rows = {row["name"]: row for row in task_rows(weights)}
    assert list(rows) == [task.name for task in load_catalogue().tasks]
    modes = {mode["mode"]: mode for mode in rows["body"]["modes"]}
    assert modes["default"] == {
        "mode": "default", "spacing_mm": (1.5, 1.5, 1.5), "models": 1, "missing": [], "problem": None, "ready": True
    }  # fmt: skip
    assert modes["fast"]["missing"] == [
        {
            "dataset_id": 300,
            "dataset": "Dataset300_body_6mm_1559subj",
            "model": "nnUNetTrainer__nnUNetPlans__3d_fullres",
            "address": "https://github.com/wasserth/TotalSegmentator/releases/download/v2.0.0-weights/"
            "Dataset300_body_6mm_1559subj.zip",
        }
    ]
    assert not modes["fast"]["ready"]
    assert rows["body"]["labels"] == {"background": 0, "body_trunc": 1, "body_extremities": 2}
    assert len(rows["body"]["segments"]["body_trunc"]["color"]) == 3
    assert [entry["dataset_id"] for entry in rows["face"]["modes"][0]["missing"]] == [303]
    assert rows["face"]["modes"][0]["missing"][0]["address"] is None
    assert rows["face"]["licence"]
    json.dumps(rows, allow_nan=False)
    assert rows["total"]["subset_missing"] == []  # that is the fastest one, which is there
    assert [entry["dataset_id"] for entry in rows["total_mr"]["subset_missing"]] == [852]
    kidney = rows["total"]["segments"]["kidney_left"]["terminology"]
    assert kidney.split("~")[1:] == [
        "SCT^123037004^Anatomical Structure", "SCT^64033007^Kidney", "SCT^7771000^Left", "", "^^", "^^"
    ]  # fmt: skip
    assert "terminology" not in rows["lung_nodules"]["segments"]["lung_nodules"]
    change(made, labels={"background": 0, "a": 1})
    change(made, "plans.json", dataset_name="Dataset007_Other")
    row = task_row(find_task("total"), weights, load_catalogue())
    fastest = next(mode for mode in row["modes"] if mode["mode"] == "fastest")
    assert "another task" in fastest["problem"]
    assert not fastest["ready"]
    (made / "plans.json").write_text("{")
    row = task_row(find_task("total"), weights, load_catalogue())
    assert "not valid JSON" in next(mode for mode in row["modes"] if mode["mode"] == "fastest")["problem"]


def test_a_part_is_the_models_labels_and_the_tasks() -> None:
    part = Part(dataset_id=1, trainer="T", spacing_mm=None, first=5, count=2)
    assert part.labels == {1: 5, 2: 6}


@pytest.mark.parametrize("old_plans", [False, True])
def test_the_weights_of_all_tasks(tmp_path: Path, old_plans: bool) -> None:
    for task in load_catalogue().tasks:
        for mode in task.modes:
            make_task_weights(tmp_path, task, mode, real=False, old_plans=old_plans, patch=(32, 32, 32))
    modes = [(row["name"], mode) for row in task_rows(WeightsFolders((tmp_path,))) for mode in row["modes"]]
    assert [(name, mode) for name, mode in modes if not mode["ready"]] == []
    assert len(modes) == 59
    assert len(list(tmp_path.iterdir())) == len(load_catalogue().datasets)
