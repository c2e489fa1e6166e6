"""DLinear: a moving average splits a window into trend and rest, and a linear map takes each to the forecast.

A. Zeng, M. Chen, L. Zhang, Q. Xu: Are Transformers Effective for Time Series Forecasting? (2022). Beyond the paper: each window
is scaled, the head may be a distribution or quantiles, and a small network of the time step (its calendar, known covariates and
the series' own category) adds its part to each forecast step and takes it from each past one, for linear maps of the values
alone can't know that tomorrow is a Sunday.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from tasks.forecast.models.direct import DirectConfig, DirectForecaster, DirectOutput, StepNetwork, WindowMap


class DLinearConfig(DirectConfig):
    """See `tasks.forecast.models.spec.Spec` for what the fields mean."""

    model_type = "dlinear"

    kernel_size: int = 25
    individual: bool = False


class DLinearForPrediction(DirectForecaster):
    """Takes the batch that transformers' time-series models take."""

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

    def forward(
        self,
        past_values: Tensor,
        past_observed_mask: Tensor | None = None,
        past_time_features: Tensor | None = None,
        future_time_features: Tensor | None = None,
        static_categorical_features: Tensor | None = None,
        static_real_features: Tensor | None = None,
        future_values: Tensor | None = None,
        future_observed_mask: Tensor | None = None,
    ) -> DirectOutput:
        """The shapes are those of `tasks.forecast.windows.Windows.take`; a longer past is cut to the context."""
        steps = self.config.context_length
        x, mask, scaling = self._scaled(past_values, past_observed_mask)
        ahead: Tensor | None = None
        if self.step is not None:
            assert past_time_features is not None
            assert future_time_features is not None
            features = torch.cat((past_time_features[:, -steps:], future_time_features), dim=1)
            own = self.step(features, static_categorical_features, static_real_features)
            own = own.view(*own.shape[:2], self.config.input_size, -1)
            ahead = own[:, steps:]
            # A quantile head's middle level stands for the location.
            middle = own.shape[-1] // 2 if self.config.distribution_output == "quantiles" else self.config.location
            x = x - own[:, :steps, :, middle] * mask
        raw = self._maps(x)
        raw = raw if ahead is None else raw + ahead
        return self._output(raw, *scaling, future_values, future_observed_mask)

    def _maps(self, x: Tensor) -> Tensor:
        """[b, context, dims] to [b, H, dims, parameters]."""
        x, pad = x.transpose(1, 2), (self.config.kernel_size - 1) // 2
        trend = self.average(F.pad(x, (pad, pad), mode="replicate"))
        out = self.trend(trend) + self.rest(x - trend)
        return out.view(*out.shape[:2], -1, self.config.prediction_length).permute(0, 3, 1, 2)


def register() -> None:
    """Lets transformers' AutoConfig and AutoModel know the model."""
    transformers.AutoConfig.register("dlinear", DLinearConfig, exist_ok=True)
    transformers.AutoModel.register(DLinearConfig, DLinearForPrediction, exist_ok=True)


register()
