"""Models out of zip files: whole or not at all, and nothing that the file does not say it is."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.models import install
from segautoconfiglib.models.bundle import export_models
from segautoconfiglib.models.folder import ModelFolder
from segautoconfiglib.models.install import import_models

MakeModel = Callable[..., Path]
DATASET, NAME = "Dataset005_Tiny", "nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def target(tmp_path: Path) -> Workspace:
    """An empty workspace; its folders do not exist."""
    return Workspace.at(tmp_path / "target")


@pytest.fixture
def packed(make_model: MakeModel, tmp_path: Path) -> Path:
    """model.zip with fold 0."""
    return export_models([ModelFolder(make_model())], tmp_path / "model.zip")


def contents(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def renamed(packed: Path, old: str, new: str) -> Path:
    members = {name.replace(old, new): content for name, content in contents(packed).items()}
    return write_zip(packed.with_name("renamed.zip"), members)


def refuse(file: Path, target: Workspace, says: str, **options: Any) -> None:
    with pytest.raises(UserError, match=says):
        import_models(file, target, **options)
    assert not target.results.parent.exists(), "something was left"


def test_export_and_import_are_the_same_model(make_model: MakeModel, target: Workspace, tmp_path: Path) -> None:
    folder, report, checked = make_model(folds=(0, "all")), ListReporter(), []
    file = export_models([ModelFolder(folder)], tmp_path / "model.zip")
    (model,) = import_models(file, target, check=checked.append, report=report)
    assert model.path == target.results / DATASET / NAME
    assert [other.path.name for other in checked] == [NAME]
    assert checked[0].path != model.path, "checked before it is in its place"
    for name in ("plans.json", "dataset.json", "fold_all/checkpoint_final.pth", "fold_0/progress.png"):
        assert (model.path / name).read_bytes() == (folder / name).read_bytes()
    card = json.loads((model.path / "model.json").read_text())
    assert (card["origin"], set(card)) == ("imported from model.zip", {"origin", "imported"})
    old, new = (place / "fold_0" / "checkpoint_final.pth" for place in (folder, model.path))
    assert abs(old.stat().st_mtime - new.stat().st_mtime) <= 2, "its date is that of the training"
    assert [entry.name for entry in target.results.iterdir()] == [DATASET]
    assert report.of("progress")[-1]["done"] == report.of("started")[0]["total"]
    assert not report.of("warning")


def test_several_models_of_several_datasets(make_model: MakeModel, target: Workspace, tmp_path: Path) -> None:
    folders = [make_model(), make_model("A__B__3d_fullres"), make_model(dataset="Dataset009_Other")]
    file = export_models([ModelFolder(folder) for folder in folders], tmp_path / "all.zip")
    found = {model.path.relative_to(target.results) for model in import_models(file, target)}
    assert found == {folder.relative_to(folder.parents[1]) for folder in folders}


def test_bare_folders(packed: Path, target: Workspace) -> None:
    """Without the dataset's folder the plans tell the name; without any folder the zip file does."""
    deep = renamed(packed, f"{DATASET}/", f"nnUNet_results/{DATASET}/")
    bare = renamed(packed, f"{DATASET}/", "")
    assert import_models(bare, target)[0].path == target.results / DATASET / NAME
    bare = write_zip(packed.with_name("T__P__3d_fullres.zip"), contents(renamed(packed, f"{DATASET}/{NAME}/", "")))
    assert import_models(bare, target)[0].path == target.results / DATASET / "T__P__3d_fullres"
    deep = renamed(packed, f"{DATASET}/", f"nnUNet_results/{DATASET}/")
    (model,) = import_models(deep, target, dataset="Dataset077_New")
    assert model.path == target.results / "Dataset077_New" / NAME


