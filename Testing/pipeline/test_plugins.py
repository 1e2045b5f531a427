"""Plug-ins at work: every example of docs/plugins.md as it stands there, and what is said where one is missing."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.base.plugins import loaded, plugged_in
from segautoconfiglib.image.files import read_image, read_labels, write_labels

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "Dataset007_Test"
SHORT = ("--epochs", 1, "--iterations", 2, "--workers", 0, "--device", "cpu")
#: Longest example, without its name and empty lines.
MOST_LINES = 15

Cli = Callable[..., Any]


def examples() -> dict[str, tuple[str, list[list[str]]]]:
    """File name -> its text and the words of the commands below it, from docs/plugins.md."""
    text = (REPOSITORY / "docs" / "plugins.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```\n\n```sh\n(.*?)```", text, re.DOTALL)
    prefix = "python -m segautoconfiglib "
    return {
        name: (code, [shlex.split(line.removeprefix(prefix)) for line in lines.splitlines()])
        for name, code, lines in blocks
    }


EXAMPLES = examples()


@pytest.fixture
def here(workspace: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, beside dataset 7 and with the images of one case."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    shutil.copy(raw / "imagesTr" / "c0_0000.nii.gz", tmp_path / "images")
    return tmp_path


def run(cli: Cli, words: list[str]) -> Any:
    """A command of the documentation, with a tiny training in place of a real one."""
    more = SHORT if words[0] in ("train", "nnUNetv2_train") else ()
    more = ("--device", "cpu", "--no-mirroring") if words[0] == "predict" else more
    outcome = cli(*words, *more)
    assert outcome.code == 0, outcome.err
    assert loaded() == []
    return outcome


def as_voxels(raw: Path, plugin: Path, images: Path) -> None:
    """Let dataset and images have the format of the example of a reader."""
    with plugged_in([plugin]):
        for file in [*raw.rglob("*.nii.gz"), *images.glob("*.nii.gz")]:
            volume = read_image([file])
            target = file.with_name(file.name.replace(".nii.gz", ".voxels"))
            if file.parent.name == "labelsTr":
                write_labels(read_labels(file).array[0], target, volume.geometry)
            else:
                content = {"array": volume.array[0], "spacing": volume.geometry.spacing_mm}
                with target.open("wb") as stream:
                    np.savez_compressed(stream, **content)
            file.unlink()
    description = json.loads((raw / "dataset.json").read_text())
    (raw / "dataset.json").write_text(json.dumps({**description, "file_ending": ".voxels"}))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_documentations_examples(name: str, here: Path, raw: Path, workspace: Path, cli: Cli) -> None:
    code, commands = EXAMPLES[name]
    assert len([line for line in code.splitlines() if line.strip()]) <= MOST_LINES
    (here / name).write_text(code)
    if name == "voxels.py":
        as_voxels(raw, here / name, here / "images")
    for words in commands:
        run(cli, words)
    if commands[-1][0] == "predict":
        ending = ".voxels" if name == "voxels.py" else ".nii.gz"
        with plugged_in([here / name]):
            assert read_labels(here / "out" / f"c0{ending}").shape == (8, 20, 22)
    for file in workspace.glob("nnUNet_results/*/*/fold_0/debug.json"):
        assert json.loads(file.read_text())["plugins"] == [name]


def test_all_kinds_are_documented() -> None:
    text = (REPOSITORY / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert len(EXAMPLES) == len(re.findall("```python", text)) == 9
    kinds = ("network", "loss", "optimizer", "schedule", "trainer", "planner", "reader", "augmentation")
    assert [kind for kind in kinds if f"plugin.{kind}(" not in text] == []


def test_results_of_the_examples(here: Path, workspace: Path, cli: Cli) -> None:
    """The plug-in's values arrive where they should."""
    import torch

    for name in ("cos_anneal.py", "my_gpu.py"):
        (here / name).write_text(EXAMPLES[name][0])
        run(cli, EXAMPLES[name][1][0])
    model = workspace / "nnUNet_results" / NAME / "nnUNetTrainerCosAnneal__nnUNetPlans__3d_fullres"
    checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)
    recipe = checkpoint["segautoconfig"]["recipe"]
    assert (recipe["optimizer"], recipe["schedule"], recipe["learning_rate"]) == ("adamw", "cosine_steps", 3e-4)
    assert checkpoint["segautoconfig"]["plugins"] == ["cos_anneal.py"]
    assert "exp_avg" in checkpoint["optimizer_state"]["state"][0]
    rate = checkpoint["optimizer_state"]["param_groups"][0]["lr"]
    assert rate == pytest.approx(1.5e-4)  # the second of two steps: half a cosine is half done
    plans = json.loads((workspace / "nnUNet_preprocessed" / NAME / "MyGpuPlans.json").read_text())
    assert plans["experiment_planner_used"] == "my_gpu"
    outcome = cli("predict", "-d", 7, "-tr", "nnUNetTrainerCosAnneal", "-i", "images", "-o", "out", "--device", "cpu")
    assert outcome.code == 0, outcome.err  # the trainer is not needed any more


def test_a_network_without_its_plugin(here: Path, cli: Cli, refused: Callable[..., str]) -> None:
    code, commands = EXAMPLES["two_layers.py"]
    (here / "two_layers.py").write_text(code)
    run(cli, commands[0])
    says = ["Unknown network 'TwoLayers'", "trained with the plug-in two_layers.py", "--plugin FILE"]
    refused("predict", "-d", 7, "-i", here / "images", "-o", here / "out", "--device", "cpu", says=says)
    says = ["Unknown planner 'two_layers'", "--plugin FILE"]
    refused("train", 7, "--planner", "two_layers", "--fold", 1, says=says)
    says = ["nnUNetTrainerFocal", "--plugin"]
    refused("train", 7, "--trainer", "nnUNetTrainerFocal", "--fold", 1, "--device", "cpu", says=says)


