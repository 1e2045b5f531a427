"""Label files with names: NIfTI's extension in Caret's form, 3D Slicer's segments, and what is not trusted in them."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.files import read_header, read_labels, read_stored
from segautoconfiglib.image.label_names import read_label_names, read_label_table, write_label_names
from segautoconfiglib.image.label_table import COLOURS, LabelTable
from segautoconfiglib.image.nifti_labels import parse, xml
from segautoconfiglib.image.volume import Geometry

TILTED = Geometry((3.0, 1.5, 0.5), (10.0, -20.0, 30.5), (0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, 1.0))
NAMES = {1: "spleen", 2: 'A & B <"left">', 5: "Leber größer"}
BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<CaretExtension><VolumeInformation><LabelTable><Label Key="1">&b;</Label></LabelTable></VolumeInformation>
</CaretExtension>"""


def some_labels() -> np.ndarray:
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 1:3], labels[2, 3, 4], labels[0, 0, 0] = 1, 2, 5
    return labels


def nifti(extensions: list[tuple[int, int, bytes]], order: str = "<") -> bytes:
    """A NIfTI file of 2 x 2 x 2 bytes with extensions: size in the file (0: the true one), code, content."""
    parts = [struct.pack(f"{order}2i", size or 8 + len(data), code) + data for size, code, data in extensions]
    header = bytearray(348)
    for place, form, values in [
        (0, "i", [348]),
        (40, "8h", [3, 2, 2, 2, 1, 1, 1, 1]),
        (70, "2h", [2, 8]),
        (76, "8f", [1.0] * 8),
        (108, "f", [352 + sum(map(len, parts))]),
        (344, "4s", [b"n+1"]),
    ]:
        struct.pack_into(order + form, header, place, *values)
    return bytes(header) + b"\1\0\0\0" + b"".join(parts) + bytes(8)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".seg.nrrd", ".nrrd"])
