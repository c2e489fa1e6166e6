"""`tool eval --metric M --predictions P --references R`: scoring a file against a file, without a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.scoring.forecasts import FIGURES, score_forecasts
from tasks import metrics
from tasks.cells import as_list
from tasks.cells import as_text as cell_text
from tasks.columns import as_numbers, as_text, read_column, read_json
from tasks.errors import ConfigError, DataError, data_errors
from tasks.files import defined
from tasks.stats import bootstrap_mean
from tasks.vqa.score import official_accuracy, official_summary

_BOOTSTRAP = ("confidence", "resamples", "seed")


def score_files(
    metric: str, predictions: str | Path, references: str | Path | None, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Scores a file of predictions against a file of references.

    Args:
        metric: `vqa_accuracy`, which reads the official formats; metrics of `recipes.scoring.forecasts`, joined by commas, for
            files of forecasts; or any metric of `tasks.metrics.load`, which reads a column of each file: `prediction`,
            `label`, `answers`; `reference`, `given`, `label`; or the only one.
        predictions, references: see `tasks.columns.read_column` for the formats.
        options: `confidence`, `resamples`, `seed` of the interval; `prediction_column`, `reference_column`;
            `config_name` of the metric; all others go to the metric. Of forecasts those of `score_forecasts`.

    Returns:
        plain values, ready for JSON: {"metric", the scores, "n"}, and where rows have a score of their own "low",
        "high" and "confidence"; where the metric reckons its own, "intervals" (name -> [low, high]) and "confidence".
        vqa_accuracy gives the official form in per cent, and the interval over images.

    Raises:
        DataError: a file can't be read or the two don't match; names the file and row.
        ConfigError: no such metric, option or column.
        ToolError: the metric has to be fetched and can't be.
    """
    options = dict(options or {})
    names = metric.split(",")
    if set(names) <= set(FIGURES):
        _check_options(names[0], options, (*_BOOTSTRAP, "history", "periodicity", "freq", "model_name"))
        return score_forecasts(names, predictions, references, **options)
    if references is None:
        raise ConfigError(f"--metric {metric} needs --references")
    bootstrap = {key: options.pop(key) for key in _BOOTSTRAP if key in options}
    if metric == "vqa_accuracy":
        _check_options(metric, options, _BOOTSTRAP)
        return _score_vqa(Path(predictions), Path(references), bootstrap)
    return _score_columns(metric, Path(predictions), Path(references), options, bootstrap)


def _check_options(metric: str, options: dict[str, Any], known: Sequence[str]) -> None:
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ConfigError(f"{metric} has no option {', '.join(unknown)}; it has {', '.join(known)}")


def read_official_results(path: Path) -> dict[Any, str]:
    """Question id -> answer, from the official result format.

    Raises:
        DataError: names the file and the rows that are wrong.
    """
    rows = _rows(path, read_json(path))
    return {entry["question_id"]: _wanted(path, row, entry, "answer", str) for row, entry in rows}


