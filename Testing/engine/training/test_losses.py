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
    dice_topk,
    resize_nearest,
    supervised_loss,
    topk,
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


def voxel_losses(logits: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    """Cross-entropies of softmax outputs (batch, class, *size) for labels (batch, *size), in float64."""
    logits = logits.astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    truth = np.stack([labels == label for label in range(logits.shape[1])], 1)
    return -((1 - smoothing) * (logs * truth).sum(1) + smoothing * logs.mean(1))


def region_losses(logits: np.ndarray, regions: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    """Binary cross-entropies (batch, region, *size), in float64."""
    inside = 1 / (1 + np.exp(-logits.astype(np.float64)))
    truth = regions * (1 - smoothing) + smoothing / 2
    return -(truth * np.log(inside) + (1 - truth) * np.log(1 - inside))


def soft_dices(shares: np.ndarray, truth: np.ndarray, axes: tuple[int, ...], smoothing: float) -> np.ndarray:
    both, volumes = (shares * truth).sum(axes), shares.sum(axes) + truth.sum(axes)
    return (2 * both + smoothing) / (volumes + smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.25, 1.0])
def test_hardest_voxels_by_hand(ignored: bool, share: float, smoothing: float):
    logits, labels = NUMBERS["logits"], NUMBERS["labels"][:, 0]
    counted = labels != 3 if ignored else np.ones(labels.shape, dtype=bool)
    labels = labels if ignored else labels % 3
    values = np.sort(voxel_losses(logits, labels, smoothing)[counted])[::-1]
    settings = LossSettings(ignore_label=3 if ignored else None, topk_share=share, label_smoothing=smoothing)
    given = torch.from_numpy(logits), torch.from_numpy(labels[:, None]), settings
    assert float(topk(*given)) == pytest.approx(values[: int(len(values) * share)].mean(), rel=1e-6)
    assert float(ce(*given)) == pytest.approx(values.mean(), rel=1e-6)
    assert float(dice_topk(*given)) == pytest.approx(float(topk(*given)) + float(dice(*given)), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [False, True])
def test_hardest_voxels_of_regions_by_hand(ignored: bool, smoothing: float):
    regions, logits = NUMBERS["regions"], NUMBERS["logits"]
    counted = ~regions[:, 3:].repeat(3, 1) if ignored else np.ones(logits.shape, dtype=bool)
    values = np.sort(region_losses(logits, regions[:, :3], smoothing)[counted])[::-1]
    settings = LossSettings(True, 3 if ignored else None, topk_share=0.2, label_smoothing=smoothing)
    given = torch.from_numpy(logits), torch.from_numpy(regions if ignored else regions[:, :3]), settings
    assert float(topk(*given)) == pytest.approx(values[: int(len(values) * 0.2)].mean(), rel=1e-6)
    assert float(ce(*given)) == pytest.approx(values.mean(), rel=1e-6)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 1e-5, 1.0])
def test_dice_without_and_with_smoothing_by_hand(batch: bool, smoothing: float):
    logits, labels = NUMBERS["logits"].astype(np.float64), NUMBERS["labels"]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    counted, truth = labels != 3, np.concatenate([labels == 1, labels == 2], 1)
    axes = (0, 2, 3, 4) if batch else (2, 3, 4)
    expected = -soft_dices(shares[:, 1:] * counted, truth, axes, smoothing).mean()
    settings = LossSettings(ignore_label=3, batch_dice=batch, dice_smoothing=smoothing)
    value = dice(torch.from_numpy(NUMBERS["logits"]), torch.from_numpy(labels), settings)
    assert float(value) == pytest.approx(expected, rel=1e-6)
    inside, regions = 1 / (1 + np.exp(-logits)), NUMBERS["regions"]
    expected = -soft_dices(inside * ~regions[:, 3:], regions[:, :3] & ~regions[:, 3:], axes, smoothing).mean()
    settings = LossSettings(True, 3, batch, dice_smoothing=smoothing)
    value = dice(torch.from_numpy(NUMBERS["logits"]), torch.from_numpy(regions), settings)
    assert float(value) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "settings", "value"),
    [
        (ce, {}, 1.3024694919586182),
        (topk, {}, 3.024170160293579),
        (topk, {"topk_share": 0.25}, 2.430205821990967),
        (topk, {"label_smoothing": 0.1}, 2.8875715732574463),
        (dice_topk, {}, 2.7128164768218994),
        (dice_topk, {"batch_dice": True}, 2.7126879692077637),
        (dice, {}, -0.3113536834716797),
        (dice, {"batch_dice": True}, -0.3114820718765259),
        (dice_ce, {"dice_smoothing": 0.0}, 0.991115927696228),
        (dice_ce, {"dice_smoothing": 0.0, "batch_dice": True}, 0.9909874796867371),
    ],
)
def test_other_losses_equal_nnunet(loss, settings: dict, value: float):
    """Its values on the same tensors (nnunetv2 2.8.1)."""
    target = torch.from_numpy(NUMBERS["labels"] % 3)
    assert float(loss(torch.from_numpy(NUMBERS["logits"]), target, LossSettings(**settings))) == pytest.approx(
        value, abs=2e-6
    )


def test_hardest_of_nothing_is_nothing():
    logits = EVEN.clone().requires_grad_()
    value = topk(logits, tensor([[[2, 2]]], torch.int16), LossSettings(ignore_label=2))
    value.backward()
    assert float(value.detach()) == 0.0
    assert not logits.grad.any()


def test_at_least_one_voxel_is_the_hardest():
    target = tensor([[[0, 1]]], torch.int16)
    assert float(topk(EVEN, target, LossSettings(topk_share=0.01))) == pytest.approx(math.log(2))


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
