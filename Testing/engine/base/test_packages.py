from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

from segautoconfiglib.base import packages


def test_the_list_is_that_of_the_project_file(repository: Path) -> None:
    text = (repository / "SegAutoConfigLib" / "pyproject.toml").read_text()

    def listed(key: str) -> dict[str, str]:
        block = re.search(rf"^{key} = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
        assert block
        return dict(re.findall(r'"([\w-]+)>=([\d.]+)[^"]*"', block[1]))

    assert {name: oldest for name, (_, oldest) in packages.ALWAYS.items()} == listed("dependencies")
    assert {name: oldest for name, (_, oldest) in packages.FOR_TRAINING.items()} == listed("train")


def test_missing_old_and_silent_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    versions = {"torch": "2.5.1+cu121", "matplotlib": "3.10.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "batchgenerators", raising=False)
    (tmp_path / "batchgenerators").mkdir()  # what an uninstallation may leave
    assert packages.lacking(packages.FOR_TRAINING) == {
        "torch": "torch 2.5.1+cu121 is too old; 2.6 or newer is needed.",
        "batchgenerators": "batchgenerators is not installed.",
    }
    (tmp_path / "batchgenerators" / "__init__.py").touch()  # without metadata, as some builds of SimpleITK
    sys.path_importer_cache.pop(str(tmp_path), None)
    assert packages.installed_version("batchgenerators") == "unknown"
    assert "batchgenerators" not in packages.lacking(packages.FOR_TRAINING)


def test_which_package_brings_a_module() -> None:
    assert packages.distribution_of("PIL.Image") == "pillow"
    assert packages.distribution_of("typing_extensions") == "typing-extensions"
    assert packages.distribution_of("os") is None
    assert packages.distribution_of(None) is None
