from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.planning.plans import Architecture, Configuration, Plans

OLD_NETWORK = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 32,
    "n_conv_per_stage_encoder": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
    "num_pool_per_axis": [1, 2],
    "pool_op_kernel_sizes": [[1, 1], [2, 2], [1, 2]],
    "conv_kernel_sizes": [[3, 3], [3, 3], [3, 3]],
    "unet_max_num_features": 100,
}
SETTINGS = {
    "data_identifier": "nnUNetPlans_2d",
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 12,
    "patch_size": [64, 48],
    "median_image_size_in_voxels": [60.0, 45.5],
    "spacing": [1, 0.5],
    "normalization_schemes": ["CTNormalization"],
    "use_mask_for_norm": [False],
    "batch_dice": True,
}


def plans_with(**configurations: Any) -> dict[str, Any]:
    return {
        "dataset_name": "Dataset001_Test",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": configurations,
        "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0, "std": 2.0}},
    }


def load(**configurations: Any) -> Plans:
    return Plans.from_json(plans_with(**configurations), "plans.json")


class TestInheritance:
    def test_own_entries_win(self):
        plans = load(
            a={**SETTINGS, **OLD_NETWORK},
            b={"inherits_from": "a", "batch_size": 3},
            c={"inherits_from": "b", "patch_size": [32, 32], "previous_stage": "a"},
        )
        configuration = plans.configuration("c")
        assert configuration.batch_size == 3
        assert configuration.patch_size == (32, 32)
        assert configuration.spacing == (1.0, 0.5)
        assert configuration.previous_stage == "a"
        assert plans.configuration_names == ("a", "b", "c")

    def test_circle(self):
        plans = load(a={"inherits_from": "b"}, b={"inherits_from": "a"})
        with pytest.raises(UserError, match="a -> b -> a"):
            plans.configuration("a")

    def test_unknown_name(self):
        with pytest.raises(UserError, match=r"no configuration 'x'\..*Known: a, b"):
            load(a={}, b={}).configuration("x")

    def test_unknown_parent(self):
        with pytest.raises(UserError, match="no configuration 'x', which 'a' inherits from"):
            load(a={"inherits_from": "x"}).configuration("a")

    def test_missing_entry_is_named(self):
        with pytest.raises(ProblemsError, match="patch_size: Field required"):
            load(a={"batch_size": 2}).configuration("a")


