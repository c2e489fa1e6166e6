"""The network as the loop trains it: windows in, a loss for each out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.forecast.models import losses
from tasks.forecast.windows import Batch


class Trained(nn.Module):
    """A forecasting model whose call gives losses, so that gradients are exchanged however the loss is computed."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> torch.Tensor:
        """Losses float32 [b] of windows as `tasks.forecast.windows` cuts them."""
        found = losses(self.network, batch)
        if self.training and torch.distributed.is_initialized():
            # Each process leaves out other layers at random; all must exchange all gradients, if only zeros.
            found = found + 0.0 * torch.stack([parameter.sum() for parameter in self.parameters()]).sum()
        return found

    def gradient_checkpointing_enable(self, **settings: Any) -> None:
        """As the network's own."""
        self.network.gradient_checkpointing_enable(**settings)

    def save(self, folder: Path) -> None:
        """As `from_pretrained` loads the network."""
        self.network.save_pretrained(folder)
