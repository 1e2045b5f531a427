"""Changes of a dataset that were left unfinished."""

from __future__ import annotations

from pathlib import Path

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.change import NOTE, PENDING, Change, changing


@pytest.mark.parametrize(
    "name", ["{outside}", "../precious.txt", "imagesTr/../../precious.txt", "..\\precious.txt", ""]
)
@pytest.mark.parametrize("kind", ["removal", "source", "target"])
def test_a_note_can_not_reach_outside_of_the_dataset(tmp_path: Path, name: str, kind: str) -> None:
    """Such a note may lie in a dataset that somebody else has made."""
    folder, precious = tmp_path / "Dataset001_A", tmp_path / "precious.txt"
    (folder / PENDING).mkdir(parents=True)
    (folder / "own.txt").write_text("own")
    precious.write_text("precious")
    name = name.format(outside=precious)
    change = Change(
        cases=("a",),
        removals=(name,) if kind == "removal" else (),
        moves={"source": ((name, "own.txt"),), "target": (("own.txt", name),)}.get(kind, ()),
        description={},
    )
    change.save(folder / PENDING / NOTE)
    with pytest.raises(UserError, match="no file of this dataset"), changing(folder):
        pass
    assert precious.read_text() == "precious"
    assert (folder / "own.txt").read_text() == "own"


def test_an_unfinished_change_is_completed(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_A"
    (folder / PENDING / "imagesTr").mkdir(parents=True)
    (folder / PENDING / "imagesTr" / "a_0000.nrrd").write_text("new")
    (folder / "old.nrrd").write_text("old")
    move = (f"{PENDING}/imagesTr/a_0000.nrrd", "imagesTr/a_0000.nrrd")
    Change(cases=("a",), removals=("old.nrrd",), moves=(move,), description={}).save(folder / PENDING / NOTE)
    with changing(folder) as completed:
        assert completed == ("a",)
    assert not (folder / "old.nrrd").exists()
    assert (folder / "imagesTr" / "a_0000.nrrd").read_text() == "new"
    assert not (folder / PENDING).exists()
