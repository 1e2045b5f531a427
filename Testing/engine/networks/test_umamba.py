"""U-Mamba's networks: sizes and names of the published code, what they compute, and weights that go in and out."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.networks.build import build_network  # noqa: E402
from segautoconfiglib.networks.checkpoint import load_weights, nnunet_weights  # noqa: E402
from segautoconfiglib.networks.umamba import with_weights_tokens  # noqa: E402
from segautoconfiglib.planning.architectures import (  # noqa: E402
    PLAIN_UNET,
    UMAMBA_BOT,
    UMAMBA_ENC,
    Architecture,
    as_umamba,
    stage_features,
)

pytestmark = pytest.mark.torch

NAMES = [UMAMBA_BOT, UMAMBA_ENC]


@pytest.fixture
def plain(network_json):
    """``plain(dimension, features, blocks=2)``: the plans' network."""

    def make(dimension, features, blocks=2, **changes):
        stages = len(features)
        depth = {"n_conv_per_stage": [blocks] * stages, "n_conv_per_stage_decoder": [blocks] * (stages - 1)}
        options = network_json(dimension, features, **{**depth, **changes})["arch_kwargs"]
        return Architecture(network_class_name=PLAIN_UNET, arch_kwargs=options)

    return make


@pytest.mark.parametrize(
    ("name", "patch", "stages", "classes", "numbers"),
    [
        (UMAMBA_BOT, (40, 56, 40), 4, 3, 7_323_305),
        (UMAMBA_ENC, (40, 56, 40), 4, 3, 7_255_571),
        (UMAMBA_BOT, (128, 128, 128), 6, 14, 42_130_054),
        (UMAMBA_ENC, (128, 128, 128), 6, 14, 42_760_582),
        (UMAMBA_BOT, (320, 320), 7, 14, 47_533_012),
        (UMAMBA_ENC, (320, 320), 7, 14, 47_015_538),
    ],
)
def test_sizes_are_those_of_the_published_code(plain, name, patch, stages, classes, numbers):
    architecture = as_umamba(
        plain(len(patch), stage_features(stages, 32, 320 if len(patch) == 3 else 512)), name, patch
    )
    with torch.device("meta"):
        network = build_network(architecture, 1, classes, deep_supervision=True)
    assert sum(parameter.numel() for parameter in network.parameters()) == numbers


@pytest.mark.parametrize(("name", "entries"), [(UMAMBA_BOT, 281), (UMAMBA_ENC, 358)])
def test_as_many_names_as_in_a_published_checkpoint(plain, name, entries):
    network = build_network(as_umamba(plain(3, (2, 4, 8, 16)), name), 1, 3, deep_supervision=True)
    assert len(nnunet_weights(network)) == entries


def shapes(network, start):
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items() if key.startswith(start)}


def test_names_and_order_of_a_bot(plain):
    network = build_network(as_umamba(plain(3, (4, 8)), UMAMBA_BOT), 2, 3, deep_supervision=False)

    def block(prefix, channels_in, channels):
        return {
            f"{prefix}.conv1.weight": (channels, channels_in, 3, 3, 3),
            f"{prefix}.conv1.bias": (channels,),
            f"{prefix}.norm1.weight": (channels,),
            f"{prefix}.norm1.bias": (channels,),
            f"{prefix}.conv2.weight": (channels, channels, 3, 3, 3),
            f"{prefix}.conv2.bias": (channels,),
            f"{prefix}.norm2.weight": (channels,),
            f"{prefix}.norm2.bias": (channels,),
            f"{prefix}.conv3.weight": (channels, channels_in, 1, 1, 1),
            f"{prefix}.conv3.bias": (channels,),
        }

    def same(prefix, channels):
        found = {}
        for layer in ("conv1", "conv2"):
            found |= {
                f"{prefix}.{layer}.conv.weight": (channels, channels, 3, 3, 3),
                f"{prefix}.{layer}.conv.bias": (channels,),
                f"{prefix}.{layer}.norm.weight": (channels,),
                f"{prefix}.{layer}.norm.bias": (channels,),
            }
        return found

    expected = {
        **block("encoder.stem.0", 2, 4),
        **same("encoder.stem.1", 4),
        **block("encoder.stages.0.0", 4, 4),
        **same("encoder.stages.0.1", 4),
        **block("encoder.stages.1.0", 4, 8),
        **{"mamba_layer.norm.weight": (8,), "mamba_layer.norm.bias": (8,)},
        **{f"mamba_layer.mamba.{key}": shape for key, shape in shapes(network.mamba_layer.mamba, "").items()},
        **block("decoder.stages.0.0", 8, 4),
        **same("decoder.stages.0.1", 4),
        **{"decoder.upsample_layers.0.conv.weight": (4, 8, 1, 1, 1), "decoder.upsample_layers.0.conv.bias": (4,)},
        **{"decoder.seg_layers.0.weight": (3, 4, 1, 1, 1), "decoder.seg_layers.0.bias": (3,)},
    }
    assert list(shapes(network, "").items()) == list(expected.items())