def test_files_without_their_reader(here: Path, raw: Path, refused: Callable[..., str]) -> None:
    (here / "voxels.py").write_text(EXAMPLES["voxels.py"][0])
    as_voxels(raw, here / "voxels.py", here / "images")
    refused("train", 7, "--device", "cpu", says=["'.voxels' can't be read", "plug-in"])


def test_a_model_names_the_plugin_of_its_files(
    here: Path, raw: Path, workspace: Path, cli: Cli, refused: Callable[..., str]
) -> None:
    (here / "voxels.py").write_text(EXAMPLES["voxels.py"][0])
    (here / "other.py").write_text("def register(plugin):\n    pass\n")
    as_voxels(raw, here / "voxels.py", here / "images")
    run(cli, ["train", "7", "--plugin", "voxels.py"])
    says = ["'.voxels' can't be read", "trained with the plug-in voxels.py: name it (--plugin FILE)"]
    words = ("predict", "-d", 7, "-i", here / "images", "-o", here / "out", "--device", "cpu", "--plugin", "other.py")
    assert "Predicting with" not in refused(*words, says=says)
    run(cli, ["export-model", next(workspace.glob("nnUNet_results/*/*")), "model.zip", "--plugin", "voxels.py"])
    shutil.rmtree(workspace)
    run(cli, ["import-model", "model.zip", "--plugin", "voxels.py"])
    refused(*words, says=says)
    run(cli, [*map(str, words), "--plugin", "voxels.py"])


def test_a_planners_edit_that_fails(here: Path, cli: Cli) -> None:
    """Only the plug-in's own lines are shown."""
    (here / "edit.py").write_text(
        "def edit(plans):\n    plans['missing']['x'] = 1\n\n\ndef register(plugin):\n"
        "    plugin.planner('edited', edit=edit)\n"
    )
    outcome = cli("plan", 7, "--plugin", "edit.py", "--planner", "edited")
    assert outcome.code == 2
    shown = outcome.err[outcome.err.index("Traceback") :].splitlines()
    assert [line for line in shown if "File" in line] == [f'  File "{here / "edit.py"}", line 2, in edit']
    assert f"Error: The plug-in {here / 'edit.py'}, line 2, failed: KeyError: 'missing'" in shown


def test_bad_plugins_end_any_command_before_its_work(here: Path, refused: Callable[..., str]) -> None:
    bad = here / "bad.py"
    bad.write_text("import numpy\n\nraise ValueError('no licence')\n")
    for words in (("plan", 7), ("train", 7, "--device", "cpu"), ("nnUNetv2_plan_experiment", "-d", 7), ("info",)):
        refused(*words, "--plugin", bad, says=["bad.py, line 3, fails: ValueError: no licence", "Correct the file"])
    refused("plan", 7, "--plugin", here / "none.py", says=["none.py does not exist"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return self.last(image[:, :, ::2])", ["Broken gives [(1, 3, ", "It must give logits of shape (1, 3, "]),
        ("return self.last(image).tolist()", ["Broken gives list"]),
    ],
)
def test_networks_that_do_not_fit(here: Path, refused: Callable[..., str], body: str, says: list[str]) -> None:
    refused(*train_broken(here, body), says=says, may_write="nnUNet_")


def test_networks_that_fail(here: Path, cli: Cli) -> None:
    """Whoever wrote the plug-in needs the traceback, too."""
    outcome = cli(*train_broken(here, "return self.missing(image)"))
    assert outcome.code == 2
    assert "broken.py, line 8, failed: AttributeError" in outcome.err[outcome.err.index("Error: ") :]
    assert "Traceback" in outcome.err


def train_broken(here: Path, body: str) -> tuple[object, ...]:
    """The words of a training of a network with a ``forward`` of one line."""
    (here / "broken.py").write_text(
        f"""from torch import nn
class Broken(nn.Module):
    def __init__(self, input_channels, num_classes):
        super().__init__()
        self.last = nn.Conv3d(input_channels, num_classes, 1)

    def forward(self, image):
        {body}

def register(plugin):
    plugin.network("Broken", Broken)
    plugin.planner("broken", network="Broken")
"""
    )
    return "train", 7, "--planner", "broken", "-c", "3d_fullres", "--plugin", here / "broken.py", *SHORT


def test_the_workspaces_plugins_and_a_job(here: Path, workspace: Path, cli: Cli) -> None:
    (workspace / "plugins").mkdir()
    (workspace / "plugins" / "my_gpu.py").write_text(EXAMPLES["my_gpu.py"][0])
    outcome = cli("plan", 7, "--planner", "my_gpu", "--job", here / "job")
    assert outcome.code == 0, outcome.err
    assert "Plug-in my_gpu.py: planner my_gpu." in (here / "job" / "events.jsonl").read_text()
    assert (workspace / "nnUNet_preprocessed" / NAME / "MyGpuPlans.json").is_file()


def test_worker_processes_read_a_plugins_files(here: Path, raw: Path, cli: Cli) -> None:
    (here / "voxels.py").write_text(EXAMPLES["voxels.py"][0])
    as_voxels(raw, here / "voxels.py", here / "images")
    outcome = cli("fingerprint", 7, "--plugin", "voxels.py", "--workers", 2)
    assert outcome.code == 0, outcome.err
