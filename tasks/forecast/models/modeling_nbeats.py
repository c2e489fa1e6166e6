"""N-BEATS, generic: blocks of fully connected layers, each of which explains a part of the context and leaves the rest to the next.

B. N. Oreshkin, D. Carpov, N. Chapados, Y. Bengio: N-BEATS: Neural basis expansion analysis for interpretable time series
forecasting (2020). Beyond the paper: each window is scaled; a linear map of the scaled window runs beside the blocks and begins
as a naive forecast; the blocks see the inverse hyperbolic sine of it, for scaled by its seasonal differences a regular series
has values of a hundred and an erratic one of 1, which no common layer takes well; the head may be a distribution or quantiles;
and, as in A. Das and others: Long-term Forecasting with TiDE (2023), a small network brings each forecast step's calendar, known
covariates and series down to a few numbers that every block is given.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .modeling_direct import DirectConfig, DirectForecaster, Features, Static, StepNetwork, WindowMap

# Numbers that a forecast step's features become, and the width of the network that makes them.
STEP_WIDTH, STEP_HIDDEN = 4, 16


class NBeatsConfig(DirectConfig):
    """
    Attributes:
        num_blocks, block_layers: blocks, and hidden layers of each.
        dropout: after each hidden layer.
    """

    model_type = "nbeats"

    num_blocks: int = 3
    block_layers: int = 2
    dropout: float = 0.0


class Block(nn.Module):
    """Layers with ReLU, then a linear map to the part of the context that they explain and one to the forecast that follows."""

    def __init__(self, config: NBeatsConfig, *, last: bool) -> None:
        super().__init__()
        context = config.context_length
        extra = STEP_WIDTH * config.prediction_length if config.knows_steps else 0
        widths = [context + extra, *[config.hidden_size] * config.block_layers]
        layers = [
            nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(config.dropout)) for a, b in itertools.pairwise(widths)
        ]
        self.layers = nn.Sequential(*layers)
        # Nobody reads what the last block leaves of the context.
        self.backcast = None if last else nn.Linear(config.hidden_size, context)
        self.forecast = nn.Linear(config.hidden_size, config.parameters_a_step * config.prediction_length)

    def forward(self, x: Tensor, steps: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """x: [b, dims, context], steps: [b, dims, steps' numbers] to [b, dims, context] and [b, dims, outputs]."""
        hidden = self.layers(x if steps is None else torch.cat((x, steps), dim=-1))
        return None if self.backcast is None else self.backcast(hidden), self.forecast(hidden)


class NBeatsForPrediction(DirectForecaster):
    """N-BEATS with a distribution, quantiles or a point at each step. Dimensions go through the same weights one by one."""

    config: NBeatsConfig
    config_class = NBeatsConfig

    def __init__(self, config: NBeatsConfig) -> None:
        super().__init__(config)
        self.linear = WindowMap(config)
        self.step = StepNetwork(config, STEP_HIDDEN, STEP_WIDTH) if config.knows_steps else None
        count = config.num_blocks
        self.blocks = nn.ModuleList(Block(config, last=number == count - 1) for number in range(count))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Block):
            for layer in (part for part in module.modules() if isinstance(part, nn.Linear)):
                bound = layer.in_features**-0.5
                init.uniform_(layer.weight, -bound, bound)
            # The forecast is at first next to the linear map's.
            init.normal_(module.forecast.weight, std=1e-3)

    def _raw(self, x: Tensor, mask: Tensor, features: Features, static: Static) -> Tensor:
        x, mask = x.transpose(1, 2), mask.transpose(1, 2)
        steps: Tensor | None = None
        if self.step is not None and features is not None:
            own = self.step(features[1], *static)
            steps = own.flatten(1)[:, None].expand(-1, self.config.input_size, -1)
        raw, rest = self.linear(x), x.asinh()
        for block in self.blocks:
            explained, part = block(rest, steps)
            raw = raw + part
            if explained is not None:
                rest = (rest - explained) * mask
        return raw.view(*raw.shape[:2], -1, self.config.prediction_length).permute(0, 3, 1, 2)
