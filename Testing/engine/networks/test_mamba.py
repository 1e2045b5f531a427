"""The Mamba layer: parameters, start values, the block written out, mixed precision, and the kernel of mamba_ssm."""

from __future__ import annotations

import sys
import types

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.networks import mamba  # noqa: E402
from segautoconfiglib.networks.mamba import Mamba, MambaLayer, fastest_scan  # noqa: E402
from segautoconfiglib.networks.scan import selective_scan  # noqa: E402

pytestmark = pytest.mark.torch


def test_parameters_are_those_of_mamba_ssm():
    assert {name: tuple(tensor.shape) for name, tensor in Mamba(256).state_dict().items()} == {
        "A_log": (512, 16),
        "D": (512,),
        "in_proj.weight": (1024, 256),
        "conv1d.weight": (512, 1, 4),
        "conv1d.bias": (512,),
        "x_proj.weight": (48, 512),
        "dt_proj.weight": (512, 16),
        "dt_proj.bias": (512,),
        "out_proj.weight": (256, 512),
    }


def test_start_values():
    torch.manual_seed(0)
    block = Mamba(40)
    assert block.x_proj.weight.shape == (3 + 32, 80)  # 40 / 16, rounded up
    torch.testing.assert_close(block.A_log.exp()[7], torch.arange(1.0, 17))
    assert block.D.eq(1).all()
    assert block.dt_proj.weight.abs().max() <= 3**-0.5
    steps = torch.nn.functional.softplus(block.dt_proj.bias)
    assert 0.001 - 1e-6 <= steps.min() < 0.003
    assert 0.03 < steps.max() <= 0.1 + 1e-6


def written_out(block, tokens):
    """The block's seven steps, token by token."""
    weights = {name: tensor.detach() for name, tensor in block.named_parameters()}
    inner, rank = weights["D"].shape[0], weights["dt_proj.weight"].shape[1]
    rows = []
    for sample in tokens:
        past = [tokens.new_zeros(inner)] * 3
        state, outputs = tokens.new_zeros(inner, 16), []
        for token in sample:
            x, gate = (weights["in_proj.weight"] @ token).split(inner)
            past = [*past[-3:], x]
            x = sum(kernel * value for kernel, value in zip(weights["conv1d.weight"][:, 0].T, past, strict=True))
            x = torch.nn.functional.silu(x + weights["conv1d.bias"])
            low, b, c = (weights["x_proj.weight"] @ x).split((rank, 16, 16))
            dt = torch.nn.functional.softplus(weights["dt_proj.weight"] @ low + weights["dt_proj.bias"])
            state = torch.exp(-dt[:, None] * weights["A_log"].exp()) * state + (dt * x)[:, None] * b
            y = state @ c + weights["D"] * x
            outputs.append(weights["out_proj.weight"] @ (y * torch.nn.functional.silu(gate)))
        rows.append(torch.stack(outputs))
    return torch.stack(rows)


@pytest.mark.parametrize("length", [1, 3, 37])  # also fewer tokens than the convolution sees
def test_the_block_does_what_its_definition_says(length):
    torch.manual_seed(0)
    block = Mamba(24).double()
    tokens = torch.randn(2, length, 24, dtype=torch.float64)
    torch.testing.assert_close(block(tokens), written_out(block, tokens), rtol=0, atol=1e-12)


def test_many_tokens_are_computed_again_for_the_same_gradient(monkeypatch):
    torch.manual_seed(0)
    block, tokens, kept = Mamba(8), torch.randn(2, 50, 8), []
    gradients = []
    for limit in (10**6, 10):
        monkeypatch.setattr(mamba, "MAMBA", types.SimpleNamespace(recomputed_numbers=limit))
        block.zero_grad()
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, saved=saved: saved.append(tensor) or tensor, lambda t: t
        ):
            loss = block(tokens.requires_grad_()).square().sum()
        kept.append(len(saved))
        loss.backward()
        gradients.append([parameter.grad.clone() for parameter in block.parameters()])
    assert kept[1] < kept[0] / 4
    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))


