"""`tool predict glue`: texts or files in, labels out in the form of transformers' pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.distributed.device import silence
from recipes.glue.answers import as_pipeline, check_output, write_answers
from recipes.glue.config import Predict, require_inputs
from recipes.glue.inference import open_classifier, predict_texts, trained_length
from recipes.runs.select import choose_model
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError, DataError
from tasks.glue.data import Options, load_splits
from tasks.glue.texts import Texts

FILES = {".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".txt"}


def predict(config: Predict) -> dict[str, Any]:
    """Answers; returns each text with its labels and scores."""
    silence()
    require_inputs(config)
    check_output(config.output)
    texts = read_inputs(config)
    model, run = choose_model(config.model, config.output_dir, ("glue",))
    classifier = open_classifier(config, model)
    if classifier.batch_dependent and min(config.batch_size, len(texts)) > 1:
        print_line(
            "note      int8 whose answers depend on what else is in the batch: --batch-size 1 gives those that were scored"
        )
    logits, _, _ = predict_texts(classifier, texts, trained_length(run, config.max_length, classifier.longest), config)
    if config.output:
        write_answers(Path(config.output), texts, logits, classifier.labels, config.top_k, classifier.thresholds)
        return {"predictions": [], "text": f"{len(texts):,} answers written to {config.output}"}
    answers = as_pipeline(logits, classifier.labels, config.top_k, classifier.thresholds)
    return {
        "predictions": answers,
        "text": "\n".join(_line(texts, number, answers[number]) for number in range(len(texts))),
    }


def read_inputs(config: Predict) -> Texts:
    """The texts given, or those of the files, all in one.

    Raises:
        ConfigError: files and texts mixed, or pairs of which one half is missing.
        DataError: a file that can't be read; an empty text.
    """
    files = [Path(text).suffix.lower() in FILES and (Path(text).is_file() or "/" in text) for text in config.inputs]
    if any(files):
        if not all(files) or config.pairs:
            raise ConfigError(
                "give texts or files, not both; the second text of a pair in a file is a column: --text-pair-column"
            )
        return _together([_read_file(config, file) for file in config.inputs])
    empty = [number for number, text in enumerate(config.inputs, start=1) if not text.strip()]
    if empty:
        raise DataError(f"text {empty[0]} is empty; leave it out")
    if config.pairs:
        return Texts(config.inputs[::2], config.inputs[1::2], None)
    return Texts(list(config.inputs), None, None)


def _read_file(config: Predict, file: str) -> Texts:
    names = ("task", "text_column", "text_pair_column", "skip_bad")
    splits = load_splits(Options(file, **{name: getattr(config, name) for name in names}), ("prediction",))
    for line in splits.notes:
        print_line(f"note      {line}")
    for line in splits.skipped:
        print_line(f"skipped   {line}")
    return next(iter(splits.evaluation.values()))


def _together(files: list[Texts]) -> Texts:
    if len(files) == 1:
        return files[0]
    if len({part.second is None for part in files}) > 1:
        raise ConfigError("some of the files hold single texts and some pairs; ask for them apart")
    first = [text for part in files for text in part.first]
    second = None if files[0].second is None else [text for part in files for text in part.second or []]
    return Texts(first, second, None)


def _line(texts: Texts, number: int, answers: list[dict[str, Any]]) -> str:
    text = texts.line(number)
    best = " · ".join(f"{answer['label']} {answer['score']:.3f}" for answer in answers) or "no label"
    return f"{text[:200]}{' ...' if len(text) > 200 else ''}  {best}"
