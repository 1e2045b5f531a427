"""Writes the numbers that the tests compare with, as nnunetv2 computes them.

Run with the Python of an environment that has nnunetv2 2.8.1 (batchgenerators 0.25.5):
    python make_nnunet_numbers.py FOLDER_OF_TEST_DATA
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
EVERY = 151  # one voxel in so many is kept

Z_SCORE, CT = "ZScoreNormalization", "CTNormalization"
CT_INTENSITIES = {"mean": 60.0, "std": 80.5, "percentile_00_5": -160.25, "percentile_99_5": 250.5}
HIPPOCAMPUS = [
    f"hippocampus_{number}" for number in ("001", "003", "004", "007", "008", "011", "015", "017", "019", "020")
]


def labels(count: int) -> dict:
    return {"background": 0, **{f"label {value}": value for value in range(1, count + 1)}}


def cases() -> list[dict]:
    """Real cases with plans that ask for up- and downsampling, with and without a separate axis, in 2D and 3D."""
    table = []

    def add(name, images, label, spacings, scheme, mask=False, label_values=None, order=None):
        for spacing, transpose in spacings:
            table.append(
                {
                    "name": f"{name} {spacing} {transpose}",
                    "images": images,
                    "label": label,
                    "spacing": spacing,
                    "transpose": transpose,
                    "schemes": [scheme] * len(images),
                    "mask": [mask] * len(images),
                    "labels": label_values or labels(1),
                    "regions_class_order": order,
                }
            )

    file, plain = "Task04_Hippocampus/{}/{}.nii.gz", [0, 1, 2]
    for number, name in enumerate(HIPPOCAMPUS):
        spacings = [([0.8, 0.7, 1.3], plain), ([[3.5, 0.8, 0.9], [0.7, 1.4]][number % 2], plain)]
        add(
            name,
            [file.format("imagesTr", name)],
            file.format("labelsTr", name),
            spacings,
            Z_SCORE,
            label_values=labels(2),
        )
    images, label = [file.format("imagesTr", name)], file.format("labelsTr", name)
    regions = {"background": 0, "whole": [1, 2], "posterior": 2}
    add("regions", images, label, [([1, 0.9, 1], plain)], Z_SCORE, True, regions, [1, 2])
    ignore = {**labels(2), "ignore": 3}
    add("ignore", images, label, [([1, 0.9, 1], [2, 0, 1])], "RescaleTo01Normalization", label_values=ignore)

    spacings = [([2.5, 1, 1], plain), ([1.5, 1.5, 1.5], plain), ([1.2, 1.3], plain), ([3, 0.6, 1.1], [0, 2, 1])]
    add("spleen", ["ct-spleen-crop/image.nii.gz"], "ct-spleen-crop/label.nii.gz", spacings, CT)
    spacings = [([2, 2.2, 2.4], plain), ([4, 5, 6], [2, 0, 1]), ([10, 3, 2], plain)]
    ct = "ct-totalsegmentator/"
    add("ct", [ct + "example_ct_sm.nii.gz"], ct + "example_seg.nii.gz", spacings, CT, label_values=labels(117))
    spacings = [([1, 0.6, 1.7], [1, 0, 2]), ([3, 3, 3], [2, 1, 0]), ([1.1, 0.7], plain)]
    mr = "mr-anisotropic/"
    channels = [f"{mr}cord_mt/{name}.nii.gz" for name in ("mt1", "mt0", "t1w")]
    add("3 channels", channels, mr + "cord_mt/label_cord.nii.gz", spacings, Z_SCORE, True)
    add("permuted", [mr + "cord_t2/image.nii.gz"], mr + "cord_t2/label_cord.nii.gz", spacings, Z_SCORE)
    add(
        "phantom",
        [mr + "prostate_phantom/image.nrrd"],
        mr + "prostate_phantom/label.nrrd",
        spacings,
        Z_SCORE,
        label_values=labels(9),
    )
    spacings = [([5, 0.8, 0.9], plain)]
    add("oblique", [mr + "cord_t2s/image.nii.gz"], mr + "cord_t2s/label_greymatter.nii.gz", spacings, Z_SCORE)
    add("masked", [mr + "brain1/image.nrrd"], mr + "brain1/label.nrrd", [([0.9, 7, 0.5], plain)], Z_SCORE, True)
    return table


def plans(case: dict) -> dict:
    def resampling(is_seg: bool, order: int) -> dict:
        return {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}

    configuration = {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [32] * len(case["spacing"]),
        "spacing": case["spacing"],
        "normalization_schemes": case["schemes"],
        "use_mask_for_norm": case["mask"],
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
        "batch_dice": False,
    }
    for what, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        configuration[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{what}_kwargs"] = resampling(what == "seg", order)
    return {
        "dataset_name": "Dataset001_Test",
        "plans_name": "test",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": case["transpose"],
        "transpose_backward": [case["transpose"].index(axis) for axis in range(3)],
        "configurations": {"test": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(i): CT_INTENSITIES for i in range(len(case["images"]))},
    }


def preprocessing(data: Path) -> None:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    numbers, table = {}, []
    for index, case in enumerate(cases()):
        manager = PlansManager(plans(case))
        description = {"labels": case["labels"], "channel_names": {"0": "x"}, "file_ending": ".nii.gz"}
        if case["regions_class_order"]:
            description["regions_class_order"] = case["regions_class_order"]
        files = [str(data / name) for name in case["images"]]
        configuration = manager.get_configuration("test")
        image, labels_, properties = DefaultPreprocessor(verbose=False).run_case(
            files, str(data / case["label"]), manager, configuration, description
        )
        locations = properties.pop("class_locations")
        numbers[f"image {index}"] = image.ravel()[::EVERY]
        numbers[f"labels {index}"] = labels_.ravel()[::EVERY].astype(np.int8)
        numbers[f"label counts {index}"] = np.stack(np.unique(labels_, return_counts=True))
        digests = [hashlib.sha256(np.array(rows, np.int64).tobytes()).hexdigest() for rows in locations.values()]
        expected = {"keys": [list(key) if isinstance(key, tuple) else key for key in locations], "digests": digests}
        stored = {key: np.array(value).tolist() for key, value in properties.items() if key != "sitk_stuff"}
        table.append({**case, "plans": plans(case), "locations": expected, "properties": stored})
    np.savez_compressed(HERE / "fixtures" / "cases.npz", **numbers)
    (HERE / "fixtures" / "cases.json").write_text(json.dumps(table))


def stored_case() -> None:
    """One tiny case as nnunetv2 stores it."""
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    random = np.random.default_rng(0)
    image = random.standard_normal((2, 5, 6, 7)).astype(np.float32)
    label = random.integers(-1, 3, (1, 5, 6, 7)).astype(np.int16)
    places = np.argwhere(label == 1)
    properties = {
        "sitk_stuff": {
            "spacing": (0.5, 1.0, 2.0),
            "origin": (1.0, 2.0, 3.0),
            "direction": (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0),
        },
        "spacing": list(np.abs([2.0, 1.0, 0.5])),
        "shape_before_cropping": (5, 8, 9),
        "bbox_used_for_cropping": [[0, 5], [1, 7], [2, 9]],
        "shape_after_cropping_and_before_resampling": (5, 6, 7),
        "class_locations": {1: places, (1, 2): []},
    }
    folder = HERE / "fixtures" / "nnunet_store"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    block, chunk = comp_blosc2_params(image.shape, (4, 4, 4), 4)
    block_seg, chunk_seg = comp_blosc2_params(label.shape, (4, 4, 4), 2)
    nnUNetDatasetBlosc2.save_case(
        image,
        label,
        properties,
        str(folder / "case"),
        chunks=chunk,
        blocks=block,
        chunks_seg=chunk_seg,
        blocks_seg=block_seg,
    )
    random = np.random.default_rng(0)
    layouts = []
    for number in range(200):
        shape = [
            int(random.integers(1, 4)),
            *(int(random.integers(1, high)) for high in random.choice([3, 60, 600], 3)),
        ]
        patch = [int(random.integers(1, high)) for high in random.choice([40, 320], 2 + number % 2)]
        layouts.append(
            [shape, patch, 4 - 2 * (number % 3 == 0), *comp_blosc2_params(shape, patch, 4 - 2 * (number % 3 == 0))]
        )
    (HERE / "fixtures" / "layouts.json").write_text(json.dumps(layouts))


def resizing() -> None:
    """Noise and random labels: every new voxel lies between different old ones, and equal shares are frequent."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape as resample

    changes = [
        [(13, 14, 15), (1, 1, 1), (9, 20, 10), (1.45, 0.7, 1.5)],
        [(9, 10, 11), (1, 1, 1), (18, 20, 22), (0.5, 0.5, 0.5)],
        [(16, 18, 20), (1, 1, 1), (8, 9, 10), (2, 2, 2)],
        [(5, 16, 18), (7.5, 0.5, 0.5), (9, 11, 27), (4, 0.8, 0.33)],
        [(5, 16, 18), (7.5, 0.5, 0.5), (5, 11, 27), (7.5, 0.8, 0.33)],
        [(20, 16, 18), (1, 1, 1), (5, 16, 18), (4, 1, 1)],
        [(12, 14, 6), (1, 1, 6), (14, 17, 13), (0.9, 0.8, 2.5)],
        [(10, 6, 7), (1, 6, 6), (11, 7, 17), (0.9, 0.7, 2.5)],
        [(1, 12, 14), (999, 1, 1), (1, 17, 8), (999, 0.7, 1.8)],
        [(9, 10, 11), (1, 1, 1), (7, 10, 11), (1.3, 1, 1)],
    ]
    random = np.random.default_rng(0)
    numbers = {}
    for index, (shape, spacing, new_shape, new_spacing) in enumerate(changes):
        image = random.standard_normal((1, *shape)).astype(np.float32)
        label = random.integers(-1, 4, (1, *shape)).astype(np.int16)
        for order in (1, 3):
            numbers[f"order {order} {index}"] = resample(image, new_shape, spacing, new_spacing, False, order, 0, None)
        numbers[f"image {index}"], numbers[f"labels {index}"] = image, label.astype(np.int8)
        resized = resample(label.astype(np.float32), new_shape, spacing, new_spacing, True, 1, 0, None)
        numbers[f"resized labels {index}"] = resized.astype(np.int8)
    target = HERE.parent / "image" / "fixtures" / "resampling.npz"
    np.savez_compressed(target, changes=json.dumps(changes), **numbers)


