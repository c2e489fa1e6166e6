"""Forecasts of a batch of windows, and the pooling of several models' forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tasks.errors import ConfigError

POOLINGS = ("quantiles", "pool")


@dataclass
class Drawn:
    """Sample paths, or quantiles where the model's head gives them.

    Attributes:
        samples: float32 [b, S, H], or [b, S, H, dims] for several target dimensions.
        quantiles: float32 [b, Q, H] or [b, Q, H, dims], the quantiles at `levels`, rising along Q.
        mean: float32 [b, H] or [b, H, dims], where the model knows it apart from its samples or quantiles.
    """

    samples: torch.Tensor | None = None
    quantiles: torch.Tensor | None = None
    levels: tuple[float, ...] = ()
    mean: torch.Tensor | None = None

    def numpy(self) -> np.ndarray:
        """The samples, else the quantiles, as float32 [b, S or Q, H(, dims)], contiguous and on the host."""
        values = self.samples if self.samples is not None else self.quantiles
        if values is None:
            raise ConfigError("a forecast without samples and without quantiles has no array")
        return np.ascontiguousarray(values.detach().to("cpu", torch.float32).numpy())


def combine(drawn: Sequence[Drawn], how: str = "quantiles") -> Drawn:
    """One forecast of an ensemble's, all for the same windows.

    "quantiles" averages the models' quantile functions: the S samples of each model are sorted at every step ahead and averaged
    rank by rank (Lichtendahl and others 2013, "Is it better to average probabilities or quantiles?"). The result is sharper
    than the pool and holds no paths: its rows are quantiles of each step alone. Beside models that give quantiles, samples are
    reduced to theirs. "pool" puts all samples side by side.

    Raises:
        ConfigError: an unknown `how`, forecasts of different kinds, windows or levels, or a pool of quantiles.
    """
    if how not in POOLINGS:
        raise ConfigError(f"combine: how is one of {', '.join(POOLINGS)}, not {how!r}")
    if not drawn:
        raise ConfigError("combine: there is no forecast to combine")
    if len(drawn) == 1:
        return drawn[0]
    samples = [part.samples for part in drawn if part.samples is not None]
    if len(samples) == len(drawn):
        _same_windows(samples)
        return Drawn(samples=torch.cat(samples, dim=1) if how == "pool" else _average_ranks(samples), mean=_mean(drawn))
    if how == "pool":
        raise ConfigError("--ensemble pool: quantiles can't be joined as samples are; take --ensemble mean")
    levels = next(part.levels for part in drawn if part.samples is None)
    if any(part.levels != levels for part in drawn if part.samples is None):
        raise ConfigError(
            "--ensemble mean: quantiles at different levels can't be joined; --ensemble none compares the models"
        )
    quantiles = [_quantiles(part, levels) for part in drawn]
    _same_windows(quantiles)
    return Drawn(quantiles=torch.stack(quantiles).mean(0), levels=levels, mean=_mean(drawn))


def _quantiles(drawn: Drawn, levels: Sequence[float]) -> torch.Tensor:
    """[b, levels, H(, dims)], of the model itself or of its samples."""
    if drawn.samples is None:
        assert drawn.quantiles is not None
        return drawn.quantiles
    at = torch.tensor(levels, dtype=drawn.samples.dtype, device=drawn.samples.device)
    return torch.quantile(drawn.samples, at, dim=1).movedim(0, 1)


def _average_ranks(samples: list[torch.Tensor]) -> torch.Tensor:
    if len({part.shape[1] for part in samples}) > 1:
        # A model with one path (a point forecast) has the same quantile at every rank; other numbers have no common ranks.
        most = max(part.shape[1] for part in samples)
        if any(part.shape[1] not in (1, most) for part in samples):
            raise ConfigError("combine: the models' numbers of samples differ; draw the same number from each")
        samples = [part.expand(-1, most, *part.shape[2:]) for part in samples]
    total = torch.zeros_like(samples[0])
    for part in samples:
        total += part.sort(dim=1).values
    return total.div_(len(samples))


def _same_windows(parts: list[torch.Tensor]) -> None:
    if len({(part.shape[0], *part.shape[2:]) for part in parts}) > 1:
        raise ConfigError("combine: the forecasts are not of the same windows, horizon and dimensions")


def _mean(drawn: Sequence[Drawn]) -> torch.Tensor | None:
    """The mean of an average and of a pool of equal sizes alike is the average of the means; unknown if one is."""
    means = [part.mean for part in drawn if part.mean is not None]
    return torch.stack(means).mean(0) if len(means) == len(drawn) else None
