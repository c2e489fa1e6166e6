"""Data of the forecasting recipe: from options to a panel of series."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from recipes.data_sets import data_options
from recipes.forecast.config import DataOptions
from recipes.forecast.facts import Facts
from tasks.cells import as_text
from tasks.errors import ConfigError, DataError
from tasks.forecast.calendar import time_features
from tasks.forecast.checks import check_counts, long_enough, too_short

if TYPE_CHECKING:
    from recipes.forecast.networks import Opened
    from tasks.forecast.data import Loaded
    from tasks.forecast.models import Spec
    from tasks.forecast.panel import Entries, Panel

# Values that are hashed at once.
HASHED = 1 << 20


def open_data(
    config: DataOptions,
    *,
    prediction_length: int | None,
    facts: Facts | None = None,
    windows: int | None = None,
) -> Loaded:
    """Reads the data that options name.

    Args:
        facts: of the model that it is for: its categories number the new data's.
        windows: test windows, where the options aren't to say; 0: none, all values are history.
    """
    from tasks.forecast.data import Options, load

    options = dataclasses.replace(data_options(Options, config), prediction_length=prediction_length)
    if windows is not None:
        options = dataclasses.replace(options, windows=windows)
    if hasattr(config, "data_seed"):  # the verbs that use a model draw sample paths from another seed
        options = dataclasses.replace(options, seed=config.data_seed or 0)
    if facts is not None and not facts.item_embedding and facts.category_names:
        options = dataclasses.replace(options, categories=facts.category_names)
    return load(options)


def with_item_category(panel: Panel, names: list[str] | None = None) -> Panel:
    """The panel with its series as its one static category.

    Args:
        names: the series that a model was trained on, where it is used on others.

    Raises:
        DataError: a series that the model doesn't know.
    """
    if names is None:
        numbers, names = np.arange(len(panel)), list(panel.item_ids)
    else:
        known = {str(as_text(name)): number for number, name in enumerate(names)}
        strange = [name for name in panel.item_ids if name not in known]
        if strange:
            raise DataError(
                f"the model has an embedding for each of its {len(names)} series and knows no {strange[0]!r}"
                f"{f' and {len(strange) - 1} others' if len(strange) > 1 else ''}; train one with --no-item-embedding for new series"
            )
        numbers = np.asarray([known[name] for name in panel.item_ids], dtype=np.int64)
    return dataclasses.replace(panel, static_categories=numbers[:, None], category_names=[names])


def for_model(loaded: Loaded, facts: Facts | None) -> Loaded:
    """The data as a model takes them.

    Raises:
        ConfigError, DataError: they don't fit.
    """
    if facts is None:
        return loaded
    panel = loaded.panel
    facts.check_fits(panel.calendar.freq, panel.dims, panel.covariate_names, loaded.name)
    return dataclasses.replace(loaded, panel=panel_for(panel, facts))


def panel_for(panel: Panel, facts: Facts | None) -> Panel:
    """The panel with what a model was trained on beside the values, and nothing else.

    Raises:
        DataError: a series that the model doesn't know.
    """
    if facts is None:
        return panel
    if panel.calendar.zone is not None and facts.time_zone is not None:  # hours as the model's clocks show them
        panel = dataclasses.replace(panel, calendar=dataclasses.replace(panel.calendar, features_zone=facts.time_zone))
    if panel.covariate_names != facts.covariate_names:  # in the order that the model has them, without others
        order = [panel.covariate_names.index(name) for name in facts.covariate_names]
        names = list(facts.covariate_names)
        panel = dataclasses.replace(panel, covariates=panel.covariates[:, order], covariate_names=names)
    if panel.real_names and not facts.real_names:
        panel = dataclasses.replace(panel, static_reals=panel.static_reals[:, :0], real_names=[])
    if facts.item_embedding:
        return with_item_category(panel, facts.category_names[0])
    if panel.category_names and not facts.category_names:
        panel = dataclasses.replace(panel, static_categories=panel.static_categories[:, :0], category_names=[])
    return panel


def open_for(config: DataOptions, models: list[Opened], *, horizon: int | None, windows: int | None = None) -> Loaded:
    """The data that several models are used on, each by `panel_for`.

    Raises:
        ConfigError, DataError: they don't fit one of them.
    """
    from tasks.forecast.models import spec_of

    networks = [model for model in models if model.network is not None]
    known = [model.facts for model in networks if model.facts is not None]
    numbering = next((facts for facts in known if facts.category_names and not facts.item_embedding), None)
    loaded = open_data(config, prediction_length=horizon, facts=numbering, windows=windows)
    for model in networks:
        check_inputs(spec_of(model.network), for_model(loaded, model.facts), model.name)
    return loaded


def check_inputs(spec: Spec, loaded: Loaded, model: str) -> None:
    """Whether a network takes the inputs that the data give.

    Raises:
        ConfigError: what differs, and how to mend it.
    """
    panel = loaded.panel
    features = len(time_features(panel.calendar.freq)) + 1 + len(panel.covariate_names)
    known = [len(names) for names in panel.category_names]
    pairs = [
        ("target columns", spec.input_size, panel.dims),
        ("time features (those of the frequency, the age, covariates)", spec.num_time_features, features),
        ("static real columns", spec.num_static_real_features, len(panel.real_names)),
        ("static categories", len(spec.cardinality), len(known)),
    ]
    for what, wanted, given in pairs if spec.takes_features else pairs[:1]:
        if wanted != given:
            raise ConfigError(f"--model {model} takes {wanted} {what}; {loaded.name} gives {given}")
    if not spec.takes_features:
        return
    for wanted, given in zip(spec.cardinality, known, strict=True):
        if given > wanted:
            raise ConfigError(
                f"--model {model} knows {wanted} values of a static category (each series is one, if nothing else was said); "
                f"{loaded.name} has {given}"
            )


def check_for_training(loaded: Loaded, ends: np.ndarray, spec: Spec, *, lags: list[int], skip: bool) -> np.ndarray:
    """Which series hold a window to train on, bool [series].

    The frequency's own lags may reach past the beginning of a short series, as in GluonTS, where what lies before it is not
    observed; lags that were asked for may not.

    Raises:
        DataError: a series is too short (unless `skip`), or holds what the model's distribution can't have.
    """
    context, horizon = spec.context_length, spec.prediction_length
    usable = long_enough(ends, context, lags, horizon)
    if not usable.all() and not (skip and usable.any()):
        raise DataError(f"{loaded.name}: {too_short(loaded.panel, ends, context, lags, horizon)}")
    if not usable.all():
        loaded.skipped.append(f"{int((~usable).sum()):,} series too short to train on; they are forecast all the same")
    if spec.distribution == "negative_binomial":
        check_counts(loaded.panel)
    return usable


def cut(entries: Entries, first: int) -> Entries:
    """The entries of window `first` and the later ones, counted from 0.

    Raises:
        ConfigError: there is no such window.
    """
    kept = entries.window >= first
    if not kept.any():
        raise ConfigError(f"--first-window: there are {int(entries.window.max(initial=-1)) + 1} test windows")
    part = entries.part(kept)
    return dataclasses.replace(part, window=part.window - first)


def digest(panel: Panel, test: Entries, *others: np.ndarray) -> str:
    """Of the values, names and covariates, of which windows test, and of what else is given."""
    found = hashlib.sha256(repr((panel.item_ids, panel.calendar.freq, str(panel.calendar.start))).encode())
    numbers = (panel.values, panel.offsets, panel.starts, panel.static_categories, panel.static_reals, panel.covariates)
    for array in (*numbers, test.series, test.origin, *others):
        flat = array.reshape(-1)
        for first in range(0, len(flat), HASHED):
            found.update(flat[first : first + HASHED].tobytes())
    return found.hexdigest()


def notes(loaded: Loaded) -> list[str]:
    """What may be as it should, and what was left out; a line each."""
    return [f"note      {line}" for line in loaded.warnings] + [f"skipped   {line}" for line in loaded.skipped]
