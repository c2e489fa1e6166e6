"""Forecasts of many windows by one or several models, in pieces of bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from recipes.forecast.data import panel_for
from recipes.forecast.networks import Opened
from recipes.process.memory import to_device
from tasks.errors import OutOfMemory, is_out_of_memory
from tasks.forecast.models import past_length
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.sampling import Drawn, combine, draw
from tasks.forecast.score import summary
from tasks.forecast.score.scale import actual_rows
from tasks.forecast.score.summary import Forecasts
from tasks.forecast.windows import Windows

ENSEMBLE = "ensemble"
SHARE_OF_GPU = 0.25
OUT_OF_MEMORY = (
    "out of memory while forecasting a single window; lower --num-parallel-samples, or use --cpu on a small GPU"
)


@dataclass
class ForecastRequest:
    """What is to be forecast, and how.

    Attributes:
        batch_size: windows at once; halved where memory runs out, which changes the draws.
        ensemble: "mean" joins several networks quantile by quantile, "pool" by all their samples, "none" not at all.
        keep_samples: whether the pieces carry the sample paths too.
    """

    panel: Panel
    entries: Entries
    horizon: int
    samples: int
    batch_size: int
    seed: int
    device: torch.device
    ensemble: str = "mean"
    keep_samples: bool = False
    scored: bool = True
    _windows: list[tuple[tuple[Any, ...], Windows]] = field(default_factory=list)
    _of: dict[str, Windows] = field(default_factory=dict)

    def windows(self, model: Opened) -> Windows:
        """The panel's windows as a model takes them; models that look back equally far, at the same, share one copy."""
        if model.name not in self._of:
            key = past_length(model.network), model.prediction_length, model.facts
            found = next((windows for known, windows in self._windows if known == key), None)
            if found is None:
                found = windows_for(panel_for(self.panel, model.facts), model.network, self.device)
                self._windows.append((key, found))
            self._of[model.name] = found
        return self._of[model.name]


@dataclass
class Piece:
    """Forecasts of the entries `part`, by model; samples float32 [entries, samples, steps(, dims)] where they are kept."""

    part: slice
    forecasts: dict[str, Forecasts]
    samples: dict[str, np.ndarray] = field(default_factory=dict)


def windows_for(panel: Panel, network: Any, device: torch.device) -> Windows:
    """The panel's windows as a network takes them, cut on the device itself where the panel takes little of its memory."""
    numbers = panel.values.size + panel.covariates.size + panel.calendar.length * 8
    if device.type == "cuda" and 4 * numbers > SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]:
        device = torch.device("cpu")
    length = int(network.config.prediction_length)
    return Windows(panel, past_length=past_length(network), prediction_length=length, device=device)


def pieces(asked: ForecastRequest) -> list[slice]:
    """The entries in parts of a batch."""
    count, size = len(asked.entries), asked.batch_size
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


def forecast(models: list[Opened], asked: ForecastRequest, part: slice) -> Piece:
    """Every network's forecasts of a part of the entries, and their ensemble's; a function of the seed and the part.

    Raises:
        OutOfMemory: a single window doesn't fit.
    """
    networks = [model for model in models if model.network is not None]
    while True:
        try:
            return _forecast(networks, asked, part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if part.stop - part.start == 1:
            raise OutOfMemory(OUT_OF_MEMORY)
        half = (part.start + part.stop) // 2
        parts = [slice(part.start, half), slice(half, part.stop)]
        return _join(part, [forecast(models, asked, smaller) for smaller in parts])


def over(models: list[Opened], asked: ForecastRequest, *, share: tuple[int, int] = (0, 1)) -> Iterator[Piece]:
    """The pieces of this process's share, (rank, world), one after the other."""
    for part in pieces(asked)[share[0] :: share[1]]:
        yield forecast(models, asked, part)


def _forecast(networks: list[Opened], asked: ForecastRequest, part: slice) -> Piece:
    entries = asked.entries.part(part)
    drawn: dict[str, Drawn] = {}
    with torch.inference_mode():
        for number, model in enumerate(networks):
            generator = torch.Generator(device=asked.device)
            generator.manual_seed(_seed(asked.seed, part.start, number))
            cut = asked.windows(model).take(entries.series, entries.origin, future=False)
            batch = to_device(cut, asked.device)
            drawn[model.name] = _cut(draw(model.network, batch, asked.samples, generator), asked.horizon)
        if len(networks) > 1 and asked.ensemble != "none":
            how = "pool" if asked.ensemble == "pool" else "quantiles"
            drawn[ENSEMBLE] = combine(list(drawn.values()), how)
    actual = actual_rows(asked.panel, entries, asked.horizon) if asked.scored else None
    piece = Piece(part, {name: _summarize(found, actual) for name, found in drawn.items()})
    if asked.keep_samples:
        piece.samples = {name: found.numpy() for name, found in drawn.items() if found.samples is not None}
    return piece


def _summarize(drawn: Drawn, actual: np.ndarray | None) -> Forecasts:
    values = drawn.numpy()
    if drawn.samples is None:
        mean = None if drawn.mean is None else drawn.mean.to("cpu", torch.float64).numpy()
        return summary.from_quantiles(values, drawn.levels, mean)
    if values.shape[1] == 1:
        return summary.from_points(values[:, 0])
    return summary.from_samples(values, actual)


def _cut(drawn: Drawn, horizon: int) -> Drawn:
    """The first steps of a forecast."""
    tensors = [("samples", drawn.samples, 2), ("quantiles", drawn.quantiles, 2), ("mean", drawn.mean, 1)]
    first: dict[str, Any] = {
        name: values.narrow(axis, 0, horizon) for name, values, axis in tensors if values is not None
    }
    return dataclasses.replace(drawn, **first)


def _join(part: slice, parts: list[Piece]) -> Piece:
    names = list(parts[0].forecasts)
    return Piece(
        part,
        {name: summary.concatenate([piece.forecasts[name] for piece in parts]) for name in names},
        {name: np.concatenate([piece.samples[name] for piece in parts]) for name in parts[0].samples},
    )


def _seed(*keys: int) -> int:
    return int(np.random.SeedSequence(list(keys)).generate_state(1, np.uint64)[0] % 2**63)
