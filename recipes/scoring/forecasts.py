"""`tool eval --metric mase,wql,... --predictions P --references R`: scoring a file of forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def score_forecasts(
    metrics: Sequence[str],
    predictions: str | Path,
    references: str | Path,
    *,
    history: str | Path | None = None,
    periodicity: int | None = None,
    freq: str | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores a file of forecasts against what came true.

    Args:
        metrics: names of FIGURES.
        predictions, references, history: see `tasks.forecast.score.result_files.read_results` for the layouts and
            `tasks.forecast.score.pairing.pair` for how they are brought together.
        periodicity: the season m of the scale of MASE and MSIS.
        freq: the frequency of the time stamps, which tells m where `periodicity` is left out.
        confidence, resamples, seed: of the bootstrap over series.

    Returns:
        plain values, ready for JSON: "metric", each figure under its name (None where it isn't defined), "intervals" (name ->
        [low, high], from two series up), "confidence", "m" where a scale was needed, "n" (entries) and the other counts.

    Raises:
        ConfigError: no such metric; no periodicity where one is needed.
        DataError: a file can't be read or the files don't match; names the file and row.
    """
    unknown = [name for name in metrics if name not in FIGURES]
    if unknown or not metrics:
        raise ConfigError(f"no forecast metric {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    m = _season(metrics, periodicity, freq)
    from tasks.forecast.score.pairing import pair
    from tasks.forecast.score.result_files import check_complete, read_results
    from tasks.forecast.score.scores import score

    predicted = read_results(predictions)
    check_complete(predicted)
    past = read_results(history) if history is not None and m is not None else None
    pairs = pair(predicted, read_results(references), past, m, freq)
    _check_levels(metrics, Path(predictions), pairs.levels)
    scores = score(
        pairs.forecasts,
        pairs.actual,
        pairs.scale,
        pairs.series,
        pairs.window,
        m=m,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    ).as_dict()
    names = [figure for name in dict.fromkeys(metrics) for figure in FIGURES[name][0]]
    overall = scores["overall"]
    _check_defined(metrics, overall, scores["counts"], predictions)
    result: dict[str, Any] = {"metric": ",".join(dict.fromkeys(metrics))}
    result |= {name: overall[name]["value"] for name in names}
    intervals = {name: [overall[name]["low"], overall[name]["high"]] for name in names}
    result["intervals"] = {name: bounds for name, bounds in intervals.items() if None not in bounds}
    return result | {"confidence": confidence} | _counted(scores["counts"], m, metrics)


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
            raise DataError(f"{path}: {name} needs the quantile columns {', '.join(missing)}")
        if name == "crps":
            raise DataError(
                f"{path}: crps needs samples, as a npy array [series, samples, steps]; wql is for quantiles"
            )
        if name == "coverage" and not any(
            low in levels and high in levels for low, high in ((0.25, 0.75), (0.1, 0.9), (0.025, 0.975))
        ):
            raise DataError(f"{path}: coverage needs the columns 0.25 and 0.75, 0.1 and 0.9, or 0.025 and 0.975")


def _check_defined(metrics: Sequence[str], overall: dict[str, Any], counts: dict[str, int], path: str | Path) -> None:
    for name in metrics:
        if all(overall[figure]["value"] is None for figure in FIGURES[name][0]):
            why = "all actual values are 0, or the values are too large for it"
            if name in SCALED and counts["zero_scale"] + counts["no_scale"]:
                why = f"{counts['zero_scale']} histories are constant and {counts['no_scale']} too short or empty"
            raise DataError(f"{path}: {name} is not defined: {why}")


def _counted(counts: dict[str, int], m: int | None, metrics: Sequence[str]) -> dict[str, Any]:
    """The counts that say what was scored and what was left out."""
    names = ["series", "points", "missing_points", *(["zero_scale", "no_scale"] if m is not None else [])]
    names += ["zero_points"] if "mape" in metrics else []
    return {**({} if m is None else {"m": m}), "n": counts["entries"], **{name: counts[name] for name in names}}
