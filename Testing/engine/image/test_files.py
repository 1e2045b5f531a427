"""Reading and writing medical files: arrays, geometry, headers, and what people get to read when a file is bad."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.files import (
    read_header,
    read_image,
    read_labels,
    reader_name,
    reading_bytes,
    sitk_from_labels,
    volume_from_sitk,
    write_image,
    write_labels,
)
from segautoconfiglib.image.formats import MEDICAL_ENDINGS
from segautoconfiglib.image.orientation import orientation_code
from segautoconfiglib.image.volume import Geometry

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0)
GEOMETRY = Geometry((3.0, 0.5, 0.75), (10.0, -20.0, 5.5), OBLIQUE)
FLAT = Geometry((999.0 * 0.75, 0.5, 0.75), (10.0, -20.0), (1.0, 0.0, 0.0, 1.0), 2)


def counting(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def test_array_axes_and_geometry_of_a_3d_file(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(counting(2, 3, 4))
    image.SetSpacing((0.75, 0.5, 3.0))
    image.SetOrigin((10.0, -20.0, 5.5))
    image.SetDirection(OBLIQUE)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    volume = read_image([tmp_path / "a.nrrd"])
    assert volume.array.dtype == np.float32
    assert volume.shape == (2, 3, 4)
    assert np.array_equal(volume.array[0], counting(2, 3, 4))
    assert volume.geometry.differences(GEOMETRY, 1e-9) == []


def test_2d_file_becomes_one_slice_with_a_stand_in_spacing(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(counting(3, 4))
    image.SetSpacing((0.75, 0.5))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    volume = read_image([tmp_path / "a.mha"])
    assert volume.array.shape == (1, 1, 3, 4)
    assert volume.geometry == Geometry((999 * 0.75, 0.5, 0.75), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)


def test_4d_file_and_vector_voxels_become_channels(tmp_path: Path) -> None:
    frames = [sitk.GetImageFromArray(counting(2, 3, 4) + 100 * index) for index in range(3)]
    for frame in frames:
        frame.SetSpacing((1.0, 2.0, 3.0))
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "4d.nii.gz"))
    sitk.WriteImage(sitk.Compose(frames), str(tmp_path / "vector.nrrd"))
    for name in ("4d.nii.gz", "vector.nrrd"):
        volume, header = read_image([tmp_path / name]), read_header(tmp_path / name)
        assert volume.array.shape == (3, 2, 3, 4)
        assert volume.array[2, 1, 2, 3] == 223
        assert volume.geometry.spacing_mm == (3.0, 2.0, 1.0)
        assert (header.channels, header.shape, header.geometry) == (3, (2, 3, 4), volume.geometry)
        assert header.bytes == 3 * 24 * 2


def test_channel_files_are_stacked_and_must_share_the_grid(tmp_path: Path) -> None:
    files = [tmp_path / f"a_{index:04d}.nii.gz" for index in range(3)]
    for index, file in enumerate(files):
        write_image(counting(2, 3, 4) + index, file, GEOMETRY)
    assert np.array_equal(read_image(files).array[:, 0, 0, 0], [0, 1, 2])
    write_image(counting(2, 3, 5), files[1], Geometry((3.0, 0.5, 0.75), (10.0, -20.0, 8.5), OBLIQUE))
    with pytest.raises(UserError, match=r"a_0001.*shape \(1, 2, 3, 4\) against \(1, 2, 3, 5\).*origin"):
        read_image(files)


@settings(max_examples=25)
@given(
    labels=hnp.arrays(np.int32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=4), elements=st.integers(0, 300)),
    ending=st.sampled_from([*MEDICAL_ENDINGS, ".tif", ".NII.GZ"]),
    spacing=st.tuples(*[st.floats(0.125, 10, width=32)] * 3),
)
def test_written_labels_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray, ending: str, spacing: tuple[float, float, float]
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    with_direction = not ending.startswith((".gipl", ".tif"))  # formats that know no direction
    geometry = Geometry(spacing, (1.5, -2.0, 3.0), OBLIQUE) if with_direction else Geometry(spacing)
    write_labels(labels, folder / f"case{ending}", geometry)
    volume = read_labels(folder / f"case{ending}")
    assert np.array_equal(volume.array[0], labels)
    assert volume.geometry.differences(geometry, 1e-5) == []
    assert not list(folder.glob(".partial*"))


@pytest.mark.parametrize(("highest", "dtype"), [(254, "uint8"), (255, "uint16"), (65535, "uint16")])
def test_stored_type_follows_the_highest_label(tmp_path: Path, highest: int, dtype: str) -> None:
    write_labels(np.array([[[0, highest]]]), tmp_path / "a.nii.gz", Geometry((1.0, 1.0, 1.0)))
    assert read_header(tmp_path / "a.nii.gz").dtype == dtype


@pytest.mark.parametrize("value", [-1, 65536])
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, value: int) -> None:
    with pytest.raises(UserError, match=str(value)):
        write_labels(np.array([[[0, value]]]), tmp_path / "a.nii.gz", Geometry((1.0, 1.0, 1.0)))
    assert not list(tmp_path.iterdir())


def test_memory_of_reading_is_the_result_and_two_copies_of_a_file(tmp_path: Path) -> None:
    write_image(np.zeros((2, 3, 4)), tmp_path / "a_0000.mha", GEOMETRY)
    write_image(np.zeros((2, 3, 4), np.int16), tmp_path / "a_0001.mha", GEOMETRY)
    headers = [read_header(tmp_path / f"a_000{channel}.mha") for channel in (0, 1)]
    assert [header.dtype.itemsize for header in headers] == [8, 2]
    assert reading_bytes(headers) == 24 * (4 + 4 + 2 * 8)
    assert reading_bytes(headers[1:]) == 24 * (4 + 2 * 2)


@pytest.mark.parametrize("kind", [np.float64, np.int16])
def test_reading_channel_files_takes_no_more(tmp_path: Path, kind: type) -> None:
    files = [tmp_path / f"a_000{channel}.mha" for channel in range(3)]
    for file in files:
        write_image(np.zeros((50, 60, 70), kind), file, GEOMETRY)
    tracemalloc.start()
    read_image(files)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.01 * (reading_bytes([read_header(file) for file in files]) - 210_000 * kind().itemsize)  # of ITK


def test_2d_labels_stay_2d(tmp_path: Path) -> None:
    write_labels(np.array([[[0, 1, 2]]]), tmp_path / "a.nii.gz", FLAT)
    assert sitk.ReadImage(str(tmp_path / "a.nii.gz")).GetDimension() == 2
    assert read_labels(tmp_path / "a.nii.gz").geometry.differences(FLAT, 1e-6) == []


@pytest.mark.parametrize(
    ("values", "dtype"), [([0.0, 200.0], np.uint8), ([-1.0, 3.0], np.int16), ([0.0, 70000.0], np.int32)]
)
def test_labels_stored_as_float_get_the_smallest_whole_type(tmp_path: Path, values: list[float], dtype: type) -> None:
    write_image(np.array([[values]], np.float64), tmp_path / "a.nrrd", Geometry((1.0, 1.0, 1.0)))
    labels = read_labels(tmp_path / "a.nrrd").array
    assert labels.dtype == dtype
    assert labels.ravel().tolist() == values


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (np.nan, "nan")])
def test_fractional_labels_are_named(tmp_path: Path, value: float, text: str) -> None:
    write_image(np.array([[[0, 1, value]]], np.float32), tmp_path / "a.nrrd", Geometry((1.0, 1.0, 1.0)))
    with pytest.raises(UserError, match=rf"a\.nrrd holds 1 label values that are no whole numbers: {text}"):
        read_labels(tmp_path / "a.nrrd")


def test_several_channels_are_no_label_map(tmp_path: Path) -> None:
    frames = [sitk.GetImageFromArray(counting(2, 3, 4))] * 2
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "4d.nii.gz"))
    with pytest.raises(UserError, match="2 channels"):
        read_labels(tmp_path / "4d.nii.gz")


def cut(file: Path, share: float = 0.5) -> Path:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    return file


@pytest.mark.parametrize("ending", MEDICAL_ENDINGS)
@pytest.mark.parametrize("share", [0.02, 0.6, 0.95])
def test_cut_off_files_are_refused_without_noise(
    tmp_path: Path, ending: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (8, 16, 16)).astype(np.int16)
    file = tmp_path / f"case{ending}"
    write_image(noise, file, GEOMETRY)
    voxels = next((path for path in tmp_path.iterdir() if path != file), file)  # the raw file of .nhdr, .mhd
    cut(voxels, share)
    with pytest.raises(UserError, match="case") as caught:
        read_image([file])
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_missing_voxel_file_of_a_header(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for ending in (".mhd", ".nhdr"):
        write_image(counting(2, 3, 4), tmp_path / f"a{ending}", GEOMETRY)
        next(path for path in tmp_path.iterdir() if path.suffix != ending).unlink()
        with pytest.raises(UserError, match=f"a{ending}"):
            read_image([tmp_path / f"a{ending}"])
        (tmp_path / f"a{ending}").unlink()
    assert capfd.readouterr() == ("", "")


def test_uncompressed_metaimage_cut_off_by_one_byte(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(counting(2, 3, 4)), str(tmp_path / "a.mha"), useCompression=False)
    data = (tmp_path / "a.mha").read_bytes()
    assert read_image([tmp_path / "a.mha"]).array[0, 1, 2, 3] == 23
    (tmp_path / "a.mha").write_bytes(data[:-1])
    with pytest.raises(UserError, match="47 of 48 bytes"):
        read_image([tmp_path / "a.mha"])


def test_gzip_in_several_members_is_whole(tmp_path: Path) -> None:
    write_image(counting(2, 3, 4), tmp_path / "a.nii", GEOMETRY)
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data[:360]) + gzip.compress(data[360:]))
    assert np.array_equal(read_image([tmp_path / "a.nii.gz"]).array[0], counting(2, 3, 4))


def test_files_that_are_absent_foreign_or_junk(tmp_path: Path) -> None:
    (tmp_path / "junk.nii.gz").write_bytes(b"hello")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    (tmp_path / "a.jpg").write_bytes(b"hello")
    (tmp_path / "a.gif").write_bytes(b"hello")
    for name, message in (
        ("absent.nii.gz", "does not exist"),
        ("junk.nii.gz", "is not a .nii.gz file"),
        ("empty.nii.gz", "is not a .nii.gz file"),
        ("a.jpg", "is not a jpg file"),
        ("a.gif", "can't be read"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            read_image([tmp_path / name])
        assert name in caught.value.message
        assert caught.value.hint


LIMITED = """
import resource, sys
from pathlib import Path
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.files import read_image
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
try:
    read_image([Path(sys.argv[1])])
