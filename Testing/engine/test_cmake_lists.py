"""What gets installed into Slicer: the lists of files for CMake, and the entry of the extensions index."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
#: Keys of slicer-extension-catalog-entry-schema-v1.0.1.
ENTRY_KEYS = {
    "$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "build_subdirectory", "enabled",
    "tier",
}  # fmt: skip


@pytest.fixture(scope="module")
def lists() -> ModuleType:
    path = REPOSITORY / "Testing" / "SlicerHost" / "cmake" / "lists.py"
    spec = importlib.util.spec_from_file_location("cmake_lists", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def metadata() -> dict[str, str]:
    """EXTENSION_... of the top CMakeLists.txt."""
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]*)"\)$', text, re.MULTILINE))


@pytest.mark.parametrize(
    ("cmake", "name"),
    [
        ("SegAutoConfigLib", "ENGINE_SCRIPTS"),
        ("SegAutoConfigLib", "ENGINE_RESOURCES"),
        ("SegAutoConfig", "MODULE_SCRIPTS"),
        ("SegAutoConfig", "MODULE_RESOURCES"),
    ],
)
def test_cmake_names_every_file_of_the_folder_and_no_other(lists: ModuleType, cmake: str, name: str) -> None:
    path = REPOSITORY / cmake / "CMakeLists.txt"
    listed = lists.files_listed(path.read_text(encoding="utf-8"), name)
    there = lists.files_there(path.parent, name, lists.LISTS[f"{cmake}/CMakeLists.txt"][name])
    assert there, "no file found"
    assert sorted(set(there) - set(listed)) == [], "not installed; run: make cmake-lists"
    assert sorted(set(listed) - set(there)) == [], "listed, but not there; run: make cmake-lists"
    assert listed == there, "other order; run: make cmake-lists"


def test_a_list_is_replaced_and_nothing_else(lists: ModuleType) -> None:
    text = "set(A_SCRIPTS\n  old.py\n  )\n\nset(B_SCRIPTS\n  )\nend()\n"
    new = lists.with_list(text, "A_SCRIPTS", ["a.py", "b/c.py"])
    assert new == "set(A_SCRIPTS\n  a.py\n  b/c.py\n  )\n\nset(B_SCRIPTS\n  )\nend()\n"
    assert lists.files_listed(new, "A_SCRIPTS") == ["a.py", "b/c.py"]
    assert lists.files_listed(new, "B_SCRIPTS") == []
    with pytest.raises(ValueError, match="C_SCRIPTS"):
        lists.files_listed(new, "C_SCRIPTS")


def test_module_folder_holds_one_script_at_its_top() -> None:
    """Slicer takes every Python file that lies directly in the installed folder for a module."""
    assert [file.name for file in (REPOSITORY / "SegAutoConfig").glob("*.py")] == ["SegAutoConfig.py"]


def test_entry_of_the_extensions_index() -> None:
    path = REPOSITORY / "Resources" / "SegAutoConfig.json"
    assert b"\r" not in path.read_bytes()
    entry = json.loads(path.read_text(encoding="utf-8"))
    assert {"$schema", "category", "scm_url"} <= set(entry) <= ENTRY_KEYS
    assert re.fullmatch(r"https://raw\.githubusercontent\.com/.*-entry-schema-v1\.0\.[12]\.json#", entry["$schema"])
    assert entry["category"] == metadata()["CATEGORY"] == "Segmentation"
    assert re.match(r"(https|git)://", entry["scm_url"])
    assert entry["scm_url"].rsplit("/", 1)[1] == "Slicer" + path.stem
    assert entry["build_dependencies"] == metadata()["DEPENDS"].split()
    assert entry["tier"] in (1, 3, 5)


def test_metadata_of_the_extension() -> None:
    text, found = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8"), metadata()
    names = {"HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"}
    assert set(found) == names
    assert all(found.values())
    assert "project(SegAutoConfig)" in text
    for url in [found["ICONURL"], *found["SCREENSHOTURLS"].split()]:
        assert re.fullmatch(r"https://\S+\.png", url)
        assert (REPOSITORY / url.split("/main/")[1]).parent.name in ("Resources", "Screenshots")
    icon = (REPOSITORY / found["ICONURL"].split("/main/")[1]).read_bytes()
    assert icon.startswith(b"\x89PNG")
    assert (REPOSITORY / "LICENSE").is_file()
