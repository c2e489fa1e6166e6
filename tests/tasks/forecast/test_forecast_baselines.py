"""Naive forecasts against GluonTS's predictors, and the published figures of naive forecasts on real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gluonts.model.seasonal_naive import SeasonalNaivePredictor

from tasks.errors import ConfigError, DataError
from tasks.forecast.calendar import Calendar
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.score.baselines import last_value, seasonal_naive
from tasks.forecast.score.scores import score_entries

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "forecast"


def _panel(series: list[np.ndarray]) -> Panel:
    values = [one.reshape(len(one), -1).astype(np.float64) for one in series]
    offsets = np.append(0, np.cumsum([len(one) for one in values]))
    calendar = Calendar("h", pd.Timestamp("2024-01-01"), max(len(one) for one in values))
    names = [f"s{i}" for i in range(len(values))]
    return Panel(np.concatenate(values), offsets, np.zeros(len(values), np.int64), calendar, names)


def _entries(pairs: list[tuple[int, int]]) -> Entries:
    series, origin = np.array(pairs).T
    return Entries(series, origin, np.zeros(len(pairs), np.int64))


@pytest.mark.parametrize("m", [1, 4, 13])
@pytest.mark.parametrize("holes", [0.0, 0.5, 1.0])
def test_naive_forecasts_are_gluonts(m: int, holes: float) -> None:
    generator = np.random.default_rng(m)
    series = [
        generator.integers(0, 99, size=n).astype(np.float64) for n in (30, 9, 44, 2)
    ]  # exact in GluonTS's float32
    for one in series:
        one[generator.random(len(one)) < holes] = np.nan
    pairs = [(s, o) for s, one in enumerate(series) for o in (1, 2, 3, 8, 20, 30, 44) if o <= len(one)][::-1]
    panel, entries = _panel(series), _entries(pairs)
    found = seasonal_naive(panel, entries, 7, m)
    predictor = SeasonalNaivePredictor(prediction_length=7, season_length=m)
    for row, (s, o) in enumerate(pairs):
        expected = predictor.predict_item({"target": series[s][:o], "start": pd.Period("2024-01-01", freq="h")})
        np.testing.assert_allclose(found.median[row], expected.samples[0], rtol=1e-6, err_msg=f"{s} {o}")
    if m == 1:
        np.testing.assert_array_equal(last_value(panel, entries, 7).median, found.median)


def test_each_dimension_is_forecast_from_its_own_values() -> None:
    series = np.stack([np.arange(12.0), 100 + np.arange(12.0)], axis=1)
    series[10, 1] = np.nan
    found = seasonal_naive(_panel([series]), _entries([(0, 12)]), 4, 3)
    assert found.median.tolist() == [[9, 10, 11, 9], [109, 109, 111, 109]]
    np.testing.assert_array_equal(found.mean, found.at(0.975))


def test_the_future_is_never_looked_at() -> None:
    values = np.arange(20.0)
    values[:5] = np.nan
    panel = _panel([values])
    assert last_value(panel, _entries([(0, 5), (0, 6)]), 2).median.tolist() == [[0, 0], [5, 5]]
    assert seasonal_naive(panel, _entries([(0, 8)]), 3, 4).median.tolist() == [[5, 5, 6]]


def test_a_series_without_history_and_no_season_are_told() -> None:
    with pytest.raises(DataError, match="series s1 has no value before"):
        last_value(_panel([np.ones(3), np.ones(3)]), _entries([(0, 2), (1, 0)]), 2)
    with pytest.raises(ConfigError):
        seasonal_naive(_panel([np.ones(3)]), _entries([(0, 2)]), 2, 0)


def test_published_figures_of_the_naive_forecasts_of_exchange_rates() -> None:
    path = DATA / "exchange_rate.txt.gz"
    if not path.exists():
        pytest.skip("the exchange rates are not here")
    matrix = pd.read_csv(path, header=None).to_numpy()
    train = int(0.8 * len(matrix)) + 1
    panel = _panel(list(matrix.T))
    window = np.repeat(np.arange(5), 8)
    entries = Entries(np.tile(np.arange(8), 5), train + 30 * window, window)
    seasonal, last = seasonal_naive(panel, entries, 30, 5), last_value(panel, entries, 30)
    found = score_entries(seasonal, panel, entries, m=5, baselines={"last value": last})
    assert found.overall["mase"]["value"] == pytest.approx(1.6203, abs=5e-5)
    assert found.overall["nd"]["value"] == pytest.approx(0.0107497, abs=5e-8)
    best = score_entries(last, panel, entries, m=5)
    assert best.overall["mase"]["value"] == pytest.approx(1.4919, abs=5e-5)
    assert best.overall["nd"]["value"] == pytest.approx(0.00931, abs=5e-6)
    assert found.skill["last value"]["mase"]["value"] == pytest.approx(1 - 1.6203 / 1.4919, abs=1e-4)
    assert found.counts["entries"] == 40


def test_published_figures_of_the_seasonal_naive_of_m4_hourly() -> None:
    if not (DATA / "M4-Hourly-train.csv").exists():
        pytest.skip("M4 is not here")
    train, test = (pd.read_csv(DATA / f"M4-Hourly-{part}.csv", index_col=0).to_numpy() for part in ("train", "test"))
    history = [row[~np.isnan(row)] for row in train]
    panel = _panel([np.concatenate(pair) for pair in zip(history, test, strict=True)])
    entries = _entries([(number, len(one)) for number, one in enumerate(history)])
    found = score_entries(seasonal_naive(panel, entries, 48, 24), panel, entries, m=24)
    assert found.overall["mase"]["value"] == pytest.approx(1.1932102, abs=5e-8)
    assert found.overall["wql"]["value"] == pytest.approx(0.0483092, abs=5e-8)
    assert (found.m, found.counts["entries"], found.counts["points"]) == (24, 414, 414 * 48)
