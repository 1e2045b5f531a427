"""The sliding window against the plain way: whole arrays, one tile at a time."""

from __future__ import annotations

import weakref
from itertools import combinations, product

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.cancel import CancelToken  # noqa: E402
from segautoconfiglib.base.errors import Cancelled, UserError  # noqa: E402
from segautoconfiglib.inference import predictor  # noqa: E402
from segautoconfiglib.inference.predictor import SlidingWindow  # noqa: E402
from segautoconfiglib.inference.window import gaussian, tile_starts  # noqa: E402

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


def make_network(dimension: int, seed: int) -> torch.nn.Module:
    """Neither translation nor mirroring leaves its result alone: position and neighbours count."""
    torch.manual_seed(seed)
    kind = torch.nn.Conv2d if dimension == 2 else torch.nn.Conv3d

    class Positioned(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = kind(2, 3, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            ramp = sum(
                torch.linspace(0, 1 + axis, size).view(*([1] * axis), -1, *([1] * (image.ndim - 1 - axis)))
                for axis, size in enumerate(image.shape)
                if axis > 1
            )
            return self.conv(image) * (1 + ramp)

    return Positioned().eval()


def plain_logits(networks, image, patch, step, mirror_axes):
    """Gaussian-weighted sums of all tiles divided by the sums of weights, in float64."""
    padding = [
        (max(0, p - s) // 2, max(0, p - s) - max(0, p - s) // 2) for p, s in zip(patch, image.shape[1:], strict=True)
    ]
    padded = np.pad(image, [(0, 0), *padding])
    weight = np.ones(())
    for edge in patch:
        weight = np.multiply.outer(weight, gaussian(edge))
    total, weights = np.zeros((3, *padded.shape[1:])), np.zeros(padded.shape[1:])
    flips = [axes for n in range(len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)]
    for start in product(*(tile_starts(s, p, step) for s, p in zip(padded.shape[1:], patch, strict=True))):
        box = tuple(slice(first, first + edge) for first, edge in zip(start, patch, strict=True))
        tile = torch.from_numpy(padded[(slice(None), *box)])[None]
        with torch.no_grad():
            results = [
                network(tile.flip([2 + axis for axis in axes])).flip([2 + axis for axis in axes])[0].double().numpy()
                for network in networks
                for axes in flips
            ]
        total[(slice(None), *box)] += np.mean(results, axis=0) * weight
        weights[box] += weight
    inner = tuple(slice(low, size - high) for (low, high), size in zip(padding, padded.shape[1:], strict=True))
    return (total / weights)[(slice(None), *inner)]


@pytest.mark.parametrize("shape", [(11, 9, 17), (3, 20, 8), (8, 6, 10), (2, 2, 3)])
@pytest.mark.parametrize(("folds", "mirror_axes"), [(1, ()), (2, (0, 2)), (1, (0, 1, 2))])
def test_3d_equals_the_plain_sum(shape, folds, mirror_axes):
    networks = [make_network(3, seed) for seed in range(folds)]
    image = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    window = SlidingWindow(networks, (4, 6, 8), 3, CPU, mirror_axes)
    slabs = list(window.slabs(image))
    assert max(slab.shape[1] for slab in slabs) <= 4
    expected = plain_logits(networks, image, (4, 6, 8), 0.5, mirror_axes)
    np.testing.assert_allclose(torch.cat(slabs, dim=1).numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(5, 9, 17), (1, 4, 8), (3, 2, 20)])
@pytest.mark.parametrize("mirror_axes", [(), (0, 1)])
@pytest.mark.parametrize("voxels_at_once", [1, 200])
def test_2d_equals_the_plain_sum_of_every_slice(shape, mirror_axes, voxels_at_once, monkeypatch):
    monkeypatch.setattr(SlidingWindow, "_batch_voxels", lambda self: voxels_at_once)
    network = make_network(2, 0)
    image = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    slabs = list(SlidingWindow([network], (6, 8), 3, CPU, mirror_axes).slabs(image))
    expected = [plain_logits([network], image[:, z], (6, 8), 0.5, mirror_axes) for z in range(shape[0])]
    np.testing.assert_allclose(torch.cat(slabs, dim=1).numpy(), np.stack(expected, axis=1), atol=2e-5)


def test_steps_and_progress():
    seen = []
    window = SlidingWindow([make_network(3, 0)], (4, 6, 8), 3, CPU, step=1.0)
    image = np.zeros((2, 8, 12, 16), np.float32)
    list(window.slabs(image, progress=lambda done, total: seen.append((done, total))))
    assert seen[-1] == (8, 8)
    with pytest.raises(UserError, match="step"):
        next(SlidingWindow([make_network(3, 0)], (4, 6, 8), 3, CPU, step=0).slabs(image))


def test_cancel_stops_between_tiles():
    cancel = CancelToken()
    slabs = SlidingWindow([make_network(3, 0)], (4, 4, 4), 3, CPU).slabs(
        np.zeros((2, 8, 8, 8), np.float32), cancel=cancel
    )
    next(slabs)
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(slabs)


def test_infinite_logits_are_an_error():
    image = np.full((2, 4, 4, 4), np.nan, np.float32)
    with pytest.raises(UserError, match="NaN"):
        list(SlidingWindow([make_network(3, 0)], (4, 4, 4), 3, CPU).slabs(image))


def test_single_slices_share_batches():
    tiles = predictor._single_slices(7, 3)
    assert tiles.starts == (0, 3, 6)
    assert tiles.padding == (0, 2)
    assert tiles.inner == slice(0, 7)


class OnGpu(torch.Tensor):
    """Stands for sums in a GPU's memory, which is free again when no reference is left."""

    def cpu(self):
        return torch.Tensor(self.numpy().copy())


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")]
)
def test_where_a_gpus_memory_does_not_suffice_tiles_are_added_one_by_one_in_main_memory(monkeypatch, error):
    image = np.random.default_rng(0).standard_normal((2, 11, 9, 17), dtype=np.float32)
    window = SlidingWindow([make_network(3, 0)], (4, 6, 8), 3, CPU)
    expected = torch.cat(list(window.slabs(image)), dim=1)
    logits, zeros, sizes, sums = SlidingWindow._logits, torch.zeros, [], []

    def on_gpu(*shape, **options):
        values = zeros(*shape, **options).as_subclass(OnGpu)
        sums.append(weakref.ref(values))
        return values

    def small(self, tiles):
        sizes.append(len(tiles))
        if len(tiles) > 1:
            assert (sums[0]() is None) == (len(sizes) > 1)  # given back before the first single tile
            raise error
        assert sums[0]() is None
        return logits(self, tiles)

    monkeypatch.setattr(torch, "zeros", on_gpu)
    monkeypatch.setattr(SlidingWindow, "_logits", small)
    np.testing.assert_allclose(torch.cat(list(window.slabs(image)), dim=1), expected, atol=2e-5)
    assert sizes[:9] == [8, *[1] * 8]


def test_other_errors_are_no_lack_of_memory(monkeypatch):
    def broken(self, tiles):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(SlidingWindow, "_logits", broken)
    window = SlidingWindow([make_network(3, 0)], (4, 6, 8), 3, CPU)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        next(window.slabs(np.zeros((2, 11, 9, 17), np.float32)))
