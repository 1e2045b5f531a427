"""``totalseg_combine_masks``: TotalSegmentator's flags, folders and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.base.errors import EXIT_OK, EXIT_USER
from segautoconfiglib.cli.main import main
from segautoconfiglib.image.files import read_labels, write_labels
from segautoconfiglib.image.label_names import read_label_names, write_label_names
from segautoconfiglib.image.volume import Geometry

Refused = Callable[..., str]
GRID = Geometry((3.0, 1.0, 2.0), (1.0, 2.0, 3.0))
NAMES = {2: "body_trunc", 3: "body_extremities", 4: "liver"}


def labels() -> np.ndarray:
    return np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 6


@pytest.mark.parametrize("source", ["masks", "all.nii.gz"])
@pytest.mark.parametrize(
    ("words", "wanted", "name"),
    [
        (["-m", "body"], (2, 3), None),
        (["--masks", "body", "--multilabel"], (2, 3), "body"),
        (["-m", "liver", "body_trunc", "-ml"], (2, 4), "liver_body_trunc"),
    ],
)
def test_masks_are_combined(source: str, words: list[str], wanted: tuple, name: str | None, tmp_path: Path) -> None:
    for label, structure in NAMES.items():
        write_labels(labels() == label, tmp_path / "masks" / f"{structure}.nii.gz", GRID)
    write_label_names(labels(), tmp_path / "all.nii.gz", GRID, NAMES)
    output = tmp_path / "new" / "mask.nii.gz"
    assert main(["totalseg_combine_masks", "-i", str(tmp_path / source), "-o", str(output), *words]) == EXIT_OK
    mask = read_labels(output)
    np.testing.assert_array_equal(mask.array[0], np.isin(labels(), wanted))
    assert mask.geometry.differences(GRID) == []
    assert read_label_names(output) == ({} if name is None else {1: name})


def test_what_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_labels(labels() == 2, tmp_path / "body_trunc.nii.gz", GRID)
    output = tmp_path / "mask.nii.gz"
    assert main(["totalseg_combine_masks", "-i", str(tmp_path), "-o", str(output), "-m", "body"]) == EXIT_USER
    assert "body_extremities is missing" in capsys.readouterr().err
    assert (
        main(["totalseg_combine_masks", "-i", str(tmp_path / "no.nii.gz"), "-o", str(output), "-m", "a"]) == EXIT_USER
    )
    assert "does not exist" in capsys.readouterr().err
    assert not output.exists()


def test_no_input_is_overwritten(refused: Refused, tmp_path: Path) -> None:
    for label, structure in NAMES.items():
        write_labels(labels() == label, tmp_path / "masks" / f"{structure}.nii.gz", GRID)
    write_label_names(labels(), tmp_path / "all.nii.gz", GRID, NAMES)
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "all.nii.gz")
    for source, output in (
        ("all.nii.gz", "all.nii.gz"),
        ("all.nii.gz", "masks/../all.nii.gz"),
        ("link.nii.gz", "all.nii.gz"),
        ("masks", "masks/body_trunc.nii.gz"),
    ):
        words = ("-i", tmp_path / source, "-o", tmp_path / output, "-m", "body")
        refused("totalseg_combine_masks", *words, says=["part of the input"])


def test_combined_masks_may_lie_beside_the_others(tmp_path: Path) -> None:
    for label, structure in NAMES.items():
        write_labels(labels() == label, tmp_path / f"{structure}.nii.gz", GRID)
    words = ["totalseg_combine_masks", "-i", str(tmp_path), "-o", str(tmp_path / "body.nii.gz"), "-m", "body"]
    assert main(words) == main(words) == EXIT_OK


@pytest.mark.parametrize("name", ["mask.dcm", "mask.png", "mask", "mask.mhd"])
def test_other_formats_are_refused(refused: Refused, name: str, tmp_path: Path) -> None:
    words = ("-i", tmp_path / "absent.nii.gz", "-o", tmp_path / name, "-m", "body")
    refused("totalseg_combine_masks", *words, says=[name, "must end with .nii.gz"])


def test_structures_with_commas_and_an_empty_mask(cli: Callable[..., Any], tmp_path: Path) -> None:
    write_label_names(labels(), tmp_path / "all.nii.gz", GRID, {**NAMES, 7: "spleen", 8: "colon"})
    words = ("totalseg_combine_masks", "-i", tmp_path / "all.nii.gz", "-o", tmp_path / "x.nii.gz", "-m")
    outcome = cli(*words, "liver,body_trunc", "-ml")
    assert outcome.code == EXIT_OK
    np.testing.assert_array_equal(read_labels(tmp_path / "x.nii.gz").array[0], np.isin(labels(), (2, 4)))
    assert outcome.err.splitlines() == [f"Wrote {tmp_path / 'x.nii.gz'}", "liver_body_trunc: 20 voxels."]
    outcome = cli(*words, "spleen,", "colon")
    assert outcome.code == EXIT_OK
    assert "Warning: spleen_colon: the mask is empty." in outcome.err
    assert not read_labels(tmp_path / "x.nii.gz").array.any()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that refuses root too")
def test_an_unwritable_output(refused: Refused, tmp_path: Path) -> None:
    words = ("-i", tmp_path / "absent.nii.gz", "-o", "/proc/foo/x.nii.gz", "-m", "body")
    refused("totalseg_combine_masks", *words, says=["Choose another folder (-o)"])