def test_names_and_colours_come_back(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"x{ending}"
    colours = {1: (255, 0, 7), 5: (1, 2, 3)}
    write_label_names(some_labels(), file, TILTED, NAMES, colours)
    read = read_labels(file)
    np.testing.assert_array_equal(read.array[0], some_labels())
    assert read.array.dtype == np.uint8
    assert read.geometry.differences(TILTED, 1e-5) == []
    assert read_label_table(file) == LabelTable(NAMES, {**colours, 2: COLOURS[1]})


def test_formats_without_a_place_for_names_get_the_labels_alone(tmp_path: Path) -> None:
    write_label_names(some_labels(), tmp_path / "x.mha", TILTED, NAMES)
    np.testing.assert_array_equal(read_labels(tmp_path / "x.mha").array[0], some_labels())
    assert read_label_names(tmp_path / "x.mha") == {}


def test_without_names_there_is_no_table(tmp_path: Path) -> None:
    for ending in (".nii.gz", ".nrrd"):
        write_label_names(some_labels() > 0, tmp_path / f"x{ending}", TILTED, {})
        assert read_label_names(tmp_path / f"x{ending}") == {}
        np.testing.assert_array_equal(read_stored(tmp_path / f"x{ending}").array[0], some_labels() > 0)


def test_many_labels_take_two_bytes(tmp_path: Path) -> None:
    labels = some_labels().astype(np.int32) * 60
    write_label_names(labels, tmp_path / "x.nii.gz", TILTED, {300: "last"})
    assert read_header(tmp_path / "x.nii.gz").dtype == np.uint16
    np.testing.assert_array_equal(read_labels(tmp_path / "x.nii.gz").array[0], labels)
    with pytest.raises(UserError, match="can't be written"):
        write_label_names(labels - 1, tmp_path / "y.nii.gz", TILTED, {})
    assert not (tmp_path / "y.nii.gz").exists()


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_header_of_the_image_is_kept(order: str, tmp_path: Path) -> None:
    """Place in space, units and description; not what is true of the image's values only."""
    content = bytearray(nifti([], order))
    content[348] = 0  # no extensions
    forms = [2, 1, 0.0, 0.0, 0.0, 5.0, 6.0, 7.0, 1.0, 0, 0, 5.0, 0, 1, 0, 6.0, 0, 0, 1, 7.0]
    struct.pack_into(f"{order}2h18f", content, 252, *forms)
    struct.pack_into("80s", content, 148, b"scanner 7")
    struct.pack_into(f"{order}2f", content, 112, 3.0, -5.0)  # slope and intercept
    struct.pack_into("B", content, 123, 10)  # mm and s
    struct.pack_into(f"{order}2f", content, 124, 900.0, -900.0)  # shown range
    image, file = tmp_path / "image.nii", tmp_path / "labels.nii.gz"
    image.write_bytes(content)
    labels = np.arange(8, dtype=np.uint16).reshape(2, 2, 2) * 40
    write_label_names(labels, file, read_header(image).geometry, {40: "a"}, like=image)
    header = gzip.decompress(file.read_bytes())[:348]
    for start, stop in ((0, 40), (76, 108), (123, 124), (132, 328)):
        assert header[start:stop] == bytes(content[start:stop])
    assert struct.unpack_from(f"{order}2f", header, 112) == (1, 0)
    assert struct.unpack_from(f"{order}2f", header, 124) == (0, 0)
    np.testing.assert_array_equal(read_labels(file).array[0], labels)
    assert read_label_names(file) == {40: "a"}


def test_the_header_of_an_image_of_another_grid_is_not(tmp_path: Path) -> None:
    image, file = tmp_path / "image.nii", tmp_path / "labels.nii.gz"
    image.write_bytes(nifti([]))
    write_label_names(some_labels(), file, TILTED, NAMES, like=image)
    assert read_labels(file).geometry.differences(TILTED, 1e-5) == []
    write_label_names(some_labels()[:2, :2, :2], file, TILTED, NAMES, like=image)
    assert read_labels(file).geometry.differences(TILTED, 1e-5) == []


def test_equal_labels_make_equal_files(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label_names(some_labels(), tmp_path / name, TILTED, NAMES)
    content = (tmp_path / "a.nii.gz").read_bytes()
    assert content == (tmp_path / "b.nii.gz").read_bytes()
    assert content[3:8] == bytes(5)  # neither the file's name nor the time


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", [0, 30])
def test_the_table_is_found_among_other_extensions(order: str, code: int, tmp_path: Path) -> None:
    table = xml(LabelTable({3: "hip"}))
    others = [(0, 4, b"<AFNI_attributes/>".ljust(24)), (0, 6, b"a comment".ljust(24, b"\0"))]
    (tmp_path / "x.nii").write_bytes(nifti([*others, (0, code, table.ljust(len(table) + 9, b"\0"))], order))
    assert read_label_names(tmp_path / "x.nii") == {3: "hip"}


@pytest.mark.parametrize(
    "extension",
    [
        (0, 0, BOMB),
        (0, 0, b"<CaretExtension><VolumeInformation><LabelTable><Label Key='1'>a</Label>"),
        (0, 0, b"no xml"),
        (0, 0, b"<?xml version='1.0' encoding='klingon'?><CaretExtension/>"),
        (0, 0, xml(LabelTable({1: "a"})).replace(b"CaretExtension", b"Other")),
        (0, 0, xml(LabelTable({1: "a"})).replace(b"LabelTable", b"Table")),
        (4, 0, xml(LabelTable({1: "a"}))),
        (-16, 0, xml(LabelTable({1: "a"}))),
        (2**31 - 16, 0, xml(LabelTable({1: "a"}))),
        (4096, 0, xml(LabelTable({1: "a"}))),
    ],
)
def test_what_can_not_be_trusted_counts_as_no_table(extension: tuple[int, int, bytes], tmp_path: Path) -> None:
    (tmp_path / "x.nii").write_bytes(nifti([extension]))
    assert read_label_names(tmp_path / "x.nii") == {}


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ([bytes(8)] * 99, True),
        ([bytes(8)] * 100, False),
        ([bytes(2**20)] * 15, True),
        ([bytes(2**20)] * 16, False),
    ],
)
def test_extensions_are_read_up_to_a_limit(before: list[bytes], found: bool, tmp_path: Path) -> None:
    extensions = [(0, 6, content) for content in before]
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(nifti([*extensions, (0, 0, xml(LabelTable({1: "a"})))])))
    tracemalloc.start()
    assert read_label_names(tmp_path / "x.nii.gz") == ({1: "a"} if found else {})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * 2**20


@pytest.mark.parametrize("offset", [float("nan"), float("inf"), -1e30, 1e30, 0.0])
def test_odd_offsets_of_voxels(offset: float, tmp_path: Path) -> None:
    content = bytearray(nifti([(0, 0, xml(LabelTable({1: "a"})))]))
    struct.pack_into("<f", content, 108, offset)
    (tmp_path / "x.nii").write_bytes(content)
    assert read_label_names(tmp_path / "x.nii") == ({1: "a"} if offset == 1e30 else {})


