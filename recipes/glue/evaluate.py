"""`tool eval glue`: a text classifier, PyTorch or ONNX, on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.distributed.device import silence
from recipes.glue.answers import check_output, write_answers
from recipes.glue.batch_effect import batches_line, in_batches, scored_batch_size
from recipes.glue.config import Eval
from recipes.glue.data import run_data
from recipes.glue.inference import open_classifier, predict_texts, trained_length
from recipes.glue.seen_texts import (
    quantization_line,
    seen_texts,
    together,
    unseen_figures,
    used_by_quantization,
    without_seen,
)
from recipes.runs.select import choose_model
from recipes.runs.summary import verdict_lines
from recipes.scoring.seen_data import record_of
from recipes.terminal.progress import print_line
from recipes.terminal.tables import table
from tasks.glue import evaluation
from tasks.glue.data import Splits
from tasks.glue.thresholds import text_of

LABELS_SHOWN = 30


def evaluate(config: Eval) -> dict[str, Any]:
    """Scores a model; returns the figures and the text to print."""
    silence()
    check_output(config.output)
    model, run = choose_model(config.model, config.output_dir, ("glue",))
    classifier = open_classifier(config, model)
    levels = classifier.thresholds
    regression = classifier.labels is None
    splits = run_data(config, run, ("evaluation",), classifier.labels, regression=regression, thresholds=levels)
    length = trained_length(run, config.max_length, classifier.longest)
    print_line(f"glue · {model} ({classifier.kind}) · {splits.description}")
    if levels is not None:
        print_line(f"threshold a text has a label from a probability of {text_of(levels)} on")
    for line in splits.notes:
        print_line(f"note      {line}")
    for line in splits.skipped:
        print_line(f"skipped   {line}")
    seen = seen_texts(model, splits)
    if config.drop_leaks:
        for line in splits.leaks:
            print_line(f"leaks     {line}")
        splits = without_seen(splits, seen)
        seen = seen_texts(model, splits)
    whole = together(seen)
    if whole.line():
        print_line(whole.line())
    used = used_by_quantization(record_of(model), splits)
    for word, part in used.items():
        if part.count:
            print_line(f"{word:<9} {quantization_line(word, part)}")
    size = scored_batch_size(classifier, config)
    logits, loss, speed, batched = {}, {}, {}, {}
    for name, texts in splits.evaluation.items():
        logits[name], loss[name], speed[name] = predict_texts(classifier, texts, length, config, name, size)
        if classifier.batch_dependent and size != config.batch_size:
            batched[name], *_ = predict_texts(classifier, texts, length, config, notes=False)
        if config.output:
            path = Path(config.output)
            target = path if len(splits.evaluation) == 1 else path.with_stem(f"{path.stem}-{name}")
            write_answers(target, texts, logits[name], classifier.labels, thresholds=levels)
    figures = evaluation.summarise(splits, logits, loss)
    beside, verdict = evaluation.baselines(splits), evaluation.verdict(splits, logits, figures)
    result = {"model": model, "kind": classifier.kind, "task": splits.task, **figures, "baselines": beside}
    result["verdict"] = verdict
    if classifier.batch_dependent:
        beside_it = in_batches(splits, logits, batched, config.batch_size) if batched else None
        result |= {"eval_batch_size": size, "in_batches": beside_it}
        print_line(batches_line(splits, size, beside_it))
    each = evaluation.by_label(splits, logits)
    if each is not None:
        result["by_label"] = each
    result["texts_per_second"] = {name: round(value, 1) for name, value in speed.items()}
    result["seen"] = whole.facts()
    result |= {word: part.facts() for word, part in used.items()}
    mark = whole.mark() + "".join(f" ({part.count:,} {word})" for word, part in used.items() if part.count)
    result["unseen"], unseen = unseen_figures(splits, seen, logits)
    text = _text(splits, {**figures, "verdict": verdict}, beside, speed, mark, unseen)
    return {**result, "text": text if each is None else f"{text}\n\n{_labels_text(each)}"}


def _labels_text(each: dict[str, dict[str, Any]]) -> str:
    """A row a label, the most frequent first."""
    order = sorted(each, key=lambda label: -(each[label]["tp"] + each[label]["fn"]))[:LABELS_SHOWN]
    rows = []
    for label in order:
        one = each[label]
        shares = [one[name] for name in ("precision", "recall", "f1", "average_precision")]
        cells = ["" if share is None else f"{100 * share:.1f}" for share in shares]
        rows.append([label, one["tp"] + one["fn"], one["tp"] + one["fp"], *cells, f"{one['threshold']:.3f}"])
    columns = ["label", "n", "given", "precision", "recall", "F1", "average precision", "threshold"]
    more = f"\nand {len(each) - len(order)} labels more: --json" if len(each) > len(order) else ""
    return f"{table(columns, rows)}{more}"


def _text(
    splits: Splits,
    figures: dict[str, Any],
    beside: dict[str, float],
    speed: dict[str, float],
    mark: str,
    unseen: str,
) -> str:
    rows = []
    for name, found in figures["splits"].items():
        for metric in splits.metrics:
            cells = [evaluation.text_of(metric, found[key]) for key in (metric, f"{metric}_low", f"{metric}_high")]
            # The constants are of the first split.
            first = name == next(iter(figures["splits"]))
            constant = evaluation.text_of(metric, figures["verdict"]["metrics"][metric]["value"]) if first else ""
            rows.append([name, evaluation.title(metric), *cells, constant, found["n"], f"{speed[name]:,.0f}"])
    columns = ["split", "metric", "value", "low", "high", "constant", "n", "texts/s"]
    lines = [f"{evaluation.describe(splits, figures, beside)}{mark}", *verdict_lines(figures["verdict"])]
    lines += [unseen] if unseen else []
    return "\n".join([*lines, "", table(columns, rows)])
