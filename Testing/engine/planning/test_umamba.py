"""U-Mamba's rules, with examples measured on its published code, and the plans of its networks."""

from __future__ import annotations

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.planning.architectures import (
    PLAIN_UNET,
    RESIDUAL_UNET,
    UMAMBA_BOT,
    UMAMBA_ENC,
    Architecture,
    architecture_spec,
    as_umamba,
    memory_cost,
    stage_features,
    with_network,
)
from segautoconfiglib.planning.topology import topology_architecture, unet_topology
from segautoconfiglib.planning.umamba import fewer_blocks, mamba_stages, original_token_widths


@pytest.mark.parametrize(
    ("stages", "encoder", "decoder"),
    [
        (4, (2, 2, 1, 1), (2, 2, 1)),
        (6, (2, 2, 2, 1, 1, 1), (2, 2, 2, 1, 1)),
        (7, (2, 2, 2, 2, 1, 1, 1), (2, 2, 2, 2, 1, 1)),
    ],
)
def test_half_of_the_stages_have_one_block(stages, encoder, decoder):
    assert fewer_blocks([2] * stages, stages) == encoder
    assert fewer_blocks([2] * (stages - 1), stages) == decoder
    assert fewer_blocks(encoder, stages) == encoder  # as written by the original program


def test_stages_with_a_mamba_layer():
    assert list(mamba_stages(6, 3)) == [0, 1, 2, 3, 4, 5]
    assert list(mamba_stages(7, 2)) == [0, 2, 4, 6]
    assert list(mamba_stages(6, 2)) == [1, 3, 5]


@pytest.mark.parametrize(
    ("patch", "stages", "limit", "expected"),
    [
        ((40, 56, 40), 4, 320, {3: 175}),
        ((128, 128, 128), 6, 320, {5: 64}),
        ((320, 320), 7, 512, {4: 400, 6: 25}),
        ((320, 320), 3, 512, {}),
    ],
)
def test_channels_are_tokens_where_the_original_has_them(patch, stages, limit, expected):
    strides = ((1,) * len(patch), *((2,) * len(patch),) * (stages - 1))
    found = original_token_widths(stage_features(stages, 32, limit), strides, patch)
    assert ({} if found is None else {stage: width for stage, width in enumerate(found) if width}) == expected


def planned(name, patch, stages=None):
    topology = unet_topology((1,) * len(patch), patch, stages)
    depth = architecture_spec(name).depth(len(topology.strides))
    return topology_architecture(name, topology, depth, 32, 320)


def test_a_plain_network_becomes_a_umamba():
    plain = planned(PLAIN_UNET, (128, 128, 128))
    before = plain.model_copy(deep=True)
    bot, enc = as_umamba(plain, UMAMBA_BOT), as_umamba(plain, UMAMBA_ENC)
    assert plain == before
    assert (bot.network_class_name, enc.network_class_name) == ("UMambaBot", "UMambaEnc")
    assert bot.arch_kwargs == enc.arch_kwargs == plain.arch_kwargs
    original = as_umamba(plain, UMAMBA_ENC, (128, 128, 128))
    assert original.arch_kwargs == {**plain.arch_kwargs, "token_widths": [None] * 5 + [64]}
    assert as_umamba(original, UMAMBA_ENC) == enc
    assert with_network(original, UMAMBA_ENC) == original
    assert with_network(original, PLAIN_UNET) == plain
    assert as_umamba(original, UMAMBA_BOT) == bot


def test_numbers_of_blocks_change_their_kind_with_the_network():
    plain, residual = planned(PLAIN_UNET, (64, 64, 64)), planned(RESIDUAL_UNET, (64, 64, 64))
    assert with_network(plain, RESIDUAL_UNET).arch_kwargs == residual.arch_kwargs
    assert with_network(residual, PLAIN_UNET).arch_kwargs == plain.arch_kwargs
    assert as_umamba(residual, UMAMBA_BOT).arch_kwargs == plain.arch_kwargs


def test_networks_in_other_words_stay():
    other = Architecture(network_class_name=PLAIN_UNET, arch_kwargs={"depth": 3, "conv_op": "torch.nn.Conv3d"})
    with pytest.raises(UserError, match=r"PlainConvUNet of the plans can't become UMambaBot"):
        as_umamba(other, UMAMBA_BOT)
    with pytest.raises(UserError, match=r"Unknown network 'Mamba'.*Known: .*UMambaBot"):
        with_network(other, "Mamba")


def test_cost_of_a_small_network_counted_by_hand():
    options = {
        "conv_op": "torch.nn.Conv3d",
        "features_per_stage": [4, 8],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [2, 2],
        "n_conv_per_stage_decoder": [2],
    }
    fine, coarse = 4 * 512, 8 * 64  # values of a map of each stage, for a patch of 8^3
    stem = stage = 5 * fine
    convolutions = stem + stage + 3 * coarse + (4 * 64 + fine) + 5 * fine + 3 * 512
    deep = 64 * (2 * 16 + 16 + (1 + 32) + 16 + 16 + 8)  # both inputs, convolution, x_proj, steps, scan, output
    shallow = 512 * (2 * 8 + 8 + (1 + 32) + 8 + 8 + 4)
    bot, enc = (Architecture(network_class_name=name, arch_kwargs=options) for name in (UMAMBA_BOT, UMAMBA_ENC))
    assert memory_cost(bot, (8, 8, 8), 3) == convolutions + deep
    assert memory_cost(enc, (8, 8, 8), 3) == convolutions + deep + shallow


def test_cost_where_channels_are_tokens():
    enc = planned(UMAMBA_ENC, (64, 64, 64))
    original = as_umamba(enc, UMAMBA_ENC, (64, 64, 64))
    assert original.arch_kwargs["token_widths"][-1] == 64
    voxels, swapped = (tokens * (11 * width + -(-width // 16) + 32) for tokens, width in ((64, 320), (320, 64)))
    # stage 3 has 8^3 = 512 voxels and 256 channels, so it stays
    assert memory_cost(original, (64, 64, 64), 2) - memory_cost(enc, (64, 64, 64), 2) == swapped - voxels
