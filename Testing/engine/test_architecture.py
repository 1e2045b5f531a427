"""The rules of the layout: one direction of imports, torch in three folders, nothing heavy before a command runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import segautoconfiglib
from segautoconfiglib.cli.main import COMMANDS, NNUNET_COMMANDS, TASK_COMMANDS

PACKAGE = Path(segautoconfiglib.__file__).parent
TORCH_FOLDERS = {"networks", "training", "inference"}
#: What may read or set environment variables: the workspace's folders, the thread counts of worker processes, torchrun.
ENVIRONMENT_FILES = {"base/workspace.py", "base/parallel.py", "base/torchrun.py"}

MODULES = sorted(file for file in PACKAGE.rglob("*.py"))


def relative(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def stage_of(file: Path) -> str:
    """The folder, or the module's name for files at the top."""
    return relative(file).split("/")[0].removesuffix(".py")


def imported_names(file: Path) -> set[str]:
    """Full names of all modules that a file imports anywhere, in functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(file)} has a relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imported_stages(file: Path) -> set[str]:
    parts = [name.split(".") for name in imported_names(file) if name.startswith("segautoconfiglib.")]
    return {part[1] for part in parts}


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    ).stdout.strip()


def test_order_names_every_folder() -> None:
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert folders == set(segautoconfiglib.ORDER)


@pytest.mark.parametrize("stage", segautoconfiglib.ORDER)
def test_a_stage_imports_only_stages_before_it(stage: str) -> None:
    order = {"defaults": -1} | {name: place for place, name in enumerate(segautoconfiglib.ORDER)}
    for file in MODULES:
        if stage_of(file) != stage:
            continue
        later = {name for name in imported_stages(file) & set(order) if order[name] > order[stage]}
        assert not later, f"{relative(file)} imports from {', '.join(sorted(later))}"


def test_torch_is_imported_in_three_folders_only() -> None:
    users = {stage_of(file) for file in MODULES if {name.split(".")[0] for name in imported_names(file)} & {"torch"}}
    assert users <= TORCH_FOLDERS


def test_importing_the_torch_free_stages_loads_no_torch() -> None:
    names = [
        "segautoconfiglib." + relative(file).removesuffix(".py").replace("/", ".")
        for file in MODULES
        if stage_of(file) not in TORCH_FOLDERS and file.name not in ("__main__.py", "__init__.py")
    ]
    pytest.importorskip("matplotlib")  # of evaluation/overlays.py
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    assert run_python(code) == "False"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from segautoconfiglib.cli.main import COMMANDS, NNUNET_COMMANDS, TASK_COMMANDS, build_parser, overview\n"
        "overview()\n"
        "for name in [*COMMANDS, *NNUNET_COMMANDS, *TASK_COMMANDS]: build_parser(name)[1].format_help()\n"
        "print(sorted({'torch', 'numpy', 'SimpleITK', 'scipy', 'matplotlib', 'rich'} & set(sys.modules)))"
    )
    assert run_python(code) == "[]"


def test_every_command_of_the_overview_shows_its_help() -> None:
    command = next(iter(COMMANDS))
    result = subprocess.run(
        [sys.executable, "-m", "segautoconfiglib", command, "--help"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0
    assert "--workspace" in result.stdout
    overview = subprocess.run(
        [sys.executable, "-m", "segautoconfiglib", "--help"], capture_output=True, text=True, timeout=60
    ).stdout
    assert not [name for name in [*COMMANDS, *NNUNET_COMMANDS, *TASK_COMMANDS] if name not in overview]


def test_package_files_are_empty_but_for_the_list_of_commands() -> None:
    filled = [relative(file) for file in PACKAGE.glob("*/**/__init__.py") if file.read_text().strip()]
    assert filled == ["pipeline/__init__.py"]


def test_only_the_workspace_reads_the_environment() -> None:
    users = {relative(file) for file in MODULES if re.search(r"\bos\.(environ|getenv)\b", file.read_text("utf-8"))}
    assert users <= ENVIRONMENT_FILES


def readme_tree(text: str) -> tuple[set[str], set[str]]:
    """Files of the package and top-level folders as the README's tree names them.

    The tree is the code block that has a line ``SegAutoConfigLib/segautoconfiglib/``. Below that line every word that
    ends in ``.py`` is a file of the folder at the beginning of its line or, on lines without a name, of the line above.
    A line that starts with a letter is a top-level folder and ends the package.
    """
    block = next(part for part in text.split("```") if "SegAutoConfigLib/segautoconfiglib/" in part and "──" in part)
    files: set[str] = set()
    folders: set[str] = set()
    in_package, folder = False, ""
    for line in block.splitlines():
        if re.match(r"\w", line):
            name = line.split()[0]
            folders.add(name.rstrip("/"))
            in_package, folder = name == "SegAutoConfigLib/segautoconfiglib/", ""
            continue
        if not in_package:
            continue
        entry = re.match(r"[├└]── (\S+)", line)
        if entry:
            folder = entry[1] if entry[1].endswith("/") else ""
        without_remarks = re.sub(r"\([^)]*\)", "", line)
        files.update(folder + name for name in re.findall(r"[\w/]+\.py\b", without_remarks))
    return files, {name for name in folders if "." not in name}


def test_the_tree_reader_reads_both_forms() -> None:
    text = """Text
```
SegAutoConfigLib/segautoconfiglib/
├── __init__.py         ORDER
├── base/               light
│   ├── errors.py           UserError, as in x.py
│   └── events.py           Event
├── image/           1  volume.py (Volume, see other.py) · files.py ·
│                       crop.py
└── pipeline.py         one function
SegAutoConfig/          the module
└── SegAutoConfig.py
LICENSE.txt
```"""
    files, folders = readme_tree(text)
    assert files == {
        "__init__.py", "base/errors.py", "base/x.py", "base/events.py", "image/volume.py", "image/files.py",
        "image/crop.py", "pipeline.py",
    }  # fmt: skip
    assert folders == {"SegAutoConfigLib/segautoconfiglib", "SegAutoConfig"}


def test_the_tree_in_the_readme_is_true(repository: Path) -> None:
    files, folders = readme_tree((repository / "README.md").read_text(encoding="utf-8"))
    there = {relative(file) for file in MODULES} - {relative(file) for file in PACKAGE.glob("*/**/__init__.py")}
    assert sorted(files - there) == [], "named in README.md, but not there"
    assert sorted(there - files) == [], "there, but not named in README.md"
    assert [folder for folder in folders if not (repository / folder).is_dir()] == []
