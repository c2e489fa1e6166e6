"""Scores of forecasts: models and baselines on the same entries, in one table."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recipes.forecast.forecasting import ForecastRequest, over
from recipes.forecast.networks import Opened
from recipes.forecast.seen import SeenWindows
from recipes.terminal.progress import Progress
from recipes.terminal.tables import table
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.score import summary
from tasks.forecast.score.baselines import last_value, seasonal_naive
from tasks.forecast.score.scores import INTERVALS, Forecasts, Score, score_entries

NAIVE, SEASONAL = "naive", "seasonal-naive"
SEEN = " · on windows seen in training"
TABLED = ("smape", "rmse", "nd", "wql", "crps", "msis")


@dataclass
class BacktestResult:
    """Forecasts and their scores by model, baselines last; `seconds` by phase.

    Attributes:
        seen: whether a model was trained on these windows or chosen by them; None where that isn't on record.
        apart: the windows that were seen, where others were not.
    """

    panel: Panel
    entries: Entries
    horizon: int
    m: int
    forecasts: dict[str, Forecasts]
    scores: dict[str, Score]
    seconds: dict[str, float] = field(default_factory=dict)
    seen: bool | None = False
    apart: BacktestResult | None = None

    @property
    def views(self) -> list[BacktestResult]:
        """These windows, and those that were seen."""
        return [self] if self.apart is None else [self, self.apart]

    @property
    def rows(self) -> list[tuple[BacktestResult, str]]:
        """Every model of every view, as tables show them."""
        return [(view, name) for view in self.views for name in view.scores]

    def shown(self, name: str) -> str:
        """A model's name in a table, marked where these windows were seen."""
        return f"{name} · seen" if self.seen else name

    @property
    def models(self) -> list[str]:
        """The names that aren't baselines; where there are only baselines, these."""
        return [name for name in self.scores if name not in (NAIVE, SEASONAL)] or list(self.scores)

    @property
    def best(self) -> str:
        """The model of the lowest MASE, or of the lowest ND where no scale is defined."""
        figures = {name: [self.value(name, "mase"), self.value(name, "nd")] for name in self.models}
        return min(figures, key=lambda name: np.where(np.isnan(figures[name]), np.inf, figures[name]).tolist())

    def value(self, model: str, metric: str) -> float:
        return self.scores[model].overall[metric]["value"]

    def headline(self, name: str | None = None) -> str:
        """`MASE 0.912 (0.880 to 0.945), m 24`."""
        found = self.scores[name or self.best].overall["mase"]
        return f"MASE {found['value']:.4g}{interval(found)}, m {self.m}{SEEN if self.seen else ''}"


def naive_forecasts(panel: Panel, entries: Entries, horizon: int, m: int) -> dict[str, Forecasts]:
    """The baselines that always run along."""
    return {
        NAIVE: last_value(panel, entries, horizon),
        SEASONAL: seasonal_naive(panel, entries, horizon, m),
    }


def measure(
    models: list[Opened],
    asked: ForecastRequest,
    m: int,
    *,
    share: tuple[int, int] = (0, 1),
    gather: Callable[[list[Any]], list[Any]] = lambda items: items,
    show: bool = True,
    seen: SeenWindows | None = None,
) -> BacktestResult:
    """Forecasts the entries, shared by all processes, and scores them on each; those that were seen in training apart."""
    if seen is not None and seen.mixed:
        # Each by itself, so that the draws of the others are those of a run without them.
        options: dict[str, Any] = {"share": share, "gather": gather, "show": show}
        tested, tested.apart = (
            measure(models, dataclasses.replace(asked, entries=asked.entries.part(chosen)), m, seen=part, **options)
            for chosen, part in seen.parts()
        )
        return tested
    seconds: dict[str, float] = {}
    found: list[Any] = []
    with phase(seconds, "forecast"), Progress("back-test", len(asked.entries), unit="windows", show=show) as progress:
        for piece in over(models, asked, share=share):
            found.append((piece.part.start, piece.forecasts))
            progress.advance((piece.part.stop - piece.part.start) * share[1])
        ordered = [forecasts for _, forecasts in sorted(gather(found), key=lambda item: item[0])]
    joined = {name: summary.concatenate([part[name] for part in ordered]) for name in (ordered[0] if ordered else [])}
    return score_all(asked.panel, asked.entries, asked.horizon, m, joined, seconds, seen)


