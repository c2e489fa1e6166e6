"""Base of the models that give a window's whole forecast in one pass: scaling, step features, and the forecast head.

Like the `modeling_*.py` files that import it, it needs torch and transformers alone: these files are copied into the folder of a
saved model, from which `AutoModel.from_pretrained(folder, trust_remote_code=True)` opens it anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_outputs import SampleTSPredictionOutput
from transformers.utils import ModelOutput

from .likelihood import OUTPUTS, negative_log_likelihood, pinball, window_means
from .noise import sample_paths

# Features of the context's steps and of the future ones; categories and numbers of the series.
Features = tuple[Tensor, Tensor] | None
Static = tuple[Tensor | None, Tensor | None]


class DirectConfig(transformers.PreTrainedConfig):
    """
    Attributes:
        prediction_length: steps that are forecast, H.
        context_length: steps that the model looks at.
        input_size: dimensions that are forecast together; 1 for univariate series.
        distribution_output: "student_t", "normal", "negative_binomial", "quantiles" or "point".
        quantile_levels: of a quantile head, rising.
        scaling: of each window: "std", "mean", "seasonal" (mean absolute difference over a season) or "none".
        season: steps of a season.
        calendar: whether the model reads time features.
        anchor: what it forecasts untrained: the "mean" of the context, its "last" value or its last "season".
        hidden_size: width of the layers; of DLinear's network of step features.
        num_time_features: the calendar's, the age and known covariates.
        cardinality, embedding_dimension: of each static category, how many values it has and how wide its embedding is.
    """

    prediction_length: int = 24
    context_length: int = 48
    input_size: int = 1
    distribution_output: str = "student_t"
    quantile_levels: list[float] | None = None
    scaling: str = "std"
    season: int = 1
    calendar: bool = True
    anchor: str = "mean"
    hidden_size: int = 16
    num_time_features: int = 0
    num_static_categorical_features: int = 0
    num_static_real_features: int = 0
    cardinality: list[int] | None = None
    embedding_dimension: list[int] | None = None

    @property
    def parameters_a_step(self) -> int:
        """How many numbers the head has for one forecast step."""
        if self.distribution_output in OUTPUTS:
            return len(OUTPUTS[self.distribution_output].args_dim)
        return len(self.quantile_levels or []) if self.distribution_output == "quantiles" else 1

    @property
    def location(self) -> int:
        """Which of the numbers of a distribution's step is its location."""
        return {"student_t": 1, "negative_binomial": 1}.get(self.distribution_output, 0)

    @property
    def knows_steps(self) -> bool:
        """Whether a time step has anything beside its value: a calendar, or its series' own categories and numbers."""
        known = (self.calendar and self.num_time_features) or self.cardinality or self.num_static_real_features
        return bool(known)


@dataclass
class DirectOutput(ModelOutput):
    """
    Attributes:
        loss: float32 scalar, the mean of `losses`; losses: float32 [b]; both None without future values. The negative log
            likelihood in the values' units; for quantiles and points the pinball loss or squared error of the scaled values.
        params: of the distribution of the scaled values, each [b, H] or [b, H, dims], as transformers' models give them.
        quantiles: [b, levels, H] or [b, levels, H, dims], in the values' units, never crossing.
        prediction_outputs: of a point head, [b, H] or [b, H, dims], in the values' units.
        loc, scale: the windows' scaling, [b, 1] or [b, 1, dims].
    """

    loss: Tensor | None = None
    losses: Tensor | None = None
    params: tuple[Tensor, ...] | None = None
    quantiles: Tensor | None = None
    prediction_outputs: Tensor | None = None
    loc: Tensor | None = None
    scale: Tensor | None = None


def naive_map(config: DirectConfig) -> Tensor:
    """[outputs, context]: location (every quantile) is the context's mean, last value or last season, all else 0."""
    rows = torch.zeros(config.parameters_a_step, config.prediction_length, config.context_length)
    location = rows if config.distribution_output == "quantiles" else rows[config.location]
    if config.anchor == "season":
        steps = torch.arange(config.prediction_length)
        location[..., steps, config.context_length - config.season + steps % config.season] = 1.0
    elif config.anchor == "last":
        location[..., -1] = 1.0
    else:
        location[...] = 1.0 / config.context_length
    return rows.flatten(0, 1)


