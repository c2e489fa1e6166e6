"""`tool eval glue`: a text classifier, PyTorch or ONNX, on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.distributed.device import silence
from recipes.glue.answers import check_output, write_answers
from recipes.glue.config import Eval
from recipes.glue.data import run_data
from recipes.glue.inference import open_classifier, predict_texts, trained_length
from recipes.runs.select import choose_model
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
    size = config.eval_batch_size or (1 if classifier.batch_dependent else config.batch_size)
    logits, loss, speed, batched = {}, {}, {}, {}
    for name, texts in splits.evaluation.items():
        logits[name], loss[name], speed[name] = predict_texts(classifier, texts, length, config, size)
        if classifier.batch_dependent and size != config.batch_size:
            batched[name], *_ = predict_texts(classifier, texts, length, config)
        if config.output:
            path = Path(config.output)
            target = path if len(splits.evaluation) == 1 else path.with_stem(f"{path.stem}-{name}")
            write_answers(target, texts, logits[name], classifier.labels)
    figures = evaluation.summarise(splits, logits, loss)
    beside = evaluation.baselines(splits)
    result = {"model": model, "kind": classifier.kind, "task": splits.task, **figures, "baselines": beside}
    if classifier.batch_dependent:
        result |= {"eval_batch_size": size, **_in_batches(splits, figures, logits, batched, config.batch_size)}
        print_line(f"batches   {_batches_line(splits, result)}")
    result["texts_per_second"] = {name: round(value, 1) for name, value in speed.items()}
    return {**result, "text": _text(splits, figures, beside, speed)}


def _in_batches(
    splits: Splits, figures: dict[str, Any], logits: dict[str, Any], batched: dict[str, Any], batch_size: int
) -> dict[str, Any]:
    """What batches of another size score, and how many answers differ there; {} where there were none."""
    if not batched:
        return {}
    loss = dict.fromkeys(batched, float("nan"))
    others = evaluation.summarise(splits, batched, loss)
    pairs = [[evaluation.answers_of(side[name], splits.labels) for side in (logits, batched)] for name in batched]
    changed = sum(int((one != two).sum()) for one, two in pairs)
    scores = {key: value for key, value in others.items() if key in figures and key != "splits" and "loss" not in key}
    return {"in_batches": {"batch_size": batch_size, "figures": scores, "changed": changed}}


def _batches_line(splits: Splits, result: dict[str, Any]) -> str:
    """That answers hang on the batch, and what another size of it gives."""
    metric, batched = splits.metrics[0], result.get("in_batches")
    line = f"int8 with dynamic ranges, whose answers hang on the batch: scored at batch {result['eval_batch_size']} (--eval-batch-size)"
    if batched is None:
        return line
    return (
        f"{line}; at batch {batched['batch_size']} {batched['changed']} answers differ, "
        f"{evaluation.title(metric)} {evaluation.text_of(metric, batched['figures'][metric])}"
    )


def _text(splits: Splits, figures: dict[str, Any], beside: dict[str, float], speed: dict[str, float]) -> str:
    rows = []
    for name, found in figures["splits"].items():
        for metric in splits.metrics:
            cells = [evaluation.text_of(metric, found[key]) for key in (metric, f"{metric}_low", f"{metric}_high")]
            rows.append([name, evaluation.title(metric), *cells, found["n"], f"{speed[name]:,.0f}"])
    columns = ["split", "metric", "value", "low", "high", "n", "texts/s"]
    return f"{evaluation.describe(splits, figures, beside)}\n\n{table(columns, rows)}"