def test_where_mamba_layers_are(plain):
    enc = build_network(as_umamba(plain(3, (2, 3, 4)), UMAMBA_ENC), 1, 2, deep_supervision=False)
    assert [key for key in shapes(enc, "encoder.mamba_layers") if key.endswith("norm.weight")] == [
        f"encoder.mamba_layers.{stage}.norm.weight" for stage in (0, 1, 2)
    ]
    enc = build_network(as_umamba(plain(2, (2, 3, 4, 5)), UMAMBA_ENC), 1, 2, deep_supervision=False)
    norms = {key: shape for key, shape in shapes(enc, "encoder.mamba_layers").items() if key.endswith("norm.weight")}
    assert norms == {"encoder.mamba_layers.1.norm.weight": (3,), "encoder.mamba_layers.3.norm.weight": (5,)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dimension", "edges"), [(2, (8, 12)), (3, (4, 8, 12))])
def test_every_resolution_or_only_the_finest(plain, name, dimension, edges):
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]] if dimension == 3 else [[1, 1], [2, 2], [2, 2]]
    kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3]] if dimension == 3 else [[3, 3]] * 3
    architecture = as_umamba(plain(dimension, (2, 3, 4), strides=strides, kernel_sizes=kernels), name)
    network = build_network(architecture, 1, 5, deep_supervision=True)
    image = torch.randn(2, 1, *edges)
    half = tuple(edge // stride for edge, stride in zip(edges, (1, 2, 2)[-dimension:], strict=True))
    outputs = network(image)
    assert [tuple(logits.shape) for logits in outputs] == [(2, 5, *edges), (2, 5, *half)]
    network.deep_supervision = False
    assert torch.equal(network(image), outputs[0])
    sum(logits.square().mean() for logits in outputs).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def upsampled(coarse, conv, factor):
    """First more voxels, then other channels, as in the paper's figure."""
    for axis in range(2, coarse.ndim):
        coarse = coarse.repeat_interleave(factor, axis)
    return conv(coarse)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_way_through_the_network(plain, name, dimension):
    """In 2D the last step of the decoder does not see the encoder's output."""
    torch.manual_seed(0)
    network = build_network(as_umamba(plain(dimension, (2, 3, 4)), name), 1, 2, deep_supervision=False)
    image = torch.randn(2, 1, *(8,) * dimension)
    encoder, decoder = network.encoder, network.decoder
    features, skips = encoder.stem(image), []
    for stage in range(3):
        features = encoder.stages[stage](features)
        if name == UMAMBA_ENC:
            features = encoder.mamba_layers[stage](features)
        skips.append(features)
    if name == UMAMBA_BOT:
        features = network.mamba_layer(features)
    features = upsampled(features, decoder.upsample_layers[0].conv, 2)
    features = decoder.stages[0](torch.cat((features, skips[1]), 1))
    features = upsampled(features, decoder.upsample_layers[1].conv, 2)
    features = decoder.stages[1](features if dimension == 2 else torch.cat((features, skips[0]), 1))
    torch.testing.assert_close(network(image), decoder.seg_layers[1](features))


def test_a_block_with_a_shortcut(plain):
    torch.manual_seed(0)
    network = build_network(as_umamba(plain(2, (2, 3)), UMAMBA_BOT), 1, 2, deep_supervision=False)
    block, features = network.encoder.stages[1][0], torch.randn(1, 2, 8, 8)
    inner = torch.nn.functional.leaky_relu(block.norm1(block.conv1(features)), 0.01)
    shortcut = torch.nn.functional.conv2d(features, block.conv3.weight, block.conv3.bias, stride=2)
    expected = torch.nn.functional.leaky_relu(block.norm2(block.conv2(inner)) + shortcut, 0.01)
    torch.testing.assert_close(block(features), expected)


@pytest.mark.parametrize("dimension", [2, 3])
def test_gradients_with_channels_last(plain, dimension):
    """The layout in which networks are trained on a CPU, in which torch has other code.

    With another seed a voxel may come to lie on the other side of a leaky ReLU's bend.
    """
    torch.manual_seed(1)
    network = build_network(as_umamba(plain(dimension, (8, 16)), UMAMBA_BOT), 1, 2, deep_supervision=False)
    image, found = torch.randn(2, 1, *(8,) * dimension), []
    for layout in (torch.contiguous_format, torch.channels_last if dimension == 2 else torch.channels_last_3d):
        network.to(memory_format=layout).zero_grad()
        network(image.to(memory_format=layout)).square().mean().backward()
        found.append([parameter.grad.clone() for parameter in network.parameters()])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


def test_only_convolutions_get_their_start_values_anew(plain):
    network = build_network(as_umamba(plain(3, (4, 8)), UMAMBA_ENC), 1, 2, deep_supervision=False)
    assert not network.encoder.stem[0].conv3.bias.any()
    assert network.encoder.mamba_layers[1].mamba.conv1d.bias.any()
    assert network.encoder.mamba_layers[1].norm.weight.eq(1).all()


@pytest.mark.parametrize("name", NAMES)
def test_plans_with_the_original_programs_ones_give_the_same_network(plain, name):
    planned = as_umamba(plain(2, (2, 3, 4, 5), blocks=3), name)
    depth = {"n_conv_per_stage": [3, 3, 1, 1], "n_conv_per_stage_decoder": [3, 3, 1]}
    changed = as_umamba(plain(2, (2, 3, 4, 5), **depth), name)
    networks = [build_network(each, 1, 2, deep_supervision=True) for each in (planned, changed)]
    assert shapes(networks[0], "") == shapes(networks[1], "")
    assert [len(stage) for stage in networks[0].encoder.stages] == [3, 3, 1, 1]
    assert len(networks[0].encoder.stem) == 3
    assert planned.arch_kwargs["n_conv_per_stage"] == [3, 3, 3, 3]


@pytest.mark.parametrize("name", NAMES)
def test_weights_go_out_under_all_published_names_and_come_back(plain, name):
    architecture = as_umamba(plain(3, (2, 4)), name)
    network, other = (build_network(architecture, 1, 2, deep_supervision=True) for _ in range(2))
    stored = nnunet_weights(network)
    own = set(network.state_dict())
    doubles = {key for key in stored if ".all_modules." in key}
    assert {key for key in own if key.startswith("encoder.")} == {
        key.removeprefix("decoder.") for key in stored if key.startswith("decoder.encoder.") and key not in doubles
    }
    assert "decoder.encoder.stages.0.1.conv2.all_modules.1.bias" in doubles
    assert {key.rpartition(".all_modules.")[0].rpartition(".")[2] for key in doubles} == {"conv1", "conv2"}
    prefix = "decoder.encoder.mamba_layers.1" if name == UMAMBA_ENC else "mamba_layer"
    assert stored[f"{prefix}.mamba.A_log"].shape == (8, 16)
    load_weights(other, {f"module.{key}": tensor for key, tensor in stored.items()}, "x")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_weights_of_other_images_and_networks_are_refused(plain):
    bot = build_network(as_umamba(plain(3, (2, 4)), UMAMBA_BOT), 1, 2, deep_supervision=True)
    more = build_network(as_umamba(plain(3, (2, 4)), UMAMBA_BOT), 3, 2, deep_supervision=True)
    with pytest.raises(UserError, match="3 input channels instead of 1"):
        load_weights(bot, nnunet_weights(more), "x")
    enc = build_network(as_umamba(plain(3, (2, 4)), UMAMBA_ENC), 1, 2, deep_supervision=True)
    with pytest.raises(UserError, match=r"missing mamba_layer.*unexpected encoder\.mamba_layers"):
        load_weights(bot, nnunet_weights(enc), "x")


def test_weights_tell_whether_channels_are_tokens(plain):
    """Maps of 16^2, 8^2 and 4^2 voxels; 2D has layers at the first and the last, whose 16 channels are 16 tokens."""
    planned, patch = plain(2, (4, 8, 32)), (16, 16)
    original, ours = as_umamba(planned, UMAMBA_ENC, patch), as_umamba(planned, UMAMBA_ENC)
    assert original.arch_kwargs["token_widths"] == [None, None, 16]
    for architecture in (original, ours):
        weights = nnunet_weights(build_network(architecture, 1, 2, deep_supervision=True))
        for written_by_original in (False, True):
            found = with_weights_tokens(planned, patch, weights, "x", original=written_by_original)
            assert found == architecture
    network = build_network(original, 1, 2, deep_supervision=False)
    assert network(torch.zeros(1, 1, 16, 16)).shape == (1, 2, 16, 16)
    with pytest.raises(UserError, match=r"maps of 16 voxels only; this patch leads to one of 8x4"):
        network(torch.zeros(1, 1, 32, 16))
    weights = nnunet_weights(network)
    with pytest.raises(
        UserError, match=r"stage 2 in my\.pth works on maps of 16 voxels, which patches of 32x16 do not"
    ):
        with_weights_tokens(planned, (32, 16), weights, "my.pth", original=True)


def test_as_many_voxels_as_channels_leave_it_to_who_wrote_the_weights(plain):
    planned, patch = plain(2, (4, 8, 16)), (16, 16)
    original, ours = as_umamba(planned, UMAMBA_ENC, patch), as_umamba(planned, UMAMBA_ENC)
    weights = nnunet_weights(build_network(ours, 1, 2, deep_supervision=True))
    assert with_weights_tokens(planned, patch, weights, "x", original=False) == ours
    assert with_weights_tokens(planned, patch, weights, "x", original=True) == original


@pytest.mark.parametrize("widths", [[None, 4], "abc", [None, None, 0], [None, None, "x"]])
def test_token_widths_that_make_no_sense(plain, widths):
    architecture = as_umamba(plain(2, (4, 8, 16)), UMAMBA_ENC)
    architecture = architecture.model_copy(update={"arch_kwargs": {**architecture.arch_kwargs, "token_widths": widths}})
    with pytest.raises(UserError, match="token_widths is"):
        build_network(architecture, 1, 2, deep_supervision=False)


def test_only_the_enc_knows_token_widths(plain):
    architecture = as_umamba(plain(2, (4, 8)), UMAMBA_BOT)
    architecture = architecture.model_copy(update={"arch_kwargs": {**architecture.arch_kwargs, "token_widths": [1, 1]}})
    with pytest.raises(UserError, match="not known here: token_widths"):
        build_network(architecture, 1, 2, deep_supervision=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_learn(plain, name):
    torch.manual_seed(0)
    network = build_network(as_umamba(plain(2, (4, 8, 8)), name), 1, 2, deep_supervision=False)
    image = torch.randn(2, 1, 16, 16)
    target = (image[:, 0] > 0).long()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(network(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
