"""Checks a fast path against the forward of the library that it stands in for, on a small batch, before a run relies on it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import torch
from torch import Tensor

from tasks.errors import is_out_of_memory

SEEDS = 3


def difference(
    fast: Callable[[], Tensor],
    reference: Callable[[], Tensor],
    *,
    what: str,
    library: str,
    tolerance: float = 1e-3,
) -> str | None:
    """A sentence that says how the fast path differs from the library's own forward, or None where they agree.

    Both are called without gradients and from the same random state; the state is restored afterwards. Where rounding decides a
    choice, as among almost equal scores, one seed may differ: a difference is what all seeds show.

    Args:
        fast, reference: the same numbers of one small batch, without dropout. They leave the model as it was: mode, buffers,
            gradients. What they draw from torch's global generator is the same in both.
        what: the fast path, in the singular, as in "PyTorch's fast path".
        library: the package it stands in for, as in "transformers".
        tolerance: of each number, relative to 1 + its size. The default is for float32; give 5e-2 for bfloat16.
    """
    versions = f"{library} {metadata.version(library)}", f"torch {metadata.version('torch')}"
    for seed in range(SEEDS):
        expected = _seeded(reference, seed).float()
        try:
            numbers = _seeded(fast, seed).float()
            if torch.allclose(numbers, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
                return None
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return f"{what} fails beside {' and '.join(versions)} ({error!r}): the library's is used"
    gap = float((numbers - expected).abs().max())
    return f"{what} differs from {versions[0]}'s own forward by {gap:.2g} ({versions[1]}): the library's is used"


def _seeded(call: Callable[[], Tensor], seed: int) -> Tensor:
    """What the call gives from a state of torch's generators that the seed alone decides."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        if devices:  # torch.manual_seed would seed a GPU that is started later too
            torch.cuda.manual_seed(seed)
        return call()
