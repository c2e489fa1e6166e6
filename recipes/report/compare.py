"""Comparison of runs: differing options, measured figures, and whether their difference is significant."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from recipes.report.curves import metric_names
from recipes.report.figures import finite, flatten, is_number
from recipes.report.folder import Record, read_run
from recipes.runs import folder as run_folder
from recipes.runs import scores
from recipes.runs.folder import Run
from recipes.runs.scores import Scores
from tasks.errors import DataError
from tasks.stats import paired_bootstrap

# Fewer examples in common than this say too little for an interval.
LEAST_IN_COMMON = 30
# With as many comparisons as this, one may well stand out by luck.
MANY = 3
# What is told of the machine; the rest of environment.json (git, command) says nothing of the result.
ENVIRONMENT = ("python", "platform", "processor", "cores", "memory_gb", "gpus", "cuda", "versions", "git")


class Figure(NamedTuple):
    """A measured figure with its 95 % interval; NaN where that isn't known."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass
class Side:
    """One of the runs compared.

    Attributes:
        label: A, B, ... by which tables call it.
        figures: a finished run's figures, else those of the last validation.
        n: examples they were measured on; `at_step`: the step they are of.
        problem: why there are no scores an example.
    """

    label: str
    run: Run
    record: Record
    state: str
    figures: dict[str, Figure]
    n: int | None
    at_step: int | None
    scores: Scores | None
    problem: str = ""


@dataclass
class Paired:
    """A run against the first, over the examples that both were measured on; or the `reason` why there is no such figure.

    `verdict`: better, worse, within chance (the 95 % interval holds 0) or equal (no example differs).
    """

    run: str
    against: str
    metric: str = ""
    unit: str = ""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    verdict: str = ""
    examples: int | None = None
    note: str = ""
    reason: str = ""


@dataclass
class Comparison:
    """Everything that is known of several runs together. `options` and `environment`: (name, its value in each run)."""

    sides: list[Side]
    options: list[tuple[str, list[Any]]]
    same_options: int
    environment: list[tuple[str, list[Any]]]
    paired: list[Paired]
    metrics: list[str]
    units: dict[str, str]
    notes: list[str] = field(default_factory=list)


def compare(runs: list[Run]) -> Comparison:
    """Compares two runs or more with the first of them."""
    sides = [describe(run, number) for number, run in enumerate(runs)]
    options, same = _differing(
        [{key: value for key, value in side.record.config.items() if key != "recipe"} for side in sides]
    )
    machines = [{key: value for key, value in side.record.environment.items() if key in ENVIRONMENT} for side in sides]
    paired = [against(side, sides[0]) for side in sides[1:]]
    notes = [f"{side.run.path.name}: {problem}" for side in sides for problem in side.record.problems]
    notes += [f"{side.run.path.name}: there is no config.yaml" for side in sides if not side.record.config]
    notes += [f"{side.run.path.name}: {verdict}" for side in sides if (verdict := side.record.status.get("verdict"))]
    if sum(pair.difference is not None for pair in paired) >= MANY:
        notes.append("Each interval stands by itself: of twenty runs that are no better, one may look so by chance.")
    other_machines, _ = _differing(machines)
    units = {
        side.scores.metric.partition(" (")[0]: side.scores.unit for side in reversed(sides) if side.scores is not None
    }
    return Comparison(sides, options, same, other_machines, paired, _metrics(sides), units, notes)


def against(side: Side, first: Side) -> Paired:
    """The difference of a run from the first, by a paired bootstrap over the examples they share."""
    names = side.run.path.name, first.run.path.name
    mine, base = side.scores, first.scores
    if mine is None or base is None:
        return Paired(*names, reason="; ".join(each.problem for each in (first, side) if each.scores is None))
    if (mine.metric, mine.unit) != (base.metric, base.unit):
        return Paired(*names, reason=f"other metrics: {base.metric} and {mine.metric}")
    at = {key: number for number, key in enumerate(mine.keys())}
    common = [(number, at[key]) for number, key in enumerate(base.keys()) if key in at]
    whole = len(common) == len(base.ids) == len(mine.ids)
    note = f"other evaluation data: {len(base.ids):,} and {len(mine.ids):,} examples, {len(common):,} in common"
    if len(common) < LEAST_IN_COMMON and not whole:
        return Paired(*names, reason=note)
    new, old = [mine.scores[there] for _, there in common], [base.scores[here] for here, _ in common]
    result = paired_bootstrap(new, old, [base.groups[here] for here, _ in common])
    verdict = "equal" if new == old else _verdict(result.low, result.high, mine.greater_is_better)
    return Paired(*names, mine.metric, mine.unit, *result, verdict, len(common), "" if whole else note)


