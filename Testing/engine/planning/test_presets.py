from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.dataset.dataset import DatasetDescription
from segautoconfiglib.defaults import BUDGET
from segautoconfiglib.planning.architectures import ARCHITECTURES
from segautoconfiglib.planning.planner import counted_outputs, plan_experiment
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.planning.presets import ALIASES, NNUNET_PLANNERS, PLANNERS, own_planner, planner_preset

OURS = [name for name in PLANNERS if name not in NNUNET_PLANNERS]
HIPPOCAMPUS = ((1.0, 1.0, 1.0), (36, 50, 35))
LUNG = ((1.245, 0.7852, 0.7852), (252, 512, 512))


def plan(dataset: Any, planner: str, **options: Any) -> Plans:
    return plan_experiment(
        *dataset, dataset_name="Dataset001_Test", reader_name="SimpleITKIO", planner=planner, **options
    )


def test_short_names_stand_for_planners():
    assert set(ALIASES.values()) <= set(NNUNET_PLANNERS)
    for alias, name in ALIASES.items():
        assert planner_preset(alias) is planner_preset(alias.upper()) is planner_preset(name)


def test_nnunets_names_are_all_there():
    assert set(NNUNET_PLANNERS) == {
        "ExperimentPlanner",
        "ResEncUNetPlanner",
        "nnUNetPlannerResEncM",
        "nnUNetPlannerResEncL",
        "nnUNetPlannerResEncXL",
        "nnUNetPlanner_torchres",
        "nnUNetPlannerResEncL_torchres",
        "nnUNetPlannerResEncL_torchres_sepz",
        "nnUNetPlannerResEncL_noResampling",
    }
    assert planner_preset("ExperimentPlanner3D_v21") is planner_preset("default")
    assert OURS == ["cpu", "small", "medium", "large", "xlarge", "umamba_bot", "umamba_enc"]


def test_networks_are_known():
    assert {planner_preset(name).network_class_name for name in PLANNERS} == set(ARCHITECTURES)


def test_plans_names_differ():
    names = [planner_preset(name).plans_name for name in PLANNERS]
    assert len(set(names)) == len(names)


def test_budget_is_linear_in_memory():
    preset = planner_preset("resenc_l")
    assert preset.budget(3, 24) == 2100e6
    assert preset.budget(2, 12) == 190e6


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nnUNetPlannerResEncXXL", r"Known: default, resenc, .*nnUNetPlannerResEncXL.*--plugin"),
        ("ExperimentPlanner3D_v21_32GB", r"ExperimentPlanner3D_v21_32GB is a planner of nnU-Net v1\. Known: default"),
    ],
)
def test_unknown_planner(name, says):
    with pytest.raises(UserError, match=says):
        planner_preset(name)


class TestResampling:
    """Values of nnunetv2 2.8.1's files."""

    @pytest.mark.parametrize(
        ("planner", "plans_name", "function", "arguments"),
        [
            (
                "nnUNetPlanner_torchres",
                "nnUNetPlans_torchres",
                "resample_torch_fornnunet",
                {"is_seg": False, "force_separate_z": False, "memefficient_seg_resampling": False},
            ),
            (
                "nnUNetPlannerResEncL_torchres_sepz",
                "nnUNetResEncUNetLPlans_torchres_sepz",
                "resample_torch_fornnunet",
                {
                    "is_seg": False,
                    "force_separate_z": None,
                    "memefficient_seg_resampling": False,
                    "separate_z_anisotropy_threshold": 3,
                },
            ),
            ("nnUNetPlannerResEncL_noResampling", "nnUNetResEncUNetLPlans_noResampling", "no_resampling_hack", {}),
        ],
    )
    def test_entries(self, make_dataset, planner, plans_name, function, arguments):
        plans = plan(make_dataset(*HIPPOCAMPUS), planner)
        entry = plans.configurations["3d_fullres"]
        assert (plans.plans_name, plans.experiment_planner_used) == (plans_name, planner)
        assert entry["data_identifier"] == f"{plans_name}_3d_fullres"
        for what in ("data", "seg", "probabilities"):
            expected = {**arguments, "is_seg": what == "seg"} if arguments else {}
            assert entry[f"resampling_fn_{what}"] == function
            assert entry[f"resampling_fn_{what}_kwargs"] == expected


