"""The curves of a training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("torch")
from PIL import Image

from segautoconfiglib.training.picture import draw_progress

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("epochs", [1, 3])
def test_picture_is_a_png_of_its_size(tmp_path: Path, epochs: int):
    row = [math.nan] + [0.5] * (epochs - 1)
    history = {key: row for key in ("train_losses", "val_losses", "mean_fg_dice", "ema_fg_dice", "lrs")}
    history["lrs"] = [0.01] * epochs
    history["epoch_start_timestamps"], history["epoch_end_timestamps"] = [0.0] * epochs, [2.0] * epochs
    draw_progress(history, tmp_path / "progress.png")
    with Image.open(tmp_path / "progress.png") as picture:
        assert picture.size == (960, 1120)
        assert len(picture.convert("RGB").getcolors(10**6)) > 3
