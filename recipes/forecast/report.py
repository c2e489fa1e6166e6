"""Report sections of a back-test: table of models, errors by step and window, calibration, example series."""

from __future__ import annotations

import numpy as np

from recipes.forecast.outputs import series_name
from recipes.forecast.testing import NAIVE, SEASONAL, SEEN, BacktestResult
from recipes.forecast.verdict import judge
from recipes.report.content import Headline, Line, LineChart, Section, Table
from tasks.forecast.score.scale import actual_rows
from tasks.forecast.score.scores import INTERVALS, LEVELS, METRICS

MODELS_SHOWN = 8
HISTORY = 3  # times the horizon


def headline(tested: BacktestResult) -> Headline:
    """MASE of the best model beside the baselines."""
    found = tested.scores[tested.best].overall["mase"]
    baselines = {name: tested.value(name, "mase") for name in (NAIVE, SEASONAL) if name != tested.best}
    return Headline(
        f"MASE (m {tested.m}){SEEN if tested.seen else ''}",
        found["value"],
        None if np.isnan(found["low"]) else found["low"],
        None if np.isnan(found["high"]) else found["high"],
        tested.scores[tested.best].counts["series"],
        {name: value for name, value in baselines.items() if not np.isnan(value)},
        unit="",
        verdict=(judged.line or "") if (judged := judge(tested)) else "",
    )


def sections(tested: BacktestResult) -> list[Section]:
    """The parts of the report."""
    return [
        Section("Models", tables=[_models(tested), _uncertainty(tested)]),
        Section("By step ahead and by window", charts=_errors(tested)),
        Section(
            "Calibration",
            text=(
                "How often the truth lay below each forecast quantile. On the dashed line the forecast says its own uncertainty "
                "rightly; below it at the low levels and above it at the high ones the intervals are too narrow."
            ),
            charts=[_calibration(tested)],
        ),
        Section(
            "Forecasts",
            text=f"The series with the lowest, the middle and the highest MASE of {tested.best}, first window; bands hold 80 %.",
            charts=_examples(tested),
        ),
        Section("Series", tables=[_series(tested)]),
    ]


def _models(tested: BacktestResult) -> Table:
    rows = []
    for view, name in tested.rows:
        mase = view.scores[name].overall["mase"]
        span = "" if np.isnan(mase["low"]) else f"{mase['low']:.4f} to {mase['high']:.4f}"
        figures = (_cell(view.value(name, metric)) for metric in METRICS[1:])
        rows.append([view.shown(name), _cell(mase["value"]), span, *figures])
    columns = ["model", "MASE", "95 % interval", "sMAPE", "MAPE", "RMSE", "ND", "wQL", "CRPS", "MSIS"]
    note = (
        f"MASE and MSIS are scaled by the mean |y(t) - y(t - {tested.m})| of each forecast's own history. Intervals: bootstrap over "
        f"series."
    )
    if any(view.seen for view in tested.views):
        note += " Seen: windows that a model was trained on or chosen by, which say nothing of how well it forecasts."
    if tested.seen is None:
        note += " Whether a model saw these windows in training is not on record."
    return Table("Scores", columns, rows, note)


def _uncertainty(tested: BacktestResult) -> Table:
    rows = []
    for view, name in tested.rows:
        found = view.scores[name]
        skill = [found.skill.get(other, {}).get("mase", {}).get("value") for other in (NAIVE, SEASONAL)]
        wins = [found.win_rate.get(other) for other in (NAIVE, SEASONAL)]
        shares = [_cell(100 * view.value(name, f"coverage_{part}")) for part in INTERVALS]
        widths = [_cell(view.value(name, f"width_{part}")) for part in INTERVALS]
        rows.append(
            [
                view.shown(name),
                *(None if value is None else _cell(100 * value) for value in (*skill, *wins)),
                *shares,
                *widths,
            ]
        )
    columns = ["model", *(f"{what} % on {name}" for what in ("skill", "wins") for name in (NAIVE, SEASONAL))]
    columns += [f"in {part} %" for part in INTERVALS] + [f"width {part} %" for part in INTERVALS]
    note = "Skill: 1 - MASE / the baseline's. Wins: series with a lower MASE. In 80 %: the share of values within that interval."
    return Table("Against the naive forecasts, and the intervals", columns, rows, note)


