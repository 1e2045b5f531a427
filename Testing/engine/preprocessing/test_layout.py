"""Blocks and chunks."""

import json
from pathlib import Path

import pytest

from segautoconfiglib.preprocessing.layout import block_and_chunk

LAYOUTS = json.loads((Path(__file__).parent / "fixtures" / "layouts.json").read_text())


def test_the_block_fits_the_cache_and_the_chunk_covers_more_than_a_patch():
    block, chunk = block_and_chunk((1, 252, 512, 512), (80, 192, 160), 4)
    assert block == (1, 16, 64, 32)
    assert chunk == (1, 64, 192, 128)


def test_two_dimensional_patches_are_stored_slice_by_slice():
    assert block_and_chunk((1, 252, 512, 512), (512, 512), 4) == ((1, 1, 256, 128), (1, 1, 512, 512))


def test_never_larger_than_the_image():
    assert block_and_chunk((3, 1, 2, 3), (128, 128, 128), 4) == ((1, 1, 2, 3), (1, 1, 2, 3))


def test_equal_to_nnunet():
    for shape, patch, item_bytes, block, chunk in LAYOUTS:
        assert block_and_chunk(shape, patch, item_bytes) == (tuple(block), tuple(chunk)), (shape, patch)


@pytest.mark.parametrize("item_bytes", [2, 4])
def test_labels_have_larger_blocks(item_bytes):
    block, _ = block_and_chunk((1, 252, 512, 512), (80, 192, 160), item_bytes)
    assert block[1] * block[2] * block[3] * item_bytes == 128 * 1024