def fingerprint(data: Path, root: Path) -> None:
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    raw = root / "nnUNet_raw" / "Dataset001_Test"
    source = data / "Task04_Hippocampus"
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for name in HIPPOCAMPUS:
        shutil.copy(source / "imagesTr" / f"{name}.nii.gz", raw / "imagesTr" / f"{name}_0000.nii.gz")
        shutil.copy(source / "labelsTr" / f"{name}.nii.gz", raw / "labelsTr" / f"{name}.nii.gz")
    description = {"channel_names": {"0": "MRI"}, "labels": labels(2), "numTraining": 10, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(description))
    DatasetFingerprintExtractor(1, 1).run(overwrite_existing=True)
    made = root / "nnUNet_preprocessed" / "Dataset001_Test" / "dataset_fingerprint.json"
    fixtures = HERE.parent / "fingerprint" / "fixtures"
    shutil.copy(made, fixtures / "hippocampus.json")
    random = np.random.default_rng(0)
    image = random.normal(100, 30, (2, 5, 6, 7)).astype(np.float32).round()
    label = random.integers(0, 3, (1, 5, 6, 7))
    samples, _ = DatasetFingerprintExtractor.collect_foreground_intensities(label, image, num_samples=500)
    np.savez_compressed(fixtures / "samples.npz", image=image, labels=label.astype(np.uint8), samples=samples)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[variable] = f"{folder}/{variable}"
        resizing()
        stored_case()
        fingerprint(Path(sys.argv[1]), Path(folder))
        preprocessing(Path(sys.argv[1]))
