"""Changes of a dataset that were left unfinished."""

from __future__ import annotations

from pathlib import Path

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.change import NOTE, PENDING, Change, changing


@pytest.mark.parametrize(
    "name", ["{outside}", "../precious.txt", "imagesTr/../../precious.txt", "..\\precious.txt", ""]
)
@pytest.mark.parametrize("kind", ["kept", "kept at", "source", "target"])
def test_a_note_can_not_reach_outside_of_the_dataset(tmp_path: Path, name: str, kind: str) -> None:
    """Such a note may lie in a dataset that somebody else has made."""
    folder, precious = tmp_path / "Dataset001_A", tmp_path / "precious.txt"
    (folder / PENDING).mkdir(parents=True)
    (folder / "own.txt").write_text("own")
    precious.write_text("precious")
    name = name.format(outside=precious)
    change = Change(
        cases=("a",),
        keeps={"kept": ((name, "other.txt"),), "kept at": (("own.txt", name),)}.get(kind, ()),
        moves={"source": ((name, "own.txt"),), "target": (("own.txt", name),)}.get(kind, ()),
        description={},
    )
    change.save(folder / PENDING / NOTE)
    with pytest.raises(UserError, match="no file of this dataset"), changing(folder):
        pass
    assert precious.read_text() == "precious"
    assert (folder / "own.txt").read_text() == "own"


@pytest.mark.parametrize("done", ["nothing", "kept", "moved", "all"])
def test_an_unfinished_change_is_completed(tmp_path: Path, done: str) -> None:
    folder = tmp_path / "Dataset001_A"
    new, image, kept = (f"{PENDING}/imagesTr/a.nrrd", "imagesTr/a.nrrd", "removed/a/imagesTr/a.nrrd")
    contents = {
        "nothing": {new: "new", image: "old", "old.nrrd": "test"},
        "kept": {new: "new", image: "old", kept: "old", "old.nrrd": "test"},
        "moved": {image: "new", kept: "old", "old.nrrd": "test", "removed/a/old.nrrd": "test"},
        "all": {image: "new", kept: "old", "removed/a/old.nrrd": "test"},
    }
    for name, text in contents[done].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    keeps = ((image, kept), ("old.nrrd", "removed/a/old.nrrd"))
    (folder / PENDING).mkdir(exist_ok=True)
    Change(cases=("a",), keeps=keeps, moves=((new, image),), description={}).save(folder / PENDING / NOTE)
    with changing(folder) as completed:
        assert completed == ("a",)
    files = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.nrrd")}
    assert files == {image: "new", kept: "old", "removed/a/old.nrrd": "test"}
    assert not (folder / PENDING).exists()
