"""Forecast metrics in `evaluate`'s form: its documented figures, scikit-learn's, and those of `tasks.forecast.score.scores`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from tasks import metrics
from tasks.errors import ConfigError, DataError
from tasks.forecast.panel import Entries
from tasks.forecast.score.scale import bare_panel, seasonal_error
from tasks.forecast.score.scores import QUANTILES, score
from tasks.forecast.score.summary import from_points, from_samples


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def compute(name: str, **values: Any) -> Any:
    return metrics.load(name).compute(**values)[name]


def test_mase_is_the_figure_that_evaluate_documents() -> None:
    one = compute(
        "mase", predictions=[2.5, 0, 2, 8, 1.25], references=[3, -0.5, 2, 7, 2], training=[5, 0.5, 4, 6, 3, 5, 2]
    )
    assert one == pytest.approx(0.18333333333333335)
    actual = [[0.5, 1], [-1, 1], [7, -6]]
    several = {"predictions": [[0, 2], [-1, 2], [8, -5]], "references": actual, "training": actual}
    assert compute("mase", **several) == pytest.approx(0.18181818181818182)
    raw = compute("mase", **several, multioutput="raw_values")
    assert raw.tolist() == pytest.approx([0.10526316, 0.28571429])
    assert compute("mase", **several, multioutput=[0.3, 0.7]) == pytest.approx(0.21935483870967742)


def test_smape_is_the_figure_that_evaluate_documents() -> None:
    assert compute("smape", predictions=[2.5, 0.0, 2, 8], references=[3, -0.5, 2, 7]) == pytest.approx(
        0.5787878787878785
    )
    several = {"predictions": [[0.5, 1], [-1, 1], [7, -6]], "references": [[0.1, 2], [-1, 2], [8, -5]]}
    assert compute("smape", **several) == pytest.approx(0.49696969558995985)
    raw = compute("smape", **several, multioutput="raw_values")
    assert raw.tolist() == pytest.approx([0.48888889, 0.50505051])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("multioutput", ["uniform_average", "raw_values", [0.2, 0.5, 0.3]])
def test_point_metrics_are_scikit_learns(weighted: bool, multioutput: Any) -> None:
    generator = np.random.default_rng(1)
    predictions, references = generator.normal(5, 2, (2, 40, 3))
    weights = generator.random(40) if weighted else None
    given = {"sample_weight": weights, "multioutput": multioutput}
    expected = {
        "mape": sk.mean_absolute_percentage_error(references, predictions, **given),
        "rmse": sk.root_mean_squared_error(references, predictions, **given),
    }
    training = generator.normal(size=(90, 3))
    expected["mase"] = sk.mean_absolute_error(references, predictions, **given) / sk.mean_absolute_error(
        training[7:], training[:-7], multioutput=multioutput
    )
    for name, value in expected.items():
        more = {"training": training, "periodicity": 7} if name == "mase" else {}
        found = compute(name, predictions=predictions, references=references, **given, **more)
        np.testing.assert_allclose(found, value, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_the_figures_are_those_of_the_back_test(holes: float) -> None:
    generator = np.random.default_rng(2)
    samples, actual = generator.normal(4, 3, (1, 50, 24)), generator.normal(4, 3, (1, 24))
    history = generator.normal(size=60)
    for values in (actual[0], history):
        values[generator.random(len(values)) < holes] = np.nan
    entry = Entries(np.zeros(1, int), np.array([60]), np.zeros(1, int))
    scale = seasonal_error(bare_panel(history[:, None], np.array([60])), entry, 5)[:, 0]
    keys = np.zeros(1, int)
    forecasts = from_samples(samples, actual)
    spread = score(forecasts, actual, scale, keys, keys, m=5).overall
    point = score(from_points(forecasts.median), actual, scale, keys, keys, m=5).overall
    references, median = actual[0].tolist(), forecasts.median[0].tolist()
    past = {"training": history.tolist(), "periodicity": 5}
    for name in ("mase", "smape", "mape", "rmse", "nd"):
        found = compute(name, predictions=median, references=references, **(past if name == "mase" else {}))
        assert found == pytest.approx(point[name]["value"], rel=1e-12), name
    quantiles = np.stack([forecasts.at(level)[0] for level in QUANTILES], axis=1)
    bounds = np.stack([forecasts.at(level)[0] for level in (0.025, 0.975)], axis=1).tolist()
    assert compute("wql", predictions=quantiles, references=references) == pytest.approx(spread["wql"]["value"])
    assert compute("crps", predictions=samples[0].T, references=references) == pytest.approx(spread["crps"]["value"])
    assert compute("msis", predictions=bounds, references=references, **past) == pytest.approx(spread["msis"]["value"])
    found = metrics.load("coverage").compute(predictions=bounds, references=references)
    assert found["coverage"] == pytest.approx(spread["coverage_95"]["value"])
    assert found["width"] == pytest.approx(spread["width_95"]["value"])
    assert found["n"] == int((~np.isnan(actual)).sum())


def test_the_median_alone_is_half_of_scikit_learns_pinball_loss_twice() -> None:
    generator = np.random.default_rng(3)
    quantiles, actual = generator.normal(size=(30, 2)), generator.normal(size=30)
    losses = [sk.mean_pinball_loss(actual, quantiles[:, i], alpha=level) for i, level in enumerate((0.3, 0.9))]
    found = compute("wql", predictions=quantiles, references=actual, quantile_levels=[0.3, 0.9])
    assert found == pytest.approx(2 * np.mean(losses) / np.abs(actual).mean())


def test_a_wider_interval_pays_by_its_width_and_a_miss_by_its_distance() -> None:
    training = [0.0, 1.0, 0.0, 1.0]
    found = metrics.load("msis").compute(predictions=[[0, 4], [0, 4]], references=[3, 5], training=training, alpha=0.2)
    assert found == {"msis": pytest.approx((4 + 4 + 2 / 0.2 * 1) / 2), "n": 2}
    assert metrics.load("coverage").compute(predictions=[[0, 4], [5, 6]], references=[4, 4]) == {
        "coverage": 0.5,
        "width": 2.5,
        "n": 2,
    }


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("mase", {"predictions": [1.0], "references": [2.0], "training": [3.0] * 9}, DataError, "not defined"),
        ("mase", {"predictions": [1.0], "references": [2.0], "training": [3.0]}, DataError, "not defined"),
        (
            "mase",
            {"predictions": [[1.0, 2.0]], "references": [[2.0, 2.0]], "training": [3.0, 4.0]},
            DataError,
            "1 outputs",
        ),
        ("nd", {"predictions": [1.0], "references": [0.0]}, DataError, "not defined"),
        ("rmse", {"predictions": [float("nan")], "references": [0.0]}, DataError, "row 1"),
        ("rmse", {"predictions": [1.0], "references": [1.0], "sample_weight": [1, 2]}, DataError, "weight"),
        ("rmse", {"predictions": [1.0], "references": [1.0], "multioutput": "mean"}, ConfigError, "multioutput"),
        ("rmse", {"predictions": [1.0], "references": [1.0], "multioutput": [1, 2]}, ConfigError, "weights"),
        ("wql", {"predictions": [[1.0]], "references": [1.0]}, DataError, "9 predictions"),
        ("crps", {"predictions": [[1.0]], "references": [float("nan")]}, DataError, "no reference"),
        ("msis", {"predictions": [[1, 2]], "references": [1], "training": [1, 2], "alpha": 2}, ConfigError, "alpha"),
    ],
)
def test_what_can_not_be_scored_is_told(name: str, values: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        compute(name, **values)