def _errors(tested: BacktestResult) -> list[LineChart]:
    """MASE by step ahead, and by window where there are several."""
    shown = list(tested.scores.items())[:MODELS_SHOWN]
    by_step = [_line(tested, name, np.arange(1, tested.horizon + 1), one.per_step["mase"]) for name, one in shown]
    by_window = [_line(tested, name, one.windows + 1, one.per_window["mase"]) for name, one in shown]
    axes = [("step ahead", "steps ahead", by_step), ("window", "window", by_window)]
    count = 2 if len(np.unique(tested.entries.window)) > 1 else 1
    return [
        LineChart(f"MASE by {title}", lines, x_label=label, y_label="MASE", from_zero=True)
        for title, label, lines in axes[:count]
    ]


def _line(tested: BacktestResult, name: str, x: np.ndarray, y: np.ndarray) -> Line:
    if name in (NAIVE, SEASONAL):
        return Line(name, x.tolist(), y.tolist(), look="dashed" if name == SEASONAL else "faint")
    return Line(name, x.tolist(), y.tolist(), series=tested.models.index(name))


def _calibration(tested: BacktestResult) -> LineChart:
    actual = actual_rows(tested.panel, tested.entries, tested.horizon)
    there = ~np.isnan(actual)
    lines = [Line("as it should be", list(LEVELS), list(LEVELS), look="dashed")]
    for name in tested.models[:MODELS_SHOWN]:
        found = tested.forecasts[name]
        if not found.points:
            shares = [float((actual <= found.at(level))[there].mean()) for level in LEVELS]
            lines.append(Line(name, list(LEVELS), shares, series=tested.models.index(name)))
    return LineChart(
        "Share of values below each quantile",
        lines,
        x_label="quantile level",
        y_label="share below",
        x_range=(0.0, 1.0),
        note="" if len(lines) > 1 else "No model here says an uncertainty.",
    )


def _examples(tested: BacktestResult) -> list[LineChart]:
    mase = tested.scores[tested.best].per_series["mase"]
    order = np.argsort(np.where(np.isnan(mase), np.inf, mase), kind="stable")
    order = order[: max(1, int((~np.isnan(mase)).sum()))]
    chosen = dict.fromkeys([int(order[0]), int(order[len(order) // 2]), int(order[-1])])
    return [_example(tested, int(tested.scores[tested.best].series[number]), float(mase[number])) for number in chosen]


def _example(tested: BacktestResult, key: int, mase: float) -> LineChart:
    """The end of a series' history, what came true, and the forecast with its band."""
    panel, dims = tested.panel, tested.panel.dims
    series, dim = divmod(key, dims)
    entry = int(np.flatnonzero(tested.entries.series == series)[0])
    origin = int(tested.entries.origin[entry])
    first = max(0, origin - HISTORY * tested.horizon)
    values = panel.series(series)[first : origin + tested.horizon, dim]
    found = tested.forecasts[tested.best].part(slice(entry * dims + dim, entry * dims + dim + 1))
    ahead = np.arange(tested.horizon) + 1.0
    lines = [
        Line("truth", (np.arange(len(values)) + first - origin + 1.0).tolist(), values.tolist(), look="plain"),
        Line(
            tested.best,
            ahead.tolist(),
            found.median[0].tolist(),
            None if found.points else found.at(0.1)[0].tolist(),
            None if found.points else found.at(0.9)[0].tolist(),
        ),
    ]
    if tested.best != SEASONAL:
        seasonal = tested.forecasts[SEASONAL].median[entry * dims + dim]
        lines.append(Line(SEASONAL, ahead.tolist(), seasonal.tolist(), look="dashed"))
    when = panel.calendar.timestamps(int(panel.starts[series]) + origin, 1)[0]
    note = f"MASE {mase:.3f} over all windows. Step 1 is {when}." if panel.has_timestamps else f"MASE {mase:.3f}."
    return LineChart(f"Series {series_name(panel, key)}", lines, x_label="steps from the forecast's start", note=note)


def _series(tested: BacktestResult) -> Table:
    found = tested.scores[tested.best]
    mase = found.per_series["mase"]
    order = np.argsort(np.where(np.isnan(mase), -np.inf, -mase), kind="stable")
    rows = []
    for number in order[:100]:
        name = series_name(tested.panel, int(found.series[number]))
        others = [tested.scores[other].per_series["mase"][number] for other in (NAIVE, SEASONAL)]
        rows.append([name, _cell(mase[number]), *(_cell(value) for value in others)])
    return Table(
        f"MASE of {tested.best} by series, highest first",
        ["series", tested.best, NAIVE, SEASONAL],
        rows,
        "The first 100." if len(order) > 100 else "",
    )


def _cell(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)
