"""The device a network runs on: which there are, choosing one, its number format, and the CPU threads of torch."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.machine import free_memory, total_memory
from segautoconfiglib.base.parallel import usable_cores

#: How long NVIDIA's own tool may take to list its GPUs (seconds).
NVIDIA_PATIENCE_S = 10


def resolve_device(name: str) -> torch.device:
    """The device called ``name``, checked to be there.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", or "auto" (CUDA, else MPS, else the CPU).

    Returns:
        The device; "cuda" becomes the current CUDA device with its number.

    Raises:
        UserError: an unknown name, or a device that this machine or this build of torch does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"{name!r} is no device.", "Use auto, cpu, cuda, cuda:N or mps.") from error
    if device.type == "cuda":
        return _cuda_device(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"Device mps is not available; this machine has: {devices_text()}.", "Use --device cpu.", "cpu")
    if device.type not in ("cpu", "mps"):
        raise UserError(f"Device {name!r} is not supported.", "Use auto, cpu, cuda, cuda:N or mps.")
    return device


def _cuda_device(device: torch.device) -> torch.device:
    if not torch.cuda.is_available():
        reason = (
            "no working NVIDIA driver or GPU was found"
            if torch.backends.cuda.is_built()
            else f"the installed torch {torch.__version__} was built without CUDA"
        )
        raise UserError(
            f"CUDA was asked for, but {reason}; this machine has: {devices_text()}.",
            "Use --device cpu, or install a CUDA build of torch and the NVIDIA driver.",
            "install-cuda",
        )
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise UserError(
            f"There is no CUDA device {index}; this machine has: {devices_text()}.", "Use --device cuda.", "cuda"
        )
    return torch.device("cuda", index)


def devices_text() -> str:
    """What this machine and this torch offer, for people: ``cpu (2 cores), cuda:0 (NVIDIA H100)``."""
    found = [f"cpu ({usable_cores()} cores)"]
    if torch.cuda.is_available():
        found += [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return ", ".join(found)


@dataclass(frozen=True)
class DeviceInfo:
    """One device of this machine.

    Attributes:
        device: What ``--device`` takes: "cuda:0", "mps", "cpu".
        name: For people.
        memory_gb: All of its memory (2**30 bytes); None where it can't be told.
        free_gb: What other programs have left of it.
        usable: Whether a convolution was really computed on it.
        reason: Why not, as a sentence.
    """

    device: str
    name: str
    memory_gb: float | None
    free_gb: float | None
    usable: bool = True
    reason: str = ""


def list_devices() -> list[DeviceInfo]:
    """All devices, the fastest first. GPUs that torch can't use are there, too, with the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of GPUs that it does not know; the trial below tells
        gpus = [_tried_gpu(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        if torch.backends.mps.is_available():
            reason = _try(torch.device("mps"))
            memory = torch.mps.recommended_max_memory()
            gpus.append(DeviceInfo("mps", "Apple GPU", _gb(memory), None, not reason, reason))
    cpu = DeviceInfo("cpu", f"{usable_cores()} cores", _gb(total_memory()), _gb(free_memory()))
    return [*(gpus or _idle_gpus()), cpu]


def _tried_gpu(index: int) -> DeviceInfo:
    device = torch.device("cuda", index)
    try:
        name = torch.cuda.get_device_name(index)
        total = torch.cuda.get_device_properties(index).total_memory
    except RuntimeError as error:
        return DeviceInfo(str(device), "GPU", None, None, False, _first_line(error))
    reason = _try(device)
    try:
        free: float | None = _gb(torch.cuda.mem_get_info(index)[0])
    except RuntimeError:
        free = None
    return DeviceInfo(str(device), name, _gb(total), free, not reason, reason)


def _try(device: torch.device) -> str:
    """Compute one tiny convolution. Returns why that failed; "" where it did not."""
    try:
        with torch.no_grad():
            image, kernel = torch.ones((1, 1, 4, 4, 4), device=device), torch.ones((1, 1, 3, 3, 3), device=device)
            worked = float(torch.nn.functional.conv3d(image, kernel).sum()) == 27 * 8
    except (RuntimeError, NotImplementedError) as error:
        return _why_not(device, error)
    return "" if worked else "It computes wrong results; update its driver and torch."


def _why_not(device: torch.device, error: Exception) -> str:
    if lacks_memory(error):
        return "Its memory is used up by other programs."
    if "no kernel image" in str(error):
        major, minor = torch.cuda.get_device_capability(device)
        return (
            f"The installed torch {torch.__version__} was not built for this GPU (compute capability {major}.{minor}); "
            "install a build for it, newer for a new GPU."
        )
    return _first_line(error)


def _idle_gpus() -> list[DeviceInfo]:
    """NVIDIA GPUs that torch does not see, as NVIDIA's tool lists them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_PATIENCE_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    reason, found = _cuda_reason(), []
    for index, line in enumerate(answer.splitlines()):
        name, *sizes = (part.strip() for part in line.split(","))
        total, free = (float(size) / 1024 if size.isdigit() else None for size in (*sizes, "", "")[:2])
        found.append(DeviceInfo(f"cuda:{index}", name, total, free, False, reason))
    return found


def _cuda_reason() -> str:
    """Why torch can't use the GPU that is there."""
    if not torch.backends.cuda.is_built():
        return f"The installed torch {torch.__version__} was built without CUDA; install a build with CUDA."
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return _first_line(error)
    return "torch does not see it; it may be hidden by the variable CUDA_VISIBLE_DEVICES."


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _gb(size: float) -> float:
    return round(size / 2**30, 2)


def autocast(device: torch.device, dtype: torch.dtype = torch.float16) -> AbstractContextManager[object]:
    """Mixed precision on CUDA (float16, or bfloat16 if asked); float32 on the CPU and MPS."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=dtype)
    return nullcontext()


def gradient_scaler(device: torch.device, dtype: torch.dtype = torch.float16) -> torch.amp.GradScaler | None:
    """The loss scaler that float16 on CUDA needs; None elsewhere."""
    return torch.amp.GradScaler("cuda") if device.type == "cuda" and dtype == torch.float16 else None


def memory_format(dimension: int) -> torch.memory_format:
    """Channels-last layout of tensors (batch, channel, [z,] y, x), which CPU convolutions are faster with."""
    return torch.channels_last if dimension == 2 else torch.channels_last_3d


@contextmanager
def cpu_threads(count: int | None) -> Iterator[int]:
    """Let torch use ``count`` threads inside the block (None: as many as it is set to, at most the usable cores).

    More threads than free cores are slower than one: they wait for each other at every layer.

    Yields:
        The number of threads in use.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count if count is not None else min(before, usable_cores())))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@contextmanager
def tuned_convolutions() -> Iterator[None]:
    """Let cuDNN try out its algorithms for every new shape inside the block: pays where shapes stay the same."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def memory_errors(device: torch.device, batch_size: int, patch_size: Sequence[int]) -> Iterator[None]:
    """Raises: UserError: the memory did not suffice for training; that is the user's to change, on every device."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        patch = "x".join(map(str, patch_size))
        raise UserError(
            f"The memory of {device} did not suffice for a batch of {batch_size} patches of {patch} voxels.",
            "Close other programs on it, use fewer --workers, or smaller patches and batches in the plans "
            "(--gpu-memory-target). Finished epochs are kept.",
            "free-memory-or-shrink",
        ) from error


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up, on a GPU or for the CPU."""
    texts = (
        *("can't allocate memory", "not enough memory"),  # CPU, CPU on Windows
        *("out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED"),  # MPS and CUDA
    )
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(text in str(error) for text in texts)
