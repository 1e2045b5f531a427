"""The script of docs/scripting.md, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import slicer
from tiny_dataset import makeTinyDataset

from SegAutoConfigGui.Settings import Settings

LENGTH = '"--budget", "20m"'
SHORT = '"--epochs", "1", "--iterations", "2", "--device", "cpu", "--workers", "0"'


@pytest.fixture
def script(repository: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(repository / "SegAutoConfig"))
    code, _task = re.findall(r"```python\n(.*?)```", (repository / "docs" / "scripting.md").read_text(), re.DOTALL)
    assert code.count(LENGTH) == 1
    return code.replace(LENGTH, SHORT)


def test_the_script_trains_in_a_used_workspace(
    script: str, tmp_path: Path, externalPython: str, makeVolume, makeSegmentation, capsys: pytest.CaptureFixture
) -> None:
    makeTinyDataset(tmp_path, "Dataset001_Liver", cases=1)
    settings = Settings()
    settings.workspace, settings.externalPython = tmp_path, externalPython
    for number in range(2):
        values = np.random.default_rng(number).normal(0, 20, (16, 24, 24))
        values[4:12, 6:18, 6:18] += 100
        volume = makeVolume(f"scan {number}", values.astype(np.int16))
        makeSegmentation(f"scan {number} liver", {"liver": values > 60}, volume)
    names: dict = {}
    exec(compile(script, "docs/scripting.md", "exec"), names)
    model = Path(capsys.readouterr().out.splitlines()[-1])
    assert model.parent == tmp_path / "nnUNet_results" / "Dataset002_Liver"
    assert (model / "fold_all" / "checkpoint_final.pth").is_file()
    (job,) = names["engine"].jobs()  # those of short commands are temporary
    assert (job.title, job.state, job.folder.parent) == ("Liver", job.FINISHED, tmp_path / "jobs")
    assert not (tmp_path / "staging").exists()
    assert slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode") == []
