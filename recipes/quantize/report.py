"""Report of a quantization: all trials, speed against loss, sensitivity of layers, changed answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.quantize.context import QuantizationContext
from recipes.quantize.remarks import sentences
from recipes.quantize.trials import SearchResult, Trial, pareto
from recipes.report.content import BarChart, Section, Table
from recipes.report.html import write_sections

LAYERS_SHOWN = 25


def write(context: QuantizationContext, outcome: SearchResult, kept: Trial, target: Path) -> Path:
    """Writes the page."""
    subject = context.subject
    title = f"Quantization · {Path(subject.model).name}"
    state = "kept" if kept.within(context.config.max_drop) else "over the drop"
    return write_sections(
        target, title, [("kept", kept.name, state, subject.description)], sections(context, outcome, kept)
    )


def sections(context: QuantizationContext, outcome: SearchResult, kept: Trial) -> list[Section]:
    """The parts of the page."""
    parts = [
        Section(
            "Trials",
            text=(
                f"Each trial against the float model on {context.subject.description}. A positive drop is a loss, in points; "
                f"up to {context.config.max_drop:g} were allowed. Intervals: 95 %, paired bootstrap over texts. Answers are scored at "
                f"batch {context.config.eval_batch_size}; beside it what batches of {context.config.batch_size} give. "
                + " ".join(sentences(context, kept))
            ),
            charts=_charts(context, outcome),
            tables=[_scores(context, outcome, kept), _speeds(context, outcome)],
        )
    ]
    failed = [[trial.name, trial.error] for trial in outcome.trials if trial.error]
    if failed or outcome.unfinished:
        rows = [*failed, *([name, "not tried for want of time"] for name in outcome.unfinished)]
        parts.append(Section("Not measured", tables=[Table("Trials without figures", ["trial", "why"], rows)]))
    for name, pairs in outcome.sensitivity.items():
        shown = pairs[:LAYERS_SHOWN]
        chart = BarChart(
            f"How far the logits move when one layer alone is quantized: {name}",
            [layer for layer, _ in shown],
            [value for _, value in shown],
            unit="",
            note=f"The {len(shown)} most sensitive of {len(pairs)} layers.",
        )
        parts.append(Section("Sensitivity of layers", charts=[chart]))
    return parts


def _measured(outcome: SearchResult) -> list[Trial]:
    return [trial for trial in outcome.trials if trial.measured]


def _charts(context: QuantizationContext, outcome: SearchResult) -> list[BarChart]:
    trials = _measured(outcome)
    names = [trial.name for trial in trials]
    against: list[dict[str, Any]] = [trial.measured["against"] for trial in trials]
    shares = {
        "latency": "Latency of one text, as a share of the float model's in turns with it",
        "throughput": f"The same of a batch of {context.config.batch_size}",
    }
    return [
        BarChart(
            "Points lost",
            names,
            [one["drop"] for one in against],
            [one["drop_low"] for one in against],
            [one["drop_high"] for one in against],
            baseline=context.config.max_drop,
            baseline_name="allowed",
            unit="points",
        ),
        *(
            BarChart(title, names, [trial.cost(kind) for trial in trials], baseline=1.0, baseline_name="float")
            for kind, title in shares.items()
        ),
    ]


def _scores(context: QuantizationContext, outcome: SearchResult, kept: Trial) -> Table:
    subject, metric = context.subject, context.subject.metric
    front = set(pareto(outcome.trials, context.config.optimize_for))
    rows: list[list[Any]] = []
    for trial in _measured(outcome):
        one, batched = trial.measured["against"], trial.measured["in_batches"]
        rows.append(
            [
                trial.name,
                subject.text_of(trial.measured["figures"][metric]),
                f"{subject.text_of(batched['figures'][metric])} ({batched['changed']} answers differ)"
                if batched
                else "",
                f"{one['drop']:+.2f}",
                f"{one['drop_low']:+.2f} to {one['drop_high']:+.2f}",
                f"{one['p']:.2g}",
                f"{100 * one['equal_answers']:.2f} %",
                f"{one['largest_logit_difference']:.3f}",
                ", ".join(trial.plan["excluded"]) or "none",
                "kept" if trial.key == kept.key else "Pareto" if trial.key in front else "",
            ]
        )
    score = subject.text_of(context.reference.figures[metric])
    columns = [
        "trial",
        f"{subject.title}, batch {context.config.eval_batch_size}",
        f"batch {context.config.batch_size}",
        "drop",
        "95 % interval",
        "p",
        "equal answers",
        "largest logit difference",
        "left float",
        "",
    ]
    note = f"The float model: {score}. p: exact McNemar for accuracy, else paired bootstrap. Pareto: none is both faster and better."
    return Table("Accuracy", columns, rows, note)


def _speeds(context: QuantizationContext, outcome: SearchResult) -> Table:
    rows: list[list[Any]] = []
    models = [("float", context.reference.as_dict()), *((trial.name, trial.measured) for trial in _measured(outcome))]
    for name, one in models:
        cells = [f"{part[key]:.2f}" for part in one["latency"].values() for key in ("median_ms", "p95_ms")]
        rows.append([name, *cells, f"{one['texts_per_second']:,.0f}", f"{one['bytes'] / 1e6:.1f}"])
    batches = [f"{side}, batch {key}" for key in context.reference.latency for side in ("median ms", "95th ms")]
    note = "Latency over texts (or batches) of all lengths that the split has, float and quantized in turns."
    return Table("Speed and size", ["", *batches, "texts/s", "MB"], rows, note)
