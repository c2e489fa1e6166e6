"""Scores of forecasts against gluonts.ev, scikit-learn and definitions written out; scales; counts; intervals; skill."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gluonts.ev import metrics as ev
from gluonts.ev.ts_stats import seasonal_error as theirs
from gluonts.model.forecast import SampleForecast
from sklearn import metrics as sk

from tasks.errors import ConfigError, DataError
from tasks.forecast.calendar import Calendar
from tasks.forecast.panel import Entries, Panel, rolling_entries
from tasks.forecast.score import scale as scales
from tasks.forecast.score.scores import INTERVALS, METRICS, QUANTILES, score, score_entries
from tasks.forecast.score.summary import LEVELS, Forecasts, concatenate, from_points, from_quantiles, from_samples

H, SAMPLES, M = 6, 37, 4


def panel_of(series: list[np.ndarray]) -> Panel:
    """A panel by hand, each series [steps] or [steps, dims]."""
    values = [one.reshape(len(one), -1).astype(np.float64) for one in series]
    offsets = np.append(0, np.cumsum([len(one) for one in values]))
    calendar = Calendar("h", pd.Timestamp("2024-01-01"), max(len(one) for one in values))
    names = [f"s{i}" for i in range(len(values))]
    return Panel(np.concatenate(values), offsets, np.zeros(len(values), np.int64), calendar, names)


def random_case(seed: int, holes: float, dims: int = 1) -> tuple[Panel, Entries, np.ndarray]:
    """A panel of unequal series with missing values, its entries in three windows, and samples of them."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(60, 90, size=7)
    series = [generator.normal(10, 4, size=(n, dims)) * 10.0 ** generator.integers(-3, 4) for n in lengths]
    for one in series:
        one[generator.random(one.shape) < holes] = np.nan
    panel = panel_of(series)
    entries = rolling_entries(panel.lengths, H, windows=3, stride=4)
    centre = np.stack([np.nanmean(series[i]) * np.ones((H, dims)) for i in entries.series])
    noise = generator.normal(0, 0.5, size=(len(entries), SAMPLES, H, dims))
    samples = centre[:, None] * (1 + noise)
    return panel, entries, samples[..., 0] if dims == 1 else samples


def gluonts_view(panel: Panel, entries: Entries, samples: np.ndarray) -> dict[str, Any]:
    """The same entries as gluonts.ev takes them: one dimension, medians and quantiles by its own SampleForecast."""
    start = pd.Period("2024-01-01", freq="h")
    forecasts = [SampleForecast(one, start) for one in samples]
    scale, label = [], []
    for series, origin in zip(entries.series, entries.origin, strict=True):
        values = np.ma.masked_invalid(panel.series(series)[:, 0])
        scale.append(theirs(values[:origin], seasonality=M))
        label.append(values[origin : origin + H])
    data: dict[str, Any] = {"label": np.ma.stack(label), "seasonal_error": np.array(scale)}
    for name in ("mean", *(str(level) for level in LEVELS)):
        data[name] = np.stack([one[name] for one in forecasts])
    return data


def their_figures(data: dict[str, Any]) -> dict[str, float]:
    wanted = {
        "mase": ev.MASE(),
        "smape": ev.SMAPE(),
        "mape": ev.MAPE(),
        "rmse": ev.RMSE(),
        "nd": ev.ND(),
        "wql": ev.MeanWeightedSumQuantileLoss(QUANTILES),
        "msis": ev.MSIS(),
    }
    found = {name: float(definition(axis=None).update(data).get()) for name, definition in wanted.items()}
    for share, (low, high) in INTERVALS.items():  # no value lies on a bound here
        below = [float(ev.Coverage(level)(axis=None).update(data).get()) for level in (low, high)]
        found[f"coverage_{share}"] = below[1] - below[0]
    return found


