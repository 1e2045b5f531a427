from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.dataset import DatasetDescription
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.planning.planner import plan_experiment
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.planning.presets import NNUNET_PLANNERS

VECTORS = [
    "Hippocampus-like",
    "Heart-like",
    "Prostate-like",
    "BrainTumour-like",
    "Liver-like",
    "Pancreas-like",
    "HepaticVessel-like",
    "Spleen-like",
    "Colon-like",
    "Lung-like",
    "ACDC-like",
    "2D-natural",
    "BTCV-like",
    "isotropic512",
    "tiny",
]
#: Planners that differ from others in the resampling alone.
SAME_NUMBERS = {
    "nnUNetPlanner_torchres": "ExperimentPlanner",
    "nnUNetPlannerResEncL_torchres": "nnUNetPlannerResEncL",
    "nnUNetPlannerResEncL_torchres_sepz": "nnUNetPlannerResEncL",
    "nnUNetPlannerResEncL_noResampling": "nnUNetPlannerResEncL",
}
LUNG = ((1.245, 0.7852, 0.7852), (252, 512, 512))  # asks for 3d_lowres
HIPPOCAMPUS = ((1.0, 1.0, 1.0), (36, 50, 35))


def plan(dataset: tuple[DatasetDescription, Fingerprint], **options: Any) -> Plans:
    return plan_experiment(*dataset, dataset_name="Dataset001_Test", reader_name="SimpleITKIO", **options)


def as_vector(plans: Plans, name: str) -> dict[str, Any]:
    """A configuration in the form of the vectors, whose spacings have six decimals."""
    configuration = plans.configuration(name)
    network = configuration.architecture
    return {
        "batch_size": configuration.batch_size,
        "patch": list(configuration.patch_size),
        "spacing": [round(edge, 6) for edge in configuration.spacing],
        "median": list(configuration.median_image_size_in_voxels),
        "strides": [list(stride) for stride in network.strides],
        "kernels": [list(kernel) for kernel in network.kernel_sizes],
        "batch_dice": configuration.batch_dice,
        "n_stages": network.arch_kwargs["n_stages"],
    }


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("planner", NNUNET_PLANNERS)
def test_equals_nnunet(plan_vectors, make_dataset, name, planner):
    vector = plan_vectors[name]
    case = vector["fingerprint_all_cases_identical"]
    channels = ["MRI"] * case["channels"]
    dataset = make_dataset(
        case["spacing"], case["shape"], cases=case["cases"], channels=channels, labels=case["num_labels_incl_bg"]
    )
    plans = plan(dataset, planner=planner)
    planned = [key for key in plans.configuration_names if key != "3d_cascade_fullres"]
    assert {key: as_vector(plans, key) for key in planned} == vector[SAME_NUMBERS.get(planner, planner)]
    assert list(plans.transpose_forward) == vector["transpose_forward"]
    assert ("3d_cascade_fullres" in plans.configurations) == ("3d_lowres" in planned)


def test_all_vectors_are_used(plan_vectors):
    assert sorted(plan_vectors) == sorted(VECTORS)


