"""Turns the 25-class logits of the large CT into a labelmap file, with this project's code or with nnunetv2's.

Usage: export_logits.py ours|peer LOGITS.npy PLANS.json DATASET.json OUTPUT.nii.gz
(run by the benchmark with the Python that has the package in question). Prints the CPU seconds after the imports.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SHAPE, SPACING_MM = (300, 512, 512), (1.5, 0.8, 0.8)
BOX = tuple((0, length) for length in SHAPE)
SLAB = 16  # slices that a sliding window finishes at a time


def ours(logits_file: Path, plans_file: Path, dataset_file: Path, output: Path) -> Callable[[], None]:
    """The restoring step of the engine's inference: logits arrive slab by slab, as the sliding window makes them."""
    import torch

    from segautoconfiglib.dataset.description import load_description
    from segautoconfiglib.image.files import write_labels
    from segautoconfiglib.image.volume import Geometry
    from segautoconfiglib.inference.restore import restore
    from segautoconfiglib.planning.plans import Plans
    from segautoconfiglib.preprocessing.geometry import SpatialRecord

    torch.set_num_threads(1)
    configuration = Plans.load(plans_file).configuration("3d_fullres")
    spec = load_description(dataset_file).label_spec
    geometry = Geometry(SPACING_MM)
    network_spacing: Any = configuration.spacing

    def slabs(shape: tuple[int, ...], offset: int) -> Iterator[torch.Tensor]:
        classes, z, y, x = shape
        for start in range(0, z, SLAB):
            depth = min(SLAB, z - start)
            slab = np.empty((classes, depth, y, x), np.float32)
            for channel in range(classes):
                place = offset + 2 * ((channel * z + start) * y * x)
                slab[channel] = np.fromfile(logits_file, np.float16, depth * y * x, offset=place).reshape(depth, y, x)
            yield torch.from_numpy(slab)

    def export() -> None:
        header = np.load(logits_file, mmap_mode="r")
        _, z, y, x = header.shape
        record = SpatialRecord(geometry, (0, 1, 2), SHAPE, BOX, (z, y, x), network_spacing)
        labels = restore(slabs(header.shape, header.offset), record, configuration, spec)
        write_labels(labels, output, geometry)

    return export


def peer(logits_file: Path, plans_file: Path, dataset_file: Path, output: Path) -> Callable[[], None]:
    """nnunetv2's own export function, with the whole array of logits in memory, as its predictor hands it over."""
    import torch
    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    torch.set_num_threads(1)
    plans = PlansManager(str(plans_file))
    dataset = json.loads(dataset_file.read_text())
    properties = {
        "spacing": list(SPACING_MM),
        "shape_before_cropping": SHAPE,
        "shape_after_cropping_and_before_resampling": SHAPE,
        "bbox_used_for_cropping": [list(pair) for pair in BOX],
        "sitk_stuff": {
            "spacing": SPACING_MM[::-1],
            "origin": (0.0, 0.0, 0.0),
            "direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        },
    }
    truncated = str(output).removesuffix(".nii.gz")

    def export() -> None:
        logits = np.load(logits_file)
        export_prediction_from_logits(
            logits, properties, plans.get_configuration("3d_fullres"), plans, dataset, truncated, False, 1
        )

    return export


if __name__ == "__main__":
    export = {"ours": ours, "peer": peer}[sys.argv[1]](*map(Path, sys.argv[2:6]))
    start = time.process_time()
    export()
    sys.stdout.write(f"CPU seconds after the imports: {time.process_time() - start:.2f}\n")