@pytest.mark.parametrize("holes", [0.0, 0.15])
def test_every_figure_is_that_of_gluonts(holes: float) -> None:
    panel, entries, samples = random_case(1, holes)
    found = score_entries(from_samples(samples), panel, entries, m=M)
    expected = their_figures(gluonts_view(panel, entries, samples))
    assert {name: found.overall[name]["value"] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert found.counts["missing_points"] == int(np.isnan(scales.actual_rows(panel, entries, H)).sum())
    assert (found.counts["missing_points"] > 0) == (holes > 0)


def test_views_by_series_window_and_step_are_gluonts_figures_of_those_parts() -> None:
    panel, entries, samples = random_case(2, 0.1)
    found = score_entries(from_samples(samples), panel, entries, m=M)
    data = gluonts_view(panel, entries, samples)

    def part(rows: np.ndarray) -> dict[str, float]:
        return their_figures({name: values[rows] for name, values in data.items()})

    for views, keys, each in (
        (found.per_series, found.series, entries.series),
        (found.per_window, found.windows, entries.window),
    ):
        for place, key in enumerate(keys):
            expected = part(np.flatnonzero(each == key))
            assert {name: views[name][place] for name in expected} == pytest.approx(expected, rel=1e-9)
    for step in range(H):
        kept = {name: values if name == "seasonal_error" else values[:, [step]] for name, values in data.items()}
        expected = their_figures(kept)
        assert {name: found.per_step[name][step] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert found.series.tolist() == list(range(7))
    assert found.windows.tolist() == [0, 1, 2]


def test_zero_scales_and_zero_values_are_left_out_as_gluonts_does_and_counted() -> None:
    generator = np.random.default_rng(3)
    flat, sparse = np.full(40, 5.0), generator.integers(0, 2, size=40).astype(float)
    panel = panel_of([flat, sparse, generator.normal(size=40)])
    entries = rolling_entries(panel.lengths, H, 2, 3)
    samples = generator.normal(size=(len(entries), SAMPLES, H))
    samples[2:4] = np.maximum(samples[2:4], 0.0)  # some medians are 0 where the value is 0 too
    samples[1, :, 2] = 0.0
    found = score_entries(from_samples(samples), panel, entries, m=M)
    expected = their_figures(gluonts_view(panel, entries, samples))
    for name in ("mase", "smape", "mape", "msis", "nd", "wql"):
        assert found.overall[name]["value"] == pytest.approx(expected[name], rel=1e-9), name
    assert found.counts["zero_scale"] == 2
    assert found.counts["zero_points"] == int((scales.actual_rows(panel, entries, H) == 0).sum()) > 0
    assert np.isnan(found.per_series["mase"][0])
    assert found.as_dict()["per_series"]["mase"][0] is None


def test_points_are_scored_as_a_forecast_of_one_sample_and_as_scikit_learn_does() -> None:
    panel, entries, samples = random_case(4, 0.0)
    points = samples[:, 0]
    found = score_entries(from_points(points), panel, entries, m=M)
    expected = their_figures(gluonts_view(panel, entries, points[:, None]))
    values = {name: figures["value"] for name, figures in found.overall.items()}
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-9, abs=1e-12)
    actual = scales.actual_rows(panel, entries, H)
    assert values["rmse"] == pytest.approx(sk.root_mean_squared_error(actual.ravel(), points.ravel()), rel=1e-9)
    assert values["mape"] == pytest.approx(sk.mean_absolute_percentage_error(actual.ravel(), points.ravel()), rel=1e-9)
    assert values["crps"] == pytest.approx(sk.mean_absolute_error(actual.ravel(), points.ravel()), rel=1e-9)
    assert values["wql"] == pytest.approx(values["nd"])


def test_weighted_quantile_loss_is_scikit_learns_pinball_loss() -> None:
    panel, entries, samples = random_case(5, 0.0)
    forecasts = from_samples(samples)
    actual = scales.actual_rows(panel, entries, H)
    losses = [
        2 * sk.mean_pinball_loss(actual.ravel(), forecasts.at(level).ravel(), alpha=level) / np.abs(actual).mean()
        for level in QUANTILES
    ]
    found = score_entries(forecasts, panel, entries, m=M)
    assert found.overall["wql"]["value"] == pytest.approx(np.mean(losses), rel=1e-9)


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_quantiles_of_samples_are_gluonts_order_statistics(count: int) -> None:
    samples = np.random.default_rng(count).normal(size=(3, count, H)).astype(np.float32)
    found = from_samples(samples)
    for row, one in enumerate(samples):
        theirs_of = SampleForecast(one, pd.Period("2024-01-01", freq="h"))
        for level in LEVELS:
            np.testing.assert_array_equal(found.at(level)[row], theirs_of.quantile(level))
        np.testing.assert_allclose(found.mean[row], one.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(found.median, found.at(0.5))


def test_crps_of_samples_is_its_definition_and_nears_the_normal_distributions() -> None:
    generator = np.random.default_rng(6)
    samples, actual = generator.normal(size=(4, 9, H)), generator.normal(size=(4, H))
    actual[1, 2] = np.nan
    far = np.abs(samples - actual[:, None]).mean(axis=1)
    apart = np.abs(samples[:, :, None] - samples[:, None]).mean(axis=(1, 2))
    found = from_samples(samples, actual).crps
    assert found is not None
    np.testing.assert_allclose(found, far - apart / 2, rtol=1e-12)
    from scipy.stats import norm

    # Of the normal law in closed form (Gneiting and Raftery 2007, equation 21), at y = 0.7.
    exact = 0.7 * (2 * norm.cdf(0.7) - 1) + 2 * norm.pdf(0.7) - 1 / np.sqrt(np.pi)
    many = from_samples(generator.normal(size=(1, 200_000, 1)), np.array([[0.7]])).crps
    assert many is not None
    assert many[0, 0] == pytest.approx(exact, abs=0.005)


def test_samples_are_summarized_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    panel, entries, samples = random_case(7, 0.1, dims=2)
    actual = scales.actual_rows(panel, entries, H)
    whole = from_samples(samples, actual)
    monkeypatch.setattr("tasks.forecast.score.summary._PIECE", 2 * SAMPLES * H * 2)
    pieces = from_samples(samples, actual)
    for name in ("median", "mean", "quantiles", "crps"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))
    assert len(from_samples(samples[:0], actual[:0])) == 0


def test_several_dimensions_are_rows_of_their_own() -> None:
    panel, entries, samples = random_case(8, 0.1, dims=3)
    found = score_entries(from_samples(samples), panel, entries, m=M)
    assert found.counts["series"] == 7 * 3
    for series in range(7):
        for dim in range(3):
            alone = panel_of([panel.series(i)[:, dim] for i in range(7)])
            rows = entries.part(entries.series == series)
            one = score_entries(from_samples(samples[entries.series == series][..., dim]), alone, rows, m=M)
            for name in (*METRICS[:6], "msis", "coverage_80", "width_80"):
                assert found.per_series[name][series * 3 + dim] == pytest.approx(one.overall[name]["value"]), name


def test_quantiles_between_the_given_levels_are_interpolated_and_none_is_made_up_outside() -> None:
    quantiles = np.array([[[10.0, 1.0], [20.0, 3.0], [40.0, 4.0]]])  # [1, levels, 2]
    found = from_quantiles(quantiles, (0.1, 0.5, 0.9))
    assert found.at(0.3)[0].tolist() == pytest.approx([15.0, 2.0])
    assert found.at(0.75)[0].tolist() == pytest.approx([32.5, 3.625])
    assert found.median.tolist() == found.mean.tolist() == [[20.0, 3.0]]
    assert np.isnan(found.at(0.05)).all()
    assert np.isnan(found.at(0.975)).all()
    overall = score(found, np.array([[25.0, 3.0]]), np.ones(1), np.zeros(1), np.zeros(1), m=1).overall
    assert np.isnan([overall[name]["value"] for name in ("crps", "msis", "coverage_95", "width_95")]).all()
    assert overall["coverage_80"]["value"] == 1.0
    assert overall["width_80"]["value"] == pytest.approx(16.5)
    kept = np.sort(np.random.default_rng(9).normal(size=(2, len(LEVELS), H)), axis=1)
    np.testing.assert_array_equal(from_quantiles(kept, LEVELS).quantiles, kept.transpose(0, 2, 1))


@pytest.mark.parametrize("levels", [(0.5, 0.1, 0.9), (0.6, 0.7, 0.8), (0.1, 0.9), (0.1, 0.5, 0.5)])
def test_quantiles_need_rising_levels_around_the_median(levels: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="rising levels"):
        from_quantiles(np.zeros((1, 3, H)), levels)


def test_a_forecast_that_holds_nan_is_told() -> None:
    samples = np.zeros((3, SAMPLES, H))
    samples[2, 4, 1] = np.nan
    with pytest.raises(DataError, match="NaN: entry 2"):
        from_samples(samples)
    with pytest.raises(DataError, match="NaN: entry 2"):
        from_points(samples[:, 4])


@pytest.mark.parametrize("m", [1, 3, 24, 30, 70])
@pytest.mark.parametrize("block", [50, 1 << 21])
def test_seasonal_error_is_gluonts_for_every_origin(monkeypatch: pytest.MonkeyPatch, m: int, block: int) -> None:
    monkeypatch.setattr(scales, "_BLOCK", block)
    generator = np.random.default_rng(10)
    series = [generator.normal(size=n) * 10.0 ** (6 * (n % 3)) for n in (80, 2, 55, 100, 31)]
    for one in series:
        one[generator.random(len(one)) < 0.1] = np.nan
    panel = panel_of(series)
    pairs = [(s, o) for s, one in enumerate(series) for o in (1, 2, 30, 31, 54, 79, 100, 54) if o <= len(one)]
    order = generator.permutation(len(pairs))
    entries = Entries(*(np.array([pairs[i][k] for i in order]) for k in (0, 1)), window=np.zeros(len(pairs), int))
    found = scales.seasonal_error(panel, entries, m)[:, 0]
    for value, i in zip(found, order, strict=True):
        s, o = pairs[i]
        expected = theirs(np.ma.masked_invalid(series[s][:o]), seasonality=m)[0]
        if expected is np.ma.masked or np.isnan(expected):
            assert np.isnan(value), (s, o)
        else:
            assert value == pytest.approx(expected, rel=1e-12), (s, o)


def test_a_huge_series_takes_no_digits_from_a_small_one() -> None:
    small = np.tile([0.0, 1e-9], 20)
    panel = panel_of([np.tile([1e300, -1e300], 20), small, np.tile([-1.7e308, 1.7e308], 20), small])
    entries = Entries(np.arange(4), np.full(4, 40), np.zeros(4, int))
    found = scales.seasonal_error(panel, entries, 1)[:, 0]
    assert found[[1, 3]].tolist() == pytest.approx([1e-9, 1e-9], rel=1e-12)
    assert found[0] == pytest.approx(2e300)


def test_m_must_be_a_season() -> None:
    panel = panel_of([np.arange(9.0)])
    with pytest.raises(ConfigError):
        scales.seasonal_error(panel, Entries(*(np.zeros(1, int) for _ in range(3))), 0)


def test_intervals_are_those_of_drawing_series_anew() -> None:
    panel, entries, samples = random_case(11, 0.1)
    found = score_entries(from_samples(samples), panel, entries, m=M, resamples=4000)
    forecasts, actual = from_samples(samples), scales.actual_rows(panel, entries, H)
    scale = scales.seasonal_error(panel, entries, M)[:, 0]
    generator, figures = np.random.default_rng(12), []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(entries.series == s) for s in generator.integers(0, 7, 7)])
        error, size = np.abs(actual - forecasts.median)[rows], np.abs(actual)[rows]
        figures.append(
            [
                np.nanmean(error / scale[rows, None]),
                np.nansum(error) / np.nansum(size),
                np.sqrt(np.nanmean((actual - forecasts.mean)[rows] ** 2)),
            ]
        )
    low, high = np.quantile(figures, [0.025, 0.975], axis=0)
    for column, name in enumerate(("mase", "nd", "rmse")):
        assert found.overall[name]["low"] == pytest.approx(low[column], rel=0.06), name
        assert found.overall[name]["high"] == pytest.approx(high[column], rel=0.06), name


