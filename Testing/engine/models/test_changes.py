"""Renaming and deleting: only what is a model, and never one that is being trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.models.changes import delete_model, rename_model

MakeModel = Callable[..., Path]


def test_a_title_is_kept_beside_the_plans(make_model: MakeModel) -> None:
    folder = make_model()
    (folder / "model.json").write_text('{"origin": "imported from a.zip", "mine": 1}')
    assert rename_model(folder, "  Leber \u00fc 2  ") == "Leber \u00fc 2"
    expected = {"origin": "imported from a.zip", "mine": 1, "title": "Leber \u00fc 2"}
    assert json.loads((folder / "model.json").read_text()) == expected


@pytest.mark.parametrize("title", ["", "   ", "two\nlines", "x" * 201, "bell\a"])
def test_what_is_no_title(make_model: MakeModel, title: str) -> None:
    folder = make_model()
    with pytest.raises(UserError, match="can't be a title"):
        rename_model(folder, title)
    assert not (folder / "model.json").exists()


def test_deleting_leaves_other_models_alone(make_model: MakeModel, workspace: Workspace) -> None:
    one, other = make_model(), make_model("A__B__2d")
    (one / "plans.json").write_text("{")  # a damaged one can be removed as well
    delete_model(one)
    assert sorted(workspace.results.rglob("*")) == sorted([other.parent, other, *other.rglob("*")])
    delete_model(other)
    assert list(workspace.results.iterdir()) == []


def test_what_is_not_deleted(make_model: MakeModel, workspace: Workspace, tmp_path: Path) -> None:
    folder = make_model()
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    for path in (folder.parent, workspace.results, folder / "fold_0", folder / "plans.json", tmp_path / "link"):
        with pytest.raises(UserError, match="is no model folder; nothing was removed"):
            delete_model(path)
    lock = folder.with_name(f".{folder.name}.fold_3.lock")
    with alone(lock, "training"), pytest.raises(UserError, match=r"Fold 3 of nnUNetTrainer.* is being trained"):
        delete_model(folder)
    assert (folder / "fold_0" / "checkpoint_final.pth").is_file()
    lock.touch()  # left over by a process that was killed
    delete_model(folder)
    assert not folder.parent.exists()