class WindowMap(nn.Module):
    """A linear map of a window's time axis, `maps` of them: one for all dimensions, or one each.

    It is the naive forecast of `DirectConfig.anchor` plus what is learnt, so that weight decay takes it back to that forecast.
    """

    naive: Tensor

    def __init__(self, config: DirectConfig, maps: int = 1) -> None:
        super().__init__()
        outputs = config.parameters_a_step * config.prediction_length
        self.weight = nn.Parameter(torch.zeros(maps, outputs, config.context_length))
        self.bias = nn.Parameter(torch.zeros(maps, outputs))
        self.register_buffer("naive", naive_map(config), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[b, dims, context] to [b, dims, outputs]."""
        weight = self.weight + self.naive
        if weight.shape[0] == 1:
            return F.linear(x, weight[0], self.bias[0])
        return torch.einsum("bdt,dot->bdo", x, weight) + self.bias


class StepNetwork(nn.Module):
    """What a time step adds by itself: from its time features and what is known of its series."""

    def __init__(self, config: DirectConfig, width: int, outputs: int) -> None:
        super().__init__()
        widths = config.embedding_dimension or []
        self.embedders = nn.ModuleList(
            nn.Embedding(c, d) for c, d in zip(config.cardinality or [], widths, strict=True)
        )
        self.features = config.num_time_features if config.calendar else 0
        inputs = self.features + sum(widths) + config.num_static_real_features
        self.inner = nn.Linear(inputs, width)
        self.outer = nn.Linear(width, outputs)

    def forward(self, features: Tensor, categories: Tensor | None, reals: Tensor | None) -> Tensor:
        """[b, steps, features] to [b, steps, outputs]."""
        parts = [features[..., : self.features]]
        static = [embed(categories[:, i]) for i, embed in enumerate(self.embedders)] if categories is not None else []
        static += [] if reals is None else [reals]
        parts += [part[:, None].expand(-1, features.shape[1], -1) for part in static]
        return self.outer(F.gelu(self.inner(torch.cat(parts, dim=-1))))


class DirectForecaster(transformers.PreTrainedModel):
    """Takes the inputs of transformers' time-series models; a subclass gives the network, `_raw`."""

    config: DirectConfig
    base_model_prefix = ""
    main_input_name = "past_values"

    def __init__(self, config: DirectConfig) -> None:
        super().__init__(config)
        output = OUTPUTS.get(config.distribution_output)
        self.distribution_output = output(dim=config.input_size) if output else None

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, WindowMap):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
            init.copy_(module.naive, naive_map(self.config))
        else:
            super()._init_weights(module)

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
        """The forecast in the values' own units, and with future values the loss.

        Args:
            past_values: float32 [b, past] or [b, past, dims], 0 where nothing was observed; a past longer than the context is cut.
            past_observed_mask: 1 or 0, of the same shape; left out, everything was observed.
            past_time_features: float32 [b, past, num_time_features]; future_time_features: [b, H, num_time_features]. Models
                without calendar, categories and static numbers read none.
            static_categorical_features: int64 [b, categories]; static_real_features: float32 [b, numbers].
            future_values, future_observed_mask: as the past ones, over H steps, for training.
        """
        x, mask, (loc, scale) = self._scaled(past_values, past_observed_mask)
        features: Features = None
        if self.config.knows_steps:
            if past_time_features is None or future_time_features is None:
                raise ValueError("this model reads time features: give past_time_features and future_time_features")
            features = past_time_features[:, -self.config.context_length :], future_time_features
        raw = self._raw(x, mask, features, (static_categorical_features, static_real_features))
        return self._output(raw, loc, scale, future_values, future_observed_mask)

    def _raw(self, x: Tensor, mask: Tensor, features: Features, static: Static) -> Tensor:
        """[b, H, dims, parameters] of the scaled values.

        Args:
            x, mask: the scaled context and what of it was observed, [b, context, dims].
            features: of the context's steps and of the future ones, for models that read any.
            static: categories and numbers of the series.
        """
        raise NotImplementedError

    @torch.no_grad()
    def generate(
        self, *, num_parallel_samples: int = 100, generator: torch.Generator | None = None, **inputs: Tensor
    ) -> SampleTSPredictionOutput:
        """Sample paths in the values' own units: `sequences`, [b, samples, H] or [b, samples, H, dims].

        Args:
            num_parallel_samples: paths of each window; a point head has one.
            generator: the source of randomness; torch's own by default. The same seed gives the same paths.
            inputs: as those of a call.

        Raises:
            ValueError: a quantile head draws no paths; a call gives its quantiles.
        """
        output = self(**inputs)
        if output.quantiles is not None:
            raise ValueError("a quantile head draws no paths: take the quantiles of model(...)")
        if output.prediction_outputs is not None:
            return SampleTSPredictionOutput(sequences=output.prediction_outputs[:, None])
        univariate = self.config.input_size == 1
        params, (loc, scale) = output.params, (output.loc, output.scale)
        if univariate:
            params, loc, scale = tuple(part[..., None] for part in params), loc[..., None], scale[..., None]
        paths = sample_paths(
            self.distribution_output, params, loc, scale, num_parallel_samples, generator or torch.default_generator
        )
        return SampleTSPredictionOutput(sequences=paths[..., 0] if univariate else paths)

    def _scaled(
        self, past_values: Tensor, past_observed_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """The context's scaled values and its mask, both [b, context, dims], 0 where nothing was observed; loc and scale."""
        steps = self.config.context_length
        past = past_values[:, -steps:]
        past = past if past.dim() == 3 else past[..., None]
        mask = torch.ones_like(past) if past_observed_mask is None else past_observed_mask[:, -steps:].view(past.shape)
        loc, scale = self._scaling(past, mask)
        return (past - loc) / scale * mask, mask, (loc, scale)

    def _scaling(self, past: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of each window's observed values, [b, 1, dims], as transformers' scalers have them."""
        count = mask.sum(1, keepdim=True).clamp(min=1.0)
        if self.config.scaling in ("std", "seasonal"):
            loc = (past * mask).sum(1, keepdim=True) / count
            variance = ((past - loc) * mask).square().sum(1, keepdim=True) / count
            if self.config.scaling == "seasonal":
                return loc, self._seasonal_difference(past, mask) + 1e-2 * (variance + 1e-5).sqrt()
            return loc, (variance + 1e-5).sqrt()
        zero = torch.zeros_like(past[:, :1])
        if self.config.scaling == "mean":
            scale = (past * mask).abs().sum(1, keepdim=True) / count
            return zero, torch.where(scale > 0, scale, 1.0)
        return zero, zero + 1.0

    def _seasonal_difference(self, past: Tensor, mask: Tensor) -> Tensor:
        """The mean |y(t) - y(t - season)| of each window where both were observed, [b, 1, dims]."""
        season = self.config.season
        both = mask[:, season:] * mask[:, :-season]
        total = ((past[:, season:] - past[:, :-season]).abs() * both).sum(1, keepdim=True)
        return total / both.sum(1, keepdim=True).clamp(min=1.0)

    def _output(
        self, raw: Tensor, loc: Tensor, scale: Tensor, future: Tensor | None, observed: Tensor | None
    ) -> DirectOutput:
        """raw: [b, H, dims, parameters], of the scaled values."""
        univariate = self.config.input_size == 1
        cut = (lambda t: t.squeeze(2)) if univariate else (lambda t: t)
        loc, scale, output = cut(loc), cut(scale), DirectOutput()
        output.loc, output.scale = loc, scale
        target = None if future is None else (future - loc) / scale
        if self.distribution_output is not None:
            output.params = self.distribution_output.domain_map(
                *(cut(raw[..., i : i + 1]) for i in range(raw.shape[-1]))
            )
            if future is not None:
                name = self.config.distribution_output
                elements = negative_log_likelihood(name, output.params, future, loc, scale)
        elif self.config.distribution_output == "quantiles":
            levels = cut(raw).movedim(-1, 1)
            output.quantiles = levels.sort(1).values * scale[:, None] + loc[:, None]
            if target is not None:
                asked = torch.tensor(self.config.quantile_levels, device=raw.device)
                elements = pinball(levels, asked, target, 1) / self.config.input_size
        else:
            point = cut(raw[..., 0])
            output.prediction_outputs = point * scale + loc
            if target is not None:
                elements = (point - target).square() / self.config.input_size
        if future is not None:
            output.losses = window_means(elements, torch.ones_like(future) if observed is None else observed)
            output.loss = output.losses.mean()
        return output