PUBLISHED = [
    *(
        f"msd-{task}-{planner}"
        for task in ("004_Hippocampus", "005_Prostate", "009_Spleen", "010_Colon")
        for planner in ("default", "ResEncM", "ResEncL")
    ),
    "stenosis-xray2d-stenunet",
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_published_plans(shared_data, name):
    """Every key of the file, old files in today's format; flare23 is left out, as it was edited by hand."""
    folder = shared_data / "published-plans" / name
    published = Plans.load(folder / "plans.json")
    ours = plan_experiment(
        DatasetDescription.load(folder / "dataset.json"),
        Fingerprint.load(folder / "dataset_fingerprint.json"),
        dataset_name=published.dataset_name,
        reader_name=published.image_reader_writer,
        planner=published.experiment_planner_used,
        plans_name=published.plans_name,
    )
    assert ours.to_json() == published.to_json()
    assert list(ours.to_json()) == list(published.to_json())
    assert ours.configuration_names == published.configuration_names


def test_plans_for_coarse_images(make_dataset):
    plans = plan(make_dataset(*LUNG, cases=63, channels=["CT"]))
    assert plans.configuration_names == ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres")
    assert plans.configuration("3d_lowres").next_stages == ("3d_cascade_fullres",)
    assert plans.configuration("3d_cascade_fullres").previous_stage == "3d_lowres"
    assert plans.configuration("3d_cascade_fullres").patch_size == plans.configuration("3d_fullres").patch_size
    assert plans.configuration("3d_fullres").normalization_schemes == ("CTNormalization",)
    assert plans.foreground_intensity_properties_per_channel["0"]["std"] == 2.0


@pytest.mark.parametrize(("kept", "masked"), [(0.74, (True, False)), (0.75, (False, False))])
def test_mask_for_strongly_cropped_images(make_dataset, kept, masked):
    plans = plan(make_dataset(*HIPPOCAMPUS, channels=["T1", "CT"], kept=kept))
    assert plans.configuration("3d_fullres").use_mask_for_norm == masked


def test_coarsest_axis_comes_first(make_dataset):
    plans = plan(make_dataset((0.7, 5.0, 0.8), (300, 40, 280)))
    assert plans.transpose_forward == (1, 0, 2)
    assert plans.transpose_backward == (1, 0, 2)
    assert plans.original_median_spacing_after_transp == (5.0, 0.7, 0.8)
    assert plans.original_median_shape_after_transp == (40, 300, 280)
    assert plans.configuration("2d").spacing == (0.7, 0.8)


def test_single_slices_get_2d_alone(make_dataset):
    assert plan(make_dataset((999, 1, 1), (1, 300, 200))).configuration_names == ("2d",)


def test_few_slices_shrink_to_one(make_dataset):
    """The slice axis is the last to be shrunk, but it can be."""
    plans = plan(make_dataset((5, 0.1, 0.1), (3, 3000, 3000)), gpu_memory_target_gb=0.5)
    assert plans.configuration("3d_fullres").patch_size[0] in (1, 2)


class TestOptions:
    def test_more_memory_gives_larger_patches(self, make_dataset):
        dataset = make_dataset(*LUNG)
        small, large = (plan(dataset, gpu_memory_target_gb=gigabytes) for gigabytes in (4, 16))
        sizes = [plans.configuration("3d_fullres").patch_size for plans in (small, large)]
        assert sizes[0] < (80, 192, 160) < sizes[1]

    def test_standard_target_is_the_planners(self, make_dataset):
        dataset = make_dataset(*LUNG)
        assert plan(dataset, planner="resenc_l", gpu_memory_target_gb=24) == plan(dataset, planner="resenc_l")

    @pytest.mark.parametrize("gigabytes", [0, -1, float("nan")])
    def test_impossible_target(self, make_dataset, gigabytes):
        with pytest.raises(UserError, match="GPU memory target"):
            plan(make_dataset(*LUNG), gpu_memory_target_gb=gigabytes)

    def test_target_too_small_for_any_patch(self, make_dataset):
        with pytest.raises(UserError, match="Raise the GPU memory target"):
            plan(make_dataset(*LUNG), gpu_memory_target_gb=1e-7)

    def test_target_spacing_that_leaves_nothing(self, make_dataset):
        with pytest.raises(UserError, match=r"spacing \(1000\.0, 1\.0, 1\.0\) mm .* vanishes"):
            plan(make_dataset(*LUNG), target_spacing=(1000, 1, 1))

    def test_target_spacing_is_given_in_file_order(self, make_dataset):
        plans = plan(make_dataset(*LUNG), target_spacing=(2.0, 1.0, 3.0))
        assert plans.transpose_forward == (2, 0, 1)
        assert plans.transpose_backward == (1, 2, 0)
        assert plans.configuration("3d_fullres").spacing == (3.0, 2.0, 1.0)
        assert plans.configuration("3d_fullres").median_image_size_in_voxels == (134, 157, 402)
        assert plans.original_median_spacing_after_transp == (0.7852, 1.245, 0.7852)

    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, float("nan"))])
    def test_wrong_target_spacing(self, make_dataset, spacing):
        with pytest.raises(UserError, match="target spacing"):
            plan(make_dataset(*LUNG), target_spacing=spacing)

    @pytest.mark.parametrize(
        ("planner", "options", "expected"),
        [
            ("default", {}, ("nnUNetPlans", "nnUNetPlans")),
            ("default", {"plans_name": "mine"}, ("mine", "mine")),
            ("resenc_m", {}, ("nnUNetPlans", "nnUNetResEncUNetMPlans")),
            ("resenc_m", {"plans_name": "mine"}, ("nnUNetPlans", "mine")),
            ("resenc_m", {"plans_name": "mine", "target_spacing": LUNG[0]}, ("mine", "mine")),
        ],
    )
    def test_data_folders(self, make_dataset, planner, options, expected):
        """Residual planners share the default planner's data, unless theirs has another spacing."""
        plans = plan(make_dataset(*LUNG), planner=planner, **options)
        folders = {name: plans.configuration(name).data_identifier for name in plans.configuration_names}
        shared, own = expected
        assert folders == {
            "2d": f"{shared}_2d",
            "3d_lowres": f"{own}_3d_lowres",
            "3d_fullres": f"{shared}_3d_fullres",
            "3d_cascade_fullres": f"{shared}_3d_fullres",
        }

    @pytest.mark.parametrize("name", ["a__b", "a/b", "a b"])
    def test_plans_name_must_fit_into_folder_names(self, make_dataset, name):
        with pytest.raises(UserError, match="name of plans"):
            plan(make_dataset(*HIPPOCAMPUS), plans_name=name)

    def test_unknown_planner_lists_the_known(self, make_dataset):
        with pytest.raises(UserError, match=r"Unknown planner 'best'.*resenc_l"):
            plan(make_dataset(*HIPPOCAMPUS), planner="best")


