"""A model of nnU-Net 1 made by hand: its network with random weights, plans.pkl, and the zip's layout."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

PLACE = "Task005_Tiny/nnUNetTrainerV2__nnUNetPlansv2.1"
KERNELS, POOLS = [[1, 3, 3], [3, 3, 3], [3, 3, 3]], [[1, 2, 2], [2, 2, 2]]


class Block(nn.Module):
    """Convolution, normalisation, activation; the order of attributes is v1's."""

    def __init__(self, channels_in: int, channels_out: int, kernel: Any, stride: Any, dimension: int, batch: bool):
        super().__init__()
        conv = nn.Conv3d if dimension == 3 else nn.Conv2d
        norms = {(3, True): nn.BatchNorm3d, (2, True): nn.BatchNorm2d}
        norm = norms.get((dimension, batch), nn.InstanceNorm3d if dimension == 3 else nn.InstanceNorm2d)
        self.conv = conv(channels_in, channels_out, kernel, stride, [edge // 2 for edge in kernel])
        self.instnorm = norm(channels_out, eps=1e-5, affine=True)
        self.lrelu = nn.LeakyReLU(0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lrelu(self.instnorm(self.conv(x)))


class Stack(nn.Module):
    def __init__(self, count: int, channels_in: int, channels_out: int, kernel: Any, stride: Any, *kind: Any):
        super().__init__()
        ones = [1] * len(kernel)
        self.blocks = nn.Sequential(
            *(
                Block(channels_out if n else channels_in, channels_out, kernel, ones if n else stride, *kind)
                for n in range(count)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)


class GenericUNet(nn.Module):
    """v1's network as reference/nnunet/07 describes it: decoder kernels of the next coarser level, few biases."""

    def __init__(
        self, inputs: int, classes: int, features: Any, kernels: Any = KERNELS, pools: Any = POOLS, *,
        convs: int = 2, batch: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        dimension, count = len(kernels[0]), len(pools)
        kind, ones = (dimension, batch), [1] * dimension
        strides, widths = [ones, *pools], [inputs, *features]
        up = nn.ConvTranspose3d if dimension == 3 else nn.ConvTranspose2d
        head = nn.Conv3d if dimension == 3 else nn.Conv2d
        context: list[nn.Module] = [
            Stack(convs, widths[n], widths[n + 1], kernels[n], strides[n], *kind) for n in range(count)
        ]
        last = (features[-1], kernels[-1])
        context.append(
            nn.Sequential(
                Stack(convs - 1, widths[count], *last, strides[count], *kind),
                Stack(1, features[-1], *last, ones, *kind),
            )
        )
        self.conv_blocks_context = nn.ModuleList(context)
        self.tu, self.conv_blocks_localization, self.seg_outputs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(count)):
            width, kernel = features[level], kernels[level + 1]
            self.tu.append(up(features[level + 1], width, pools[level], pools[level], bias=False))
            self.conv_blocks_localization.append(
                nn.Sequential(
                    Stack(convs - 1, 2 * width, width, kernel, ones, *kind), Stack(1, width, width, kernel, ones, *kind)
                )
            )
            self.seg_outputs.append(head(width, classes, 1, bias=False))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits at every resolution, finest first."""
        skips = []
        for stage in self.conv_blocks_context[:-1]:
            x = stage(x)
            skips.append(x)
        x = self.conv_blocks_context[-1](x)
        outputs = []
        for up, stage, head, skip in zip(
            self.tu, self.conv_blocks_localization, self.seg_outputs, reversed(skips), strict=True
        ):
            x = stage(torch.cat((up(x), skip), dim=1))
            outputs.insert(0, head(x))
        return outputs


def randomized(network: nn.Module, seed: int) -> nn.Module:
    """Weights far from their usual start, so that no mistake is hidden by symmetry."""
    torch.manual_seed(seed)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1 if tensor.ndim == 1 else 0.5 * torch.randn_like(tensor))
    return network.eval()


def v1_plans(**changes: Any) -> OrderedDict[str, Any]:
    """plans.pkl of a model of one stage, with the types that v1 leaves in it."""
    stage = {
        "batch_size": 2,
        "num_pool_per_axis": [1, 2, 2],
        "patch_size": np.array([8, 16, 16]),
        "median_patient_size_in_voxels": np.array([10, 18, 20]),
        "current_spacing": np.array([2.0, 1.0, 1.0]),
        "original_spacing": np.array([2.0, 1.0, 1.0]),
        "do_dummy_2D_data_aug": False,
        "pool_op_kernel_sizes": POOLS,
        "conv_kernel_sizes": KERNELS,
    }
    intensities = {"mean": np.float64(60), "median": 50.0, "sd": np.float32(40), "mn": 0.0, "mx": 300.0}
    intensities |= {"percentile_99_5": np.float64(200), "percentile_00_5": 1.0}
    content = {
        "num_stages": 1,
        "num_modalities": 1,
        "modalities": {0: "CT"},
        "normalization_schemes": OrderedDict({0: "CT"}),
        "dataset_properties": {
            "all_sizes": [np.array([10, 18, 20])] * 3,
            "intensityproperties": OrderedDict({0: intensities}),
        },
        "num_classes": 2,
        "all_classes": [1, 2],
        "base_num_features": 4,
        "use_mask_for_norm": OrderedDict({0: False}),
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "plans_per_stage": {0: stage},
        "preprocessed_data_folder": "/home/somebody/preprocessed",
        **changes,
    }
    return OrderedDict(content)


def write_v1_zip(
    file: Path, networks: list[nn.Module], place: str = f"3d_fullres/{PLACE}", plans: Any = None, **others: bytes
) -> Path:
    """A zip of v1's layout, with a fold for each network; ``others`` are more files of the model's folder."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{place}/plans.pkl", pickle.dumps(v1_plans() if plans is None else plans))
        for name, content in others.items():
            archive.writestr(f"{place}/{name.replace('__', '/').replace('_json', '.json')}", content)
        for fold, network in enumerate(networks):
            checkpoint = {
                "epoch": 1000,
                "state_dict": OrderedDict(network.state_dict()),
                "optimizer_state_dict": None,
                "lr_scheduler_state_dict": None,
                "plot_stuff": ([np.float32(0.5)], [np.float64(0.4)], [], []),
                "best_stuff": (np.float64(0.1), 0.2, 0.3),
                "amp_grad_scaler": None,
            }
            with archive.open(f"{place}/fold_{fold}/model_final_checkpoint.model", "w") as stream:
                torch.save(checkpoint, stream)
            archive.writestr(f"{place}/fold_{fold}/model_final_checkpoint.model.pkl", b"cos\nsystem\n(S'exit 1'\ntR.")
    return file