class TestOldFormats:
    def test_network_description(self):
        architecture = load(a={**SETTINGS, **OLD_NETWORK}).configuration("a").architecture
        assert architecture.network_class_name == "dynamic_network_architectures.architectures.unet.PlainConvUNet"
        assert architecture.kw_requires_import == ("conv_op", "norm_op", "dropout_op", "nonlin")
        assert architecture.arch_kwargs == {
            "n_stages": 3,
            "features_per_stage": [32, 64, 100],
            "conv_op": "torch.nn.modules.conv.Conv2d",
            "kernel_sizes": [[3, 3], [3, 3], [3, 3]],
            "strides": [[1, 1], [2, 2], [1, 2]],
            "n_conv_per_stage": [2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }

    def test_residual_network(self):
        old = {**OLD_NETWORK, "UNet_class_name": "ResidualEncoderUNet", "n_conv_per_stage_encoder": [1, 3, 4]}
        architecture = load(a={**SETTINGS, **old}).configuration("a").architecture
        assert architecture.network_class_name.endswith("unet.ResidualEncoderUNet")
        assert architecture.arch_kwargs["n_blocks_per_stage"] == [1, 3, 4]
        assert "n_conv_per_stage" not in architecture.arch_kwargs

    def test_heir_that_changes_the_network(self):
        plans = load(a={**SETTINGS, **OLD_NETWORK}, b={"inherits_from": "a", "UNet_base_num_features": 16})
        assert plans.configuration("a").architecture.features_per_stage == (32, 64, 100)
        assert plans.configuration("b").architecture.features_per_stage == (16, 32, 64)

    def test_heir_that_keeps_the_network(self):
        plans = load(a={**SETTINGS, **OLD_NETWORK}, b={"inherits_from": "a", "batch_size": 5})
        assert plans.configurations["b"] == {"inherits_from": "a", "batch_size": 5}
        assert plans.configuration("b").architecture == plans.configuration("a").architecture

    def test_incomplete_network_description(self):
        old = {key: value for key, value in OLD_NETWORK.items() if key != "conv_kernel_sizes"}
        with pytest.raises(UserError, match="conv_kernel_sizes missing"):
            load(a={**SETTINGS, **old})

    def test_properties_by_modality(self):
        data = plans_with()
        data["foreground_intensity_properties_by_modality"] = data.pop("foreground_intensity_properties_per_channel")
        plans = Plans.from_json(data, "plans.json")
        assert plans.foreground_intensity_properties_per_channel == {"0": {"mean": 1.0, "std": 2.0}}
        assert "foreground_intensity_properties_by_modality" not in plans.to_json()

    def test_input_is_not_changed(self):
        data = plans_with(a={**SETTINGS, **OLD_NETWORK})
        before = copy.deepcopy(data)
        Plans.from_json(data, "plans.json")
        assert data == before

    def test_upgraded_once(self):
        plans = load(a={**SETTINGS, **OLD_NETWORK})
        assert not set(OLD_NETWORK) & set(plans.to_json()["configurations"]["a"])
        assert Plans.from_json(plans.to_json(), "plans.json") == plans


def test_unknown_keys_are_kept():
    data = plans_with(a={**SETTINGS, **OLD_NETWORK, "note": "mine"}) | {"made_by": "hand"}
    plans = Plans.from_json(data, "plans.json")
    assert plans.to_json()["made_by"] == "hand"
    assert plans.to_json()["configurations"]["a"]["note"] == "mine"
    assert plans.configuration("a").to_json()["note"] == "mine"


def test_numbers_keep_their_kind():
    configuration = load(a={**SETTINGS, **OLD_NETWORK}).configuration("a")
    assert json.dumps(configuration.to_json()["median_image_size_in_voxels"]) == "[60.0, 45.5]"
    assert json.dumps(configuration.to_json()["patch_size"]) == "[64, 48]"


def test_resampling_defaults_are_nnunets():
    configuration = load(a={**SETTINGS, **OLD_NETWORK}).configuration("a")
    arguments = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    assert configuration.resampling_fn_data_kwargs == arguments
    assert configuration.resampling_fn_seg_kwargs == {**arguments, "is_seg": True, "order": 1}
    assert configuration.resampling_fn_probabilities_kwargs == {**arguments, "order": 1}


@pytest.mark.parametrize(("written", "read"), [("b", ("b",)), (["b", "c"], ("b", "c")), (None, ())])
def test_next_stages(written, read):
    configuration = load(a={**SETTINGS, **OLD_NETWORK, "next_stage": written}).configuration("a")
    assert configuration.next_stages == read
    assert configuration.dimension == 2


def test_stages_of_a_cascade():
    network = {**SETTINGS, **OLD_NETWORK}
    plans = load(
        a=network,
        b={"inherits_from": "a", "previous_stage": "a"},
        c={"inherits_from": "a", "previous_stage": "b"},
        lost={"inherits_from": "a", "previous_stage": "none"},
        own={"inherits_from": "a", "previous_stage": "own"},
        x={"inherits_from": "a", "previous_stage": "y"},
        y={"inherits_from": "a", "previous_stage": "x"},
    )
    assert [plans.stages(name) for name in "abc"] == [("a",), ("a", "b"), ("a", "b", "c")]
    assert plans.stages("lost") == ("none", "lost")
    with pytest.raises(UserError, match="own of nnUNetPlans is a cascade after 'own', which is itself"):
        plans.stages("own")
    with pytest.raises(UserError, match=r"y of nnUNetPlans is a cascade after 'x', .* after it: x -> y -> x"):
        plans.stages("x")
    with pytest.raises(UserError, match="no configuration 'none'"):
        plans.stages("none")


def test_wrong_value_names_key_and_file():
    with pytest.raises(ProblemsError, match=r"my_plans.json does not .*\n.*transpose_forward"):
        Plans.from_json(plans_with() | {"transpose_forward": [0, 1]}, "my_plans.json")


def test_architecture_in_file_form():
    data = {"network_class_name": "x.Net", "arch_kwargs": {"n": 1}, "_kw_requires_import": ["conv_op"]}
    architecture = Architecture.from_json(data, "plans.json")
    assert architecture.kw_requires_import == ("conv_op",)
    assert architecture.to_json() == data


def test_all_published_files_load(shared_data):
    files = sorted((shared_data / "published-plans").glob("*/plans.json"))
    assert len(files) == 18
    for file in files:
        plans = Plans.load(file)
        raw = json.loads(file.read_text())
        assert plans.configuration_names == tuple(raw["configurations"])
        for name in plans.configuration_names:
            configuration = plans.configuration(name)
            assert isinstance(configuration, Configuration)
            assert configuration.dimension == configuration.architecture.dimension
        if all("UNet_class_name" not in entries for entries in raw["configurations"].values()):
            assert plans.to_json() == raw


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"patch_size": [-32, 32]}, r"patch_size\.0: .*greater than 0 \(got -32\)"),
        ({"patch_size": [64, 0]}, r"patch_size\.1: .*greater than 0 \(got 0\)"),
        ({"patch_size": [64]}, r"patch_size \[64\] has 1 axes"),
        ({"patch_size": [64, 64, 64], "spacing": [1, 1, 1]}, r"patch_size \[64, 64, 64\] has 3 axes, the network .* 2"),
        ({"patch_size": [63, 48]}, r"patch_size \[63, 48\] is no multiple of \[2, 4\]"),
        ({"batch_size": 0}, r"batch_size: .*greater than 0 \(got 0\)"),
        ({"spacing": [0, 1]}, r"spacing\.0: .*greater than 0 \(got 0\)"),
        ({"spacing": [1, float("inf")]}, r"spacing\.1: .*finite number \(got inf\)"),
        ({"spacing": [1, 1, 1]}, r"spacing \[1\.0, 1\.0, 1\.0\] has 3 axes, patch_size \[64, 48\] has 2"),
        ({"use_mask_for_norm": []}, r"normalization_schemes names 1 channel, use_mask_for_norm 0"),
    ],
)
def test_limits_name_file_configuration_key_and_value(tmp_path, entries, says):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(plans_with(good={**SETTINGS, **OLD_NETWORK}, bad={"inherits_from": "good", **entries})))
    plans = Plans.load(file)
    assert plans.configuration("good").batch_size == 12
    with pytest.raises(ProblemsError) as caught:
        plans.configuration("bad")
    assert caught.value.message.startswith(f"Configuration 'bad' of {file} ")
    assert re.search(says, str(caught.value.problems[0]))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("options", [{}, {"strides": 7}, {"strides": [[2]], "conv_op": "Conv2d"}, {"strides": "x"}])
def test_unusual_network_descriptions_are_left_to_the_builder(options):
    architecture = {"network_class_name": "somebody.Else", "arch_kwargs": options}
    assert load(a={**SETTINGS, "architecture": architecture}).configuration("a").patch_size == (64, 48)


def test_plans_without_configurations_say_so():
    with pytest.raises(UserError, match="Known: none"):
        load().configuration("2d")


def test_where_plans_were_read_from_makes_no_difference(tmp_path):
    plans = load(a={**SETTINGS, **OLD_NETWORK})
    plans.save(tmp_path / "plans.json")
    assert Plans.load(tmp_path / "plans.json") == plans
    assert Plans.load(tmp_path / "plans.json") != plans.model_copy(update={"plans_name": "other"})
    assert plans != "nnUNetPlans"