def test_an_existing_model_stays(packed: Path, target: Workspace) -> None:
    (model,) = import_models(packed, target)
    (model.path / "mine").touch()
    with pytest.raises(UserError, match=r"There is a model already at .*--overwrite"):
        import_models(packed, target)
    assert (model.path / "mine").exists()
    lock = model.path.with_name(f".{NAME}.fold_0.lock")
    with alone(lock, "training"), pytest.raises(UserError, match="is being trained"):
        import_models(packed, target, overwrite=True)
    import_models(packed, target, overwrite=True)
    assert not (model.path / "mine").exists()
    assert [entry.name for entry in model.path.parent.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../evil.txt", "no path inside"),
        (f"{DATASET}/../../evil.txt", "no path inside"),
        ("/etc/evil", "no path inside"),
        ("C:\\evil.txt", "no path inside"),
        ("..\\evil.txt", "no path inside"),
        (f"{DATASET}/a\x01b", "no path inside"),
    ],
)
def test_paths_that_lead_elsewhere(packed: Path, target: Workspace, name: str, says: str) -> None:
    write_zip(packed, {**contents(packed), name: b"evil"})
    refuse(packed, target, f"{packed.name} is refused: .*{says}")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(packed: Path, target: Workspace, kind: int) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        info = zipfile.ZipInfo(f"{DATASET}/{NAME}/fold_0/checkpoint_best.pth")
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refuse(packed, target, "is a link or a device")


def test_bombs(packed: Path, target: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    members = contents(packed)
    bomb = write_zip(
        packed.with_name("bomb.zip"), {**members, f"{DATASET}/{NAME}/fold_0/checkpoint_best.pth": bytes(10**7)}
    )
    monkeypatch.setattr(install, "HARMLESS_BYTES", 10**6)
    refuse(bomb, target, r"MB would become 0.0 GB")
    monkeypatch.setattr(install, "HARMLESS_BYTES", 10**9)
    monkeypatch.setattr(install, "LARGEST_TEXT", 10)
    refuse(packed, target, "is refused")
    monkeypatch.setattr(install, "LARGEST_TEXT", 10**9)
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    refuse(packed, target, r"0\.00 GB are free")
    monkeypatch.setattr(install, "MOST_MEMBERS", 3)
    refuse(packed, target, "it holds 7 files" if len(members) == 7 else f"it holds {len(members)} files")


def test_the_same_file_twice(packed: Path, target: Workspace) -> None:
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"{DATASET}/{NAME}/plans.json", "{}")
    refuse(packed, target, "is there twice")


def test_damaged_files(packed: Path, target: Workspace, tmp_path: Path) -> None:
    refuse(tmp_path / "none.zip", target, "There is no file")
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    refuse(packed, target, "is no zip file, or damaged")
    place = whole.index(b"weightsweights")
    packed.write_bytes(whole[:place] + b"W" + whole[place + 1 :])
    refuse(packed, target, "is no zip file, or damaged")


def test_what_is_no_model(packed: Path, target: Workspace, tmp_path: Path) -> None:
    refuse(write_zip(tmp_path / "a.zip", {"readme.txt": b""}), target, "holds no model")
    without = {name: content for name, content in contents(packed).items() if not name.endswith(".pth")}
    refuse(write_zip(tmp_path / "a.zip", without), target, "holds no model")
    refuse(renamed(packed, f"{DATASET}/{NAME}/", "mine/"), target, "named 'mine' does not tell.*trainer__plans")
    refuse(renamed(packed, "__3d_fullres", "__2d"), target, r"renamed\.zip can't be used: .*2d")
    both = {**contents(packed), **{f"a/{name}": content for name, content in contents(packed).items()}}
    refuse(write_zip(tmp_path / "a.zip", both), target, "holds two models of one name")


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("plans.json", {"configurations": {}}, r"^\S*a\.zip can't be used: The plans have no .*'3d_fullres'"),
        (
            "dataset.json",
            {"labels": {"organ": 1}},
            r"^\S*a\.zip can't be used: Dataset005\S+dataset.json(?s:.*)no background",
        ),
        ("dataset.json", {"channel_names": {"0": "a", "1": "b"}}, "names 2 channels, the plans 1"),
    ],
)
def test_parts_that_do_not_fit(
    packed: Path, target: Workspace, tmp_path: Path, file: str, change: dict[str, Any], says: str
) -> None:
    members, name = contents(packed), f"{DATASET}/{NAME}/{file}"
    members[name] = json.dumps({**json.loads(members[name]), **change}).encode()
    refuse(write_zip(tmp_path / "a.zip", members), target, says)


@pytest.mark.parametrize("name", ["Liver", "../Dataset001_X", "Dataset001_../../x", "Dataset001_a:b", 7, None])
def test_dataset_names_that_lead_elsewhere(packed: Path, target: Workspace, tmp_path: Path, name: Any) -> None:
    members = contents(renamed(packed, f"{DATASET}/", ""))
    plans = json.loads(members[f"{NAME}/plans.json"])
    members[f"{NAME}/plans.json"] = json.dumps({**plans, "dataset_name": name}).encode()
    refuse(write_zip(tmp_path / "a.zip", members), target, "--dataset Dataset123_Name")


