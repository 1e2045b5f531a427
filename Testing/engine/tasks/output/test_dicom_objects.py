"""DICOM objects of labels, read back by others' code (pydicom, highdicom)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.image.dicom import find_series
from segautoconfiglib.image.files import read_labels, read_stored
from segautoconfiglib.image.label_names import read_label_names
from segautoconfiglib.tasks.codes import UNKNOWN, codes_of
from segautoconfiglib.tasks.output.dicom_seg import cielab, write_dicom_seg

Writer = Callable[..., np.ndarray]
NAMES = {2: "lung_left", 5: "kidney_cyst_left", 7: "unheard_of", 9: "spleen"}
COLOURS = {2: (255, 0, 0)}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def labels() -> np.ndarray:
    """(z, y, x) on the grid of ``dicom_series``; 9 is nowhere, 1 has no name."""
    labels = np.zeros((3, 3, 4), np.uint8)
    labels[0, 0, 1:3], labels[2, 1, 3], labels[1], labels[1, 1, 1] = 2, 5, 7, 1
    return labels


@pytest.fixture(autouse=True)
def packages(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name:
        pytest.importorskip("highdicom")


@pytest.mark.parametrize("axes", ["plain", "tilted"])
def test_segments_come_back_where_they_were(
    dicom_series: Writer, labels: np.ndarray, tmp_path: Path, axes: str
) -> None:
    import highdicom

    dicom_series(tmp_path / "scan", axes=axes)
    write_dicom_seg(labels, tmp_path / "scan", tmp_path / "x.dcm", NAMES, COLOURS, algorithm="total")
    seg = highdicom.seg.segread(tmp_path / "x.dcm")
    assert [seg.get_segment_description(number).segment_label for number in seg.segment_numbers] == [
        "lung_left", "kidney_cyst_left", "unheard_of",
    ]  # fmt: skip
    image = read_stored(tmp_path / "scan")
    z_down = seg.get_volume(combine_segments=True)  # its first slice may be at the other end
    away = np.linalg.inv(z_down.affine) @ [*image.geometry.origin, 1]
    stored = z_down.array[::-1] if round(away[0]) else z_down.array
    np.testing.assert_allclose(away[:3], [len(labels) - 1 if round(away[0]) else 0, 0, 0], atol=1e-4)
    expected = np.zeros_like(labels)
    expected[labels == 2], expected[labels == 5], expected[labels == 7] = 1, 2, 3
    np.testing.assert_array_equal(stored, expected)
    assert (seg.SegmentationType, seg.Modality, seg.StudyInstanceUID) == ("BINARY", "SEG", "1.2.3")


def test_segments_carry_codes_and_colours(dicom_series: Writer, labels: np.ndarray, tmp_path: Path) -> None:
    import pydicom

    dicom_series(tmp_path / "scan")
    write_dicom_seg(labels, tmp_path / "scan", tmp_path / "x.dcm", NAMES, COLOURS)
    lung, cyst, other = pydicom.dcmread(tmp_path / "x.dcm").SegmentSequence
    kind = lung.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("39607008", "SCT", "Lung")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert lung.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    assert list(lung.RecommendedDisplayCIELabValue) == cielab((255, 0, 0))
    region = cyst.AnatomicRegionSequence[0]
    assert (region.CodeMeaning, region.AnatomicRegionModifierSequence[0].CodeMeaning) == ("Kidney", "Left")
    assert other.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert (lung.SegmentAlgorithmType, lung.SegmentAlgorithmName) == ("AUTOMATIC", "SegAutoConfig")


def test_colours_are_those_of_dcmqi(shared_data: Path) -> None:
    """The liver's colour in a file of 3D Slicer, which chose (221, 130, 101)."""
    import pydicom

    file = shared_data / "dicom-seg" / "liver.dcm"
    if not file.is_file():
        pytest.skip(f"no test data: {file} does not exist")
    stored = pydicom.dcmread(file, stop_before_pixels=True).SegmentSequence[0].RecommendedDisplayCIELabValue
    np.testing.assert_allclose(cielab((221, 130, 101)), list(stored), atol=3)
    assert cielab((0, 0, 0)) == [0, 32896, 32896]


