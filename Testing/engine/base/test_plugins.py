"""Plug-ins: what they register, what is said about bad ones, and that other processes have them, too."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.plugins import (
    AlsoThere,
    blaming,
    load_plugins,
    loaded,
    plugged_in,
    plugin_names,
)
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.planning.choices import LOSSES, RECIPES
from segautoconfiglib.planning.trainer_names import recipe_from_trainer_name

GOOD = """
def double(value):
    return 2 * value

def register(plugin):
    plugin.loss("double", double)
    plugin.trainer("nnUNetTrainerDouble", loss="double", epochs=7)
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(text, name="mine.py")`` writes a plug-in."""

    def make(text: str, name: str = "mine.py") -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    return make


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    assert loaded() == []
    assert "double" not in LOSSES


def error_of(file: Path | str) -> UserError:
    with pytest.raises(UserError) as caught, plugged_in([file]):
        pytest.fail("it was loaded")
    return caught.value


def test_parts_are_there_inside_the_block_only(write: Write) -> None:
    report = ListReporter()
    with plugged_in([write(GOOD)], report=report) as plugins:
        assert LOSSES.get("double")(3) == 6
        recipe = recipe_from_trainer_name("nnUNetTrainerDouble_NoMirroring")
        assert (recipe.loss, recipe.epochs, recipe.mirror) == ("double", 7, False)
        assert plugin_names() == ["mine.py"]
        assert plugins[0].parts == [("loss", "double"), ("trainer", "nnUNetTrainerDouble")]
    assert "nnUNetTrainerDouble" not in RECIPES
    assert [event.data["message"] for event in report.events] == [
        "Plug-in mine.py: loss double, trainer nnUNetTrainerDouble."
    ]


def test_a_plugin_is_loaded_once(write: Write) -> None:
    file = write(GOOD)
    with plugged_in([file, str(file), file.parent / "." / "mine.py"]) as plugins:
        assert len(plugins) == 1
        with plugged_in([file]) as again:
            assert again == []
        assert "double" in LOSSES


def test_a_trainer_may_take_the_place_of_nnunets(write: Write) -> None:
    values = "optimizer='adamw', schedule='cosine_steps'"
    with plugged_in([write(f"def register(plugin):\n    plugin.trainer('nnUNetTrainerCosAnneal', {values})")]):
        recipe = recipe_from_trainer_name("nnUNetTrainerCosAnneal")
        assert (recipe.optimizer, recipe.learning_rate, recipe.schedule) == ("adamw", 1e-3, "cosine_steps")
        assert recipe.trainer_name == "nnUNetTrainerCosAnneal"
    assert recipe_from_trainer_name("nnUNetTrainerCosAnneal").optimizer == "sgd"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n\nx = = 1\n", "mine.py, line 3, is no valid Python"),
        ("import os\nimport not_there_at_all\n", "mine.py, line 2, fails: ModuleNotFoundError: No module named"),
        ("def f():\n    return 1 / 0\n\nf()\n", "mine.py, line 2, fails: ZeroDivisionError: division by zero."),
        ("raise SystemExit(3)\n", "mine.py, line 1, fails: SystemExit: 3."),
        ("x = 1\n", "mine.py has no function register."),
        ("register = 3\n", "mine.py has no function register."),
        ("def register(plugin):\n    plugin.loss('dice', print)\n", "line 2: The loss 'dice' exists already."),
        ("def register(plugin):\n    plugin.trainer('nnUNetTrainer')\n", "line 2: The trainer 'nnUNetTrainer' exists"),
        ("def register(plugin):\n    plugin.planner('resenc_m')\n", "line 2: The planner 'resenc_m' exists already."),
        ("def register(plugin):\n    plugin.planner('mine', like='best')\n", "line 2: Unknown planner 'best'."),
        (
            "def register(plugin):\n    plugin.trainer('mine', loss='none')\n",
            "line 2: The training recipe has values out",
        ),
        ("def register(plugin):\n    plugin.trainer('mine', los='dice')\n", "line 2, fails: TypeError: "),
        (
            "def register(plugin):\n    plugin.network('N', print)\n",
            "line 2: The network 'N' is <built-in function print>",
        ),
        ("def register(plugin):\n    plugin.reader('.nrrd', print, print)\n", "line 2: A reader can't be registered"),
        (
            "def register(plugin):\n    plugin.loss(len, print)\n",
            "line 2: The name of a loss is <built-in function len>.",
        ),
        (GOOD + "    plugin.loss('ce', double)\n", "line 8: The loss 'ce' exists already."),
    ],
)
def test_bad_plugins_are_named_with_their_line(write: Write, text: str, says: str) -> None:
    error = error_of(write(text))
    assert says in error.message
    assert str(write(text)) in error.message
    assert error.hint


def test_missing_files(tmp_path: Path) -> None:
    assert "does not exist" in error_of(tmp_path / "none.py").message
    assert "is no file" in error_of(tmp_path).message


def test_a_bad_plugin_takes_the_good_ones_along(write: Write) -> None:
    with pytest.raises(UserError, match=r"second\.py"), plugged_in([write(GOOD), write("x = 1", "second.py")]):
        pytest.fail("it was loaded")


def test_two_plugins_with_the_same_name(write: Write) -> None:
    with pytest.raises(UserError, match="loss 'double' exists"), plugged_in([write(GOOD), write(GOOD, "second.py")]):
        pytest.fail("it was loaded")


def test_the_workspaces_folder(write: Write, tmp_path: Path) -> None:
    write(GOOD, "plugins/b.py")
    write("def register(plugin):\n    pass\n", "plugins/a.py")
    write("x = 1", "plugins/_helpers.py")
    folder = Workspace.at(tmp_path).plugins
    with plugged_in(folder=folder):
        assert plugin_names() == ["a.py", "b.py"]
    with plugged_in([tmp_path / "plugins" / "b.py"], folder) as plugins:
        assert len(plugins) == 2
    with plugged_in(folder=tmp_path / "none") as plugins:
        assert plugins == []


def test_the_folder_of_plugins_lies_beside_the_datasets_wherever_the_other_roots_are(tmp_path: Path) -> None:
    environment = {f"nnUNet_{name}": str(tmp_path / name / name) for name in ("raw", "preprocessed", "results")}
    assert Workspace.find(environment=environment).plugins == tmp_path / "raw" / "plugins"
    environment = {"nnUNet_raw_data_base": str(tmp_path / "base"), "RESULTS_FOLDER": str(tmp_path / "results")}
    assert Workspace.find(environment=environment).plugins == tmp_path / "base" / "plugins"


def test_installed_packages(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOOD, "double_package.py")
    write("[segautoconfiglib.plugins]\ndouble = double_package\n", "double-1.0.dist-info/entry_points.txt")
    write("Metadata-Version: 2.1\nName: double\nVersion: 1.0\n", "double-1.0.dist-info/METADATA")
    monkeypatch.syspath_prepend(tmp_path)
    with plugged_in():
        assert plugin_names() == ["entry point double"]
        assert LOSSES.get("double")(2) == 4
    write("x = = 1", "double_package.py")
    monkeypatch.delitem(sys.modules, "double_package")
    with pytest.raises(UserError, match=r"entry point double, fails: SyntaxError"), plugged_in():
        pytest.fail("it was loaded")


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_have_them(write: Write, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)  # worker processes get this process's sys.path
    call_loss = import_module("parallel_tasks").call_loss
    with plugged_in([write(GOOD)]):
        results = map_cases(call_loss, [("a", ("double", 1)), ("b", ("double", 2))], workers=workers, stage="test")
    assert results == [(["mine.py"], 2), (["mine.py"], 4)]


def test_pickled_objects_of_a_plugin_find_it_in_another_process(write: Write, tmp_path: Path) -> None:
    with plugged_in([write(GOOD)]):
        (tmp_path / "pickled").write_bytes(pickle.dumps((AlsoThere(), LOSSES.get("double"))))
    code = f"import pickle; print(pickle.loads(open({str(tmp_path / 'pickled')!r}, 'rb').read())[1](21))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "42", done.stderr


def test_failures_inside_a_plugin_are_the_plugins(write: Write) -> None:
    file, report = write(GOOD), ListReporter()
    with pytest.raises(UserError, match=r"mine\.py, line 3, failed: TypeError: "), plugged_in([file], report=report):
        LOSSES.get("double")(object())
    trace = report.events[-1].data["message"].splitlines()
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[1].startswith(f'  File "{file}", line 3, ')
    assert trace[-1].startswith("TypeError: ")
    with pytest.raises(ZeroDivisionError), plugged_in([file]), blaming():
        _ = 1 / 0


def test_failures_that_others_have_wrapped_are_the_plugins_still(write: Write) -> None:
    def predict() -> None:
        try:
            LOSSES.get("double")(object())
        except TypeError as error:
            raise RuntimeError("Prediction of case c0 failed") from error

    says = r"mine\.py, line 3, failed: TypeError: .* \(Prediction of case c0 failed\)"
    with pytest.raises(UserError, match=says), plugged_in([write(GOOD)]):
        predict()


def test_loading_without_a_block(write: Write) -> None:
    (plugin,) = load_plugins([write(GOOD)])
    assert "double" in LOSSES
    plugin.unload()