def test_a_checkpoint_that_is_refused(packed: Path, target: Workspace) -> None:
    def check(model: ModelFolder) -> None:
        raise UserError(f"{model.path / 'fold_0'} would run code.", "Beware.")

    refuse(packed, target, rf"^\S*model\.zip can't be used: {DATASET}.{NAME}.fold_0 would run code", check=check)


def test_what_is_left_in_the_file(packed: Path, target: Workspace) -> None:
    place, report = f"{DATASET}/{NAME}", ListReporter()
    extra = {
        f"{place}/crossval_results_folds_0/postprocessing.pkl": b"",
        f"{place}/crossval_results_folds_0/postprocessing.json": b"{}",
        f"{place}/fold_0/validation/c0.nii.gz": b"",
        f"{place}/run.py": b"",
        f"{DATASET}/inference_information.json": b"{}",
        f"__MACOSX/{place}/plans.json": b"",
    }
    write_zip(packed, {**contents(packed), **extra})
    (model,) = import_models(packed, target, report=report)
    found = {str(file.relative_to(model.path)) for file in model.path.rglob("*") if file.is_file()}
    assert found == {
        *("plans.json", "dataset.json", "dataset_fingerprint.json", "model.json"),
        *("fold_0/checkpoint_final.pth", "fold_0/progress.png", "fold_0/validation/summary.json"),
        "crossval_results_folds_0/postprocessing.json",
    }
    assert report.of("log")[0]["message"].startswith("Left in the zip file: 4 files")
    assert report.of("warning") == []  # the .json says the same
    members = contents(packed)
    del members[f"{place}/crossval_results_folds_0/postprocessing.json"]
    import_models(write_zip(packed, members), target, overwrite=True, report=report)
    assert report.of("warning")[0]["message"].startswith("postprocessing.pkl was left out")


def test_a_stop_leaves_nothing(packed: Path, target: Workspace) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        import_models(packed, target, cancel=cancel)
    assert not target.results.parent.exists()


def test_all_models_or_none(
    make_model: MakeModel, target: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [make_model(), make_model("X__Y__3d_fullres")]
    file = export_models([ModelFolder(folder) for folder in folders], tmp_path / "all.zip")
    old = target.results / DATASET / folders[0].name
    shutil.copytree(folders[0], old)
    (old / "mine").touch()
    replace = install.os.replace

    def failing(source: Path, place: Path) -> None:
        if place.name.startswith("X__"):
            raise OSError(28, "No space left on device")
        replace(source, place)

    monkeypatch.setattr(install.os, "replace", failing)
    with pytest.raises(UserError, match="No space left"):
        import_models(file, target, overwrite=True)
    assert (old / "mine").exists()
    assert [entry.name for entry in old.parent.iterdir()] == [old.name]


def test_the_choice_is_put_beside_the_models(packed: Path, target: Workspace) -> None:
    beside = {
        f"{DATASET}/inference_information.json": b'{"a": 1}',
        f"{DATASET}/ensembles/e/postprocessing.json": b"{}",
        f"{DATASET}/ensembles/e/postprocessing.pkl": b"",
        f"{DATASET}/ensembles/e/f/summary.json": b"{}",
    }
    write_zip(packed, {**contents(packed), **beside})
    import_models(packed, target, dataset="Dataset009_Other")
    place = target.results / "Dataset009_Other"
    assert (place / "inference_information.json").read_bytes() == b'{"a": 1}'
    assert [file.name for file in place.rglob("ensembles/**/*") if file.is_file()] == ["postprocessing.json"]
    report = ListReporter()
    (place / "inference_information.json").write_bytes(b"mine")
    shutil.rmtree(place / NAME)
    import_models(packed, target, dataset="Dataset009_Other", report=report)
    assert (place / "inference_information.json").read_bytes() == b"mine"
    assert "kept: inference_information.json" in report.of("warning")[-1]["message"]
    import_models(packed, target, dataset="Dataset009_Other", overwrite=True)
    assert (place / "inference_information.json").read_bytes() == b'{"a": 1}'
    assert sorted(entry.name for entry in target.results.iterdir()) == ["Dataset009_Other"]
