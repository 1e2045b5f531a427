"""Runs TotalSegmentator's own command: python task_peer.py 16|32 WORDS... (with the Python that has it)

32: nnU-Net's sums over the tiles of an image in 32 bits, as here, in place of its 16: shows which differences of the
labels come from that alone.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from typing import Any


def with_exact_sums() -> None:
    """Let nnU-Net add up tiles, and weigh them, in 32 bits."""
    import torch

    predictor = importlib.import_module("nnunetv2.inference.predict_from_raw_data")
    weights = predictor.compute_gaussian

    class Torch(types.ModuleType):
        half = torch.float32

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    @functools.wraps(weights)
    def exact(*arguments: Any, **options: Any) -> Any:
        return weights(*arguments, **{**options, "dtype": torch.float32})

    exact.cache_clear = weights.cache_clear  # type: ignore[attr-defined]
    predictor.torch, predictor.compute_gaussian = Torch("torch"), exact  # type: ignore[attr-defined]


if __name__ == "__main__":
    bits, *words = sys.argv[1:]
    if bits == "32":
        with_exact_sums()
    sys.argv = ["TotalSegmentator", *words]
    importlib.import_module("totalsegmentator.bin.TotalSegmentator").main()