def outlined(dataset: Any, volume: Any, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The masks that contours enclose, by even-odd filling on a grid twelve times as fine; (z, y, x)."""
    fine, masks = 12, {}
    geometry = volume.geometry
    columns = np.reshape(geometry.direction, (3, 3)) * geometry.spacing_mm[::-1]
    for roi, contours in zip(dataset.StructureSetROISequence, dataset.ROIContourSequence, strict=True):
        assert roi.ROINumber == contours.ReferencedROINumber
        mask = np.zeros(shape, bool)
        for contour in contours.ContourSequence:
            points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
            assert (contour.ContourGeometricType, contour.NumberOfContourPoints) == ("CLOSED_PLANAR", len(points))
            x, y, z = np.linalg.solve(columns, (points - geometry.origin).T)
            np.testing.assert_allclose(z, np.round(z[0]), atol=1e-2)
            canvas = Image.new("1", (shape[2] * fine, shape[1] * fine))
            ImageDraw.Draw(canvas).polygon(list(zip((x + 0.5) * fine, (y + 0.5) * fine, strict=True)), fill=1)
            mask[round(z[0])] ^= np.asarray(canvas)[fine // 2 :: fine, fine // 2 :: fine]
        masks[roi.ROIName] = mask
    return masks


@pytest.mark.parametrize("axes", ["plain", "tilted"])
def test_outlines_enclose_the_voxels(dicom_series: Writer, tmp_path: Path, axes: str) -> None:
    import pydicom

    from segautoconfiglib.tasks.output.dicom_rtstruct import write_dicom_rtstruct

    dicom_series(tmp_path / "scan", axes=axes)
    labels = np.zeros((3, 3, 4), np.uint8)
    labels[0, 0, 1:3], labels[2, 1, 3], labels[2, 2, 0] = 2, 2, 2
    labels[1], labels[1, 1, 2] = 5, 0  # a hole
    file = write_dicom_rtstruct(labels, tmp_path / "scan", tmp_path / "rt.dcm", NAMES, COLOURS, algorithm="total")
    dataset = pydicom.dcmread(file)
    masks = outlined(dataset, read_stored(tmp_path / "scan"), labels.shape)
    assert list(masks) == ["lung_left", "kidney_cyst_left"]
    np.testing.assert_array_equal(masks["lung_left"], labels == 2)
    np.testing.assert_array_equal(masks["kidney_cyst_left"], labels == 5)
    assert len(dataset.ROIContourSequence[1].ContourSequence) == 1  # the hole is part of the line
    drawn_on = [contour.ContourImageSequence[0] for contour in dataset.ROIContourSequence[0].ContourSequence]
    slices = [pydicom.dcmread(file).SOPInstanceUID for file in find_series(tmp_path / "scan").files]
    assert [slices.index(image.ReferencedSOPInstanceUID) for image in drawn_on] == [0, 2, 2]
    assert list(dataset.ROIContourSequence[0].ROIDisplayColor) == [255, 0, 0]
    images = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert (images.SeriesInstanceUID, len(images.ContourImageSequence)) == ("1.2.3.1", 3)
    assert (dataset.Modality, dataset.StudyInstanceUID) == ("RTSTRUCT", "1.2.3")


def test_long_outlines_stay_whole(dicom_series: Writer, tmp_path: Path) -> None:
    from segautoconfiglib.tasks.output.dicom_rtstruct import outlines

    mask = np.random.default_rng(0).random((64, 64)) < 0.6
    canvas = np.zeros((64 * 12, 64 * 12), bool)
    for line in outlines(mask):
        part = Image.new("1", canvas.shape[::-1])
        ImageDraw.Draw(part).polygon([tuple((point + 0.5) * 12) for point in line], fill=1)
        canvas ^= np.asarray(part)
    assert (canvas[6::12, 6::12] != mask).sum() <= 2  # Pillow's lines are a pixel wide


def test_holes_are_joined_along_their_rows() -> None:
    from segautoconfiglib.tasks.output.dicom_rtstruct import outlines

    mask = np.zeros((9, 11), bool)
    mask[1:8, 1:10] = True
    mask[2:7, 2:5], mask[4, 3], mask[3:6, 7] = False, True, False  # a hole with an island, and a hole beside
    lines = outlines(mask)
    assert [len(line) for line in sorted(lines, key=len)] == [4, 32 + 16 + 8 + 2 * 2]
    largest = max(lines, key=len)
    cuts = largest[(abs(np.diff(largest, axis=0, append=largest[:1])) > 1).any(axis=1)]
    assert sorted(cuts[:, 0].tolist()) == [4.5, 6.5]  # there and back; the other hole is a step from the outer line
    assert cuts[0, 1] == cuts[1, 1]


def test_a_noisy_mask_is_one_line_per_part() -> None:
    from scipy.ndimage import label

    from segautoconfiglib.tasks.output.dicom_rtstruct import outlines

    mask = np.random.default_rng(1).random((90, 80)) < 0.7
    parts, holes = label(mask)[1], label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))[1] - 1
    lines = outlines(mask)
    edges = sum(int((np.diff(np.pad(mask, 1).astype(int), axis=axis) != 0).sum()) for axis in (0, 1))
    assert len(lines) == parts
    assert sum(map(len, lines)) == edges + 2 * holes
    for line in lines:
        steps = abs(np.diff(line, axis=0, append=line[:1]))
        assert ((steps <= 1).all(axis=1) | (steps[:, 1] == 0)).all()


def test_writing_objects_tells_of_progress_and_can_be_stopped(
    dicom_series: Writer, labels: np.ndarray, tmp_path: Path
) -> None:
    from segautoconfiglib.tasks.output import dicom_rtstruct, dicom_seg

    dicom_series(tmp_path / "scan")
    for module, write, last in (
        (dicom_seg, dicom_seg.write_dicom_seg, "x.dcm"),
        (dicom_rtstruct, dicom_rtstruct.write_dicom_rtstruct, "unheard_of"),
    ):
        report, cancel = ListReporter(), CancelToken()
        write(labels, tmp_path / "scan", tmp_path / "x.dcm", NAMES, report=report, cancel=cancel)
        (started,), progress = report.of("started"), report.of("progress")
        assert started["stage"] == progress[-1]["stage"] == module.STAGE
        assert (progress[-1]["done"], progress[-1]["case"]) == (started["total"], last)
        cancel.cancel()
        with pytest.raises(Cancelled):
            write(labels, tmp_path / "scan", tmp_path / "y.dcm", NAMES, cancel=cancel)
    assert not (tmp_path / "y.dcm").exists()


def test_outlines_can_be_stopped_between_slices(
    dicom_series: Writer, labels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segautoconfiglib.tasks.output import dicom_rtstruct

    dicom_series(tmp_path / "scan")
    labels[:], cancel, asked = 2, CancelToken(), []

    def outlines(mask: np.ndarray) -> list[np.ndarray]:
        asked.append(mask.shape)
        cancel.cancel()
        return []

    monkeypatch.setattr(dicom_rtstruct, "outlines", outlines)
    with pytest.raises(Cancelled):
        dicom_rtstruct.write_dicom_rtstruct(labels, tmp_path / "scan", tmp_path / "x.dcm", NAMES, cancel=cancel)
    assert len(asked) == 1


def test_a_real_series(shared_data: Path, tmp_path: Path) -> None:
    """Its files lack their kind and number (anonymised), and its labels are stored in another direction."""
    import highdicom

    folder = shared_data / "ct-totalsegmentator"
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} does not exist")
    segmentation = read_labels(folder / "example_seg_dicom.nii.gz")
    labels, names = segmentation.array[0][:, ::-1], read_label_names(folder / "example_seg_dicom.nii.gz")
    chosen = {label: name for label, name in names.items() if name in ("spleen", "colon", "sacrum", "rib_left_1")}
    write_dicom_seg(labels, folder / "example_ct_dicom", tmp_path / "x.dcm", chosen)
    seg = highdicom.seg.segread(tmp_path / "x.dcm")
    found = [seg.get_segment_description(number).segment_label for number in seg.segment_numbers]
    assert found == [name for label, name in chosen.items() if (labels == label).any()]
    whole = seg.get_volume(combine_segments=False)
    origin = np.linalg.inv(whole.affine) @ [*read_stored(folder / "example_ct_dicom").geometry.origin, 1]
    array = whole.array[::-1] if origin[0] > 0.5 else whole.array
    first = round(abs(origin[0])) - len(array) + 1 if origin[0] > 0.5 else round(-origin[0])
    for place, name in enumerate(found):
        label = next(value for value, other in chosen.items() if other == name)
        expected = (labels == label)[abs(first) : abs(first) + len(array)]
        np.testing.assert_array_equal(array[..., place], expected)


def test_what_can_not_be_written_is_told(dicom_series: Writer, labels: np.ndarray, tmp_path: Path) -> None:
    dicom_series(tmp_path / "scan")
    file = tmp_path / "x.dcm"
    with pytest.raises(UserError, match=r"\(2, 3, 4\) voxels .* \(3, 3, 4\)"):
        write_dicom_seg(labels[:2], tmp_path / "scan", file, NAMES)
    with pytest.raises(UserError, match="No structure was found"):
        write_dicom_seg(np.zeros_like(labels), tmp_path / "scan", file, NAMES)
    with pytest.raises(UserError, match="is no DICOM series"):
        write_dicom_seg(labels, tmp_path / "image.nii.gz", file, NAMES)
    assert not file.exists()


def test_without_its_packages_the_install_command_is_told(
    labels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UserError) as caught:
        write_dicom_seg(labels, tmp_path, tmp_path / "x.dcm", NAMES)
    assert 'pip install "segautoconfiglib[dicom]"' in caught.value.hint
    assert caught.value.action == "install"


def test_codes_are_those_of_the_table_without_packages() -> None:
    assert codes_of("vertebrae_L3").type.value
    assert codes_of("spleen").type == ("78961009", "Spleen")
    assert codes_of("unheard_of") is UNKNOWN
