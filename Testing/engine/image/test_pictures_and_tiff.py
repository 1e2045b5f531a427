"""png, bmp and tif: colour, alpha, palettes, 16 bits, stacks and their spacing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.files import read_header, read_image, read_labels, write_image, write_labels
from segautoconfiglib.image.volume import Geometry

GREY = np.array([[0, 1, 2], [3, 250, 5]], np.uint8)
PIXELS = Geometry((999.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)


def palette_picture() -> Image.Image:
    picture = Image.new("P", (3, 2))
    picture.putdata((GREY % 3).ravel().tolist())
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    return picture


def picture_of(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array)


@pytest.mark.parametrize(
    ("picture", "channels", "dtype"),
    [
        (picture_of(GREY), [GREY], "uint8"),
        (picture_of(GREY.astype(np.uint16) * 257), [GREY.astype(np.uint16) * 257], "uint16"),
        (picture_of(GREY > 1), [GREY > 1], "bool"),
        (picture_of(np.stack([GREY, 255 - GREY], -1)), [GREY, 255 - GREY], "uint8"),
        (picture_of(np.stack([GREY, GREY + 1, GREY + 2], -1)), [GREY, GREY + 1, GREY + 2], "uint8"),
        (picture_of(np.stack([GREY, GREY, GREY, GREY + 3], -1)), [GREY, GREY, GREY, GREY + 3], "uint8"),
        (palette_picture(), [(GREY % 3 == 1) * 255, (GREY % 3 == 2) * 255, GREY * 0], "uint8"),
    ],
    ids=["grey", "16-bit", "1-bit", "grey+alpha", "colour", "colour+alpha", "palette"],
)
def test_channels_of_png_images(tmp_path: Path, picture: Image.Image, channels: list, dtype: str) -> None:
    picture.save(tmp_path / "a_0000.png")
    volume, header = read_image([tmp_path / "a_0000.png"]), read_header(tmp_path / "a_0000.png")
    assert volume.array.dtype == np.float32
    assert volume.geometry == PIXELS
    assert np.array_equal(volume.array[:, 0], channels)
    assert (header.channels, header.shape, header.dtype) == (len(channels), (1, 2, 3), dtype)


def test_labels_in_palette_pictures_count_by_number(tmp_path: Path) -> None:
    palette_picture().save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png").array[0, 0], GREY % 3)


def test_opaque_alpha_of_labels_is_left_out_and_colour_refused(tmp_path: Path) -> None:
    opaque = np.full_like(GREY, 255)
    picture_of(np.stack([GREY, opaque], -1)).save(tmp_path / "grey.png")
    assert np.array_equal(read_labels(tmp_path / "grey.png").array[0, 0], GREY)
    picture_of(np.stack([GREY, GREY], -1)).save(tmp_path / "alpha.png")
    picture_of(np.stack([GREY, GREY, GREY], -1)).save(tmp_path / "colour.png")
    picture_of(np.stack([GREY, GREY, GREY, opaque], -1)).save(tmp_path / "opaque.png")
    for name, channels in (("alpha", 2), ("colour", 3), ("opaque", 3)):
        with pytest.raises(UserError, match=rf"{name}\.png is no label map: it has {channels} channels"):
            read_labels(tmp_path / f"{name}.png")


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_pictures_are_written_and_read_back(tmp_path: Path, ending: str) -> None:
    write_labels(GREY[None], tmp_path / f"a{ending}", PIXELS)
    volume = read_labels(tmp_path / f"a{ending}")
    assert np.array_equal(volume.array[0, 0], GREY)
    assert volume.geometry == PIXELS


def test_16_bit_labels_fit_png_but_not_bmp(tmp_path: Path) -> None:
    labels = np.array([[[0, 300]]])
    write_labels(labels, tmp_path / "a.png", PIXELS)
    assert read_labels(tmp_path / "a.png").array.ravel().tolist() == [0, 300]
    with pytest.raises(UserError, match=r"a\.bmp: values from 0 to 300"):
        write_labels(labels, tmp_path / "a.bmp", PIXELS)
    with pytest.raises(UserError, match="2 slices"):
        write_labels(np.zeros((2, 1, 1), int), tmp_path / "b.png", PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_damaged_pictures(tmp_path: Path) -> None:
    picture_of(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    for name, content in (("cut.png", data[:1000]), ("junk.png", b"hello"), ("cut.tif", b"II*\0"), ("junk.tif", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_image([tmp_path / name])


@pytest.mark.parametrize("edge", [3, 4])
@pytest.mark.parametrize("axis", [0, 2])
def test_small_3d_stacks_are_not_colour(tmp_path: Path, edge: int, axis: int) -> None:
    stack = np.arange(edge * 30, dtype=np.uint8).reshape((edge, 5, 6) if axis == 0 else (5, 6, edge))
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    write_image(stack, tmp_path / "b.tif", Geometry((1.0, 1.0, 1.0)))
    for name in ("a.tif", "b.tif"):
        assert np.array_equal(read_image([tmp_path / name]).array, stack[None])


def test_colour_tif_in_both_layouts(tmp_path: Path) -> None:
    colour = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    tifffile.imwrite(tmp_path / "together.tif", colour, photometric="rgb")
    tifffile.imwrite(
        tmp_path / "apart.tif", np.moveaxis(colour, 2, 0).copy(), photometric="rgb", planarconfig="separate"
    )
    for name in ("together.tif", "apart.tif"):
        volume = read_image([tmp_path / name])
        assert np.array_equal(volume.array[:, 0], np.moveaxis(colour, 2, 0))
        assert volume.geometry == PIXELS
        assert read_header(tmp_path / name).channels == 3


def test_spacing_of_3d_tif_lies_in_a_side_car_without_the_channel_number(tmp_path: Path) -> None:
    stack = np.zeros((4, 5, 6), np.uint8)
    tifffile.imwrite(tmp_path / "case_0000.tif", stack, photometric="minisblack")
    assert read_image([tmp_path / "case_0000.tif"]).geometry == Geometry((1.0, 1.0, 1.0))
    (tmp_path / "case.json").write_text('{"spacing": [3, 0.5, 0.25]}')
    assert read_image([tmp_path / "case_0000.tif"]).geometry == Geometry((3.0, 0.5, 0.25))
    (tmp_path / "case.json").write_text('{"spacing": [3, 0.5]}')
    with pytest.raises(UserError, match=r"case\.json: no usable spacing \(got \[3, 0\.5\]\)"):
        read_image([tmp_path / "case_0000.tif"])


def test_writing_3d_tif_writes_the_side_car(tmp_path: Path) -> None:
    geometry = Geometry((3.0, 0.5, 0.25))
    write_labels(np.ones((1, 5, 6), int), tmp_path / "case_0007.tif", geometry)
    assert json.loads((tmp_path / "case_0007.json").read_text()) == {"spacing": [3.0, 0.5, 0.25]}
    write_image(np.ones((1, 5, 6)), tmp_path / "images" / "case_0007_0000.tif", geometry)
    assert (tmp_path / "images" / "case_0007.json").is_file()
    for volume in (read_labels(tmp_path / "case_0007.tif"), read_image([tmp_path / "images" / "case_0007_0000.tif"])):
        assert (volume.shape, volume.geometry) == ((1, 5, 6), geometry)


def test_a_2d_tif_has_nothing_to_do_with_a_json_file_of_its_name(tmp_path: Path) -> None:
    write_labels(GREY[None], tmp_path / "a.tif", PIXELS)
    for content in ('{"shapes": []}', '{"spacing": [1, 1, 1]}', "[]"):
        (tmp_path / "a.json").write_text(content)
        assert read_labels(tmp_path / "a.tif").geometry == PIXELS
        assert read_header(tmp_path / "a.tif").geometry == PIXELS


@pytest.mark.parametrize("ending", [".tif", ".png"])
def test_several_slices_are_no_2d_image(tmp_path: Path, ending: str) -> None:
    with pytest.raises(UserError, match=r"a\.(tif|png): the image has 5 slices"):
        write_labels(np.ones((5, 8, 8), int), tmp_path / f"a{ending}", PIXELS)
    assert not list(tmp_path.iterdir())


def test_lzw_compressed_tif(tmp_path: Path) -> None:
    picture_of(GREY).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert np.array_equal(read_image([tmp_path / "a.tif"]).array[0, 0], GREY)


def test_real_files_with_faults(shared_data: Path) -> None:
    folder = shared_data / "axon-sem-2d" / "originals"
    with_alpha = read_image([folder / "sub-rat6_sample-data15_SEM.png"])
    assert with_alpha.array.shape == (2, 1, 744, 1154)
    labels = read_labels(folder / "sub-rat6_sample-data15_SEM_seg-axonmyelin-manual.png")
    assert np.unique(labels.array).tolist() == [0, 127, 255]
