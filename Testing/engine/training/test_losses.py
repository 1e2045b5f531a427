"""Loss values against hand-computed ones and against nnunetv2's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.training.losses import (  # noqa: E402
    LOSSES,
    LossSettings,
    ce,
    deep_supervision_weights,
    dice,
    dice_ce,
    resize_nearest,
    supervised_loss,
)

pytestmark = pytest.mark.torch
NUMBERS = np.load(Path(__file__).with_name("nnunet_numbers.npz"))


def tensor(values: object, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


# One sample of two voxels: logits of background and foreground.
EVEN = tensor([[[0.0, 0.0], [0.0, math.log(3)]]])  # foreground probabilities 1/2 and 3/4


def test_cross_entropy_by_hand():
    target = tensor([[[0, 1]]], torch.int16)
    assert float(ce(EVEN, target, LossSettings())) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_dice_by_hand():
    target = tensor([[[0, 1]]], torch.int16)
    expected = -(2 * 0.75 + 1e-5) / (1 + 1.25 + 1e-5)
    assert float(dice(EVEN, target, LossSettings())) == pytest.approx(expected)
    assert float(dice_ce(EVEN, target, LossSettings())) == pytest.approx(expected + (math.log(2) + math.log(4 / 3)) / 2)


def test_ignored_voxels_count_nowhere():
    target = tensor([[[2, 1]]], torch.int16)
    settings = LossSettings(ignore_label=2)
    assert float(ce(EVEN, target, settings)) == pytest.approx(math.log(4 / 3))
    assert float(dice(EVEN, target, settings)) == pytest.approx(-(2 * 0.75 + 1e-5) / (1 + 0.75 + 1e-5))


def test_all_voxels_ignored_gives_no_cross_entropy():
    target = tensor([[[2, 2]]], torch.int16)
    assert float(ce(EVEN, target, LossSettings(ignore_label=2))) == 0.0


def test_regions_by_hand():
    logits = tensor([[[0.0, math.log(3)]]])  # one region, probabilities 1/2 and 3/4
    target = tensor([[[False, True]]], torch.bool)
    settings = LossSettings(regions=True)
    assert float(ce(logits, target, settings)) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert float(dice(logits, target, settings)) == pytest.approx(-(2 * 0.75 + 1e-5) / (1 + 1.25 + 1e-5))


def test_regions_with_ignore_keep_the_scale():
    """Ignoring nothing gives the same value as having no ignore label, for any number of regions."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 4, 5), generator=rng)
    target = torch.rand((2, 3, 4, 5), generator=rng) < 0.4
    with_channel = torch.cat([target, torch.zeros((2, 1, 4, 5), dtype=torch.bool)], dim=1)
    plain = dice_ce(logits, target, LossSettings(regions=True))
    masked = dice_ce(logits, with_channel, LossSettings(regions=True, ignore_label=4))
    assert float(masked) == pytest.approx(float(plain), rel=1e-6)


@pytest.mark.parametrize("batch", ["sample", "batch"])
@pytest.mark.parametrize("ignore", ["all", "ignore"])
def test_labels_equal_nnunet(batch: str, ignore: str):
    labels = torch.from_numpy(NUMBERS["labels"])
    settings = LossSettings(ignore_label=3 if ignore == "ignore" else None, batch_dice=batch == "batch")
    target = labels if ignore == "ignore" else labels % 3
    value = dice_ce(torch.from_numpy(NUMBERS["logits"]), target, settings)
    assert float(value) == pytest.approx(float(NUMBERS[f"labels_{batch}_{ignore}"]), abs=1e-6)


@pytest.mark.parametrize("batch", ["sample", "batch"])
@pytest.mark.parametrize("ignore", ["all", "ignore"])
def test_regions_equal_nnunet(batch: str, ignore: str):
    """With an ignore label nnU-Net divides the cross-entropy by voxels alone: there it is 3 times ours."""
    regions = torch.from_numpy(NUMBERS["regions"])
    settings = LossSettings(True, 3 if ignore == "ignore" else None, batch == "batch")
    target = regions if ignore == "ignore" else regions[:, :3]
    logits = torch.from_numpy(NUMBERS["logits"])
    value = dice(logits, target, settings) + (3 if ignore == "ignore" else 1) * ce(logits, target, settings)
    assert float(value) == pytest.approx(float(NUMBERS[f"regions_{batch}_{ignore}"]), abs=1e-6)


def test_batch_dice_sums_over_samples():
    logits = torch.cat([EVEN, EVEN])
    target = tensor([[[0, 1]], [[0, 0]]], torch.int16)
    expected = -(2 * 0.75 + 1e-5) / (1 + 2.5 + 1e-5)
    assert float(dice(logits, target, LossSettings(batch_dice=True))) == pytest.approx(expected)


def test_deep_supervision_weights():
    assert deep_supervision_weights(5) == pytest.approx([8 / 15, 4 / 15, 2 / 15, 1 / 15, 0])
    assert deep_supervision_weights(2) == [1.0, 0.0]
    assert deep_supervision_weights(1) == [1.0]


def test_supervised_loss_weights_resolutions():
    fine, coarse, coarsest = torch.zeros((1, 2, 4, 4)), torch.zeros((1, 2, 2, 2)), torch.full((1, 2, 1, 1), math.nan)
    target = torch.zeros((1, 1, 4, 4), dtype=torch.int16)
    value = supervised_loss(ce, LossSettings(), [fine, coarse, coarsest], target)
    assert float(value) == pytest.approx(math.log(2))


def test_resize_nearest_takes_the_voxel_under_each_centre():
    line = torch.arange(5, dtype=torch.int16).view(1, 1, 5)
    assert resize_nearest(line, (2,)).flatten().tolist() == [1, 3]
    image = torch.rand((1, 1, 6, 9))
    expected = torch.nn.functional.interpolate(image, (3, 4), mode="nearest-exact")
    assert torch.equal(resize_nearest(image, (3, 4)), expected)


def test_unknown_loss_lists_the_known():
    from segautoconfiglib.base.errors import UserError

    with pytest.raises(UserError, match="dice_ce"):
        LOSSES.get("hinge")
