"""DLinear: a moving average splits a window into trend and rest, and a linear map takes each to the forecast.

A. Zeng, M. Chen, L. Zhang, Q. Xu: Are Transformers Effective for Time Series Forecasting? (2022). Beyond the paper: each window
is scaled, the head may be a distribution or quantiles, and a small network of the time step (its calendar, known covariates and
the series' own category) adds its part to each forecast step and takes it from each past one, for linear maps of the values
alone can't know that tomorrow is a Sunday.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .modeling_direct import DirectConfig, DirectForecaster, Features, Static, StepNetwork, WindowMap


class DLinearConfig(DirectConfig):
    """
    Attributes:
        kernel_size: of the moving average; odd.
        individual: whether each dimension has maps of its own.
    """

    model_type = "dlinear"

    kernel_size: int = 25
    individual: bool = False


class DLinearForPrediction(DirectForecaster):
    """DLinear with a distribution, quantiles or a point at each step."""

    config: DLinearConfig
    config_class = DLinearConfig

    def __init__(self, config: DLinearConfig) -> None:
        super().__init__(config)
        maps = config.input_size if config.individual else 1
        self.trend, self.rest = WindowMap(config, maps), WindowMap(config, maps)
        self.average = nn.AvgPool1d(config.kernel_size, stride=1)
        outputs = config.input_size * config.parameters_a_step
        self.step = StepNetwork(config, config.hidden_size, outputs) if config.knows_steps else None
        self.post_init()

    def _raw(self, x: Tensor, mask: Tensor, features: Features, static: Static) -> Tensor:
        if self.step is None or features is None:
            return self._maps(x)
        steps = x.shape[1]
        own = self.step(torch.cat(features, dim=1), *static)
        own = own.view(*own.shape[:2], self.config.input_size, -1)
        # A quantile head's middle level stands for the location.
        middle = own.shape[-1] // 2 if self.config.distribution_output == "quantiles" else self.config.location
        return self._maps(x - own[:, :steps, :, middle] * mask) + own[:, steps:]

    def _maps(self, x: Tensor) -> Tensor:
        """[b, context, dims] to [b, H, dims, parameters]."""
        x, pad = x.transpose(1, 2), (self.config.kernel_size - 1) // 2
        trend = self.average(F.pad(x, (pad, pad), mode="replicate"))
        out = self.trend(trend) + self.rest(x - trend)
        return out.view(*out.shape[:2], -1, self.config.prediction_length).permute(0, 3, 1, 2)
