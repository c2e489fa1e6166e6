"""Verdict on a back-test: whether its best model errs less than the better naive forecast."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipes.forecast.testing import NAIVE, SEASONAL, BacktestResult
from tasks import verdict
from tasks.forecast.score.scale import actual_rows, row_keys, seasonal_error
from tasks.forecast.score.scores import Score, score
from tasks.verdict import LEAST_DIFFERING, Baseline, Evidence, Verdict
from tasks.words import counted


def judge(tested: BacktestResult) -> Verdict | None:
    """By MASE (ND where no scale is defined) against the better naive forecast, by the bootstrap of their ratio over series; where
    fewer than six series tell them apart, over windows. None where only naive forecasts were scored, or windows that training saw."""
    best = tested.best
    if best in (NAIVE, SEASONAL) or tested.seen:  # windows seen in training tell nothing
        return None
    metric = "nd" if np.isnan(tested.value(best, "mase")) else "mase"
    naive = verdict.best_of([Baseline(name, tested.value(name, metric)) for name in (SEASONAL, NAIVE)], False)
    counts = tested.scores[best].counts
    by_series = _evidence(tested.scores[best], tested.scores[naive.name], naive.name, metric, by="series")
    evidence = by_series
    if (by_series.differing or 0) < LEAST_DIFFERING:
        by_window = _by_window(tested, naive.name, metric)
        evidence = by_window if (by_window.differing or 0) >= LEAST_DIFFERING else by_series
    return verdict.judge(
        metric.upper(),
        tested.value(best, metric),
        naive._replace(words=f"the naive forecast {naive.name}"),
        evidence,
        examples=f"{counts['series']:,} series in {counted(counts['windows'], 'window')}",
        unit="",
        more="back-test more windows (--windows) or series",
    )


def verdict_dict(tested: BacktestResult) -> dict[str, Any] | None:
    """The same as plain values."""
    found = judge(tested)
    return None if found is None else found.as_dict()


def _evidence(model: Score, naive: Score, name: str, metric: str, by: str) -> Evidence:
    """The skill and its interval. A single series or window has none: a figure alone clears nothing."""
    skill = model.skill[name][metric]
    own, other = (getattr(one, f"per_{'series' if by == 'series' else 'window'}")[metric] for one in (model, naive))
    differing = int((np.abs(own - other) > 1e-12).sum())
    return Evidence(skill["value"], skill["low"], skill["high"], differing, f"bootstrap of the skill over {by}")


def _by_window(tested: BacktestResult, name: str, metric: str) -> Evidence:
    """The same over windows: it speaks of these series alone."""
    panel, entries = tested.panel, tested.entries
    _, window = row_keys(panel, entries)
    actual = actual_rows(panel, entries, tested.horizon)
    scale = seasonal_error(panel, entries, tested.m).reshape(-1)
    naive = tested.forecasts[name]
    model = score(tested.forecasts[tested.best], actual, scale, window, window, m=tested.m, baselines={name: naive})
    other = score(naive, actual, scale, window, window, m=tested.m, resamples=1)
    return _evidence(model, other, name, metric, by="windows")
