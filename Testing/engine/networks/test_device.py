"""Choosing a device on a machine that may have only a CPU."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.networks.device import (  # noqa: E402
    autocast,
    cpu_threads,
    devices_text,
    gradient_scaler,
    list_devices,
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


class FakeCuda:
    """torch.cuda of a machine with two GPUs, of which the trial on the second fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
        convolution = torch.nn.functional.conv3d
        tried = iter([False, True])

        def conv3d(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
            if next(tried):
                raise RuntimeError(failure)
            return convolution(image, kernel)

        values = {
            "is_available": True,
            "device_count": 2,
            "get_device_name": "A GPU",
            "get_device_properties": SimpleNamespace(total_memory=8 * 2**30),
            "mem_get_info": (6 * 2**30, 8 * 2**30),
            "get_device_capability": (12, 0),
        }
        for name, value in values.items():
            monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
        monkeypatch.setattr(torch.nn.functional, "conv3d", conv3d)
        monkeypatch.setattr(torch, "ones", lambda shape, device: torch.full(shape, 1.0))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("CUDA error: no kernel image is available\nmore", "not built for this GPU (compute capability 12.0)"),
        ("CUDA out of memory. Tried to allocate 20 MiB", "Its memory is used up by other programs."),
        ("CUDA error: unspecified launch failure\nCUDA kernel errors", "CUDA error: unspecified launch failure"),
    ],
)
def test_a_gpu_counts_when_it_has_computed(monkeypatch, failure, reason):
    FakeCuda(monkeypatch, failure)
    first, second, *_, cpu = list_devices()
    assert (first.device, first.name, first.usable, first.reason) == ("cuda:0", "A GPU", True, "")
    assert (first.memory_gb, first.free_gb) == (8.0, 6.0)
    assert (second.device, second.usable) == ("cuda:1", False)
    assert reason in second.reason
    assert "\n" not in second.reason
    assert (cpu.device, cpu.usable) == ("cpu", True)


@pytest.mark.skipif(HAS_CUDA or HAS_MPS or os.name == "nt", reason="needs a machine without a GPU")
def test_a_gpu_that_torch_does_not_see_is_named_with_the_reason(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA RTX, 24576, 20480'\necho 'NVIDIA Old, [N/A], [N/A]'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    first, second, cpu = list_devices()
    assert (first.device, first.name, first.memory_gb, first.free_gb) == ("cuda:0", "NVIDIA RTX", 24.0, 20.0)
    assert (second.name, second.memory_gb, second.free_gb) == ("NVIDIA Old", None, None)
    assert not first.usable
    assert "was built without CUDA" in first.reason
    assert cpu.device == "cpu"
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)

    def too_old():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update")

    monkeypatch.setattr(torch.cuda, "init", too_old)
    assert list_devices()[0].reason == "The NVIDIA driver on your system is too old (found version 11040)."
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert [device.device for device in list_devices()] == ["cpu"]
