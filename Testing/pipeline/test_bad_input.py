"""Every fault that users have: one clear error with a remedy, exit code 2, no traceback, no file changed."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from segautoconfiglib.image.files import read_labels, write_image, write_labels
from segautoconfiglib.image.volume import Geometry

GRID = Geometry((3.0, 1.0, 1.0))
SHAPE = (8, 20, 22)
DATASET = "Dataset007_Test"

TRAIN = ("train", "7", "--device", "cpu")
#: The commands that a raw dataset meets first. All of them check it before anything is written.
CHECKING = [
    ("verify", "7"),
    ("fingerprint", "7"),
    ("plan", "7"),
    ("nnUNetv2_plan_and_preprocess", "-d", "7", "--verify_dataset_integrity"),
    pytest.param(TRAIN, marks=pytest.mark.torch),
]
FILE_OF_JSON = str(Path(DATASET) / "dataset.json")


class Fault(NamedTuple):
    """A way to damage a dataset, and what the error must say."""

    damage: Callable[[Path], Any]
    says: tuple[str, ...]


def change_json(folder: Path, **changes: Any) -> None:
    file = folder / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_text(folder: Path, old: str, new: str) -> None:
    file = folder / "dataset.json"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def truncate(file: Path, lost: int = 50) -> None:
    file.write_bytes(file.read_bytes()[:-lost])


def relabel(file: Path, *values: float) -> None:
    labels = read_labels(file)
    array = labels.array[0].astype(np.float32)
    array.flat[: len(values)] = values
    write_image(array, file, labels.geometry)


def image(folder: Path, case: str, channel: int = 0) -> Path:
    return folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz"


def label(folder: Path, case: str) -> Path:
    return folder / "labelsTr" / f"{case}.nii.gz"


def put_nan(folder: Path) -> None:
    array = np.ones(SHAPE, np.float32)
    array[0, 0, :3] = np.nan
    write_image(array, image(folder, "c3"), GRID)


def make_all_empty(folder: Path) -> None:
    for file in (folder / "labelsTr").iterdir():
        write_labels(np.zeros(SHAPE, int), file, GRID)


FAULTS = {
    "no dataset.json": Fault(lambda raw: (raw / "dataset.json").unlink(), (FILE_OF_JSON, "does not exist")),
    "trailing comma": Fault(
        lambda raw: change_text(raw, '".nii.gz"', '".nii.gz",'), (FILE_OF_JSON, "line 1, column", "comma")
    ),
    "a list of labels": Fault(
        lambda raw: change_json(raw, labels=["background", "organ"]), (FILE_OF_JSON, "labels", '{"background": 0')
    ),
    "a label that is no number": Fault(
        lambda raw: change_json(raw, labels={"background": 0, "organ": "one", "core": 1.5}),
        (FILE_OF_JSON, "'organ' has the value 'one'", "'core' has the value 1.5"),
    ),
    "truncated image": Fault(lambda raw: truncate(image(raw, "c1")), ("c1", "c1_0000.nii.gz", "ends too early")),
    "truncated label": Fault(lambda raw: truncate(label(raw, "c2")), ("c2", "c2.nii.gz", "ends too early")),
    "undeclared value": Fault(lambda raw: relabel(label(raw, "c1"), 5, 5), ("c1.nii.gz", "5 (2 voxels)", "0, 1, 2")),
    "fractional labels": Fault(
        lambda raw: relabel(label(raw, "c1"), 0.5, 1.25), ("c1.nii.gz", "0.5, 1.25", "nearest neighbour")
    ),
    "all labels empty": Fault(make_all_empty, ("labelsTr", "all labels are empty", "nothing to learn")),
    "NaN": Fault(put_nan, ("c3_0000.nii.gz", "3 voxels are NaN", "Replace them")),
    "another shape": Fault(
        lambda raw: write_labels(np.zeros((8, 20, 21), int), label(raw, "c4"), GRID),
        ("c4.nii.gz", "(8, 20, 22) against (8, 20, 21)", "Resample"),
    ),
    "an id twice": Fault(
        lambda raw: write_image(np.ones(SHAPE, np.float32), raw / "imagesTr" / "c1_0000.nrrd", GRID),
        ("id is used twice", "c1_0000.nii.gz", "c1_0000.nrrd", "Remove one"),
    ),
    "no label": Fault(lambda raw: label(raw, "c0").unlink(), ("c0.nii.gz", "label file is missing", "Add it")),
    "no images": Fault(lambda raw: shutil.rmtree(raw / "imagesTr"), ("no folder imagesTr", "convert-msd")),
    "a wrong number of cases": Fault(
        lambda raw: change_json(raw, numTraining=99), ("numTraining is 99, but 5 cases", '"numTraining": 5')
    ),
}


@pytest.mark.parametrize("command", CHECKING, ids=str)
@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_dataset_is_refused(
    raw: Path, refused: Callable[..., str], name: str, command: tuple[str, ...]
) -> None:
    FAULTS[name].damage(raw)
    refused(*command, says=list(FAULTS[name].says))


@pytest.mark.parametrize("command", CHECKING, ids=str)
def test_a_missing_channel_is_refused(
    raw_dataset: Callable[..., Path], refused: Callable[..., str], command: tuple[str, ...]
) -> None:
    raw = raw_dataset(channels=2)
    image(raw, "c2", 1).unlink()
    image(raw, "c3", 0).unlink()
    says = ["c2_0000.nii.gz: 1 channel where 2 are expected", "c3_0000.nii.gz: channel 0 is missing"]
    refused(*command, says=says)
    refused("nnUNetv2_plan_and_preprocess", "-d", 7, says=says[:1])


def test_all_faults_come_in_one_error(raw: Path, refused: Callable[..., str]) -> None:
    names = ("truncated image", "truncated label", "NaN", "another shape", "a wrong number of cases")
    for name in names:
        FAULTS[name].damage(raw)
    refused("plan", 7, says=["5 problems", *(part for name in names for part in FAULTS[name].says)])


@pytest.mark.parametrize(
    "command",
    [
        *CHECKING,
        ("preprocess", "7"),
        ("info", "7"),
        pytest.param(("nnUNetv2_train", "7", "2d", "0"), marks=pytest.mark.torch),
    ],
    ids=str,
)
def test_one_id_for_two_datasets(raw: Path, refused: Callable[..., str], command: tuple[str, ...]) -> None:
    shutil.copytree(raw, raw.with_name("Dataset007_Other"))
    refused(*command, says=["id 7 is used twice", "Dataset007_Other, Dataset007_Test", "full name"])


def test_an_empty_label_and_an_absent_class_are_warnings(raw: Path, cli: Callable[..., Any]) -> None:
    write_labels(np.zeros(SHAPE, int), label(raw, "c0"), GRID)
    change_json(raw, labels={"background": 0, "organ": 1, "core": 2, "cyst": 3})
    outcome = cli("verify", 7)
    assert outcome.code == 0
    warnings = [line for line in outcome.err.splitlines() if line.startswith("Warning: ")]
    assert len(warnings) == 2
    assert "empty labels (only background): 1 case (c0)" in warnings[0]
    assert "structures that occur in no case: cyst" in warnings[1]
    assert cli("preprocess", 7).code == 2  # nothing is planned yet
    assert cli("plan", 7).code == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NaN", ["c3_0000.nii.gz holds 3 voxels that are NaN"]),
        ("truncated image", ["c1_0000.nii.gz", "ends too early"]),
        ("fractional labels", ["c1.nii.gz", "0.5, 1.25"]),
        ("another shape", ["c4", "(8, 20, 21)", "(8, 20, 22)"]),
        ("no label", ["c0", "no label"]),
        ("all labels empty", ["nothing to learn"]),
    ],
)
def test_without_verification_the_first_stage_that_meets_it_refuses(
    raw: Path, refused: Callable[..., str], name: str, says: list[str]
) -> None:
    FAULTS[name].damage(raw)
    refused("nnUNetv2_plan_and_preprocess", "-d", 7, says=says)
    refused("nnUNetv2_extract_fingerprint", "-d", 7, says=says)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("undeclared value", ["c1.nii.gz holds label values from 0 to 5", "declares 0 to 2"]),
        ("truncated label", ["c2.nii.gz", "ends too early"]),
        ("NaN", ["c3_0000.nii.gz", "3 voxels"]),
    ],
)
def test_faults_that_come_after_planning(
    raw: Path, cli: Callable[..., Any], refused: Callable[..., str], name: str, says: list[str]
) -> None:
    """The other cases stay preprocessed, and the run continues once the file is mended."""
    assert cli("plan", 7).code == 0
    good = {file: file.read_bytes() for file in raw.rglob("*") if file.is_file()}
    FAULTS[name].damage(raw)
    command = ("preprocess", 7, "-c", "3d_fullres", "--workers", 1)
    refused(*command, says=says, may_write="nnUNetPlans_3d_fullres")
    store = raw.parents[1] / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_3d_fullres"
    assert [file for file in store.rglob("*") if "unfinished" in file.name or ".partial" in file.name] == []
    for file, content in good.items():
        file.write_bytes(content)
    assert cli(*command).code == 0
    assert len(list(store.glob("*.pkl"))) == 5


@pytest.mark.torch
def test_a_changed_dataset_json_is_noticed(trained: Path, refused: Callable[..., str]) -> None:
    raw = trained / "nnUNet_raw" / DATASET
    change_json(raw, labels={"background": 0, "organ": 1, "core": 2, "cyst": 3})
    says = ["labels", "were changed", "--overwrite-plans-name"]
    refused("train", 7, "-p", "tiny", "--device", "cpu", "--fold", 1, says=says)


def blocked_folders(tmp_path: Path) -> dict[str, Path]:
    """Places where no folder can be made, for root too."""
    (tmp_path / "file").write_text("a file where a folder is expected")
    return {"file": tmp_path / "file", "below a file": tmp_path / "file" / "below", "proc": Path("/proc/nowhere")}


@pytest.fixture(params=["file", "below a file", "proc"])
def blocked(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "proc" and os.name == "nt":
        pytest.skip("needs /proc")
    return blocked_folders(tmp_path)[request.param]


@pytest.mark.parametrize("command", CHECKING[1:], ids=str)
def test_a_folder_for_prepared_data_that_cant_be_written(
    raw: Path, cli: Callable[..., Any], refused: Callable[..., str], blocked: Path, command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert cli("plan", 7).code == 0
    move_folder(monkeypatch, raw.parents[1], preprocessed=blocked)
    refused(*command, says=[str(blocked), "Can't write"])


@pytest.mark.torch
@pytest.mark.parametrize(
    "command", [(*TRAIN, "--epochs", 1), ("nnUNetv2_train", 7, "2d", 0, "-device", "cpu")], ids=str
)
def test_a_folder_for_models_that_cant_be_written(
    raw: Path, cli: Callable[..., Any], refused: Callable[..., str], blocked: Path, command: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert cli("plan", 7).code == 0
    move_folder(monkeypatch, raw.parents[1], results=blocked)
    refused(*command, says=[str(blocked), "Can't write"])


def test_a_summary_that_cant_be_written(raw: Path, refused: Callable[..., str], blocked: Path) -> None:
    refused("evaluate", raw / "labelsTr", raw / "labelsTr", "-o", blocked / "summary.json", says=["Can't write"])


def move_folder(monkeypatch: pytest.MonkeyPatch, root: Path, **folders: Path) -> None:
    """Let one of the workspace's three folders be another."""
    from segautoconfiglib.base.workspace import Workspace

    usual = {name: root / f"nnUNet_{name}" for name in ("raw", "preprocessed", "results")}
    workspace = Workspace(**(usual | folders))
    monkeypatch.setattr("segautoconfiglib.base.workspace.Workspace.find", lambda *_: workspace)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", CHECKING[1:], ids=str)