def _verdict(low: float, high: float, greater_is_better: bool) -> str:
    if low <= 0 <= high:
        return "within chance"
    return "better" if (low > 0) == greater_is_better else "worse"


def describe(run: Run, number: int = 0) -> Side:
    """What is known of one run, the `number`-th of several."""
    record = read_run(run.path)
    state = run_folder.state(run, record.status)
    name, problem, scored = run.path.name, "", None
    try:
        scored = scores.read(run.path)
    except DataError as error:
        problem = str(error)
    if scored is None and not problem:
        problem = f"{name} has no {scores.FILE}" + ("" if state == "finished" else f" ({state})")
    last = record.validation[-1] if record.validation else {}
    final = record.status.get("metrics")
    metrics = final if state == "finished" and isinstance(final, dict) else last
    names = list(dict.fromkeys([*metric_names([metrics], None), "loss"]))
    figures = {
        key: Figure(float(metrics[key]), *(finite(metrics.get(f"{key}_{end}")) for end in ("low", "high")))
        for key in names
        if is_number(metrics.get(key))
    }
    at_step = record.status.get("best_step") if metrics is final else last.get("step")
    label = chr(ord("A") + number) if number < 26 else str(number + 1)
    return Side(label, run, record, state, figures, metrics.get("n"), at_step, scored, problem)


def _metrics(sides: list[Side]) -> list[str]:
    """Names of all figures: what runs are judged by first, the loss last. Only names that a validation has are metrics."""
    judged = [side.scores.metric for side in sides if side.scores is not None]
    validated = [name for side in sides for name in metric_names(side.record.validation, None)]
    known = {name for side in sides for name in side.figures}
    return [name for name in dict.fromkeys([*judged, *validated, "loss"]) if name in known]


def _differing(values: list[dict[str, Any]]) -> tuple[list[tuple[str, list[Any]]], int]:
    """The names whose values differ, with each one's value, and how many are the same in all. Empty ones are left out of
    the comparison: nothing is known of them."""
    flat = [dict(flatten(each)) for each in values]
    known = [each for each in flat if each]
    names = list(dict.fromkeys(name for each in known for name in each))
    differ = [name for name in names if any(each.get(name, ...) != known[0].get(name, ...) for each in known)]
    return [(name, [each.get(name, ...) for each in flat]) for name in differ], len(names) - len(differ)


def as_dict(found: Comparison) -> dict[str, Any]:
    """The comparison as plain values, for --json."""
    return {
        "runs": [_side_dict(side) for side in found.sides],
        "options": {"differ": _plain_rows(found.options), "same": found.same_options},
        "environment": {"differ": _plain_rows(found.environment)},
        "paired": [{key: value for key, value in asdict(pair).items() if value not in (None, "")} for pair in found.paired],
        "notes": found.notes,
    }  # fmt: skip


def _side_dict(side: Side) -> dict[str, Any]:
    status = side.record.status
    return {
        "label": side.label,
        "run": str(side.run.path),
        "recipe": status.get("recipe"),
        "state": side.state,
        "metrics": {
            name: {key: value for key, value in each._asdict().items() if math.isfinite(value)}
            for name, each in side.figures.items()
        },
        "n": side.n,
        "at_step": side.at_step,
        **{key: status.get(key) for key in ("verdict", "step", "total_steps", "seconds", "cost")},
    }


def _plain_rows(rows: list[tuple[str, list[Any]]]) -> dict[str, list[Any]]:
    return {name: [None if value is ... else value for value in values] for name, values in rows}
