"""Device memory: moving batches there, and knowing when it is full."""

from __future__ import annotations

import torch

from recipes.work import Batch

OUT_OF_MEMORY = (
    "out of memory with one example at a time; try --gradient-checkpointing, then --optimizer adamw-8bit, then "
    "--mixed-precision bf16, or a smaller model or input size"
)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Moves the tensors of a batch, without waiting where memory is pinned."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }


def is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a type for it; the CPU allocator only a RuntimeError that names itself."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has used on the device; on the CPU, of all its memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
