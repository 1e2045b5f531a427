"""Files that appear together or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segautoconfiglib.base import records
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.tasks.staging import check_places, keep_inputs, staged


def write_staged(*targets: Path, fails: bool = False) -> None:
    """Files with the text "new"; a failure after the last one."""
    with staged() as staging:
        for target in targets:
            staging.file(target).write_text("new")
        assert not targets[0].exists() or targets[0].read_text() == "old"
        assert set(staging.targets) == set(targets)
        if fails:
            raise RuntimeError


def texts(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_staged_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_staged(tmp_path / "new" / "folder" / "a", tmp_path / "other" / "b", fails=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="it is a folder"):
        write_staged(tmp_path / "a", tmp_path / "b")
    with pytest.raises(RuntimeError):
        write_staged(tmp_path / "a", tmp_path / "c", fails=True)
    assert texts(tmp_path) == {"a": "old"}
    (tmp_path / "b").rmdir()
    write_staged(tmp_path / "a", tmp_path / "b", tmp_path / "new" / "c")
    assert texts(tmp_path) == {"a": "new", "b": "new", "new/c": "new"}
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "c", "new"}


@pytest.mark.parametrize("kind", [OSError(28, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", range(1, 6))
def test_what_is_half_done_is_undone(
    kind: BaseException, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files are exchanged in five steps, as two of them were there before; each step may fail."""
    for name in ("a", "c"):
        (tmp_path / name).write_text("old")
    replace, steps = os.replace, []

    def failing(source: Path, target: Path) -> None:
        steps.append(target)
        if len(steps) == after:
            raise kind
        replace(source, target)

    monkeypatch.setattr(records.os, "replace", failing)
    with pytest.raises(UserError if isinstance(kind, OSError) else KeyboardInterrupt) as caught:
        write_staged(tmp_path / "a", tmp_path / "c", tmp_path / "new" / "b")
    assert texts(tmp_path) == {"a": "old", "c": "old"}
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c"}
    if isinstance(kind, OSError):
        assert "No space left" in str(caught.value)


def test_what_can_not_be_put_back_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if target == tmp_path / "a":
            raise OSError(30, "Read-only")
        replace(source, target)

    monkeypatch.setattr(records.os, "replace", failing)
    with pytest.raises(UserError) as caught:
        write_staged(tmp_path / "a")
    (kept,) = tmp_path.rglob("old/a")
    assert kept.read_text() == "old"
    assert str(kept) in str(caught.value.hint)


def test_one_place_for_two_files_is_refused(tmp_path: Path) -> None:
    check_places([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(UserError, match="two results"):
        check_places([tmp_path / "a", tmp_path / "a"])


def test_inputs_are_known_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.link(tmp_path / "a", tmp_path / "hard")
    keep_inputs([tmp_path / "b"], [tmp_path / "a", tmp_path / "absent"])
    keep_inputs([tmp_path / "absent"], [tmp_path / "absent"])
    for name in ("a", "link", "hard", "../" + tmp_path.name + "/a"):
        with pytest.raises(UserError, match="part of the input"):
            keep_inputs([tmp_path / name], [tmp_path / "a"])
