"""Commands on a tiny raw dataset: run in this process, or as a process of their own where signals matter."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_once import made_once
from segautoconfiglib.base.events import Event, parse_line
from segautoconfiglib.cli.main import main
from segautoconfiglib.defaults import BUDGET
from segautoconfiglib.image.files import write_image, write_labels
from segautoconfiglib.image.volume import Geometry

GRID = Geometry((3.0, 1.0, 1.0))
SHAPE = (8, 20, 22)
NAME = "Dataset007_Test"
#: How long to wait for something that a started process should do (seconds); far above what is needed.
PATIENCE = 120


@dataclass(frozen=True)
class Outcome:
    """What a command has left behind."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[Event]:
        """Standard output as events; fails for a line that is none."""
        events = [parse_line(line) for line in self.out.splitlines()]
        assert all(json.loads(line)["version"] == 1 for line in self.out.splitlines())
        return events

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of one kind."""
        return [event.data for event in self.events if event.kind == kind]


Cli = Callable[..., Outcome]
Refused = Callable[..., str]


def write_case(folder: Path, case: str, seed: int, channels: int = 1, ending: str = ".nii.gz") -> None:
    """A bright block (1) with a brighter core (2) in noise."""
    random = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    z, y, x = random.integers((1, 2, 2), (3, 6, 8))
    labels[z : z + 4, y : y + 11, x : x + 11] = 1
    labels[z + 1 : z + 3, y + 3 : y + 8, x + 3 : x + 8] = 2
    for channel in range(channels):
        image = 120 * labels + random.normal(100, 12, SHAPE)
        write_image(image.astype(np.float32), folder / "imagesTr" / f"{case}_{channel:04d}{ending}", GRID)
    write_labels(labels, folder / "labelsTr" / f"{case}{ending}", GRID)


def write_dataset(folder: Path, cases: int = 5, channels: int = 1, **changes: Any) -> Path:
    """A faultless raw dataset; ``changes`` replace entries of dataset.json."""
    for number in range(cases):
        write_case(folder, f"c{number}", number, channels)
    content = {
        "channel_names": {str(channel): "MRI" for channel in range(channels)},
        "labels": {"background": 0, "organ": 1, "core": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with size and time of the last change of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns) if path.is_file() else (0, 0)
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace that does not exist yet."""
    return tmp_path / "workspace"


@pytest.fixture
def raw_dataset(workspace: Path) -> Callable[..., Path]:
    """``raw_dataset(cases=5, channels=1, **dataset_json)`` writes dataset 7."""
    return lambda **options: write_dataset(workspace / "nnUNet_raw" / NAME, **options)


@pytest.fixture
def raw(raw_dataset: Callable[..., Path]) -> Path:
    """Dataset 7 with five cases c0 to c4, for tests to damage."""
    return raw_dataset()