class TestOurRules:
    @pytest.mark.parametrize(
        ("ours", "theirs"), [("medium", "resenc_m"), ("large", "resenc_l"), ("xlarge", "resenc_xl")]
    )
    def test_batches_of_small_images_are_limited(self, make_dataset, ours, theirs):
        dataset = make_dataset(*HIPPOCAMPUS, cases=260, labels=3)
        entries = [plan(dataset, planner).configuration("2d") for planner in (ours, theirs)]
        assert entries[0].batch_size == 64 < entries[1].batch_size
        assert entries[0].patch_size == entries[1].patch_size
        volumes = [plan(dataset, planner).configuration("3d_fullres").batch_size for planner in (ours, theirs)]
        assert volumes[0] == 9 < volumes[1]  # a twentieth of the dataset

    @pytest.mark.parametrize(
        ("ours", "theirs"), [("medium", "resenc_m"), ("large", "resenc_l"), ("xlarge", "resenc_xl")]
    )
    def test_large_images_are_planned_as_nnunet_does(self, make_dataset, ours, theirs):
        dataset = make_dataset(*LUNG, cases=63)
        plans = [plan(dataset, planner) for planner in (ours, theirs)]
        assert plans[0].configuration_names == plans[1].configuration_names
        for name in ("2d", "3d_fullres"):
            entries = [each.configurations[name] for each in plans]
            assert entries[0] == entries[1]  # they share the preprocessed data as well

    def test_outputs_that_are_none_take_no_memory(self):
        def outputs(planner: str, labels: dict[str, Any], **more: Any) -> int:
            content = {
                "channel_names": {"0": "CT"},
                "labels": labels,
                "numTraining": 1,
                "file_ending": ".nii.gz",
                **more,
            }
            return counted_outputs(DatasetDescription.from_json(content, "dataset.json"), planner_preset(planner))

        plain = {"background": 0, "a": 1, "b": 2}
        assert (outputs("medium", plain), outputs("resenc_m", plain)) == (3, 3)
        scribbles = {**plain, "ignore": 3}
        assert (outputs("medium", scribbles), outputs("resenc_m", scribbles)) == (3, 4)
        regions = {"background": 0, "whole": [1, 2], "core": 2}
        order = {"regions_class_order": [1, 2]}
        assert (outputs("medium", regions, **order), outputs("resenc_m", regions, **order)) == (2, 3)

    @pytest.mark.parametrize(("slices", "three"), [(3, False), (4, True)])
    def test_thin_stacks_are_slices(self, make_dataset, slices, three):
        dataset = make_dataset((5.0, 1.0, 1.0), (slices, 200, 200))
        assert ("3d_fullres" in plan(dataset, "small").configuration_names) == three
        assert "3d_fullres" in plan(dataset, "default").configuration_names


