from __future__ import annotations

import json
import os
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest

from segautoconfiglib.base import records
from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.base.records import Record, atomic_path, check_writable, existing_folder, read_json, write_json


class Recipe(Record):
    name: str
    spacing: tuple[float, float, float]
    comment: str = ""


def test_the_new_file_appears_whole_under_its_name(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.nii.gz"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
        assert temporary.name.endswith("a.nii.gz")
    assert target.read_text() == "half"
    assert os.listdir(target.parent) == ["a.nii.gz"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail_half_way() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the very error raised above
        fail_half_way()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_files_get_the_permissions_that_open_would_give(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {})
    (tmp_path / "b.json").touch()
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == stat.S_IMODE((tmp_path / "b.json").stat().st_mode)


@pytest.mark.parametrize("patience", [30.0, 0.0])
def test_on_windows_a_file_waits_until_the_old_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    target, tries, replace = tmp_path / "a.txt", [], os.replace

    def busy(source: Path, place: Path) -> None:
        tries.append(place)
        if len(tries) < 3:
            raise PermissionError(13, "in use")
        replace(source, place)

    monkeypatch.setattr(records.sys, "platform", "win32")
    monkeypatch.setattr(records.os, "replace", busy)
    monkeypatch.setattr(records.time, "sleep", lambda _: None)
    monkeypatch.setattr(records, "READER_PATIENCE_S", patience)
    with nullcontext() if patience else pytest.raises(UserError, match="in use"), atomic_path(target) as temporary:
        temporary.write_text("new")
    assert (len(tries), target.exists()) == ((3, True) if patience else (1, False))
    assert len(os.listdir(tmp_path)) == target.exists()


def test_json_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, synced = tmp_path / "a.json", []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((os.fstat(number).st_size, target.exists())))
    write_json(target, {})
    assert synced == [(2, False)]
    with atomic_path(tmp_path / "picture.png") as temporary:
        temporary.write_text("can be made again")
    assert len(synced) == 1


def test_a_place_that_cant_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Can't write .*x\.json") as caught:
        write_json(tmp_path / "file" / "x.json", {})
    assert "permissions" in caught.value.hint
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"Can't write .*folder"):
        write_json(tmp_path / "folder", {})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plans\.json does not exist"):
        read_json(tmp_path / "plans.json")


def test_a_trailing_comma_is_found_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    file.write_text('{\n  "labels": {"background": 0,}\n}')
    with pytest.raises(UserError, match=r"dataset\.json is not valid JSON.* in line 2, column \d+") as caught:
        read_json(file)
    assert "comma" in caught.value.hint


def test_unreadable_files_are_user_errors(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"Can't read .*binary\.json"):
        read_json(tmp_path / "binary.json")
    with pytest.raises(UserError, match="Can't read"):
        read_json(tmp_path)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(tmp_path / "a.json") == {}


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"Dice": float("nan")})
    assert (tmp_path / "a.json").read_text() == '{\n    "Dice": null\n}'


def test_a_record_keeps_unknown_keys_and_leaves_out_what_was_never_set(tmp_path: Path) -> None:
    data = {"name": "r", "spacing": [3.0, 1.0, 1.0], "added_by_others": {"x": [1]}}
    (tmp_path / "in.json").write_text(json.dumps(data))
    record = Recipe.load(tmp_path / "in.json")
    assert record.spacing == (3.0, 1.0, 1.0)
    record.save(tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == data


def test_a_record_names_every_wrong_key_with_its_value(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"name": 5, "spacing": [1, "thick", 1]}')
    with pytest.raises(ProblemsError, match=r"in\.json") as caught:
        Recipe.load(tmp_path / "in.json")
    texts = [problem.message for problem in caught.value.problems]
    assert len(texts) == 2
    assert texts[0].startswith("name: ")
    assert "(got 5)" in texts[0]
    assert texts[1].startswith("spacing.1: ")
    assert "(got 'thick')" in texts[1]


def test_a_file_of_another_kind_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text("[1, 2]")
    with pytest.raises(ProblemsError, match="top level"):
        Recipe.load(tmp_path / "in.json")


def test_whether_a_folder_can_be_written_is_found_out_without_making_it(tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is no folder"):
            check_writable(folder)


def test_the_nearest_folder_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert existing_folder(tmp_path) == tmp_path
    assert existing_folder(tmp_path / "new" / "folder") == tmp_path
    monkeypatch.chdir(tmp_path)
    assert existing_folder(Path("new") / "folder") == tmp_path


def test_a_drive_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    for look in (existing_folder, check_writable):
        with pytest.raises(UserError, match=r"Can't write to .*new: there is no ") as caught:
            look(tmp_path / "new")
        assert "drive" in caught.value.hint


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that refuses root too")
def test_a_folder_that_refuses_files() -> None:
    with pytest.raises(UserError, match=r"Can't write to /proc/new: .* in /proc") as caught:
        check_writable(Path("/proc/new"))
    assert ("--workspace" in caught.value.hint, caught.value.action) == (True, "workspace")
    with pytest.raises(UserError) as caught:
        check_writable(Path("/proc/new"), "-o")
    assert (caught.value.hint, caught.value.action) == ("Choose another folder (-o), or change the permissions.", "")


@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 5000], ids=["deep", "long"])
def test_json_beyond_all_measure(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plans.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"Can't read .*plans\.json"):
        read_json(file)
