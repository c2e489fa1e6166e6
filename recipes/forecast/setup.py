"""The components of a back-test (data, models, windows), prepared from its options."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from recipes.config import options_of
from recipes.forecast.config import DataOptions, SeriesOptions, UseOptions
from recipes.forecast.data import open_for
from recipes.forecast.forecasting import ForecastRequest
from recipes.forecast.networks import Opened, open_models
from recipes.forecast.seen import SeenWindows, find_seen, refuse_seen
from recipes.forecast.testing import BacktestResult, phase, score_all
from tasks.errors import ConfigError
from tasks.forecast.calendar import seasonality_of
from tasks.forecast.data import Loaded
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.score.summary import Forecasts

REFIT = "tool backtest --refit N, which trains runs anew before each N windows"
INCLUDE = "--include-seen, which scores them apart"


@dataclass
class Setup:
    """What is back-tested on what."""

    models: list[Opened]
    loaded: Loaded
    horizon: int
    m: int
    seconds: dict[str, float] = field(default_factory=dict)
    seen: SeenWindows = field(default_factory=lambda: SeenWindows(np.zeros(0, bool)))


def set_up(config: Any) -> tuple[Any, Setup]:
    """Models and data, and the options with both named in full."""
    seconds: dict[str, float] = {}
    with phase(seconds, "load"):
        models = open_models(config.model, config.output_dir, config.revision, config.token)
        first = next((model for model in models if model.network is not None), None)
        config = named(config, models, first)
        horizon = choose_horizon(config, models)
        loaded = open_for(config, models, horizon=horizon)
    if not len(loaded.test):
        raise ConfigError("--windows: there is no test window")
    with phase(seconds, "load"):
        seen = find_seen(models, loaded.panel, loaded.test, refit=getattr(config, "refit", "never") != "never")
    if not config.include_seen:
        anew = any(model.run is not None for model in models) and getattr(config, "refit", "never") == "never"
        refuse_seen(seen, *[REFIT] * anew, INCLUDE)
    elif getattr(config, "refit", "never") == "never":
        # What wasn't seen comes first, so that its draws are those of a back-test of it alone.
        order = np.argsort(seen.entries, kind="stable")
        seen = dataclasses.replace(seen, entries=seen.entries[order])
        loaded = dataclasses.replace(loaded, test=loaded.test.part(order))
    m = config.periodicity or (first.facts.periodicity if first and first.facts else None)
    m = m or seasonality_of(loaded.panel.calendar.freq)
    return config, Setup(models, loaded, loaded.prediction_length, m, seconds, seen)


def named(config: SeriesOptions, models: list[Opened], first: Opened | None) -> Any:
    """The options with the models' own names, and the data of the first one's run where none were given.

    Raises:
        ConfigError: neither data nor a run that says which.
    """
    given = config.model or [str(model.run.path) for model in models if model.run is not None]
    values: dict[str, Any] = {"model": given}
    if config.data is None:
        was = first.run.config() if first is not None and first.run is not None else {}
        if not was and first is not None:
            raise ConfigError("--data: give the data to back-test on; the model doesn't say what it was trained on")
        names = (info.name for info in options_of(DataOptions))
        # A flag beats what the run was trained with.
        values |= {name: was[name] for name in names if name in was and getattr(config, name) in (None, [], False)}
        values.setdefault("data", "sample")
        if config.data_seed is None:
            values["data_seed"] = was.get("seed", 0)
    return dataclasses.replace(config, **values)


def choose_horizon(config: SeriesOptions, models: list[Opened]) -> int | None:
    """The horizon asked for, else the shortest of the models'.

    Raises:
        ConfigError: longer than a model can.
    """
    lengths = {model.name: model.prediction_length for model in models if model.prediction_length is not None}
    if not lengths:
        return config.horizon
    shortest = min(lengths, key=lengths.__getitem__)
    if config.horizon is not None and config.horizon > lengths[shortest]:
        raise ConfigError(
            f"--horizon: {shortest} forecasts {lengths[shortest]} steps; take at most these, or train with --prediction-length "
            f"{config.horizon}"
        )
    return config.horizon or lengths[shortest]


def forecast_request(
    config: UseOptions, panel: Panel, entries: Entries, horizon: int, device: torch.device
) -> ForecastRequest:
    """The forecasts of entries by the options of the verb."""
    samples, keep = config.num_parallel_samples, getattr(config, "save_samples", False)
    return ForecastRequest(
        panel, entries, horizon, samples, config.batch_size, config.seed, device, config.ensemble, keep_samples=keep
    )


def score(setup: Setup, forecasts: dict[str, Forecasts]) -> BacktestResult:
    """The models that were asked for and the baselines, scored on the test entries."""
    loaded = setup.loaded
    return score_all(loaded.panel, loaded.test, setup.horizon, setup.m, forecasts, setup.seconds, setup.seen)
