"""Files of a quantization: the folder that plain onnxruntime runs, quantization.json, the report, and the text printed."""

from __future__ import annotations

import dataclasses
import os
import platform
from pathlib import Path
from typing import Any

from recipes.config import as_dict
from recipes.quantize import report
from recipes.quantize.config import RECIPE
from recipes.quantize.context import QuantizationContext
from recipes.quantize.remarks import remarks, sentences
from recipes.quantize.trials import SearchResult, Trial, pareto
from recipes.runs.environment import versions
from recipes.terminal.progress import size
from recipes.terminal.tables import table
from tasks import seen
from tasks.errors import ToolError
from tasks.files import remove_tree, write_folder, write_json, write_text
from tasks.quantize.formats import cpu_features

FACTS = "quantization.json"
REJECTED = "-over-the-drop"
VERSIONS = ("modeltool", "onnxruntime", "onnx", "onnxscript", "torch", "transformers", "numpy")


def finish(
    context: QuantizationContext, outcome: SearchResult, output: Path, exported: dict[str, Any]
) -> dict[str, Any]:
    """Writes the folder of what is kept, or puts it aside where too much was lost.

    Raises:
        ToolError: nothing could be quantized at all.
    """
    refused = ""
    trial = outcome.chosen
    if trial is None:
        trial, refused = best_of_the_lost(context, outcome)
        output = output.with_name(output.name + REJECTED)
    context.before = context.subject.evaluated_before(
        context.config.calibration_samples if calibrated(context, trial) else 0, len(outcome.trials)
    )
    facts = facts_of(context, outcome, trial, exported, refused)

    def fill(folder: Path) -> None:
        context.write_model(trial, folder)
        context.subject.tokenizer.save_pretrained(folder)
        write_json(folder / FACTS, facts)
        seen.write(folder, context.before.record)
        write_text(folder / "README.md", readme(context, trial))

    write_folder(output, fill)
    report.write(context, outcome, trial, output / "report.html")
    if not refused and (aside := output.with_name(output.name + REJECTED)).is_dir():
        remove_tree(aside)
    context.tidy()
    return {
        **facts,
        "model": str(output),
        "report": str(output / "report.html"),
        "text": text_of(context, outcome, trial, output, refused),
    }


def calibrated(context: QuantizationContext, trial: Trial) -> bool:
    """Whether training texts shaped a trial: its ranges, or which layers it leaves float."""
    searched = context.config.approach == "auto" and len(trial.plan["excluded"]) > len(context.config.exclude)
    return trial.plan["approach"] == "static" or searched


def best_of_the_lost(context: QuantizationContext, outcome: SearchResult) -> tuple[Trial, str]:
    """The trial that loses least, and why it isn't kept."""
    measured = [trial for trial in outcome.trials if trial.measured]
    if not measured:
        raise ToolError(outcome.trials[0].error if outcome.trials else "nothing was tried: raise --budget-minutes")
    trial = min(measured, key=lambda one: (one.drop, one.name))
    tried = f"the least of {len(measured)} trials" if len(measured) > 1 else trial.name
    loss = f"{trial.drop:.2f} points of {context.subject.title}, above --max-drop {context.config.max_drop:g}"
    count = len(outcome.unfinished)
    unfinished = f" ({count} were left out for want of time: raise --budget-minutes)" if count else ""
    auto = context.config.approach == "auto"
    way = "raise --max-drop or --budget-minutes" if auto else "raise --max-drop, or take --approach auto"
    return trial, f"{tried} loses {loss}{unfinished}; {way}"


def facts_of(
    context: QuantizationContext, outcome: SearchResult, trial: Trial, exported: dict[str, Any], refused: str
) -> dict[str, Any]:
    """All of it, for quantization.json."""
    subject, config = context.subject, context.config
    return {
        "model": subject.model,
        "approach": config.approach,
        "plan": trial.plan,
        "name": trial.name,
        "refused": refused,
        "operators": trial.counts,
        "metric": subject.metric,
        "labels": subject.labels,
        "data": {"description": subject.description, "max_length": subject.length, "digest": subject.digest},
        "float": {**context.reference.as_dict(), "export": exported},
        "verdict": {key: context.verdict.get(key) for key in ("clears", "baseline", "value", "line")},
        "quantized": trial.measured,
        **context.before.facts,
        "trials": [dataclasses.asdict(one) for one in outcome.trials],
        "pareto": pareto(outcome.trials, config.optimize_for),
        "sensitivity": {name: [list(pair) for pair in pairs] for name, pairs in outcome.sensitivity.items()},
        "unfinished": outcome.unfinished,
        "options": as_dict(config),
        "machine": {
            "cpu": list(cpu_features()),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "threads": config.threads,
        },
        "versions": versions(VERSIONS),
    }