except UserError as error:
    print(error.message)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux only")
def test_too_little_memory(tmp_path: Path) -> None:
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = False\nElementSpacing = 1 1 1\n"
        "DimSize = 2000 2000 1000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    file = tmp_path / "huge.mha"
    file.write_text(header)
    os.truncate(file, len(header) + 2 * 2000 * 2000 * 1000)  # a hole that takes no place on the disk
    found = subprocess.run([sys.executable, "-c", LIMITED, str(file)], capture_output=True, text=True, check=True)
    assert found.stdout == f"The memory does not suffice to read {file}.\n"


def test_sheared_grid_is_refused_with_the_reason(tmp_path: Path) -> None:
    write_image(counting(2, 3, 4), tmp_path / "a.nii", Geometry((1.0, 1.0, 1.0)))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[252:256] = np.array([0, 1], "<i2").tobytes()  # qform_code, sform_code
    data[280:328] = np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(UserError, match="right angles"):
        read_image([tmp_path / "a.nii"])


def test_writing_into_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for ending in (".nii.gz", ".mhd"):
        with pytest.raises(UserError, match="Can't write"):
            write_labels(np.zeros((1, 1, 1), int), tmp_path / "file" / f"a{ending}", GEOMETRY)


def test_two_file_format_names_its_voxel_file(tmp_path: Path) -> None:
    write_labels(counting(2, 3, 4), tmp_path / "case_1.mhd", GEOMETRY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case_1.mhd", "case_1.zraw"]
    assert "ElementDataFile = case_1.zraw" in (tmp_path / "case_1.mhd").read_text()


def test_simpleitk_images_in_and_out() -> None:
    labels = counting(2, 3, 4) % 3
    image = sitk_from_labels(labels, GEOMETRY)
    assert (image.GetPixelID(), image.GetSpacing(), image.GetDirection()) == (sitk.sitkUInt8, (0.75, 0.5, 3.0), OBLIQUE)
    volume = volume_from_sitk(image)
    assert volume.geometry == GEOMETRY
    assert np.array_equal(volume.array[0], labels)


def test_reader_names_of_nnunet(tmp_path: Path) -> None:
    write_image(counting(2, 3, 4), tmp_path / "3d.tif", Geometry((1.0, 1.0, 1.0)))
    write_image(counting(1, 3, 4), tmp_path / "2d.tif", FLAT)
    assert reader_name(".nii.gz", tmp_path / "any") == "SimpleITKIO"
    assert reader_name(".nii", tmp_path / "any") == "NibabelIO"
    assert reader_name(".png", tmp_path / "any") == "NaturalImage2DIO"
    assert reader_name(".tif", tmp_path / "3d.tif") == "Tiff3DIO"
    assert reader_name(".tif", tmp_path / "2d.tif") == "NaturalImage2DIO"


@pytest.mark.parametrize("code", ["LPS", "RAS", "PIR", "SLA", "RSA"])
def test_orientation_code_is_itks(code: str) -> None:
    image = sitk.DICOMOrient(sitk.Image([2, 3, 4], sitk.sitkUInt8), code)
    assert orientation_code(volume_from_sitk(image).geometry) == code


def test_orientation_code_of_oblique_and_flat_grids() -> None:
    assert orientation_code(GEOMETRY) == "LPI"
    assert orientation_code(FLAT) == ""


#: Shape, spacing and md5 of the float32 array as nnunetv2 2.8.1's own readers return them.
FOREIGN = {
    "ct-spleen-crop/image.nii.gz": (
        (1, 26, 166, 164),
        (5.0, 0.794921994, 0.794921994),
        "1cc89406d6c772dba5062c5715c11bb9",
    ),
    "ct-totalsegmentator/example_ct_sm.nii.gz": (
        (1, 30, 101, 122),
        (3.0, 3.0, 3.0),
        "593a1ec923e0ca88a6ac1de2680f5fa3",
    ),
    "mr-anisotropic/cord_t2/image.nii.gz": ((1, 52, 55, 60), (1.0, 1.0, 1.0), "f1146437bed3cc8bfa25e12418c2de9c"),
    "mr-anisotropic/cord_mt/t1w.nii.gz": ((1, 5, 40, 40), (17.0, 0.84375, 0.84375), "0aefac04a0b3758907da23e267cb48f6"),
    "mr-anisotropic/brain1/image.nrrd": (
        (1, 25, 256, 256),
        (6.5, 0.78125, 0.78125),
        "83325a7f5452e779f513bb74da077220",
    ),
    "mr-anisotropic/prostate_phantom/label.nrrd": (
        (1, 13, 67, 82),
        (3.0, 0.5, 0.5),
        "9a7c91df6635c95d81033b5ec097ed1b",
    ),
    "slicer-segmentation/Segmentation.seg.nrrd": (
        (1, 34, 128, 128),
        (10.0, 3.046875954, 3.046875954),
        "47673328eb62e81f0f81884e4ae440be",
    ),
    "dicom-seg/partial_overlaps-1.nrrd": (
        (1, 3, 512, 512),
        (1.0, 0.810547, 0.810547),
        "bf5a1bcb889b6f712808080ca81cd35d",
    ),
    "axon-sem-2d/images/sub-rat1_sample-data1.png": (
        (1, 1, 924, 1278),
        (999.0, 1.0, 1.0),
        "0c793aa2dcfa6cc1dd9a079003faf681",
    ),
    "em-tif-2d/raw/00.tif": ((1, 1, 1024, 1024), (999.0, 1.0, 1.0), "d3afd2ce55c7afa2dad50677ba4bc7d5"),
    "em-tif-2d/membranes/00.png": ((1, 1, 1024, 1024), (999.0, 1.0, 1.0), "8c2f7dd71b437b9b36f7189272bb6d14"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_arrays_equal_those_of_nnunetv2(shared_data: Path, name: str) -> None:
    shape, spacing, digest = FOREIGN[name]
    volume = read_image([shared_data / name])
    assert volume.array.shape == shape
    assert volume.geometry.spacing_mm == pytest.approx(spacing, rel=1e-6)
    assert hashlib.md5(volume.array.tobytes()).hexdigest() == digest
    header = read_header(shared_data / name)
    assert (header.shape, header.channels, header.geometry) == (volume.shape, shape[0], volume.geometry)


def test_a_cut_off_file_in_a_fresh_process_prints_one_line(tmp_path: Path) -> None:
    write_image(counting(9, 9, 9), tmp_path / "a.nii.gz", GEOMETRY)
    cut(tmp_path / "a.nii.gz")
    code = (
        "import sys; from pathlib import Path; from segautoconfiglib.base.errors import UserError\n"
        "from segautoconfiglib.image.files import read_image\n"
        "try: read_image([Path(sys.argv[1])])\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.nii.gz")], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"{tmp_path / 'a.nii.gz'} is damaged: it ends too early")


def test_jpg_files_are_read_but_hold_no_labels(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    Image.fromarray(np.full((8, 16), 100, np.uint8)).save(file)
    assert read_image([file]).array.shape == (1, 1, 8, 16)
    with pytest.raises(UserError, match="can't hold labels"):
        read_labels(file)
    with pytest.raises(UserError, match="JPEG changes the values"):
        write_labels(np.zeros((1, 2, 2), int), file, Geometry((999.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2))
