"""Choosing a device on a machine that may have only a CPU."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.networks.device import (  # noqa: E402
    autocast,
    cpu_threads,
    devices_text,
    gradient_scaler,
    resolve_device,
)

pytestmark = pytest.mark.torch

HAS_CUDA = torch.cuda.is_available()
HAS_MPS = torch.backends.mps.is_available()


def test_cpu_and_auto():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if HAS_CUDA else "mps" if HAS_MPS else "cpu")
    assert devices_text().startswith("cpu (")


@pytest.mark.skipif(HAS_CUDA, reason="this machine has CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_absent_cuda_says_what_is_there_and_what_to_do(name):
    with pytest.raises(UserError, match=r"this machine has: cpu.*Use --device cpu"):
        resolve_device(name)


@pytest.mark.skipif(not HAS_CUDA, reason="no CUDA here")
def test_cuda_devices_are_numbered():
    assert resolve_device("cuda").index is not None
    with pytest.raises(UserError, match="no CUDA device 77"):
        resolve_device("cuda:77")


@pytest.mark.skipif(HAS_MPS, reason="this machine has MPS")
def test_absent_mps():
    with pytest.raises(UserError, match="mps is not available"):
        resolve_device("mps")


@pytest.mark.parametrize("name", ["gpu", "meta", "", "cuda:x"])
def test_names_that_are_no_device(name):
    with pytest.raises(UserError, match="Use auto, cpu, cuda"):
        resolve_device(name)


def test_the_cpu_computes_in_float32():
    cpu = torch.device("cpu")
    assert gradient_scaler(cpu) is None
    with autocast(cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with cpu_threads(before + 1) as threads:
        assert threads == before + 1
    assert torch.get_num_threads() == before
