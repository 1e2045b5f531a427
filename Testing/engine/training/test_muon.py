"""Muon: what moves how, exact first steps, and state that is saved and loaded."""

from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.training.muon import ADAM_STEP, Muon, is_kernel, orthogonal  # noqa: E402
from segautoconfiglib.training.optimizers import OPTIMIZERS  # noqa: E402

pytestmark = pytest.mark.torch


def make(*shapes, weight_decay=0.0):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    return parameters, Muon(parameters, 0.1, momentum=0.95, betas=(0.9, 0.99), weight_decay=weight_decay)


@pytest.mark.parametrize("shape", [(8, 27), (27, 8), (16, 16), (1, 9), (64, 1728)])
def test_singular_values_become_alike_and_directions_stay(shape):
    torch.manual_seed(1)
    matrix = torch.randn(shape) * 1e-3
    result = orthogonal(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ result @ right.T
    assert result.shape == matrix.shape
    assert 0.6 < float(found.diagonal().min()) <= float(found.diagonal().max()) < 1.25
    assert float((found - found.diagonal().diag()).abs().max()) < 1e-3


def test_zeros_stay_zeros():
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((8, 4, 3, 3, 3), True), ((8, 4, 1, 3, 3), True), ((8, 4, 3, 3), True), ((3, 8, 1, 1, 1), False), ((8,), False)],
)
def test_what_is_a_kernel(shape, kernel):
    assert is_kernel(torch.zeros(shape)) is kernel


def test_first_steps():
    """A kernel moves along its orthogonal gradient by ADAM_STEP's size, all else by the learning rate (Adam's)."""
    (kernel, bias), optimizer = make((4, 2, 3, 3), (4,), weight_decay=0.5)
    before = [kernel.detach().clone(), bias.detach().clone()]
    kernel.grad, bias.grad = torch.randn(4, 2, 3, 3), torch.tensor([1.0, -2.0, 3.0, -1e-3])
    optimizer.step()
    size = ADAM_STEP * math.sqrt(18)
    step = size * orthogonal(kernel.grad.reshape(4, 18)).reshape(4, 2, 3, 3)
    torch.testing.assert_close(kernel.detach(), before[0] * (1 - 0.1 * 0.5) - 0.1 * step, rtol=0, atol=1e-6)
    expected = before[1] * (1 - 0.1 * 0.5) - 0.1 * torch.tensor([1.0, -1.0, 1.0, -1.0])
    torch.testing.assert_close(bias.detach(), expected, rtol=0, atol=2e-6)
    assert (ADAM_STEP * 0.6) ** 2 < float((step**2).mean()) < (ADAM_STEP * 1.25) ** 2


def test_what_is_no_kernel_moves_as_with_adam():
    (bias,), optimizer = make((5,))
    other = torch.nn.Parameter(bias.detach().clone())
    adam = torch.optim.AdamW([other], lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)
    for number in range(5):
        bias.grad = torch.full((5,), number - 1.5) + torch.arange(5.0)
        other.grad = bias.grad.clone()
        optimizer.step()
        adam.step()
    torch.testing.assert_close(bias, other)


def test_saved_and_loaded_it_goes_on_alike():
    def steps(parameters, optimizer, numbers):
        for number in numbers:
            for parameter in parameters:
                torch.manual_seed(number)
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()

    parameters, optimizer = make((4, 2, 3, 3), (4,))
    steps(parameters, optimizer, range(3))
    copies, loaded = make((4, 2, 3, 3), (4,))
    with torch.no_grad():
        for other, parameter in zip(copies, parameters, strict=True):
            other.copy_(parameter)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(parameters, optimizer, range(3, 6))
    steps(copies, loaded, range(3, 6))
    assert all(torch.equal(other, parameter) for other, parameter in zip(copies, parameters, strict=True))


def test_weights_without_gradient_stay():
    (kernel,), optimizer = make((4, 2, 3, 3), weight_decay=0.5)
    before = kernel.detach().clone()
    optimizer.step()
    assert torch.equal(kernel, before)


def test_by_name():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(2, 3, 3)
    optimizer = OPTIMIZERS.get("muon")(network.parameters(), 0.003)
    assert [(group["lr"], group["orthogonal"]) for group in optimizer.param_groups] == [(0.003, True), (0.003, False)]