class TestSmallComputers:
    def test_cpu(self, make_dataset):
        plans = plan(make_dataset(*LUNG, cases=63), "cpu")
        assert plans.configuration_names == ("2d", "3d_fullres")
        entry = plans.configuration("3d_fullres")
        assert entry.architecture.features_per_stage[0] == 16
        assert entry.batch_size == 2
        voxels = entry.patch_size[0] * entry.patch_size[1] * entry.patch_size[2]
        assert 2**16 < voxels < 2**18
        coarser = max(new / old for new, old in zip(entry.spacing, LUNG[0], strict=True))
        assert 1 < coarser <= BUDGET.max_coarsening
        assert entry.data_identifier == "CpuPlans_3d_fullres"
        assert plans.configuration("2d").data_identifier == "nnUNetPlans_2d"

    def test_small_images_keep_their_spacing_and_data(self, make_dataset):
        entry = plan(make_dataset(*HIPPOCAMPUS), "cpu").configuration("3d_fullres")
        assert entry.spacing == (1.0, 1.0, 1.0)
        assert entry.data_identifier == "nnUNetPlans_3d_fullres"

    def test_memory_target_scales_the_patch(self, make_dataset):
        dataset = make_dataset(*LUNG, cases=63)
        patches = [
            plan(dataset, "cpu", gpu_memory_target_gb=gb).configuration("3d_fullres").patch_size for gb in (1, 4)
        ]
        assert patches[0] < patches[1]

    @pytest.mark.parametrize(("planner", "network"), [("umamba_bot", "UMambaBot"), ("umamba_enc", "UMambaEnc")])
    def test_umamba_is_planned_by_its_own_memory(self, make_dataset, planner, network):
        """With the memory that the default's patches take in these networks, and with less."""
        dataset = make_dataset(*LUNG)
        full, less = plan(dataset, planner), plan(dataset, planner, gpu_memory_target_gb=8)
        default = plan(dataset, "default").configuration("3d_fullres")
        entries = [plans.configuration("3d_fullres") for plans in (full, less)]
        assert {entry.architecture.network_class_name for entry in entries} == {network}
        assert {entry.data_identifier for entry in entries} == {default.data_identifier}
        sizes = [math.prod(entry.patch_size) for entry in entries]
        assert sizes[0] == pytest.approx(math.prod(default.patch_size), rel=0.2)
        assert sizes[1] < sizes[0] * (0.8 if planner == "umamba_bot" else 0.5)
        assert full.experiment_planner_used == planner

    def test_a_gpu_with_4_gb_takes_a_smaller_patch_of_the_same_network(self, make_dataset):
        small, default = (
            plan(make_dataset(*LUNG), planner).configuration("3d_fullres") for planner in ("small", "default")
        )
        assert small.architecture.features_per_stage[0] == default.architecture.features_per_stage[0]
        assert small.patch_size < default.patch_size


class TestPlannersOfPlugins:
    def test_memory(self, make_dataset):
        preset = own_planner("mine", like="medium", gpu_memory_gb=16)
        assert preset == replace(planner_preset("medium"), name="mine", plans_name="minePlans", target_gb=16.0)
        assert (preset.standard_gb, preset.budget(3, preset.standard_gb)) == (16.0, 1360e6)

    def test_edited_plans(self, make_dataset):
        def wide(plans: dict[str, Any]) -> None:
            plans["configurations"]["3d_fullres"]["batch_size"] = 5
            plans["plans_name"] = "something else"

        PLANNERS.register("mine", edit=wide, plans_name="Mine")
        try:
            plans = plan(make_dataset(*HIPPOCAMPUS), "mine")
            again = plan(make_dataset(*HIPPOCAMPUS), "mine", plans_name="Other")
        finally:
            PLANNERS.remove("mine")
        assert (plans.plans_name, again.plans_name) == ("Mine", "Other")
        assert plans.experiment_planner_used == "mine"
        entry = plans.configuration("3d_fullres")
        assert (entry.batch_size, entry.data_identifier) == (5, "Mine_3d_fullres")

    def test_plans_edited_to_nonsense(self, make_dataset):
        PLANNERS.register("mine", edit=lambda plans: plans["configurations"]["2d"].update(patch_size="large"))
        try:
            with pytest.raises(ProblemsError, match="patch_size"):
                plan(make_dataset(*HIPPOCAMPUS), "mine")
        finally:
            PLANNERS.remove("mine")

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({"like": "best"}, "Unknown planner 'best'"),
            ({"gpu_memory_gb": 0}, "GPU memory target is 0"),
            ({"network": "Mine"}, "Unknown network 'Mine'"),
            ({"plans_name": "nnUNetPlans"}, "ExperimentPlanner writes plans named 'nnUNetPlans', too"),
            ({"plans_name": "a/b"}, "can't be the name of plans"),
        ],
    )
    def test_refused(self, values, says):
        with pytest.raises(UserError, match=says):
            own_planner("mine", **values)