def score_all(
    panel: Panel,
    entries: Entries,
    horizon: int,
    m: int,
    forecasts: dict[str, Forecasts],
    seconds: dict[str, float],
    seen: SeenWindows | None = None,
) -> BacktestResult:
    """Scores every model against the baselines, and these against each other; windows that were seen apart from the others."""
    if seen is not None and seen.mixed:
        tested, tested.apart = (
            score_all(panel, entries.part(chosen), horizon, m, _rows_of(forecasts, chosen, panel.dims), seconds, part)
            for chosen, part in seen.parts()
        )
        return tested
    with phase(seconds, "score"):
        baselines = naive_forecasts(panel, entries, horizon, m)
        scores = {
            name: score_entries(
                one, panel, entries, m=m, baselines={other: base for other, base in baselines.items() if other != name}
            )
            for name, one in {**forecasts, **baselines}.items()
        }
    known = seen is None or seen.known
    was_seen = True if seen is not None and seen.entries.any() else (False if known else None)
    return BacktestResult(panel, entries, horizon, m, {**forecasts, **baselines}, scores, seconds, was_seen)


def _rows_of(forecasts: dict[str, Forecasts], chosen: np.ndarray, dims: int) -> dict[str, Forecasts]:
    return {name: one.part(np.repeat(chosen, dims)) for name, one in forecasts.items()}


@contextmanager
def phase(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Adds the time spent within to `seconds[name]`."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - began, 3)


def interval(found: dict[str, float]) -> str:
    """` (0.880 to 0.945)`; empty for a single series."""
    if np.isnan(found["low"]):
        return ""
    return f" ({found['low']:.4g} to {found['high']:.4g})"


def score_table(tested: BacktestResult) -> str:
    """A row a model: MASE with its interval, the other scores, skill and wins against the seasonal naive."""
    against = NAIVE if tested.m == 1 else SEASONAL
    rows = [_row(view, name, against) for view, name in tested.rows]
    names = ["", f"MASE (m {tested.m})", "95 %", "sMAPE", "RMSE", "ND", "wQL", "CRPS", "MSIS"]
    return table([*names, f"skill on {against}", "wins", *(f"in {part} %" for part in INTERVALS)], rows)


def _row(tested: BacktestResult, name: str, against: str) -> list[Any]:
    found = tested.scores[name]
    mase, skill = found.overall["mase"], found.skill.get(against, {}).get("mase", {}).get("value")
    return [
        tested.shown(name),
        f"{mase['value']:.4f}",
        interval(mase).strip(" ()"),
        *(_number(tested.value(name, key)) for key in TABLED),
        "" if skill is None else f"{100 * skill:+.1f} %",
        "" if skill is None else f"{100 * found.win_rate[against]:.0f} %",
        *(f"{100 * tested.value(name, f'coverage_{part}'):.0f}" for part in INTERVALS),
    ]


def counts_line(tested: BacktestResult) -> str:
    """What the figures are means over, and what was left out; a line for the windows that were seen."""
    return "\n          ".join(("seen in training: " if view.seen else "") + _counted(view) for view in tested.views)


def _counted(tested: BacktestResult) -> str:
    counts = tested.scores[tested.best].counts
    short = int((tested.entries.origin < tested.m).sum()) * tested.panel.dims
    windows = f"{counts['windows']} window{'s' if counts['windows'] > 1 else ''}"
    parts = [
        f"{counts['entries']:,} forecasts of {tested.horizon} steps ({counts['series']:,} series x {windows})",
        f"{short:,} with a history shorter than m, scaled with m 1" if short else "",
        f"{counts['missing_points']:,} missing values" if counts["missing_points"] else "",
        f"{counts['zero_scale']:,} with scale 0, left out of MASE and MSIS" if counts["zero_scale"] else "",
        f"{counts['no_scale']:,} without a scale, left out of MASE and MSIS" if counts["no_scale"] else "",
    ]
    return " · ".join(part for part in parts if part)


def figures(tested: BacktestResult) -> dict[str, Any]:
    """The scores as plain values, as metrics.json and `--json` have them; None where undefined.

    `seen` says whether the windows were seen in training, None where that isn't known; `seen_windows` has those that were, where
    others were not.
    """
    found = {
        "m": tested.m,
        "horizon": tested.horizon,
        "best": tested.best,
        "seen": tested.seen,
        "models": {name: one.as_dict() for name, one in tested.scores.items()},
    }
    return found if tested.apart is None else {**found, "seen_windows": figures(tested.apart)}


def overall(tested: BacktestResult, name: str) -> dict[str, Any]:
    """One model's overall figures with their intervals, flat, for status.json: mase, mase_low, mase_high, ..."""
    flat: dict[str, Any] = {}
    for metric, found in tested.scores[name].overall.items():
        for suffix, key in (("", "value"), ("_low", "low"), ("_high", "high")):
            flat[metric + suffix] = None if np.isnan(found[key]) else found[key]
    known = {} if tested.seen is False else {"seen": tested.seen}
    return {**flat, "m": tested.m, "n": tested.scores[name].counts["series"], **known}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
