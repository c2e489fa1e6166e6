"""Memory of host and device: how much is free and used, moving batches, and recognising out-of-memory errors."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

import torch

from recipes.process import cgroups
from recipes.work import Batch

OUT_OF_MEMORY = (
    "out of memory with one example at a time; try --gradient-checkpointing, then --optimizer adamw-8bit, then "
    "--mixed-precision bf16, or a smaller model or input size"
)
OPTIMIZER_OUT_OF_MEMORY = (
    "out of memory in the optimizer's state; try --optimizer adamw-8bit (a quarter of AdamW's), or a smaller model"
)
EVALUATION_OUT_OF_MEMORY = "out of memory in the evaluation; lower --eval-batch-size"

# Device type -> the peak before the last `begin_peak`.
_EARLIER_PEAKS: dict[str, int] = {}


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Moves the tensors of a batch, without waiting where memory is pinned."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has used on the device; on the CPU, of all its memory."""
    return max(_EARLIER_PEAKS.get(device.type, 0), recent_peak(device))


def recent_peak(device: torch.device) -> int:
    """The same since the last `begin_peak`."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    import resource

    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def begin_peak(device: torch.device) -> None:
    """Lets `recent_peak` count from here on, where the system can."""
    _EARLIER_PEAKS[device.type] = peak_memory(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def used_memory(device: torch.device) -> int:
    """Bytes in use now."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated())
    import psutil

    return int(psutil.Process().memory_info().rss)


def release(device: torch.device) -> None:
    """Gives back what the allocator keeps of freed memory, so that a smaller piece finds room."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def room(device: torch.device, sharers: int = 1) -> int:
    """Bytes that this process can still take: of the GPU; or of the machine and container, with `sharers`, and of its own limit."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return int(free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())
    import psutil

    group = cgroups.memory_limit()
    shared = [psutil.virtual_memory().available, *([group.room] if group is not None else [])]
    rooms = [count // sharers for count in shared]
    limit, size = cgroups.address_space(), _status("VmSize")
    if limit is not None and size is not None:
        rooms.append(limit - size)
    return max(0, min(rooms))


def _status(name: str) -> int | None:
    """A line of /proc/self/status in bytes; None where there is no such file."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
