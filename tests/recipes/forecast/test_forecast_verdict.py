"""Verdicts on back-tests: against the better naive forecast, over series, over windows where series are few, and not at all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recipes.forecast.testing import NAIVE, SEASONAL, BacktestResult, score_all
from recipes.forecast.verdict import judge
from tasks.forecast.calendar import Calendar
from tasks.forecast.panel import Panel, rolling_entries
from tasks.forecast.score.scale import actual_rows
from tasks.forecast.score.summary import from_points

H, M = 4, 4


def backtest(series: int, windows: int, error: float, season: float = 5.0) -> BacktestResult:
    """White noise around a season, forecast with `error` times noise of its own beside the truth."""
    generator = np.random.default_rng(0)
    length = 60
    wave = season * np.sin(np.arange(length) * 2 * np.pi / M)
    values = np.concatenate([wave + generator.normal(0, 1, length) for _ in range(series)])
    offsets = length * np.arange(series + 1)
    calendar = Calendar("h", pd.Timestamp("2024-01-01"), length)
    panel = Panel(values[:, None], offsets, np.zeros(series, np.int64), calendar, [f"s{i}" for i in range(series)])
    entries = rolling_entries(panel.lengths, H, windows=windows, stride=H)
    truth = actual_rows(panel, entries, H)
    return score_all(panel, entries, H, M, {"net": from_points(truth + error * generator.normal(size=truth.shape))}, {})


@pytest.mark.parametrize(("season", "baseline"), [(5.0, SEASONAL), (0.0, None)])
def test_the_better_naive_forecast_is_the_one_to_beat(season: float, baseline: str | None) -> None:
    tested = backtest(20, 2, 2.0, season)
    found = judge(tested)
    assert found is not None
    naive = {name: tested.value(name, "mase") for name in (NAIVE, SEASONAL)}
    assert found.value == min(naive.values())
    if baseline:
        assert found.baseline == baseline
    assert not found.clears
    assert found.line == (
        f"no better than the naive forecast {found.baseline} (MASE {found.value:.4g}); train longer or look at the data"
    )


def test_a_model_that_errs_less_clears_it() -> None:
    found = judge(backtest(20, 1, 0.3))
    assert found is not None
    assert (found.clears, found.line) == (True, None)
    assert found.test == "bootstrap of the skill over series"
    assert found.low is not None
    assert 0 < found.low < 1


def test_of_a_single_series_the_windows_are_the_evidence() -> None:
    found = judge(backtest(1, 8, 0.3))
    assert found is not None
    assert (found.clears, found.test) == (True, "bootstrap of the skill over windows")


@pytest.mark.parametrize(("series", "windows"), [(1, 1), (3, 2), (5, 1)])
def test_a_few_series_and_windows_clear_nothing(series: int, windows: int) -> None:
    found = judge(backtest(series, windows, 0.1))
    assert found is not None
    assert not found.clears
    noun = "window" if windows == 1 else "windows"
    assert f", as far as {series} series in {windows} {noun} can tell" in str(found.line)
    assert "--windows" in str(found.line)


def test_naive_forecasts_alone_have_no_verdict() -> None:
    tested = backtest(6, 1, 1.0)
    alone = score_all(tested.panel, tested.entries, H, M, {}, {})
    assert judge(alone) is None
