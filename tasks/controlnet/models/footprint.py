"""How much memory a training step takes, counted without running it.

Networks and inputs are fake tensors: shapes and types without values. Their forward and backward pass is gone through, and
every tensor that comes to be and goes is counted. What libraries take besides tensors isn't: a CUDA context, cuDNN's
workspaces, an allocator's gaps.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tasks.controlnet.memory_efficient import prepare
from tasks.controlnet.models.diffusion import losses, predict

# Stable Diffusion 1.5's UNet where it differs from diffusers' defaults.
SD15: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}
WORDS = 77
ADAM_BYTES, ADAM_8BIT_BYTES = 8, 2


@dataclass(frozen=True)
class Footprint:
    """Bytes.

    Attributes:
        weights: of UNet and ControlNet.
        optimizer: its state.
        step: the most that forward and backward hold at a time: activations, gradients, inputs.
    """

    weights: int
    optimizer: int
    step: int

    @property
    def total(self) -> int:
        """Their sum."""
        return self.weights + self.optimizer + self.step


def footprint(
    unet_config: dict[str, Any] | None = None,
    *,
    height: int = 512,
    width: int = 512,
    batch_size: int = 4,
    accumulated: bool = False,
    gradient_checkpointing: bool = False,
    precision: torch.dtype = torch.float32,
    eight_bit: bool = False,
) -> Footprint:
    """That of a step of `tool train controlnet` on a GPU.

    Args:
        unet_config: the base's; None: Stable Diffusion 1.5's.
        height, width: of the pictures.
        batch_size: pictures that go through at once.
        accumulated: gradients of earlier micro-batches are there already.
        precision: of the base and of autocast; float32: no autocast.
        eight_bit: the optimizer is adamw-8bit.
    """
    from diffusers import ControlNetModel, UNet2DConditionModel
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        with _made_in(precision):  # fake weights can't be cast in place
            unet = UNet2DConditionModel.from_config(unet_config or SD15)
        controlnet = ControlNetModel.from_unet(unet, load_weights_from_unet=False).train()
        # Not in pieces: so a GPU goes through it.
        prepare.prepare(
            unet, controlnet, gradient_checkpointing=gradient_checkpointing, channels_last=False, pieces=False
        )
        trained = [parameter for parameter in controlnet.parameters() if parameter.requires_grad]
        count = sum(parameter.numel() for parameter in trained)
        weights = sum(one.numel() * one.element_size() for net in (unet, controlnet) for one in net.parameters())
        with Tracker() as tracker:
            _step(unet, controlnet, (batch_size, height, width), precision, trained if accumulated else [])
    return Footprint(weights, count * (ADAM_8BIT_BYTES if eight_bit else ADAM_BYTES), tracker.peak)


@contextlib.contextmanager
def _made_in(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _step(unet: Any, controlnet: Any, shape: tuple[int, int, int], precision: torch.dtype, held: list[Any]) -> None:
    """Forward and backward of zeros; `held` parameters have gradients already."""
    batch, height, width = shape
    for parameter in held:
        parameter.grad = torch.zeros_like(parameter)
    noisy = torch.zeros(batch, unet.config.in_channels, height // 8, width // 8)
    hidden = torch.zeros(batch, WORDS, unet.config.cross_attention_dim)
    condition = torch.zeros(batch, 3, height, width)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != torch.float32):
        predicted = predict(unet, controlnet, noisy, torch.zeros(batch, dtype=torch.long), hidden, condition)
        loss = losses(predicted, noisy).mean()
    del predicted
    loss.backward()


class Tracker(TorchDispatchMode):
    """Counts the bytes of the tensors made under it that are alive; `peak` is the most at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and notes what it made."""
        result = func(*args, **(kwargs or {}))
        before = {id(one.untyped_storage()) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor) and id(one.untyped_storage()) not in before | self._alive.keys():
                self._note(one.untyped_storage())
        # Asked of each anew: some are let go in place.
        alive = [reference() for reference in list(self._alive.values())]
        self.peak = max(self.peak, sum(storage.nbytes() for storage in alive if storage is not None))
        return result

    def _note(self, storage: Any) -> None:
        number = id(storage)
        self._alive[number] = weakref.ref(storage, lambda _: self._alive.pop(number, None))
