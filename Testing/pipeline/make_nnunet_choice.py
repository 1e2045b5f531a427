"""Cross-validated models of made-up probabilities, and what nnunetv2 chooses among them.

Run with the Python of an environment that has nnunetv2 2.8.1:
    python make_nnunet_choice.py
It writes fixtures/nnunet_choice.json (some kinds of labels alone: name them). The tests build the same models with
:func:`build`.
"""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

FIXTURE = Path(__file__).parent / "fixtures" / "nnunet_choice.json"
DATASET = "Dataset017_Choice"
FOLDS = {0: ("a", "b", "c"), 1: ("d", "e", "f.1")}
SHAPE = (8, 24, 20)
SPACING_XYZ = (1.0, 1.0, 3.0)
MODELS = ("2d", "3d_fullres")
#: How wrong the two models are: about the same, so that their mean is better; or very different, so that it is worse.
NOISE = {"labels": (0.85, 0.8), "regions": (1.5, 0.25), "ignore": (0.85, 0.8)}
LABELS = {
    "labels": {"labels": {"background": 0, "liver": 1, "tumour": 2}},
    "regions": {"labels": {"background": 0, "whole": [1, 2], "tumour": 2}, "regions_class_order": [1, 2]},
    "ignore": {"labels": {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}},
}


def build(root, kind, *, probabilities=True):
    """Write nnUNet_raw, nnUNet_preprocessed and nnUNet_results of a dataset with two models of two folds.

    Args:
        root: Folder for the three.
        kind: A key of LABELS.
        probabilities: Write .npz files.
    """
    description = {
        "channel_names": {"0": "MRI"},
        **LABELS[kind],
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }
    results = root / "nnUNet_results" / DATASET
    truths = {case: truth(number, kind) for number, case in enumerate(case for fold in FOLDS.values() for case in fold)}
    for folder in (
        root / "nnUNet_raw" / DATASET / "labelsTr",
        root / "nnUNet_preprocessed" / DATASET / "gt_segmentations",
    ):
        for case, labels in truths.items():
            write(labels, folder / f"{case}.nii.gz")
    places = [root / "nnUNet_raw" / DATASET, root / "nnUNet_preprocessed" / DATASET]
    places += [results / f"nnUNetTrainer__nnUNetPlans__{name}" for name in MODELS]
    for folder in places:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dataset.json").write_text(json.dumps(description))
        (folder / ("plans.json" if "__" in folder.name else "nnUNetPlans.json")).write_text(json.dumps(plans()))
    for index, (name, noise) in enumerate(zip(MODELS, NOISE[kind], strict=True)):
        for fold, cases in FOLDS.items():
            folder = results / f"nnUNetTrainer__nnUNetPlans__{name}" / f"fold_{fold}" / "validation"
            for number, case in enumerate(cases):
                values = made_up(truths[case], kind, noise, 100 * index + 10 * fold + number)
                write(labels_of(values, kind), folder / f"{case}.nii.gz")
                if probabilities:
                    np.savez_compressed(folder / f"{case}.npz", probabilities=values)
                    (folder / f"{case}.pkl").write_bytes(pickle.dumps(properties()))


def truth(number, kind):
    """(z, y, x) uint8: a ball of 1 with a ball of 2 in it; the last case has no 2.

    With slices to ignore there is another 2 far away, so that not everything should be reduced to one part.
    """
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    distance = np.sqrt(4 * (z - 4) ** 2 + (y - 11 - number % 3) ** 2 + (x - 9) ** 2)
    labels = (distance < 7.5).astype(np.uint8)
    if number < 5:
        labels[np.broadcast_to(distance < 3.5, SHAPE)] = 2
    if kind == "ignore":
        labels[4:6, 1:5, 14:19] = 2
        labels[::3] = 3
    return labels


def made_up(labels, kind, noise, seed):
    """(channel, z, y, x) float32, multiples of 1/256, so that sums are exact."""
    random = np.random.RandomState(seed)
    regions = kind == "regions"
    masks = [labels > 0, labels == 2] if regions else [(labels == 0) | (labels == 3), labels == 1, labels == 2]
    values = [
        ndimage.gaussian_filter(mask.astype(float), 0.8) + noise * smooth(random.normal(size=SHAPE)) for mask in masks
    ]
    if not regions:
        shifted = np.exp(4 * np.stack(values))
        values = shifted / shifted.sum(0)
    return (np.round(np.clip(np.stack(values), 0, 1) * 256) / 256).astype(np.float32)