def read_official_annotations(path: Path) -> dict[Any, dict[str, Any]]:
    """Question id -> {"answers": list of text, "image_id", "question_type", "answer_type"}, in the file's order.

    An annotation without an image id is an image of its own.

    Raises:
        DataError: names the file and the rows that are wrong.
    """
    loaded = read_json(path)
    if not isinstance(loaded, dict) or "annotations" not in loaded:
        raise DataError(f"{path} must hold an object with the key 'annotations', as the official annotation files do")
    annotations: dict[Any, dict[str, Any]] = {}
    for row, entry in _rows(path, loaded["annotations"]):
        answers = _wanted(path, row, entry, "answers", list)
        texts = [answer.get("answer") if isinstance(answer, dict) else answer for answer in answers]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{path}, row {row}: 'answers' must be a list of {{\"answer\": text}}, at least one")
        annotations[entry["question_id"]] = {
            "answers": texts,
            "image_id": str(entry.get("image_id", f"question {entry['question_id']}")),
            "question_type": _wanted(path, row, entry, "question_type", str),
            "answer_type": _wanted(path, row, entry, "answer_type", str),
        }
    return annotations


def _score_vqa(predictions: Path, references: Path, bootstrap: dict[str, Any]) -> dict[str, Any]:
    results = read_official_results(predictions)
    annotations = read_official_annotations(references)
    _same_questions(predictions, results, references, annotations)
    rows = list(annotations.values())
    accuracy = official_accuracy([results[key] for key in annotations], [row["answers"] for row in rows])
    scores = official_summary(accuracy, [row["question_type"] for row in rows], [row["answer_type"] for row in rows])
    images = [row["image_id"] for row in rows]
    interval = _interval(100 * accuracy, images, bootstrap, decimals=2)
    return {"metric": "vqa_accuracy", **scores, "n": len(rows), "n_images": len(set(images)), **interval}


def _score_columns(
    name: str, predictions: Path, references: Path, options: dict[str, Any], bootstrap: dict[str, Any]
) -> dict[str, Any]:
    metric = metrics.load(name, options.pop("config_name", None))
    predicted = read_column(predictions, ("prediction", "label", "answers"), options.pop("prediction_column", None))
    expected = read_column(references, ("reference", "given", "label"), options.pop("reference_column", None))
    if len(predicted) != len(expected):
        raise DataError(
            f"{predictions} has {len(predicted)} rows and {references} has {len(expected)}; they must pair up"
        )
    predicted, expected = _one_kind(metric, name, (predictions, predicted), (references, expected))
    try:
        scores = metric.compute(predictions=predicted, references=expected, **options)
        rows = metric.per_row(predicted, expected) if hasattr(metric, "per_row") else None
        bounds = metric.intervals(predicted, expected, **bootstrap) if hasattr(metric, "intervals") else {}
    except (TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        if options:
            raise ConfigError(f"{name} refuses {', '.join(options)} or the values: {reason}") from error
        raise DataError(f"{name} can't score {predictions} against {references}: {reason}") from error
    interval = {} if rows is None else _interval(rows, None, bootstrap)
    if bounds:
        known = {figure: pair for figure, pair in bounds.items() if all(map(math.isfinite, pair))}
        interval = {"intervals": known, "confidence": bootstrap.get("confidence", 0.95)}
    return {"metric": name, **defined(scores), "n": len(predicted), **interval}


def _one_kind(
    metric: Any, name: str, predicted: tuple[Path, list[Any]], expected: tuple[Path, list[Any]]
) -> tuple[list[Any], list[Any]]:
    """Both columns as numbers where the metric takes them and every value is one, else as text; lists of text where it is of sets."""
    if getattr(metric, "of_sets", False):
        return _sets(*predicted), _sets(*expected)
    features = metric.features if isinstance(metric.features, list) else [metric.features]
    kinds = {_kind(option["predictions"]) for option in features if "predictions" in option}
    numbers = as_numbers(predicted[1]), as_numbers(expected[1])
    if kinds != {"text"} and numbers[0] is not None and numbers[1] is not None:
        return numbers[0], numbers[1]
    if "text" in kinds:
        _check_same_names(predicted, expected, numbers)
        return as_text(predicted[1]), as_text(expected[1])
    path, values = predicted if numbers[0] is None else expected
    row = next(row for row, value in enumerate(values, start=1) if as_numbers([value]) is None)
    raise DataError(f"{path}, row {row}: {name} needs finite numbers, found {values[row - 1]!r}")


def _check_same_names(
    predicted: tuple[Path, list[Any]],
    expected: tuple[Path, list[Any]],
    numbers: tuple[list[Any] | None, list[Any] | None],
) -> None:
    """Refuses names against numbers, of which none could ever be equal."""
    if (numbers[0] is None) == (numbers[1] is None):
        return
    one, other = (sorted({str(value) for value in values}) for _, values in (predicted, expected))
    if not set(one) & set(other):
        shown = [", ".join(names[:3] + ["..."] * (len(names) > 3)) for names in (one, other)]
        raise DataError(
            f"{predicted[0]} holds {shown[0]} and {expected[0]} holds {shown[1]}: one has names and the other numbers; write both alike"
        )


def _sets(path: Path, values: list[Any]) -> list[list[str]]:
    """Each value as the labels of a row: a list, one written as text, or a label by itself.

    Raises:
        DataError: a value looks like a list and can't be read; names the row.
    """
    sets = []
    for row, value in enumerate(values, start=1):
        try:
            items = as_list(value) if isinstance(value, str) else value
        except ValueError as error:
            raise DataError(f"{path}, row {row}: {error}") from None
        labels = items if isinstance(items, (list, tuple)) else [value]
        sets.append([text for label in labels if (text := cell_text(label)) is not None])
    return sets


def _kind(feature: Any) -> str:
    """Whether values of a feature of `datasets` are "text" or "number", looking into lists."""
    while not hasattr(feature, "dtype") or feature.dtype == "list":
        inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
        if inner is None:
            return "number"
        feature = inner
    return "text" if "string" in str(feature.dtype) else "number"


def _rows(path: Path, rows: Any) -> list[tuple[int, dict[str, Any]]]:
    """Numbered rows, each an object with its own question id."""
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path} must hold a list of at least one question, found {type(rows).__name__}")
    problems: list[str] = []
    first: dict[int | str, int] = {}
    rows = [{**row, "question_id": _id(row.get("question_id"))} if isinstance(row, dict) else row for row in rows]
    for number, row in enumerate(rows, start=1):
        key = row.get("question_id") if isinstance(row, dict) else None
        if not isinstance(key, (int, str)) or isinstance(key, bool):
            problems.append(f"{path}, row {number}: no 'question_id'")
        elif first.setdefault(key, number) != number:
            problems.append(f"{path}, row {number}: the question {key!r} stands in row {first[key]} already")
    if problems:
        raise data_errors(problems)
    return list(enumerate(rows, start=1))


def _id(key: Any) -> Any:
    """A question id; a whole number as one, in whatever form a blank elsewhere in its column made it."""
    return int(key) if isinstance(key, float) and key.is_integer() else key


def _wanted(path: Path, row: int, entry: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(entry.get(key), kind):
        what = "text" if kind is str else "a list"
        found = f"found {type(entry[key]).__name__}" if key in entry else f"its keys are {', '.join(entry)}"
        raise DataError(f"{path}, row {row}: {key!r} must be {what}, {found}")
    return entry[key]


def _same_questions(predictions: Path, results: dict[Any, Any], references: Path, annotations: dict[Any, Any]) -> None:
    """The official evaluation takes a result for each annotated question and no other."""
    problems = []
    sides = (references, annotations), (predictions, results)
    for (here, keys), (there, others) in (sides, sides[::-1]):
        alone = [repr(key) for key in keys if key not in others]
        if alone:
            shown = ", ".join(alone[:3] + ["..."] * (len(alone) > 3))
            problems.append(f"{len(alone)} of {len(keys)} question ids in {here} are not in {there}: {shown}")
    if problems:
        raise data_errors(problems, hint="Both files must hold the same questions")


def _interval(
    values: np.ndarray, groups: list[str] | None, bootstrap: dict[str, Any], decimals: int | None = None
) -> dict[str, Any]:
    """{"low", "high", "confidence"} in the unit of `values`; none from one group, which says nothing of others."""
    if len(set(groups) if groups is not None else values) < 2:
        return {}
    estimate = bootstrap_mean(values, groups, **bootstrap)
    low, high = (bound if decimals is None else round(bound, decimals) for bound in estimate.interval)
    return {"low": low, "high": high, "confidence": bootstrap.get("confidence", 0.95)}