def test_voxels_are_tokens_in_raster_order_and_nothing_goes_around_the_layer():
    torch.manual_seed(0)
    layer, features = MambaLayer(6), torch.randn(2, 6, 2, 3, 4)
    tokens = features.permute(0, 2, 3, 4, 1).reshape(2, 24, 6)
    expected = layer.mamba(torch.nn.functional.layer_norm(tokens, (6,)))
    torch.testing.assert_close(layer(features), expected.reshape(2, 2, 3, 4, 6).permute(0, 4, 1, 2, 3))
    changed = features.clone()
    changed[:, 0, 1, 0, 0] += 1  # of the 13th token
    before, after = (layer(each).flatten(2) for each in (features, changed))
    torch.testing.assert_close(before[:, :, :12], after[:, :, :12], rtol=0, atol=1e-6)
    assert (before[:, :, 12:] - after[:, :, 12:]).abs().amax(1).gt(1e-6).all()


def test_channels_as_tokens():
    torch.manual_seed(0)
    layer, features = MambaLayer(6, token_width=8), torch.randn(2, 6, 2, 2, 2)
    assert layer.norm.normalized_shape == (8,)
    expected = layer.mamba(torch.nn.functional.layer_norm(features.flatten(2), (8,)))
    torch.testing.assert_close(layer(features), expected.reshape(features.shape))
    with pytest.raises(UserError, match=r"maps of 8 voxels only; this patch leads to one of 2x2x4\.") as refusal:
        layer(torch.randn(2, 6, 2, 2, 4))
    assert "patch size" in refusal.value.hint


@pytest.mark.parametrize("token_width", [None, 20])
def test_mixed_precision_stops_at_the_layer(token_width):
    torch.manual_seed(0)
    layer, features = MambaLayer(6, token_width), torch.randn(1, 6, 4, 5)
    expected = layer(features.bfloat16().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.nn.functional.linear(features, torch.ones(1, 5)).dtype == torch.bfloat16
        found = layer(features.bfloat16())
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_elsewhere_than_on_cuda_the_scan_is_ours():
    assert fastest_scan(torch.device("cpu")) is selective_scan
    assert fastest_scan(torch.device("mps")) is selective_scan


class WrongGradient(torch.autograd.Function):
    """Ours forwards; no gradients backwards."""

    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs)
        return selective_scan(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return tuple(torch.zeros_like(tensor) for tensor in ctx.saved_tensors)


def wrong_forward(scan):
    """Another scan forwards, with the gradients of ours."""

    class Kernel(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return scan(*inputs)

        @staticmethod
        def backward(ctx, gradient):
            inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            with torch.enable_grad():
                return torch.autograd.grad(selective_scan(*inputs), inputs, gradient)

    return Kernel.apply


def lacking(*_):
    raise RuntimeError("selective_scan_cuda was not built")


@pytest.mark.parametrize(
    ("kernel", "taken"),
    [
        (lambda *inputs: selective_scan(*inputs), True),
        (lambda *inputs: (1 + 1e-6) * selective_scan(*inputs), True),
        (lambda *inputs: 1.001 * selective_scan(*inputs), False),
        (lambda *inputs: torch.nan * selective_scan(*inputs), False),
        (lambda x, dt, a, b, c, d: selective_scan(x, dt, a, c, b, d), False),
        (lambda x, dt, a, b, c, d: selective_scan(dt, x, a, b, c, d), False),
        (lambda x, dt, a, b, c, d: selective_scan(x, dt, a.T, b, c, d), False),
        (lambda x, dt, a, b, c, d: selective_scan(x, dt, a.T.reshape(a.shape), b, c, d), False),
        (wrong_forward(selective_scan), True),
        (wrong_forward(lambda x, dt, a, b, c, d: selective_scan(x, dt, a, c, b, d)), False),
        (wrong_forward(lambda x, dt, a, b, c, d: selective_scan(dt, x, a, b, c, d)), False),
        (wrong_forward(lambda x, dt, a, b, c, d: selective_scan(x, dt, a.T.reshape(a.shape), b, c, d)), False),
        (wrong_forward(lambda x, dt, a, b, c, d: selective_scan(x, dt, a, b, c, d.flip(0))), False),
        (WrongGradient.apply, False),
        (lacking, False),
    ],
)
def test_the_kernel_of_mamba_ssm_is_taken_where_it_works(monkeypatch, kernel, taken):
    """There is no CUDA device here: one is played by the CPU."""
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["mamba_ssm.ops.selective_scan_interface"].selective_scan_fn = kernel
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor)
    assert fastest_scan(torch.device("cuda")) is (kernel if taken else selective_scan)
    assert fastest_scan(torch.device("cuda"), torch.float64) is selective_scan


def test_without_mamba_ssm_the_scan_is_ours_on_cuda_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    assert fastest_scan(torch.device("cuda")) is selective_scan