def test_deep_xml_is_no_table() -> None:
    assert parse(xml(LabelTable({1: "a"})).replace(b"</CaretExtension>", b"<a>" * 30)) == LabelTable()
    deep = xml(LabelTable({1: "a"})).replace(b"</CaretExtension>", b"<a>" * 30 + b"</a>" * 30 + b"</CaretExtension>")
    assert parse(deep) == LabelTable()


def test_a_file_cut_off_within_its_table_has_none(tmp_path: Path) -> None:
    whole = nifti([(0, 0, xml(LabelTable({1: "a"})))])
    for name, content in {
        "a.nii": whole[:500],
        "b.nii.gz": gzip.compress(whole)[:200],
        "c.nii": b"",
        "d.nii": whole[:350],
    }.items():
        (tmp_path / name).write_bytes(content)
        assert read_label_names(tmp_path / name) == {}
    assert read_label_names(tmp_path / "absent.nii") == read_label_names(tmp_path / "absent.seg.nrrd") == {}


def test_labels_without_a_use_are_left_out() -> None:
    rows = (
        "<Label Key='0'>background</Label><Label Key='-3'>a</Label><Label Key='x'>b</Label><Label>c</Label>"
        "<Label Key='99999999999'>d</Label><Label Key='7'>  </Label>"
        "<Label Key='2' Red='2' Green='nan' Blue='0'>odd</Label>"
        "<Label Key='3' Red='2' Green='-1' Blue='0.5'><![CDATA[e f]]></Label>"
    )
    table = parse(
        f"<CaretExtension><VolumeInformation><LabelTable>{rows}</LabelTable></VolumeInformation></CaretExtension>".encode()
    )
    assert table == LabelTable({2: "odd", 3: "e f"}, {3: (255, 0, 128)})


def test_names_of_totalsegmentator_are_read(shared_data: Path) -> None:
    folder = shared_data / "ct-totalsegmentator"
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} does not exist")
    table = read_label_table(folder / "example_ct_seg.nii.gz")
    assert (len(table.names), table.names[1], table.names[117]) == (117, "spleen", "costal_cartilages")
    assert table.colours[1] == (0, 255, 0)


def test_segments_of_slicer_are_read(shared_data: Path) -> None:
    file = shared_data / "slicer-segmentation" / "Segmentation.seg.nrrd"
    if not file.is_file():
        pytest.skip(f"no test data: {file} does not exist")
    table = read_label_table(file)
    assert table.names[5] == "right lung"
    assert table.colours[5] == (22, 197, 71)
    assert sorted(table.names) == [1, 2, 3, 4, 5, 6, 7]


def test_segments_are_told_as_slicer_tells_them(tmp_path: Path) -> None:
    file = tmp_path / "x.seg.nrrd"
    write_label_names(some_labels(), file, TILTED, {1: "left\nlung", 2: "right lung"}, {1: (255, 0, 51)})
    image = sitk.ReadImage(str(file))
    keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    assert keys["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert {key: value for key, value in keys.items() if key.startswith("Segment0")} == {
        "Segment0_ID": "left_lung_1",
        "Segment0_Name": "left lung",
        "Segment0_NameAutoGenerated": "0",
        "Segment0_Color": "1 0 0.2",
        "Segment0_ColorAutoGenerated": "0",
        "Segment0_Extent": "0 4 0 3 0 2",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment0_Tags": "Segmentation.Status:completed|",
    }
    assert keys["Segment1_Name"] == "right lung"


def test_damaged_facts_of_segments_are_passed_over(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(some_labels())
    facts = {
        "Segment0_LabelValue": "x", "Segment0_Name": "a", "Segment1_LabelValue": "0", "Segment1_Name": "b",
        "Segment2_LabelValue": "4", "Segment3_LabelValue": "7", "Segment3_Name": "c", "Segment3_Color": "1 x 0",
        "Segment4_LabelValue": "8", "Segment4_Name": "d", "Segment4_Color": "1 nan 0",
    }  # fmt: skip
    for key, value in facts.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(tmp_path / "x.nrrd"))
    assert read_label_table(tmp_path / "x.nrrd") == LabelTable({7: "c", 8: "d"})
