"""`tool eval glue`: a text classifier, PyTorch or ONNX, on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.distributed.device import silence
from recipes.glue.answers import check_output, write_answers
from recipes.glue.config import Eval
from recipes.glue.data import run_data
from recipes.glue.inference import open_classifier, predict_texts, trained_length
from recipes.glue.seen_texts import seen_texts, together, unseen_figures, without_seen
from recipes.runs.select import choose_model
from recipes.runs.summary import verdict_lines
from recipes.terminal.progress import print_line
from recipes.terminal.tables import table
from tasks.glue import evaluation
from tasks.glue.data import Splits


def evaluate(config: Eval) -> dict[str, Any]:
    """Scores a model; returns the figures and the text to print."""
    silence()
    check_output(config.output)
    model, run = choose_model(config.model, config.output_dir, ("glue",))
    classifier = open_classifier(config, model)
    splits = run_data(config, run, ("evaluation",), classifier.labels, regression=classifier.labels is None)
    length = trained_length(run, config.max_length, classifier.longest)
    print_line(f"glue · {model} ({classifier.kind}) · {splits.description}")
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
    logits, loss, speed = {}, {}, {}
    for name, texts in splits.evaluation.items():
        logits[name], loss[name], speed[name] = predict_texts(classifier, texts, length, config)
        if config.output:
            path = Path(config.output)
            target = path if len(splits.evaluation) == 1 else path.with_stem(f"{path.stem}-{name}")
            write_answers(target, texts, logits[name], classifier.labels)
    figures = evaluation.summarise(splits, logits, loss)
    beside, verdict = evaluation.baselines(splits), evaluation.verdict(splits, logits, figures)
    result = {"model": model, "kind": classifier.kind, "task": splits.task, **figures, "baselines": beside}
    result["verdict"] = verdict
    result["texts_per_second"] = {name: round(value, 1) for name, value in speed.items()}
    result["seen"] = whole.facts()
    result["unseen"], unseen = unseen_figures(splits, seen, logits)
    return {**result, "text": _text(splits, {**figures, "verdict": verdict}, beside, speed, whole.mark(), unseen)}


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