def test_no_permission(raw: Path, refused: Callable[..., str], workspace: Path, command: tuple[str, ...]) -> None:
    (workspace / "nnUNet_preprocessed").mkdir()
    (workspace / "nnUNet_preprocessed").chmod(0o500)
    refused(*command, says=["no permission", "nnUNet_preprocessed"])


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leaves 1000 bytes free from the call on."""

    def fill() -> None:
        usage = type(shutil.disk_usage("."))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))

    return fill


@pytest.mark.parametrize(
    "command",
    [
        ("preprocess", 7, "-c", "3d_fullres"),
        ("nnUNetv2_preprocess", "-d", 7, "-c", "3d_fullres"),
        pytest.param((*TRAIN, "-c", "3d_fullres"), marks=pytest.mark.torch),
    ],
    ids=str,
)
def test_a_disk_that_is_too_small(
    raw: Path, cli: Callable[..., Any], refused: Callable[..., str], small_disk: Callable[[], None],
    command: tuple[Any, ...],
) -> None:  # fmt: skip
    assert cli("plan", 7).code == 0
    small_disk()
    refused(*command, says=["GB", "free", "nnUNetPlans_3d_fullres", "--workspace"])


def test_a_disk_that_is_too_small_to_convert(
    raw: Path, refused: Callable[..., str], small_disk: Callable[[], None]
) -> None:
    task = raw.parents[2] / "Task09_Small"
    shutil.copytree(raw, task)
    for file in (task / "imagesTr").iterdir():
        file.rename(file.with_name(file.name.replace("_0000", "")))
    small_disk()
    refused("convert-msd", task, says=["GB", "free", "Make room"])


def test_the_disk_fills_up_while_writing(
    raw: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segautoconfiglib.base.records.os.replace", full)
    refused(
        "plan", 7, says=["dataset_fingerprint.json", "No space left", "free space"], may_write="nnUNet_preprocessed"
    )
    preprocessed = raw.parents[1] / "nnUNet_preprocessed"
    assert [file for file in preprocessed.rglob("*") if file.is_file()] == []


@pytest.fixture
def planned(raw: Path, cli: Callable[..., Any]) -> Path:
    """The folder with the plans of dataset 7."""
    assert cli("plan", 7).code == 0
    return raw.parents[1] / "nnUNet_preprocessed" / DATASET


def edit_plans(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    plans = json.loads(file.read_text())
    change(plans)
    file.write_text(json.dumps(plans))


@pytest.mark.torch
def test_plans_with_an_unknown_network(planned: Path, refused: Callable[..., str]) -> None:
    pytest.importorskip("torch")
    edit_plans(
        planned / "nnUNetPlans.json",
        lambda plans: plans["configurations"]["3d_fullres"]["architecture"].update(network_class_name="my.Transformer"),
    )
    says = ["Configuration 3d_fullres of nnUNetPlans", "'my.Transformer'", "PlainConvUNet", "ResidualEncoderUNet"]
    refused("train", 7, "--device", "cpu", says=says)
    refused("train", 7, "--device", "cpu", "--budget", "5m", says=says)
    refused("nnUNetv2_train", 7, "3d_fullres", 0, "-device", "cpu", says=says)


@pytest.mark.torch
def test_images_that_are_too_small_for_a_network(raw_dataset: Callable[..., Path], refused: Callable[..., str]) -> None:
    raw = raw_dataset()
    for case in range(5):
        write_image(np.random.default_rng(case).normal(size=(6, 7, 7)).astype(np.float32), image(raw, f"c{case}"), GRID)
        write_labels(
            (np.arange(6 * 7 * 7).reshape(6, 7, 7) % 3).astype(np.uint8), raw / "labelsTr" / f"c{case}.nii.gz", GRID
        )
    says = ["too small for a network", "(6x7x7 voxels", "8 voxels or more"]
    refused(*TRAIN, says=says, may_write="nnUNet_preprocessed")
    refused(*TRAIN, "--budget", "5m", says=says)


@pytest.mark.torch
def test_a_model_with_an_unknown_network(trained: Path, refused: Callable[..., str]) -> None:
    edit_plans(
        model_of(trained) / "plans.json",
        lambda plans: plans["configurations"]["3d_fullres"]["architecture"].update(network_class_name="my.Transformer"),
    )
    images = trained / "nnUNet_raw" / DATASET / "imagesTr"
    refused("predict", "-d", 7, "-i", images, "-o", trained / "out", says=["'my.Transformer'", "PlainConvUNet"])


def test_damaged_plans(planned: Path, refused: Callable[..., str]) -> None:
    file = planned / "nnUNetPlans.json"
    good = file.read_text()
    file.write_text(good[: len(good) // 2])
    refused("preprocess", 7, says=["nnUNetPlans.json is not valid JSON"])
    file.write_text(good)
    edit_plans(file, lambda plans: plans["configurations"]["2d"].update(patch_size="large", batch_size=None))
    refused("preprocess", 7, says=["patch_size", "'large'", "batch_size", "None"])
    file.write_text(good)
    refused("preprocess", 7, "-c", "2d", "4d", says=["4d", "2d", "3d_fullres"])
    refused("preprocess", 7, "-p", "other", says=["other.json does not exist", "nnUNetPlans"])
    (planned / "dataset_fingerprint.json").write_text("{}")
    refused("plan", 7, says=["dataset_fingerprint.json", "spacings"])


@pytest.mark.torch
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "tpu", "xpu"])
def test_a_device_that_is_not_there(trained: Path, refused: Callable[..., str], device: str) -> None:
    torch = pytest.importorskip("torch")
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    says = ["--device cpu" if device.startswith("cuda") else "cpu, cuda"]
    images = trained / "nnUNet_raw" / DATASET / "imagesTr"
    refused("train", 7, "--device", device, says=says)
    refused("train", 7, "--device", device, "--budget", "1h", says=says)
    refused("nnUNetv2_train", 7, "2d", 0, "-device", device, says=says)
    refused("predict", "-d", 7, "-i", images, "-o", trained / "out", "--device", device, says=says)


@pytest.mark.torch
def test_raw_splits_that_come_after_training_with_others(trained: Path, refused: Callable[..., str]) -> None:
    fold = {"train": ["c0", "c1", "c2", "c3"], "val": ["c4"]}
    (trained / "nnUNet_raw" / DATASET / "splits_final.json").write_text(json.dumps([fold]))
    says = ["splits_final.json differs from", "1 folds against 5", "Delete one of the two"]
    refused("train", 7, "-p", "tiny", "-c", "3d_fullres", "--fold", 1, "--device", "cpu", says=says)


@pytest.mark.torch
def test_a_budget_of_seconds(raw: Path, refused: Callable[..., str]) -> None:
    refused(*TRAIN, "--budget", "20s", says=["20 s is too short", "Give 30s or more"])


@pytest.mark.torch
@pytest.mark.parametrize("length", [("--epochs", 3), ("--iterations", 10), ("--trainer", "nnUNetTrainer_5epochs")])
def test_a_budget_beside_a_number_of_steps(raw: Path, refused: Callable[..., str], length: tuple[Any, ...]) -> None:
    pytest.importorskip("torch")
    says = ["--budget", "Give one of them"]
    refused("train", 7, "--device", "cpu", "--budget", "5m", *length, says=says)


def model_of(workspace: Path) -> Path:
    return workspace / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres"


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self._target), "w")


def damage_checkpoint(file: Path, kind: str, victim: Path) -> None:
    torch = pytest.importorskip("torch")
    if kind == "truncated":
        truncate(file)
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("not a checkpoint")
    elif kind == "malicious pickle":
        file.write_bytes(pickle.dumps({"network_weights": {}, "x": Malicious(victim)}, protocol=2))
    elif kind == "malicious":
        content = torch.load(file, weights_only=False)
        torch.save({**content, "x": Malicious(victim)}, file)
    elif kind == "without weights":
        torch.save({"weights": {}}, file)
    elif kind == "another network":
        content = torch.load(file, weights_only=False)
        weights = content["network_weights"]
        name = next(name for name in weights if "encoder" in name and weights[name].ndim == 5)
        weights[name] = weights[name][:-1]
        torch.save(content, file)


CHECKPOINTS = {
    "truncated": "damaged",
    "empty": "damaged",
    "text": "damaged",
    "malicious pickle": "refused",
    "malicious": "refused",
    "without weights": "no network_weights",
    "another network": "do not fit",
}


@pytest.mark.torch
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_that_does_not_fit(trained: Path, refused: Callable[..., str], kind: str) -> None:
    victim = trained.parent / "victim"
    file = model_of(trained) / "fold_0" / "checkpoint_final.pth"
    damage_checkpoint(file, kind, victim)
    says = [str(file), CHECKPOINTS[kind]]
    images, output = trained / "nnUNet_raw" / DATASET / "imagesTr", trained / "out"
    refused("predict", "-d", 7, "-i", images, "-o", output, "--device", "cpu", says=says)
    refused(
        "nnUNetv2_predict_from_modelfolder", "-m", model_of(trained), "-i", images, "-o", output, "-f", 0, says=says
    )
    again = ("train", 7, "-p", "tiny", "--resume", "--epochs", 3, "--device", "cpu")
    refused(*again, says=says, may_write="nnUNet_preprocessed")
    new = ("train", 7, "-p", "tiny", "-f", 1, "--epochs", 1, "--device", "cpu", "--pretrained-weights", file)
    refused(*new, says=says, may_write="nnUNet_preprocessed")
    assert not (model_of(trained) / "fold_1").exists()
    assert not victim.exists()


@pytest.mark.torch
def test_a_checkpoint_of_other_classes(trained: Path, refused: Callable[..., str]) -> None:
    change_json(model_of(trained), labels={"background": 0, "organ": 1, "core": 2, "cyst": 3})
    images = trained / "nnUNet_raw" / DATASET / "imagesTr"
    command = ("predict", "-d", 7, "-i", images, "-o", trained / "out", "--device", "cpu")
    refused(*command, says=["fold_0", "3 output classes instead of 4", "dataset.json"])


@pytest.mark.torch
def test_pretrained_weights_that_are_not_there(planned: Path, refused: Callable[..., str]) -> None:
    pytest.importorskip("torch")
    command = ("train", 7, "--device", "cpu", "--pretrained-weights", planned / "none.pth")
    refused(*command, says=["none.pth does not exist"])


@pytest.mark.torch
def test_images_that_cant_be_predicted(trained: Path, cli: Callable[..., Any], refused: Callable[..., str]) -> None:
    folder, output = trained / "images", trained / "out"
    command = ("predict", "-d", 7, "-i", folder, "-o", output, "--device", "cpu")
    refused(*command, says=["There is no folder", str(folder)])
    folder.mkdir()
    refused(*command, says=["is empty", "CASE_0000.nii.gz"])
    source = trained / "nnUNet_raw" / DATASET / "imagesTr" / "c0_0000.nii.gz"
    (folder / "c0_0000.nii").write_bytes(gzip.decompress(source.read_bytes()))
    refused(*command, says=["no files ending in .nii.gz", "c0_0000.nii"])
    shutil.copyfile(source, folder / "c0.nii.gz")
    refused(*command, says=["lack the channel number", "CASE_0000.nii.gz"])
    shutil.copyfile(source, folder / "c0_0001.nii.gz")
    refused(*command, says=["c0: The model needs 1 channel: MRI; it has _0001", "Add c0_0000.nii.gz (MRI)"])
    shutil.copyfile(source, folder / "c0_0000.nii.gz")
    refused(*command, says=["c0: The model needs 1 channel: MRI; it has _0000, _0001", "Remove c0_0001.nii.gz"])
    (folder / "c0_0001.nii.gz").unlink()
    assert cli(*command).code == 0
    shutil.copyfile(source, folder / "c1_0000.nii.gz")
    truncate(folder / "c1_0000.nii.gz")
    refused(*command, "--continue", says=["c1", "c1_0000.nii.gz", "ends too early"], may_write="out")
    assert (output / "c0.nii.gz").is_file()
    assert not (output / "c1.nii.gz").exists()


@pytest.mark.torch
def test_an_image_with_nan_is_not_predicted(trained: Path, refused: Callable[..., str]) -> None:
    put_nan(trained / "nnUNet_raw" / DATASET)
    images = trained / "nnUNet_raw" / DATASET / "imagesTr"
    command = ("predict", "-d", 7, "-i", images, "-o", trained / "out", "--device", "cpu")
    refused(*command, says=["c3", "NaN"], may_write="out")
