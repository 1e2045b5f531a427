"""Writes nnunet_numbers.npz: what nnunetv2 computes on fixed random inputs. Run it with a Python that has nnunetv2.

python Testing/engine/training/make_nnunet_numbers.py
"""

from pathlib import Path

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss


def losses(rng):
    """Loss values with and without ignore label, batch Dice and regions."""
    logits = rng.standard_normal((2, 3, 4, 5, 6)).astype(np.float32)
    labels = rng.integers(0, 4, (2, 1, 4, 5, 6))  # 3 is the ignore label
    regions = rng.random((2, 4, 4, 5, 6)) < 0.3  # the last channel marks ignored voxels
    found = {"logits": logits, "labels": labels.astype(np.int16), "regions": regions}
    for batch_dice in (False, True):
        options = {"batch_dice": batch_dice, "smooth": 1e-5, "ddp": False}
        for ignore in (None, 3):
            loss = DC_and_CE_loss(
                {**options, "do_bg": False}, {}, ignore_label=ignore, dice_class=MemoryEfficientSoftDiceLoss
            )
            target = labels if ignore else labels % 3
            value = loss(torch.from_numpy(logits), torch.from_numpy(target))
            found[f"labels_{'batch' if batch_dice else 'sample'}_{'ignore' if ignore else 'all'}"] = value.numpy()
        for ignore in (False, True):
            loss = DC_and_BCE_loss(
                {}, {**options, "do_bg": True}, use_ignore_label=ignore, dice_class=MemoryEfficientSoftDiceLoss
            )
            target = regions if ignore else regions[:, :3]
            value = loss(torch.from_numpy(logits), torch.from_numpy(target))
            found[f"regions_{'batch' if batch_dice else 'sample'}_{'ignore' if ignore else 'all'}"] = value.numpy()
    return found


def transforms(rng):
    """One image through each transform with fixed parameters."""
    image = rng.standard_normal((1, 8, 10, 9)).astype(np.float32)
    fixed = {
        "blur": GaussianBlurTransform((0.8, 0.8), False, False, 1),
        "brightness": MultiplicativeBrightnessTransform((1.2, 1.2), False, 1),
        "contrast": ContrastTransform((1.25, 1.25), True, False, 1),
        "low_resolution": SimulateLowResolutionTransform((0.6, 0.6), False, True, None, None, 1),
        "gamma": GammaTransform((1.3, 1.3), 0, False, 1, 1),
        "gamma_inverted": GammaTransform((0.8, 0.8), 1, False, 1, 1),
    }
    found = {"image": image}
    for name, transform in fixed.items():
        found[name] = transform(image=torch.from_numpy(image.copy()))["image"].numpy()
    return found


def spatial(rng):
    """A rotated and scaled patch of an image with labels -1 to 2, in 3D and in 2D."""
    image = rng.standard_normal((2, 11, 12, 13)).astype(np.float32)
    labels = rng.integers(-1, 3, (1, 6, 6, 7)).repeat(2, 1).repeat(2, 2).repeat(2, 3)[:, :11, :, :13].astype(np.int16)
    found = {"case_image": image, "case_labels": labels}
    for name, patch, place in (("3d", (8, 7, 9), slice(None)), ("2d", (7, 9), 4)):
        transform = SpatialTransform(
            patch, 0, False, 0, p_rotation=1, rotation=(0.4, 0.4), p_scaling=1, scaling=(1.3, 1.3),
            p_synchronize_scaling_across_axes=1, bg_style_seg_sampling=False, border_mode_seg="constant",
            padding_value_seg=-1, seg_tiebreak="lowest",
        )  # fmt: skip
        result = transform(
            image=torch.from_numpy(image[:, place].copy()), segmentation=torch.from_numpy(labels[:, place].copy())
        )
        found[f"patch_image_{name}"] = result["image"].numpy()
        found[f"patch_labels_{name}"] = result["segmentation"].numpy()
    return found


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    numbers = {**losses(generator), **transforms(generator), **spatial(generator)}
    np.savez_compressed(Path(__file__).with_name("nnunet_numbers.npz"), **numbers)