def test_skill_and_win_rate_against_baselines() -> None:
    panel, entries, samples = random_case(13, 0.05)
    forecasts = from_samples(samples)
    same = forecasts.part(slice(None))
    worse = from_samples(samples + 3 * np.nanmax(np.abs(scales.actual_rows(panel, entries, H)), axis=1)[:, None, None])
    found = score_entries(forecasts, panel, entries, m=M, baselines={"same": same, "worse": worse})
    bad = score_entries(worse, panel, entries, m=M)
    assert found.win_rate == {"same": 0.5, "worse": 1.0}
    for name in ("mase", "smape", "rmse", "nd", "wql", "msis"):
        assert found.skill["same"][name] == {"value": 0.0, "low": 0.0, "high": 0.0}
        figures = found.skill["worse"][name]
        assert figures["value"] == pytest.approx(1 - found.overall[name]["value"] / bad.overall[name]["value"])
        assert figures["low"] < figures["value"] < figures["high"]


def test_one_series_has_no_interval_and_the_same_seed_gives_the_same() -> None:
    panel, entries, samples = random_case(14, 0.0)
    alone = entries.part(entries.series == 2)
    one = score_entries(from_samples(samples[entries.series == 2]), panel, alone, m=M)
    assert np.isnan([one.overall["mase"]["low"], one.overall["mase"]["high"]]).all()
    first, second = (score_entries(from_samples(samples), panel, entries, m=M, seed=5) for _ in range(2))
    assert first.as_dict() == second.as_dict()
    json.dumps(one.as_dict(), allow_nan=False)


def test_shapes_that_differ_and_nothing_to_score_are_told() -> None:
    forecasts = from_points(np.ones((2, 3)))
    keys = np.zeros(2, int)
    with pytest.raises(DataError, match="differ in shape"):
        score(forecasts, np.ones((2, 4)), np.ones(2), keys, keys, m=1)
    with pytest.raises(DataError, match="no actual value"):
        score(forecasts, np.full((2, 3), np.nan), np.ones(2), keys, keys, m=1)


def test_parts_and_columns_keep_their_order() -> None:
    _, _, samples = random_case(15, 0.0)
    whole = from_samples(samples, np.zeros((len(samples), H)))
    again = concatenate([whole.part(slice(0, 5)), whole.part(np.arange(5, len(samples)))])
    for name in ("median", "mean", "quantiles", "crps"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(again, name))
    columns = whole.columns()
    assert list(columns)[:3] == ["median", "mean", "0.025"]
    assert columns["0.9"][H + 2] == whole.at(0.9)[1, 2]
    assert isinstance(again, Forecasts)
