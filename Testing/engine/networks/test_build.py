"""Networks built from plans: sizes known from published models, shapes, start values, and refused plans."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.networks import build  # noqa: E402
from segautoconfiglib.networks.blocks import ResidualBlock  # noqa: E402
from segautoconfiglib.networks.build import build_network  # noqa: E402
from segautoconfiglib.networks.checkpoint import nnunet_weights  # noqa: E402
from segautoconfiglib.networks.unet import PlainConvUNet  # noqa: E402
from segautoconfiglib.planning.architectures import ARCHITECTURES  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("residual", "entries", "parameters", "numbers"), [(False, 136, 48, 1_274_792), (True, 320, 90, 4_274_280)]
)
def test_sizes_are_those_of_nnunet(architecture, residual, entries, parameters, numbers):
    network = build_network(architecture(residual), 2, 4, deep_supervision=True)
    assert len(nnunet_weights(network)) == entries
    assert len(list(network.parameters())) == parameters
    assert sum(parameter.numel() for parameter in network.parameters()) == numbers


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("dimension", "edges"), [(2, (8, 12)), (3, (4, 8, 12))])
def test_every_resolution_or_only_the_finest(architecture, residual, dimension, edges):
    network = build_network(
        architecture(residual, dimension, features_per_stage=[2, 3, 4]), 1, 5, deep_supervision=True
    )
    image = torch.randn(2, 1, *edges)
    half = tuple(edge // stride for edge, stride in zip(edges, (1, 2, 2)[-dimension:], strict=True))
    assert [tuple(logits.shape) for logits in network(image)] == [(2, 5, *edges), (2, 5, *half)]
    finest = network(image)[0]
    network.deep_supervision = False
    assert torch.equal(network(image), finest)


def test_single_numbers_stand_for_every_stage(architecture):
    network = build_network(
        architecture(features_per_stage=4, kernel_sizes=3, n_conv_per_stage=1, n_conv_per_stage_decoder=3),
        1,
        2,
        deep_supervision=False,
    )
    convolutions = [stage.convs for stage in network.decoder.stages]
    assert [len(convs) for convs in convolutions] == [3, 3]
    assert convolutions[0][0].conv.kernel_size == (3, 3, 3)


def test_decoder_lists_go_from_coarse_to_fine(architecture):
    network = build_network(architecture(n_conv_per_stage_decoder=[1, 3]), 1, 2, deep_supervision=False)
    assert [len(stage.convs) for stage in network.decoder.stages] == [1, 3]


def test_start_values(architecture):
    torch.manual_seed(0)
    network = build_network(architecture(residual=True), 1, 2, deep_supervision=False)
    for name, parameter in network.named_parameters():
        if name.endswith(("conv.bias", "transpconvs.0.bias", "seg_layers.0.bias")):
            assert not parameter.any(), name
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 8
    assert not any(block.conv2.norm.weight.any() for block in blocks)
    kernel = network.decoder.transpconvs[0].weight  # Kaiming: variance 2 / (1 + slope^2) / (channels out * voxels)
    assert kernel.std().item() == pytest.approx((2 / (1 + 0.01**2) / (64 * 8)) ** 0.5, rel=0.02)


def test_a_residual_block_starts_as_its_shortcut(architecture):
    network = build_network(architecture(residual=True), 1, 2, deep_supervision=False)
    block = network.encoder.stages[1].blocks[1]
    features = torch.randn(1, 64, 2, 4, 4)
    torch.testing.assert_close(block(features), torch.nn.functional.leaky_relu(features, 0.01))


def test_dropout_moves_the_norm_in_nnunets_names(architecture):
    changes = {"dropout_op": "torch.nn.Dropout3d", "dropout_op_kwargs": {"p": 0.5}}
    network = build_network(architecture(**changes), 1, 2, deep_supervision=False)
    names = nnunet_weights(network)
    assert "encoder.stages.0.0.convs.0.all_modules.2.weight" in names
    assert "encoder.stages.0.0.convs.0.all_modules.1.weight" not in names


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nonlin": "os.system", "nonlin_kwargs": {"command": "true"}}, "os.system"),
        ({"nonlin": "torch.nn.init"}, "no layer of torch.nn"),
        ({"conv_op": "torch.nn.Conv1d"}, "conv_op"),
        ({"features_per_stage": [2, 4]}, "features_per_stage has 2 entries, expected 3"),
        ({"strides": [[1, 1], [2, 2], [2, 2]]}, "strides"),
        ({"n_stages": 1}, "n_stages is 1"),
        ({"squeeze_excitation": True}, "squeeze_excitation"),
        ({"nonlin": 3}, "layer 3, which is no layer"),
        ({"nonlin": "torch.nn.GLU", "nonlin_kwargs": {"dim": 2}}, "nonlin is a layer of another kind"),
        ({"nonlin_kwargs": {"slope": 1}}, "nonlin with nonlin_kwargs .*slope"),
        ({"nonlin_kwargs": "abc"}, "nonlin with nonlin_kwargs abc"),
        ({"norm_op_kwargs": {"epss": 1}}, "norm_op with norm_op_kwargs .*epss"),
        ({"norm_op_kwargs": {"eps": "small"}}, "norm_op with norm_op_kwargs .*small"),
        ({"norm_op": "torch.nn.Linear", "norm_op_kwargs": {"out_features": 3}}, "norm_op with"),
        ({"norm_op": "torch.nn.InstanceNorm2d"}, "norm_op and conv_op are for different numbers"),
        ({"dropout_op": "torch.nn.Dropout3d", "dropout_op_kwargs": {"p": 2}}, "dropout_op with .*'p': 2"),
        ({"features_per_stage": [32, -64, 128]}, "features_per_stage is -64, expected numbers from 1"),
        ({"features_per_stage": [32, 64, 10**12]}, "features_per_stage is 1000000000000, expected .* to 8192"),
        ({"features_per_stage": 32.5}, "features_per_stage is 32.5"),
        ({"features_per_stage": "abc"}, "features_per_stage is 'abc'"),
        ({"strides": [[1, 1, 1], [1, 0, 2], [2, 2, 2]]}, "strides is 0, expected numbers from 1"),
        ({"kernel_sizes": [[3, 3, 3], [3, 2, 3], [3, 3, 3]]}, "kernel_sizes is 2, expected odd numbers from 1 to 31"),
        ({"decoder_kernel_sizes": [[3, 3, 3], [3, 3, -1]]}, "decoder_kernel_sizes is -1"),
        ({"n_conv_per_stage": [2, 0, 2]}, "n_conv_per_stage is 0"),
        ({"n_conv_per_stage": True}, "n_conv_per_stage is True"),
        ({"n_conv_per_stage_decoder": [2, 10**9]}, "n_conv_per_stage_decoder is 1000000000"),
        ({"n_stages": 10**9}, "n_stages is 1000000000"),
        ({"n_stages": None}, "n_stages is None"),
    ],
)
def test_plans_that_cannot_be_built(architecture, changes, text):
    with pytest.raises(UserError, match=text):
        build_network(architecture(**changes), 1, 2, deep_supervision=False)


def test_a_missing_entry_is_named(architecture):
    plan = architecture()
    del plan.arch_kwargs["strides"]
    with pytest.raises(UserError, match="strides"):
        build_network(plan, 1, 2, deep_supervision=False)


def test_an_unknown_network_names_the_known_ones(architecture):
    plan = architecture().model_copy(update={"network_class_name": "my.own.Network"})
    with pytest.raises(UserError, match="PlainConvUNet"):
        build_network(plan, 1, 2, deep_supervision=False)


def test_errors_of_a_plug_ins_own_constructor_are_its_own(architecture):
    class Broken(PlainConvUNet):
        def __init__(self, *arguments, **options):
            raise ValueError("a mistake in the plug-in")

    name = "tests.Broken"
    ARCHITECTURES.register(name, Broken)
    try:
        plan = architecture().model_copy(update={"network_class_name": name})
        with pytest.raises(ValueError, match="a mistake in the plug-in"):
            build_network(plan, 1, 2, deep_supervision=False)
    finally:
        ARCHITECTURES.remove(name)


def test_trying_the_layers_costs_no_random_numbers(architecture):
    plan = architecture(features_per_stage=[2, 2, 2], dropout_op="torch.nn.Dropout3d", dropout_op_kwargs={"p": 0.5})
    torch.manual_seed(0)
    layers = build._try_layers(build.layer_kinds(plan.arch_kwargs))
    after = torch.rand(1)
    torch.manual_seed(0)
    assert layers is None
    assert torch.equal(after, torch.rand(1))
