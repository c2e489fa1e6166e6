"""Statistics and problems of a data set, for `tool data inspect forecast`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.forecast.calendar import lags_for, seasonality_of
from tasks.forecast.checks import Profile, long_enough, needed, profile
from tasks.forecast.description import span, words
from tasks.forecast.panel import Panel

if TYPE_CHECKING:
    from tasks.forecast.data import Loaded

# Series and seasons that the season's strength is measured on.
_SERIES, _SEASONS = 200, 20
_LISTED = 10


def inspect(loaded: Loaded) -> dict[str, Any]:
    """Describes loaded data in plain numbers and texts; shares and the season's strength go from 0 to 1."""
    panel, lengths = loaded.panel, loaded.panel.lengths
    found = profile(panel)
    observed = int(found.observed.sum())
    total = int(lengths.sum()) * panel.dims
    freq = panel.calendar.freq
    suggested = suggest(loaded)
    return {
        "name": loaded.name,
        "format": loaded.format,
        "series": len(panel),
        "dimensions": panel.dims,
        "steps": int(lengths.sum()),
        "lengths": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "frequency": f"{freq} ({words(freq)})",
        "span": span(panel) if panel.has_timestamps else "no time stamps",
        "time_zone": panel.calendar.zone,
        "series_ending_early": int((panel.ends < panel.ends.max()).sum()) if panel.has_timestamps else None,
        "missing_share": _share(total - observed, total),
        "constant_series": int(found.constant.sum()),
        "zero_share": _share(int(found.zeros.sum()), observed),
        "negative_values": int(found.negative.sum()),
        "integers_only": bool(found.whole.all()),
        "range": [float(np.nanmin(found.low)), float(np.nanmax(found.high))],
        "static_categories": [{"values": len(names), "first": list(names[:_LISTED])} for names in panel.category_names],
        "static_reals": list(panel.real_names),
        "covariates": list(panel.covariate_names),
        "season": {"m": seasonality_of(freq), "strength": strength(panel)},
        "split": _split(loaded),
        "suggested": suggested,
        "warnings": [*loaded.warnings, *_warnings(loaded, found, suggested)],
        "skipped": list(loaded.skipped),
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _split(loaded: Loaded) -> dict[str, Any]:
    windows = np.unique(loaded.test.window)
    return {
        "rule": "the data's own" if loaded.own_split else "the last steps of each series",
        "prediction_length": loaded.prediction_length,
        "windows": len(windows),
        "test_entries": len(loaded.test),
        "train_steps": {"min": int(loaded.train_ends.min()), "max": int(loaded.train_ends.max())},
    }


def suggest(loaded: Loaded) -> dict[str, Any]:
    """A context of two horizons and those of the frequency's lags that the typical series has room for.

    Where series are short the context shrinks to one horizon before lags are given up.
    """
    horizon, ends = loaded.prediction_length, loaded.train_ends
    room = int(np.median(ends))
    context = next(
        (length for length in (2 * horizon, horizon) if length + horizon + 1 <= room), max(1, room - horizon)
    )
    lags = [lag for lag in lags_for(loaded.panel.calendar.freq) if needed(context, [lag], horizon) <= room] or [1]
    return {
        "context_length": context,
        "lags": lags,
        "steps_needed": needed(context, lags, horizon),
        "series_too_short": int((~long_enough(ends, context, lags, horizon)).sum()),
    }


def strength(panel: Panel) -> float | None:
    """How much of what the trend leaves is the season's, after Hyndman and Athanasopoulos; the median over series.

    1 - Var(rest) / Var(season + rest) with a moving average as the trend and the mean of each phase as the season, less
    what as many phases of pure noise would explain. None where there is no season or no series of three.

    Measured on the last seasons of a number of series, evenly spread.
    """
    season = seasonality_of(panel.calendar.freq)
    if season < 2:
        return None
    able = np.flatnonzero(panel.lengths >= 3 * season + 1)
    if not len(able):
        return None
    chosen = np.unique(able[np.linspace(0, len(able) - 1, min(_SERIES, len(able))).round().astype(int)])
    found = [_strength(panel.series(int(number))[-_SEASONS * season - season :, 0], season) for number in chosen]
    known = [value for value in found if value is not None]
    return round(float(np.median(known)), 4) if known else None


def _strength(values: np.ndarray, season: int) -> float | None:
    even = season % 2 == 0
    weights = np.ones(season + even)
    if even:
        weights[0] = weights[-1] = 0.5
    half = len(weights) // 2
    trend = np.convolve(values, weights / season, "valid")
    rest = values[half : half + len(trend)] - trend
    phase = np.arange(len(rest)) % season
    there = ~np.isnan(rest)
    rest, phase = rest[there], phase[there]
    count = np.bincount(phase, minlength=season)
    if len(rest) <= 2 * season or (count == 0).any() or rest.var() == 0:
        return None
    pattern = np.bincount(phase, rest, season) / count
    left = ((rest - pattern[phase]) ** 2).sum() / (len(rest) - season)
    return max(0.0, 1.0 - left / ((rest - rest.mean()) ** 2).sum() * (len(rest) - 1))


def _warnings(loaded: Loaded, found: Profile, suggested: dict[str, Any]) -> list[str]:
    count, result = len(loaded.panel), []
    if not loaded.panel.has_timestamps:
        result.append("no time stamps: the calendar is made up, features of it tell a model nothing")
    share = 1 - found.observed / np.maximum(1, loaded.panel.lengths * loaded.panel.dims)
    if (share > 0.5).any():
        result.append(f"{int((share > 0.5).sum()):,} of {count:,} series are more than half missing")
    if suggested["series_too_short"]:
        result.append(
            f"{suggested['series_too_short']:,} of {count:,} series have fewer than {suggested['steps_needed']:,} training steps "
            "(context, longest lag and horizon): what they lack is padded"
        )
    if found.whole.all() and not found.negative.any():
        result.append("counts only: --distribution negative_binomial fits them")
    return result