def readme(context: QuantizationContext, trial: Trial) -> str:
    """The folder's README.md, in the words of its figures."""
    subject = context.subject
    rows = "\n".join(f"| {' | '.join(row)} |" for row in rows_of(context, [trial]))
    labels = (
        f"Logits of the labels, in order: {', '.join(subject.labels)}." if subject.labels else "It gives one number."
    )
    beside = "".join(f"{line}\n\n" for line in sentences(context, trial))
    if subject.settings.problem_type == "multi_label_classification":
        from tasks.onnx.session import SEVERAL_LABELS

        labels += f" {SEVERAL_LABELS}"
    return (
        f"# {Path(subject.model).name}, {trial.name}\n\n"
        f"A quantized text classifier. {subject.description}.\n\n"
        f"| | {subject.title} | drop (95 %) | median latency, 1 text | of float's | texts/s | size |\n"
        f"|---|---|---|---|---|---|---|\n{rows}\n\n"
        f"{beside}"
        f"Measured on {subject.description}, at batch {context.config.eval_batch_size}. "
        f"All figures, versions and settings are in `{FACTS}`.\n\n"
        f"{context.usage.replace('{example}', subject.example)}\n\n"
        f"{labels}\n"
    )


def rows_of(context: QuantizationContext, trials: list[Trial]) -> list[list[str]]:
    """The float model and each trial: name, score, drop with interval, latency, speed, size."""
    subject, metric = context.subject, context.subject.metric
    reference = context.reference.as_dict()
    marks = context.before.marks
    rows = [["float", subject.text_of(reference["figures"][metric]) + marks["seen"], "", *_speed(reference, 1.0)]]
    for trial in trials:
        against = trial.measured["against"]
        score, batched = subject.text_of(trial.measured["figures"][metric]), trial.measured["in_batches"]
        if batched and batched["changed"]:
            score += f" (batch {batched['batch_size']}: {subject.text_of(batched['figures'][metric])})"
        score += marks["seen"] + (marks.get("calibrated", "") if calibrated(context, trial) else "")
        drop = f"{against['drop']:+.2f} ({against['drop_low']:+.2f} to {against['drop_high']:+.2f})"
        rows.append([trial.name, score, drop, *_speed(trial.measured, trial.cost("latency"))])
    return rows


def _speed(found: dict[str, Any], share: float) -> list[str]:
    latency = found["latency"]["1"]
    return [
        f"{latency['median_ms']:.2f} ms (95th {latency['p95_ms']:.2f})",
        f"{share:.2f}",
        f"{found['texts_per_second']:,.0f}",
        size(found["bytes"]),
    ]


def text_of(context: QuantizationContext, outcome: SearchResult, trial: Trial, output: Path, refused: str) -> str:
    """What the command prints."""
    metric, against = context.subject.title, trial.measured["against"]
    shown = sorted(
        (one for one in outcome.trials if one.measured), key=lambda one: one.cost(context.config.optimize_for)
    )
    rows: list[list[Any]] = [[*row, ""] for row in rows_of(context, shown)]
    front = pareto(outcome.trials, context.config.optimize_for) if len(shown) > 1 else []
    for row, one in zip(rows[1:], shown, strict=True):
        mark = "Pareto" if one.key in front else ""
        row[-1] = "kept" if one is trial and not refused else mark if one.within(context.config.max_drop) else "over"
    columns = [
        "",
        f"{metric}, batch {context.config.eval_batch_size}",
        "drop (95 %)",
        "1 text, median",
        "of float",
        "texts/s",
        "size",
        "",
    ]
    lines = [table(columns, rows)]
    for key, now in trial.measured["latency"].items():
        before = context.reference.latency[key]["median_ms"]
        if key != "1":
            lines.append(
                f"batch {key:<4}{now['median_ms']:.1f} ms (95th {now['p95_ms']:.1f}) against {before:.1f} in float"
            )
    lines.append(
        f"answers   {100 * against['equal_answers']:.2f} % equal to the float model's · largest difference of a logit "
        f"{against['largest_logit_difference']:.3f} · paired p {against['p']:.2g} "
        f"(better {against['better']}, worse {against['worse']})"
    )
    lines += [f"{name:<9} {remark}" for name, remark in remarks(context, trial).items()]
    if trial.plan["excluded"]:
        lines.append(f"float     {_first(trial.plan['excluded'], 8)} left float")
    if outcome.unfinished:
        lines.append(f"not tried for want of time: {_first(outcome.unfinished, 4)}")
    saved = 100 * (1 - trial.measured["bytes"] / context.reference.bytes)
    lines.append(
        f"{'put aside' if refused else 'model    '} {output} · {saved:.0f} % smaller   report  {output / 'report.html'}"
    )
    if not refused:
        lines.append(f"next      tool eval {RECIPE} --model {output}")
    return "\n".join(lines)


def _first(names: list[str], count: int) -> str:
    return ", ".join(names[:count]) + (" ..." if len(names) > count else "")
