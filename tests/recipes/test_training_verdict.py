"""The verdict of a recipe that writes none of its own: by its headline's interval and baselines."""

from __future__ import annotations

import pytest

from recipes.report.content import Headline
from recipes.training import verdict_on


@pytest.mark.parametrize(("low", "clears"), [(0.57, True), (0.55, False), (0.5, False)])
def test_the_headlines_interval_is_held_against_the_best_baseline(low: float, clears: bool) -> None:
    headline = Headline("accuracy", 0.6, low, 0.65, 400, {"majority": 0.45, "best constant": 0.56})
    found = verdict_on(headline, greater_is_better=True)
    assert found is not None
    assert (found["clears"], found["baseline"], found["value"]) == (clears, "best constant", 0.56)
    line = "no better than best constant (56.0 %), as far as 400 examples can tell; train longer"
    assert (found["line"], headline.verdict) == ((None, "") if clears else (line, line))


def test_an_error_is_better_where_it_is_lower() -> None:
    headline = Headline("RMSE", 2.0, 1.9, 2.1, 50, {"mean": 2.05, "last": 3.0}, unit="")
    found = verdict_on(headline, greater_is_better=False)
    assert found is not None
    assert (found["clears"], found["baseline"]) == (False, "mean")
    assert found["line"] == "no better than mean (RMSE 2.05), as far as 50 examples can tell; train longer"


def test_without_baselines_there_is_no_verdict() -> None:
    assert verdict_on(None, True) is None
    assert verdict_on(Headline("accuracy", 0.9, 0.8, 1.0, 50), True) is None
