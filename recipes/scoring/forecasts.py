"""`tool eval --metric mase,wql,... --predictions P --references R`: scoring a file of forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.columns import read_json
from tasks.errors import ConfigError, DataError

# metric -> the figures of tasks.forecast.score.scores that it stands for, and the quantile levels that it needs
FIGURES: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "mase": (("mase",), ()),
    "smape": (("smape",), ()),
    "mape": (("mape",), ()),
    "rmse": (("rmse",), ()),
    "nd": (("nd",), ()),
    "wql": (("wql",), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
    "crps": (("crps",), ()),
    "msis": (("msis",), (0.025, 0.975)),
    "coverage": (tuple(f"{kind}_{share}" for share in (50, 80, 95) for kind in ("coverage", "width")), ()),
}
SCALED = ("mase", "msis")
# Files of a run that are forecasts.
OWN = ("forecasts.parquet", "samples.parquet")


def score_forecasts(
    metrics: Sequence[str],
    predictions: str | Path,
    references: str | Path | None,
    *,
    history: str | Path | None = None,
    periodicity: int | None = None,
    freq: str | None = None,
    model_name: str | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores a file of forecasts against what came true.

    Args:
        metrics: names of FIGURES.
        predictions, references, history: see `tasks.forecast.score.result_files.read_results` for the layouts and
            `tasks.forecast.score.pairing.pair` for how they are brought together; `sample` is the sample data of seed 0. Without
            references the column `actual` of the tool's own forecasts is what came true.
        periodicity: the season m of the scale of MASE and MSIS.
        freq: the frequency of the time stamps, which tells m where `periodicity` is left out. For a run's own forecasts both are
            read from the metrics.json beside them.
        model_name: the one model to score, of a file that has several.
        confidence, resamples, seed: of the bootstrap over series.

    Returns:
        plain values, ready for JSON: "metric", each figure under its name (None where it isn't defined), "intervals" (name ->
        [low, high], from two series up), "confidence", "m" where a scale was needed, "n" (entries) and the other counts. Of a file
        with several models, or windows seen in training beside others, "models" has these by name; "notes" says what was passed
        over.

    Raises:
        ConfigError: no such metric or model; no periodicity where one is needed.
        DataError: a file can't be read or the files don't match; names the file and row.
    """
    unknown = [name for name in metrics if name not in FIGURES]
    if unknown or not metrics:
        raise ConfigError(f"no forecast metric {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    metrics = list(dict.fromkeys(metrics))
    beside = _run_of(Path(predictions)) if periodicity is None and freq is None else {}
    m = _season(metrics, beside.get("m") if periodicity is None else periodicity, freq)
    from tasks.forecast.score.result_files import check_complete, read_results

    predicted = read_results(predictions)
    check_complete(predicted)
    truth = None if references is None else _read(references)
    past = _read(history) if history is not None and m is not None else None
    bootstrap = {"confidence": confidence, "resamples": resamples, "seed": seed}
    groups = _groups(predicted, model_name)
    result: dict[str, Any] = {"metric": ",".join(metrics)}
    scored: dict[str, dict[str, Any]] = {}
    refused: dict[str, DataError] = {}
    for name, part in groups.items():
        try:
            scored[name] = _score(metrics, part, truth, past, m, freq or beside.get("frequency"), bootstrap)
        except Undefined as error:  # of several models some may have what a metric needs, as samples or points
            refused[name] = error
    if not scored:
        raise next(iter(refused.values()))
    notes = [f"{name}: {error}" for name, error in refused.items()] + _notes(
        [table for table in (predicted, truth, past) if table is not None]
    )
    if len(groups) == 1:
        ((name, only),) = scored.items()
        result |= ({"model": name} if name else {}) | only
    else:
        result |= {"models": scored}
    return result | ({"notes": notes} if notes else {})


class Undefined(DataError):
    """A metric that needs what a file doesn't have."""


def _score(
    metrics: Sequence[str],
    predicted: Any,
    truth: Any,
    past: Any,
    m: int | None,
    freq: str | None,
    bootstrap: dict[str, Any],
) -> dict[str, Any]:
    """The figures of one model's forecasts."""
    from tasks.forecast.score.pairing import pair
    from tasks.forecast.score.scores import score

    pairs = pair(predicted, truth, past, m, freq)
    _check_levels(metrics, predicted.path, pairs.levels)
    rows = (pairs.forecasts, pairs.actual, pairs.scale, pairs.series, pairs.window)
    scores = score(*rows, m=m, **bootstrap).as_dict()
    names = [figure for name in metrics for figure in FIGURES[name][0]]
    overall = scores["overall"]
    _check_defined(metrics, overall, scores["counts"], predicted.path)
    result = {name: overall[name]["value"] for name in names}
    intervals = {name: [overall[name]["low"], overall[name]["high"]] for name in names}
    result["intervals"] = {name: bounds for name, bounds in intervals.items() if None not in bounds}
    counted = _counted(scores["counts"], m, metrics)
    if m is not None and m > 1 and pairs.short:
        # A history shorter than m is scaled with m = 1, as GluonTS does; where all are, that is the m.
        counted |= {"m": 1} if pairs.short == counted["n"] else {"short_history": pairs.short}
    seen = getattr(predicted, "seen", None)
    marked = {} if seen is None else {"seen": None if not predicted.seen_known else bool(seen.any())}
    return result | {"confidence": bootstrap["confidence"]} | counted | marked


def _run_of(path: Path) -> dict[str, Any]:
    """m and the frequency of a run's own forecasts, from the metrics.json beside them; {} where there is none."""
    beside = path.parent / "metrics.json"
    if path.name not in OWN or not beside.is_file():
        return {}
    found = read_json(beside)
    return {"m": found.get("m"), "frequency": (found.get("data") or {}).get("frequency")}


def _read(path: str | Path) -> Any:
    """A file of references or histories; `sample` is the sample data, a folder of one file that file."""
    from tasks.forecast.score.result_files import read_results, sample_results

    folder = Path(path)
    if str(path) == "sample" and not folder.exists():
        return sample_results()
    files = sorted(item for item in folder.iterdir() if item.is_file()) if folder.is_dir() else []
    return read_results(files[0] if len(files) == 1 else folder)


def _groups(predicted: Any, model_name: str | None) -> dict[str, Any]:
    """Each model's rows by its name, those of windows seen in training apart; "" for all of a file that names no model.

    Raises:
        ConfigError: the named model isn't there.
    """
    models, seen = getattr(predicted, "models", None), getattr(predicted, "seen", None)
    known = [""] if models is None else list(dict.fromkeys(models))
    if model_name is not None and model_name not in known:
        raise ConfigError(f"--model-name: {predicted.path} has no model {model_name!r}; there are {', '.join(known)}")
    groups: dict[str, Any] = {}
    for name in known if model_name is None else [model_name]:
        part = predicted if models is None else predicted.part(models == name)
        if seen is None or part.seen.all() or not part.seen.any():
            groups[name] = part
        else:
            groups |= {name: part.part(~part.seen), f"{name} · seen": part.part(part.seen)}
    return groups


def _notes(tables: list[Any]) -> list[str]:
    """What was passed over, and what the file of forecasts says of itself."""
    lines = [
        f"{table.path}: passed over {', '.join(table.text)}, which {'hold' if len(table.text) > 1 else 'holds'} text"
        for table in tables
        if getattr(table, "text", ())
    ]
    if not getattr(tables[0], "seen_known", True):
        lines.append(f"{tables[0].path}: nobody knows whether the models saw these windows in training")
    return lines


def _season(metrics: Sequence[str], periodicity: int | None, freq: str | None) -> int | None:
    """m where one of the metrics needs it."""
    scaled = [name for name in metrics if name in SCALED]
    if not scaled:
        return None
    if periodicity is not None:
        if periodicity < 1:
            raise ConfigError(f"--periodicity must be >= 1, got {periodicity}")
        return periodicity
    if freq is None:
        raise ConfigError(
            f"{scaled[0]} is scaled by the error of the seasonal naive: give the season with --periodicity "
            "(24 for hours in a day), or --freq, which tells it"
        )
    from tasks.forecast.calendar import seasonality_of

    return seasonality_of(freq)


def _check_levels(metrics: Sequence[str], path: Path, levels: Sequence[float]) -> None:
    """Points have every quantile, samples too (told by 0 and 1); a file of quantiles has those of its columns."""
    if not levels or levels[0] == 0.0:
        return
    for name in metrics:
        missing = [str(level) for level in FIGURES[name][1] if level not in levels]
        if missing:
            raise Undefined(f"{path}: {name} needs the quantile columns {', '.join(missing)}")
        if name == "crps":
            raise Undefined(
                f"{path}: crps needs samples, as a npy array [series, samples, steps] or the samples.parquet of tool backtest "
                "--save-samples; wql is for quantiles"
            )
        if name == "coverage" and not any(
            low in levels and high in levels for low, high in ((0.25, 0.75), (0.1, 0.9), (0.025, 0.975))
        ):
            raise Undefined(f"{path}: coverage needs the columns 0.25 and 0.75, 0.1 and 0.9, or 0.025 and 0.975")


def _check_defined(metrics: Sequence[str], overall: dict[str, Any], counts: dict[str, int], path: str | Path) -> None:
    for name in metrics:
        if all(overall[figure]["value"] is None for figure in FIGURES[name][0]):
            why = "all actual values are 0, or the values are too large for it"
            if name in SCALED and counts["zero_scale"] + counts["no_scale"]:
                why = f"{counts['zero_scale']} histories are constant and {counts['no_scale']} too short or empty"
            raise Undefined(f"{path}: {name} is not defined: {why}")


def _counted(counts: dict[str, int], m: int | None, metrics: Sequence[str]) -> dict[str, Any]:
    """The counts that say what was scored and what was left out."""
    names = ["series", "points", "missing_points", *(["zero_scale", "no_scale"] if m is not None else [])]
    names += ["zero_points"] if "mape" in metrics else []
    return {**({} if m is None else {"m": m}), "n": counts["entries"], **{name: counts[name] for name in names}}
