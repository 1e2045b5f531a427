"""Plans, weights and models that go from one dataset or computer to another."""

from __future__ import annotations

import json
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

DATASET, OTHER = "Dataset007_Test", "Dataset008_Other"
NAME = "nnUNetTrainer__tiny__3d_fullres"
FAST = ("-c", "3d_fullres", "--epochs", 1, "--iterations", 1, "--device", "cpu", "--workers", 0)
Cli = Callable[..., Any]
Refused = Callable[..., str]

pytestmark = pytest.mark.torch


@pytest.fixture
def model(trained: Path) -> Path:
    return trained / "nnUNet_results" / DATASET / NAME


@pytest.fixture
def other(trained: Path) -> Path:
    """A raw dataset of the same images, whose structures have other names and numbers."""
    folder = trained / "nnUNet_raw" / OTHER
    shutil.copytree(trained / "nnUNet_raw" / DATASET, folder)
    change(folder / "dataset.json", labels={"background": 0, "core": 1, "cyst": 2})
    return folder


def change(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def weights(file: Path) -> dict[str, Any]:
    from segautoconfiglib.networks.checkpoint import canonical_weights, read_checkpoint

    return canonical_weights(read_checkpoint(file)["network_weights"])


def test_plans_go_to_another_dataset(trained: Path, other: Path, cli: Cli, refused: Refused) -> None:
    folder = trained / "nnUNet_preprocessed" / OTHER
    assert cli("move-plans", 7, 8, "--plans", "tiny", "--as", "of7").code == 0
    made = json.loads((folder / "of7.json").read_text())
    source = json.loads((trained / "nnUNet_preprocessed" / DATASET / "tiny.json").read_text())
    assert (made["dataset_name"], made["plans_name"]) == (OTHER, "of7")
    assert [entry["data_identifier"] for entry in made["configurations"].values()] == [
        f"of7_{entry['data_identifier']}" for entry in source["configurations"].values()
    ]
    assert made["configurations"]["2d"]["architecture"] == source["configurations"]["2d"]["architecture"]
    assert sorted(file.name for file in folder.iterdir()) == [".segautoconfig", "dataset.json", "of7.json"]
    assert cli("nnUNetv2_move_plans_between_datasets", "-s", 7, "-t", OTHER, "-sp", "tiny", "-tp", "of7").code == 0
    words = ("move-plans", 7, 8, "-p", "nnUNetPlans", "--as", "of7")
    refused(*words, says=["has other plans of the name of7", "--as", "--overwrite"])
    assert cli(*words, "--overwrite").code == 0
    refused("move-plans", 7, 8, "-p", "none", says=["none.json does not exist", "tiny"])
    refused("move-plans", 7, 9, says=["no dataset with id 9"])


def test_moved_plans_leave_other_plans_their_cases(trained: Path, other: Path, cli: Cli) -> None:
    folder = trained / "nnUNet_preprocessed" / OTHER
    folder.mkdir()
    source = json.loads((trained / "nnUNet_preprocessed" / DATASET / "tiny.json").read_text())
    entries = json.loads(json.dumps(source["configurations"]))
    entries["3d_fullres"]["spacing"] = [9.0, 9.0, 9.0]
    here = {**source, "dataset_name": OTHER, "plans_name": "own", "configurations": entries}
    (folder / "own.json").write_text(json.dumps(here))

    def identifiers() -> dict[str, str]:
        made = json.loads((folder / "tiny.json").read_text())["configurations"]
        return {name: entry["data_identifier"] for name, entry in made.items() if "data_identifier" in entry}

    before = {name: entry["data_identifier"] for name, entry in entries.items() if "data_identifier" in entry}
    assert cli("move-plans", 7, 8, "--plans", "tiny").code == 0
    assert identifiers() == {**before, "3d_fullres": "tiny_3d_fullres"} != before
    assert cli("move-plans", 7, 8, "--plans", "tiny").code == 0, "the same plans once more"
    entries["3d_fullres"]["data_identifier"] = "tiny_3d_fullres"
    (folder / "own.json").write_text(json.dumps(here))
    assert cli("move-plans", 7, 8, "--plans", "tiny", "--overwrite").code == 0
    assert identifiers() == before, "the name is free again"


def test_other_channels_need_a_word(trained: Path, other: Path, cli: Cli, refused: Refused) -> None:
    for file in (other / "imagesTr").glob("*_0000.nii.gz"):
        shutil.copyfile(file, file.with_name(file.name.replace("_0000", "_0001")))
    change(other / "dataset.json", channel_names={"0": "T2", "1": "MRI"})
    refused(
        "move-plans", 7, 8, "-p", "tiny", says=["do not fit Dataset008_Other, which has 2 channels", "--own-channels"]
    )
    assert cli("move-plans", 7, 8, "-p", "tiny", "--own-channels").code == 0
    folder = trained / "nnUNet_preprocessed" / OTHER
    assert (folder / "dataset_fingerprint.json").is_file(), "only this needs it"
    entry = json.loads((folder / "tiny.json").read_text())["configurations"]["3d_fullres"]
    assert len(entry["normalization_schemes"]) == len(entry["use_mask_for_norm"]) == 2
    file = trained / "nnUNet_results" / DATASET / NAME / "fold_0" / "checkpoint_final.pth"
    words = ("train", 8, "-p", "tiny", *FAST, "--pretrained-weights", file)
    refused(*words, says=["1 input channels instead of 2", "--adapt channels"], may_write="nnUNet_preprocessed")
    assert not (folder / "tiny_3d_fullres").exists(), "refused before the preprocessing"
    outcome = cli(*words, "--adapt", "channels", "heads", "--events", "jsonl")
    assert outcome.code == 0, outcome.err
    (transfer,) = [event["transfer"] for event in outcome.of("log") if "transfer" in event]
    assert {row["reason"] for row in transfer["adapted"]} == {
        "channels taken over: MRI; T2 from zero",
        "structures taken over: background, core",
    }
    assert (transfer["fresh"], transfer["unused"]) == ([], [])


def test_pretraining_and_fine_tuning(trained: Path, other: Path, cli: Cli) -> None:
    """A dataset is planned, another one trained with these plans, and the first one starts from its weights."""
    assert cli("move-plans", 7, 8, "-p", "tiny", "--as", "of7").code == 0
    assert cli("train", 8, "-p", "of7", *FAST).code == 0
    file = trained / "nnUNet_results" / OTHER / "nnUNetTrainer__of7__3d_fullres" / "fold_0" / "checkpoint_final.pth"
    words = ("nnUNetv2_train", 7, "3d_fullres", 1, "-p", "tiny", *FAST[2:], "-pretrained_weights", file)
    outcome = cli(*words, "--events", "jsonl")
    assert outcome.code == 0, outcome.err
    (event,) = [event for event in outcome.of("log") if "transfer" in event]
    before = weights(file)
    heads = [name for name in before if ".seg_layers." in name]
    assert f"{len(before) - len(heads)} of {len(before)} tensors taken as they are" in event["message"]
    assert [row["name"] for row in event["transfer"]["fresh"]] == heads
    assert {row["reason"] for row in event["transfer"]["fresh"]} == {"the last layers belong to the labels"}


def test_adapt_needs_weights(trained: Path, refused: Refused) -> None:
    refused("train", 7, "-p", "tiny", "--adapt", "heads", says=["there are none", "--pretrained-weights"])


def test_the_choice_of_a_dataset_is_one_file(model: Path, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    results, file = model.parent, tmp_path / "choice.zip"
    refused("export-model", 7, file, says=["Nothing was chosen among the models of Dataset007_Test", "find-best"])
    member = {"trainer": "nnUNetTrainer", "plans_identifier": "tiny", "configuration": "3d_fullres"}
    best = {"selected_model_or_models": [member], "some_plans_file": f"{model}/plans.json"}
    (results / "inference_information.json").write_text(json.dumps({"best_model_or_ensemble": best}))
    shutil.copytree(model, model.with_name("nnUNetTrainer__tiny__2d"))
    postprocessing = model / "crossval_results_folds_0" / "postprocessing.json"
    postprocessing.parent.mkdir()
    postprocessing.write_text('{"postprocessing_fns": []}')
    assert cli("export-model", DATASET, file).code == 0
    with zipfile.ZipFile(file) as archive:
        assert {name.split("/")[1] for name in archive.namelist()} == {NAME, "inference_information.json"}
    shutil.rmtree(results)
    assert cli("import-model", file).code == 0
    assert postprocessing.read_text() == '{"postprocessing_fns": []}'
    assert (results / "inference_information.json").is_file()
    assert "somebody" not in (results / "inference_information.json").read_text()


def test_a_shared_model_does_not_tell_its_cases(model: Path, cli: Cli, tmp_path: Path) -> None:
    from segautoconfiglib.networks.checkpoint import read_checkpoint, write_checkpoint

    checkpoint, file = model / "fold_0" / "checkpoint_final.pth", tmp_path / "model.zip"
    listed = {"dataset": {"smith": {"images": ["/data/smith.nii.gz"], "label": "/data/smith_seg.nii.gz"}}}
    content = read_checkpoint(checkpoint)
    content["init_args"]["dataset_json"].update(listed)
    write_checkpoint(checkpoint, content)
    change(model / "dataset.json", **listed)
    before = weights(checkpoint)
    assert cli("export-model", model, file, "--with-case-names").code == 0
    with zipfile.ZipFile(file) as archive:
        assert b"smith" in archive.read(f"{DATASET}/{NAME}/dataset.json")
        held_out = json.loads(archive.read(f"{DATASET}/{NAME}/fold_0/validation/summary.json"))["metric_per_case"]
    assert held_out[0]["prediction_file"].startswith("c")
    assert "case" not in held_out[0]["prediction_file"]
    assert cli("export-model", model, file, "--overwrite").code == 0
    with zipfile.ZipFile(file) as archive, archive.open(f"{DATASET}/{NAME}/fold_0/checkpoint_final.pth") as stream:
        raw = stream.read()
        names = [archive.read(name) for name in archive.namelist() if not name.endswith((".pth", ".png"))]
    assert b"smith" not in raw + b"".join(names)
    assert str(tmp_path).encode() not in raw + b"".join(names)
    assert cli("import-model", file, "--overwrite").code == 0
    after = weights(checkpoint)
    assert all((before[name] == after[name]).all() for name in before)
    assert after.keys() == before.keys()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of the test's folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_models_from_an_address(model: Path, server: str, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    assert cli("export-model", model, tmp_path / "model.zip").code == 0
    shutil.rmtree(model)
    outcome = cli("nnUNetv2_download_pretrained_model_by_url", f"{server}/model.zip", "--events", "jsonl")
    assert outcome.code == 0, outcome.err
    assert {event["stage"] for event in outcome.of("progress")} == {"download", "import-model"}
    (row,) = outcome.of("done")[0]["models"]
    assert (row["path"], row["origin"]) == (str(model), "imported from model.zip")
    refused("import-model", f"{server}/model.zip", says=["There is a model already", "--overwrite"])
    refused("import-model", f"{server}/none.zip", says=["none.zip answers 404"])
    refused("import-model", "file:///etc/passwd", says=["can't be downloaded", "https://"])
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    refused("import-model", f"{server}/bad.zip", says=["no zip file"])
    assert not list((tmp_path / "workspace").rglob(".downloading-*"))


def test_what_info_tells_about_a_model(model: Path, cli: Cli) -> None:
    table = cli("info", model).out
    for part in ("organ 1", "MRI", "spacing", "validation Dice", "finished"):
        assert part in table, part
    lines = [line.split("  ", 1) for line in table.splitlines()]
    rows = {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}
    report = cli("info", model, "--events", "jsonl").of("done")[0]["model"]
    assert rows["size"] == f"{report['size_mb']} MB"
    assert rows["date"] == report["date"][:16].replace("T", " ")
    assert rows["patch size"] == "8 x 20 x 24"
    assert rows["median image size"]
    assert float(rows["validation Dice"]) == round(report["dice"], 3)
    assert "_size" not in table
    title, first = table.splitlines()[:2]
    assert (title.strip(), first.split()[0]) == (report["title"], "title")


def test_an_existing_file_is_not_replaced_unasked(model: Path, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(b"mine")
    refused("export-model", model, file, says=[f"{file} exists already.", "--overwrite"])
    assert cli("export-model", model, file, "--overwrite").code == 0
    assert zipfile.is_zipfile(file)
    file.write_bytes(b"mine")
    assert cli("nnUNetv2_export_model_to_zip", "-d", 7, "-p", "tiny", "-o", file).code == 0
    assert zipfile.is_zipfile(file)


def test_what_comes_after_an_import(model: Path, trained: Path, cli: Cli, tmp_path: Path) -> None:
    assert cli("export-model", model, tmp_path / "model.zip").code == 0
    shutil.rmtree(trained)
    outcome = cli("import-model", tmp_path / "model.zip")
    assert outcome.code == 0, outcome.err
    predict = f"python -m segautoconfiglib predict --model {model} -i IN -o OUT --workspace {trained}"
    assert f"Next: {predict}" in outcome.err.splitlines()
    assert "Next: plan" not in cli("info", 7).err
    (trained / "nnUNet_raw" / DATASET).mkdir(parents=True)
    plan, train = (f"`python -m segautoconfiglib {name} {DATASET} --workspace {trained}`" for name in ("plan", "train"))
    assert f"Nothing is planned for {DATASET} yet. Next: {plan}, or {train}." in cli("info", 7).err.splitlines()
