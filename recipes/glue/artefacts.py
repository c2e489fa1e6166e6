"""Files of a finished text classification run: the model folder with its card, predictions, scores and the report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from recipes.config import as_dict
from recipes.glue import report
from recipes.glue.answers import shown, write_answers
from recipes.glue.config import Train
from recipes.glue.parts import Parts
from recipes.glue.report_sets import tables
from recipes.glue.seen_texts import record
from recipes.loop.loop import Outcome
from recipes.options import ON_CARD
from recipes.report.card import Card, known_environment
from recipes.report.content import Headline, evenly
from recipes.report.outputs import write_outputs
from recipes.runs import scores
from recipes.runs.folder import Run
from recipes.scoring.seen_data import after
from tasks import seen
from tasks.files import write_json
from tasks.glue import evaluation
from tasks.glue.data import Splits
from tasks.glue.labels import names_of

TRAINING = ("model", *ON_CARD, "max_length", "dropout", "seed")

USAGE = """from transformers import pipeline

classify = pipeline("text-classification", model=".")  # this folder, or the Hub id
print(classify({example}))
"""


def write(config: Train, parts: Parts, run: Run, outcome: Outcome) -> dict[str, Any]:
    """Writes everything and returns the run's summary, as `--json` prints it."""
    logits = outcome.metrics["logits"]
    if parts.splits.thresholds is not None:
        parts.splits = dataclasses.replace(parts.splits, thresholds=outcome.metrics["thresholds"])
        # Beside the labels in config.json, which every export of the model keeps.
        parts.model.config.thresholds = dict(zip(parts.splits.labels or [], parts.splits.thresholds or [], strict=True))
    splits = parts.splits
    figures = {key: value for key, value in outcome.metrics.items() if key != "logits"}
    figures |= {
        "task": splits.task,
        "metrics": list(splits.metrics),
        "labels": splits.labels,
        "baselines": parts.baselines,
        "best_step": outcome.best_step,
    }
    if splits.leaks:
        figures["leaks"] = splits.leaks
    verdict = evaluation.verdict(splits, logits, figures)
    each = {} if splits.thresholds is None else {"by_label": evaluation.by_label(splits, logits)}
    write_json(run.path / "evaluation.json", {**figures, **each, "verdict": verdict})
    for name, texts in splits.evaluation.items():
        suffix = "" if len(splits.evaluation) == 1 else f"-{name}"
        path = run.path / f"predictions{suffix}.jsonl"
        write_answers(path, texts, logits[name], splits.labels, thresholds=splits.thresholds)
    scores.write(run.path, per_text(config, splits, logits))
    headline = headline_of(splits, figures, parts.baselines, verdict)
    card = make_card(config, parts, run, headline, figures, logits)

    def save(folder: Path) -> None:
        parts.model.save_pretrained(folder)
        parts.tokenizer.save_pretrained(folder)
        seen.write(folder, after(config.model, record(parts.train_texts)))

    lengths = {name: batches.lengths for name, batches in parts.evaluation.items()}
    summary = write_outputs(
        run,
        save,
        card,
        title=f"GLUE · {config.model} on {splits.name}",
        headline=headline,
        sections=report.sections(splits, lengths, logits),
        metrics={key: value for key, value in figures.items() if key not in ("splits", "labels")},
    )
    return {**summary, "verdict": verdict}


def headline_of(splits: Splits, figures: dict[str, Any], beside: dict[str, float], verdict: dict[str, Any]) -> Headline:
    """The task's first metric."""
    first = splits.metrics[0]
    low, high = (report.finite(figures[f"{first}_{side}"]) for side in ("low", "high"))
    unit, line = evaluation.unit(first), verdict["line"] or ""
    return Headline(first, figures[first], low, high, figures["n"], beside, unit=unit, verdict=line)