def smooth(noise):
    """Noise of standard deviation 0.4 in blobs."""
    noise = ndimage.gaussian_filter(noise, (0.7, 1.6, 1.6))
    return 0.4 * noise / noise.std()


def labels_of(values, kind):
    """As nnU-Net turns probabilities into labels."""
    if kind != "regions":
        return values.argmax(0).astype(np.uint8)
    labels = np.zeros(SHAPE, np.uint8)
    for value, region in zip((1, 2), values, strict=True):
        labels[region > 0.5] = value
    return labels


def write(labels, file):
    """A label map with the spacing of this dataset."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(SPACING_XYZ)
    sitk.WriteImage(image, str(file), True)


def properties():
    """What nnU-Net keeps about a case."""
    direction = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    return {
        "sitk_stuff": {"spacing": SPACING_XYZ, "origin": (0.0, 0.0, 0.0), "direction": direction},
        "spacing": list(SPACING_XYZ[::-1]),
        "shape_before_cropping": SHAPE,
        "bbox_used_for_cropping": [[0, size] for size in SHAPE],
        "shape_after_cropping_and_before_resampling": SHAPE,
    }


def plans():
    """plans.json with what is read from it here."""
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(SPACING_XYZ[::-1]),
        "original_median_shape_after_transp": list(SHAPE),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "configurations": {"2d": configuration(2), "3d_fullres": configuration(3)},
    }


def configuration(dimension):
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    torch = f"torch.nn.modules.conv.Conv{dimension}d"
    return {
        "data_identifier": f"nnUNetPlans_{dimension}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 16, 16][-dimension:],
        "median_image_size_in_voxels": list(map(float, SHAPE[-dimension:])),
        "spacing": [3.0, 1.0, 1.0][-dimension:],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        **{
            key: value
            for what in ("data", "seg", "probabilities")
            for key, value in (
                (f"resampling_fn_{what}", "resample_data_or_seg_to_shape"),
                (f"resampling_fn_{what}_kwargs", resampling),
            )
        },
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2,
                "features_per_stage": [4, 8],
                "conv_op": torch,
                "kernel_sizes": [[3] * dimension] * 2,
                "strides": [[1] * dimension, [2] * dimension],
                "n_conv_per_stage": [1, 1],
                "n_conv_per_stage_decoder": [1],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": True,
    }


def found(results):
    """What there is to compare: the choice, the postprocessing, and the labels of the ensemble."""
    choice = json.loads((results / "inference_information.json").read_text())
    best = Path(choice["best_model_or_ensemble"]["postprocessing_file"]).parent
    kept = json.loads((best / "postprocessing.json").read_text())
    (ensemble,) = (results / "ensembles").iterdir()
    return {
        "all_results": choice["all_results"],
        "selected": choice["best_model_or_ensemble"]["selected_model_or_models"],
        "considered": choice["considered_models"],
        "folder": best.name,
        "dice": [choice["best_model_or_ensemble"][f"result_on_crossval_{when}_pp"] for when in ("pre", "post")],
        "steps": [kwargs["labels_or_regions"] for kwargs in kept["postprocessing_kwargs"]],
        "functions": kept["postprocessing_fns"],
        "means": kept["postprocessed"]["mean"],
        "ensemble": {file.name: digest(file) for file in sorted(ensemble.glob("*.nii.gz"))},
        "postprocessed": {file.name: digest(file) for file in sorted((best / "postprocessed").glob("*.nii.gz"))},
    }


def digest(file):
    """Of a label map's values."""
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(file))).astype(np.uint8)
    return hashlib.sha256(labels.tobytes()).hexdigest()[:16]


def main():
    """Run nnunetv2 on each kind of labels."""
    command = Path(sys.executable).parent / "nnUNetv2_find_best_configuration"
    expected = json.loads(FIXTURE.read_text()) if FIXTURE.is_file() else {}
    for kind in sys.argv[1:] or LABELS:
        root = Path(tempfile.mkdtemp())
        build(root, kind)
        roots = {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        words = [str(command), "17", "-c", "2d", "3d_fullres", "-f", "0", "1", "-np", "1"]
        subprocess.run(words, check=True, env={**os.environ, **roots})
        expected[kind] = found(root / "nnUNet_results" / DATASET)
        shutil.rmtree(root)
        FIXTURE.parent.mkdir(exist_ok=True)
        FIXTURE.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
