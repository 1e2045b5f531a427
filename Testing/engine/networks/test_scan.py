"""The selective scan: against its definition, cut into blocks in every way, and its gradients."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.networks.scan import Blocks, selective_scan  # noqa: E402

pytestmark = pytest.mark.torch

WAYS = [None, Blocks(1, 100), Blocks(1, 5), Blocks(3, 4), Blocks(4, 100), Blocks(2, 1), Blocks(1, 1)]


def scan_inputs(batch=2, channels=4, states=3, length=23, dtype=torch.float64, seed=0):
    """x, dt, a, b, c, d with values as in a network."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    dt = torch.nn.functional.softplus(normal(batch, channels, length) - 2)
    a = -torch.arange(1, states + 1, dtype=dtype).repeat(channels, 1) * (1 + 0.1 * normal(channels, states).abs())
    b, c = normal(batch, states, length), normal(batch, states, length)
    return normal(batch, channels, length), dt, a, b, c, normal(channels)


def defined(x, dt, a, b, c, d):
    """The recurrence, token by token."""
    state, outputs = x.new_zeros(x.shape[0], *a.shape), []
    for t in range(x.shape[2]):
        step = dt[:, :, t, None]
        state = (step * a).exp() * state + step * b[:, None, :, t] * x[:, :, t, None]
        outputs.append((state * c[:, None, :, t]).sum(2) + d * x[:, :, t])
    return torch.stack(outputs, 2)


@pytest.mark.parametrize("blocks", WAYS)
@pytest.mark.parametrize("length", [1, 2, 23, 24, 25])
def test_every_division_gives_the_definition(blocks, length):
    inputs = scan_inputs(length=length)
    torch.testing.assert_close(selective_scan(*inputs, blocks=blocks), defined(*inputs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("blocks", WAYS)
@pytest.mark.parametrize("length", [1, 23])
def test_gradients_are_those_of_the_definition(blocks, length):
    wishes = torch.randn(2, 4, length, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for function in (defined, lambda *inputs: selective_scan(*inputs, blocks=blocks)):
        inputs = [tensor.requires_grad_() for tensor in scan_inputs(length=length)]
        found.append(torch.autograd.grad((function(*inputs) * wishes).sum(), inputs))
    for ours, true in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, true, rtol=0, atol=1e-12)


@pytest.mark.parametrize("blocks", [Blocks(1, 3), Blocks(2, 2)])
def test_gradients_by_small_changes(blocks):
    inputs = [tensor.requires_grad_() for tensor in scan_inputs(batch=1, length=7)]
    assert torch.autograd.gradcheck(lambda *values: selective_scan(*values, blocks=blocks), inputs)


@pytest.mark.parametrize(("channels", "length"), [(64, 3000), (640, 175)])
def test_single_precision_with_the_standard_division(channels, length):
    inputs = scan_inputs(1, channels, 16, length, torch.float32)
    true = defined(*(tensor.double() for tensor in inputs))
    assert (selective_scan(*inputs) - true).abs().max() <= 1e-6 * true.abs().max()


def test_single_precision_gradients():
    wishes = torch.randn(1, 64, 700, generator=torch.Generator().manual_seed(1))
    inputs = [tensor.requires_grad_() for tensor in scan_inputs(1, 64, 16, 700, torch.float32)]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    ours = torch.autograd.grad((selective_scan(*inputs) * wishes).sum(), inputs)
    true = torch.autograd.grad((defined(*exact) * wishes).sum(), exact)
    for mine, right in zip(ours, true, strict=True):
        assert (mine - right).abs().max() <= 1e-6 * right.abs().max()


@pytest.mark.parametrize("blocks", WAYS)
def test_a_token_changes_nothing_before_it(blocks):
    inputs = scan_inputs()
    before = selective_scan(*inputs, blocks=blocks)
    for changed in (0, 1, 3, 4):
        inputs[changed][:, :, 11] += 0.5
    after = selective_scan(*inputs, blocks=blocks)
    assert torch.equal(before[:, :, :11], after[:, :, :11])
    assert not torch.isclose(before[:, :, 11:], after[:, :, 11:]).all(dim=2).any()


@pytest.mark.parametrize("blocks", WAYS)
def test_constant_decay_is_a_geometric_series(blocks):
    """With b = c = x = 1 the output after t + 1 tokens is dt (1 - r^(t + 1)) / (1 - r), r = exp(-dt)."""
    length, dt = 30, 0.3
    ones = torch.ones(1, 1, length, dtype=torch.float64)
    a, d = -torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    found = selective_scan(ones, dt * ones, a, ones, ones, d, blocks=blocks)[0, 0]
    ratio = torch.exp(torch.tensor(-dt, dtype=torch.float64))
    counts = torch.arange(1, length + 1, dtype=torch.float64)
    torch.testing.assert_close(found, dt * (1 - ratio**counts) / (1 - ratio), rtol=1e-12, atol=0)


def test_strong_decay_stays_finite():
    """A product of decays over a chunk is 0 in float32; dividing by it would give infinity."""
    x, dt, a, b, c, d = scan_inputs(1, 8, 16, 500, torch.float32)
    inputs = [tensor.requires_grad_() for tensor in (x, 50 * dt, 10 * a, b, c, d)]
    y = selective_scan(*inputs, blocks=Blocks(4, 20))
    assert y.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(y.sum(), inputs))


def test_inputs_stay_as_they_are_and_any_memory_layout_will_do():
    inputs = scan_inputs()
    copies = [tensor.clone() for tensor in inputs]
    expected = selective_scan(*inputs)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(inputs, copies, strict=True))
    strided = [tensor.transpose(-1, 0).contiguous().transpose(-1, 0) for tensor in inputs]
    assert torch.equal(selective_scan(*strided), expected)


def test_blocks_of_large_states_are_one_chunk_and_groups_stay_small():
    cpu = torch.device("cpu")
    assert Blocks.fitting(2 * 640 * 16, 10**6, cpu).chunks == 1
    small = Blocks.fitting(64 * 16, 10**6, cpu)
    assert small.chunks > 1
    assert small.chunks * small.steps * 64 * 16 <= 2**21
    assert Blocks.fitting(64 * 16, 5, cpu).steps == 1