@pytest.fixture
def cli(workspace: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """``cli("train", 7, "--epochs", 2)`` runs a command in this process, in the test's workspace."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = main([*map(str, words), "--workspace", str(workspace)])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def refused(cli: Cli, tmp_path: Path) -> Refused:
    """``refused("verify", 7, says=["c0", ...])``: the command ends with one clear error and has changed no file.

    Files that earlier steps of the same command may leave are named by ``may_write``. Returns the error's text.
    """

    def check(*words: object, says: list[str], may_write: str = "") -> str:
        before = listing(tmp_path)
        outcome = cli(*words)
        assert outcome.code == 2, outcome.err
        assert "Traceback" not in outcome.err
        errors = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, outcome.err
        text = outcome.err[outcome.err.index("Error: ") :]
        for part in says:
            assert part in text
        assert len(text.splitlines()) > 1, f"no remedy: {text}"
        changed = {path for path, status in listing(tmp_path).items() if before.get(path) != status}
        assert not [path for path in changed if not may_write or may_write not in path]
        assert before.keys() <= listing(tmp_path).keys()
        return text

    return check


def write_tiny_plans(folder: Path, largest: int = 32) -> None:
    """Write ``tiny.json`` beside ``nnUNetPlans.json``: networks of few features and layers, small patches.

    Args:
        folder: A preprocessed dataset.
        largest: Of a patch's edges.
    """
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plans["plans_name"] = "tiny"
    for configuration in plans["configurations"].values():
        configuration["patch_size"] = [min(edge, largest) for edge in configuration["patch_size"]]
        options = configuration["architecture"]["arch_kwargs"]
        stages = options["n_stages"]
        options["features_per_stage"] = [8, 16, 24, 32, 32, 32, 32][:stages]
        options["n_conv_per_stage"], options["n_conv_per_stage_decoder"] = [1] * stages, [1] * (stages - 1)
    (folder / "tiny.json").write_text(json.dumps(plans))


@pytest.fixture(scope="session")
def tiny_plans() -> Callable[..., None]:
    """``tiny_plans(folder)`` writes ``tiny.json`` beside the plans of a preprocessed folder."""
    return write_tiny_plans


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with dataset 7, preprocessed, and one model of it with fold 0."""
    pytest.importorskip("torch")
    return made_once(tmp_path_factory, "trained", train_once)


def train_once(workspace: Path) -> None:
    """Fill a workspace with a dataset and a model of it."""
    write_dataset(workspace / "nnUNet_raw" / NAME)
    place = ["--workspace", str(workspace), "--events", "jsonl"]
    assert main(["plan", "7", *place]) == 0
    write_tiny_plans(workspace / "nnUNet_preprocessed" / NAME)
    words = ["train", "7", "-p", "tiny", "-c", "3d_fullres", "--epochs", "1", "--iterations", "2", "--device", "cpu"]
    assert main([*words, "--workers", "0", *place]) == 0


@pytest.fixture
def trained(trained_once: Path, workspace: Path) -> Path:
    """A copy of the trained workspace, for tests to damage."""
    shutil.copytree(trained_once, workspace)
    return workspace


@pytest.fixture
def short_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of tiny networks may be given less time than those of users; none of it goes into loading torch."""
    pytest.importorskip("torch._dynamo")
    import segautoconfiglib.training.run  # noqa: F401

    monkeypatch.setattr("segautoconfiglib.pipeline.options.BUDGET", replace(BUDGET, min_seconds=10))


class Process:
    """A command in a process group of its own, as a shell starts it; its events are read as they come.

    With ``stdin=subprocess.PIPE`` it can be spoken to.
    """

    def __init__(
        self,
        *words: object,
        python: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *python, "-m", "segautoconfiglib", *map(str, words)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self._process.stdout, self.out), (self._process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._news:
                lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, text: str) -> None:
        """Wait until a line of either stream contains a text. Fails if the process ends before."""
        with self._news:
            assert self._news.wait_for(
                lambda: any(text in line for line in [*self.out, *self.err]) or self._process.poll() is not None,
                timeout=PATIENCE,
            )
        assert any(text in line for line in [*self.out, *self.err]), f"{text!r} never came: {self.out} {self.err}"

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """What Ctrl-C does in a terminal: the signal goes to the whole group."""
        os.killpg(self._process.pid, number)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> Any:
        """The open end of its standard input."""
        return self._process.stdin

    def kill(self) -> None:
        """End this one process, as a system without memory does; those it has started are not asked."""
        self._process.kill()
        self._process.wait(timeout=PATIENCE)

    def outcome(self) -> Outcome:
        """Wait for the end."""
        code = self._process.wait(timeout=PATIENCE)
        for reader in self._readers:
            reader.join(timeout=PATIENCE)
        return Outcome(code, "".join(self.out), "".join(self.err))

    def end(self) -> None:
        """Take the group away, whatever it does."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait(timeout=PATIENCE)


@pytest.fixture
def start(workspace: Path) -> Iterator[Callable[..., Process]]:
    """``start("train", 7)`` starts a command with ``--events jsonl`` in the test's workspace."""
    started: list[Process] = []

    def run(*words: object, **options: Any) -> Process:
        process = Process(*words, "--workspace", workspace, "--events", "jsonl", **options)
        started.append(process)
        return process

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in tests that run in the background
    yield run
    signal.signal(signal.SIGINT, before)
    for process in started:
        process.end()