def per_text(config: Train, splits: Splits, logits: dict[str, np.ndarray]) -> scores.Scores:
    """Whether each text was answered rightly, or how far off a score is, for comparing runs."""
    name, texts = next(iter(splits.evaluation.items()))
    assert texts.label is not None
    answers = evaluation.answers_of(logits[name], splits.labels, splits.thresholds)
    if splits.labels is None:
        each = np.abs(answers - texts.label)
    else:
        each = (answers == texts.label).reshape(len(texts), -1).all(axis=1).astype(float)
    classes = "accuracy" if splits.thresholds is None else "exact_match"
    second = texts.second or [""] * len(texts)
    names = [names_of(at, splits.labels) for at in texts.label]
    return scores.Scores(
        metric="absolute error" if splits.labels is None else classes,
        greater_is_better=splits.labels is not None,
        data={"name": config.data, "revision": config.data_revision, "split": name, "texts": len(texts)},
        ids=list(range(len(texts))),
        scores=[float(value) for value in each],
        groups=list(range(len(texts))),
        contents=[scores.digest(*parts) for parts in zip(texts.first, second, names, strict=True)],
        unit="" if splits.labels is None else "percent",
    )


def make_card(
    config: Train,
    parts: Parts,
    run: Run,
    headline: Headline,
    figures: dict[str, Any],
    logits: dict[str, np.ndarray],
) -> Card:
    """The model card's content."""
    options, splits = as_dict(config), parts.splits
    what = "scores texts with a number" if splits.labels is None else f"sorts texts into {len(splits.labels)} classes"
    if splits.thresholds is not None:
        what = f"says which of {len(splits.labels or [])} labels a text has, any number of them"
    pair, example = "", '"a gripping film"'
    if parts.train_texts.second is not None:
        pair, example = " It reads pairs of texts.", '{"text": "A man plays.", "text_pair": "Somebody plays."}'
    if splits.labels is None:
        example += ', function_to_apply="none"'
    if splits.thresholds is not None:
        example += ", top_k=None"
    return Card(
        name=f"{config.model.rstrip('/').rsplit('/', 1)[-1]} for {splits.name}",
        summary=f"A model that {what}.{pair} Trained on {splits.description}.",
        pipeline_tag="text-classification",
        headline=headline,
        metric=splits.metrics[0],
        usage=USAGE.replace("{example}", example),
        base_model=config.model,
        dataset_id=config.data,
        dataset_name=splits.name,
        dataset_config=splits.task,
        dataset_split=next(iter(splits.evaluation)),
        dataset_revision=config.data_revision,
        further={name: figures[name] for name in splits.metrics[1:]},
        data={
            "data": config.data,
            "training texts": len(parts.train_texts),
            "evaluation texts": {name: len(texts) for name, texts in splits.evaluation.items()},
            "held out": splits.held_out,
            "labels": splits.labels,
        },
        training={key: options[key] for key in TRAINING if options[key] is not None},
        tables=tables(splits, logits),
        limits=[
            *threshold_limits(config, parts),
            f"Texts longer than {config.max_length} tokens are cut.",
            "Measured on the evaluation split named above, and on nothing else: other kinds of text were not tried.",
            *(f"{line}." for line in splits.leaks),
        ],
        environment=known_environment(run.environment()),
    )


def threshold_limits(config: Train, parts: Parts) -> list[str]:
    """From which probability on a text has a label, and what that was chosen by."""
    if parts.splits.thresholds is None:
        return []
    chosen = (
        "0.5 for each" if parts.tuning is None else f"chosen on {len(parts.tuning):,} training texts that were held out"
    )
    return [
        f"A text has a label from its threshold on, which config.json holds by label: {chosen}; none of the texts measured on."
    ]


def sample_answers(splits: Splits, logits: dict[str, np.ndarray]) -> list[str]:
    """Three answers of the model, spread over the evaluation texts."""
    lines = []
    name, texts = next(iter(splits.evaluation.items()))
    assert texts.label is not None
    answers = evaluation.answers_of(logits[name], splits.labels, splits.thresholds)
    for number in evenly(np.arange(len(texts)), 3):
        answer, expected = (shown(value, splits.labels) for value in (answers[number], texts.label[number]))
        text = texts.line(number)
        lines.append(f"answer    {text[:90]}{' ...' if len(text) > 90 else ''}: {answer} (expected {expected})")
    return lines