def test_empty_fingerprint(make_dataset):
    with pytest.raises(UserError, match="no cases"):
        plan(make_dataset(*HIPPOCAMPUS, cases=0))


def test_replanning_keeps_own_configurations_and_drops_stale_ones(make_dataset):
    previous = plan(make_dataset(*LUNG))
    own = {"inherits_from": "3d_fullres", "batch_size": 40}
    previous = previous.model_copy(update={"configurations": {**previous.configurations, "3d_fullres_bs40": own}})
    plans = plan(make_dataset(*HIPPOCAMPUS), previous=previous)
    assert plans.configuration_names == ("2d", "3d_fullres", "3d_fullres_bs40")
    assert plans.configuration("3d_fullres_bs40").batch_size == 40
    assert plans.configuration("3d_fullres_bs40").patch_size == (40, 56, 40)


def test_file_round_trip(make_dataset, tmp_path: Path):
    plans = plan(make_dataset(*LUNG), planner="resenc_m")
    plans.save(tmp_path / "plans.json")
    assert Plans.load(tmp_path / "plans.json") == plans
    first = json.loads((tmp_path / "plans.json").read_text())["configurations"]["3d_fullres"]
    assert list(first) == [
        "data_identifier",
        "preprocessor_name",
        "batch_size",
        "patch_size",
        "median_image_size_in_voxels",
        "spacing",
        "normalization_schemes",
        "use_mask_for_norm",
        "resampling_fn_data",
        "resampling_fn_seg",
        "resampling_fn_data_kwargs",
        "resampling_fn_seg_kwargs",
        "resampling_fn_probabilities",
        "resampling_fn_probabilities_kwargs",
        "architecture",
        "batch_dice",
    ]
