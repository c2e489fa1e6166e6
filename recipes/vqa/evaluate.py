"""`tool eval vqa`: a trained ViLT, or a generative model without training, on data with answers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.data_sets import data_options
from recipes.distributed.device import silence
from recipes.runs import folder as run_folder
from recipes.runs.select import choose_model
from recipes.terminal.progress import Progress, print_line
from recipes.terminal.tables import table
from recipes.vqa.config import Eval
from recipes.vqa.inference import generate, open_vilt, predict_ids, show_metrics, told, unseen
from recipes.work import Evaluator
from tasks import seen
from tasks.errors import ConfigError
from tasks.readers.leaks import without_leaks
from tasks.vqa import evaluation
from tasks.vqa.data import Options, Splits, load_splits
from tasks.vqa.evaluation import Choice, choose_score
from tasks.vqa.models import pretrained
from tasks.vqa.questions import Questions
from tasks.vqa.score import write_official_results
from tasks.vqa.training_record import Overlap, overlap
from tasks.weights import model_folder


def evaluate(config: Eval) -> dict[str, Any]:
    """Scores a model; returns the figures and the text to print."""
    silence()
    model, run = choose_model(config.model, config.output_dir, ("vqa",))
    splits = read_data(config, run)
    questions, known, left_out = seen_in_training(config, model, run, splits)
    choice = choice_for(config, run, questions)
    print_line(f"vqa · {model} · {splits.description} · measured by {evaluation.NAMES[choice.kind]}: {choice.why}")
    # What was seen tells of the pictures that the run's own splits share, too.
    for line in told(replace(splits, leaks=[]) if known.count else splits, choice):
        print_line(line)
    for line in filter(None, (left_out, known.line())):
        print_line(f"seen      {line}")
    if pretrained.model_type(model, config.revision, config.token) == "vilt":
        answers = answer_by_vilt(config, model, questions)
    else:
        with Progress("evaluating", len(questions), unit="questions") as progress:
            answers = generate(config, model, questions, progress.advance)
    scores = evaluation.accuracy(answers, questions, choice.kind)
    figures: dict[str, Any] = {
        "model": model,
        "score": choice.kind,
        **evaluation.summarise(scores, questions),
        "seen": known.as_dict(),
        **unseen(scores, questions, known),
        "priors": evaluation.priors(splits.train, questions, choice.kind) if splits.train is not None else {},
    }
    if config.output:
        write_official_results(Path(config.output), questions.question_id, answers)
    return {**figures, "text": _text(figures, known)}


def read_data(config: Eval, run: run_folder.Run | None) -> Splits:
    """The evaluation split: of the data given, else the very one that the run was measured on."""
    was = run.config() if run is not None else {}
    same = bool(was) and config.data in (None, was.get("data"))
    need = ("train", "evaluation") if same else ("evaluation",)
    return load_splits(data_options(Options, config, was if same else None), need)


def seen_in_training(
    config: Eval, model: str, run: run_folder.Run | None, splits: Splits
) -> tuple[Questions, Overlap, str]:
    """The questions to score, what of them the model was trained on, and what to say of those left out.

    Raises:
        DataError: with --drop-leaks none would be left.
    """
    questions = splits.evaluation
    assert questions is not None
    record = seen.read(Path(model_folder(model)), None if run is None else run.path)
    known = overlap(record, questions)
    if known.pictures is None and splits.shared is not None:  # of an older run, on its own splits
        known = Overlap(splits.shared)
    if not (config.drop_leaks and known.pictures is not None and known.count):
        return questions, known, ""
    questions, line = without_leaks(
        questions, known.pictures, drop=True, units="questions", what="pictures", name=questions.source
    )
    return questions, Overlap(np.zeros(len(questions), bool)), line


def choice_for(config: Eval, run: run_folder.Run | None, questions: Questions) -> Choice:
    """The score asked for; else that of the run's training, where the data have what it needs; else by the data."""
    trained = run.config().get("score") if run is not None and config.score is None else None
    if trained is not None:
        with suppress(ConfigError):
            return replace(choose_score(questions, trained), why="as in training")
    return choose_score(questions, config.score)


def answer_by_vilt(config: Eval, model: str, questions: Questions) -> list[str]:
    """The best answer of a fine-tuned ViLT to each question."""
    vilt, batches, device = open_vilt(config, model, questions)
    with Progress("evaluating", len(questions), unit="questions") as progress, torch.inference_mode():
        evaluator = Evaluator.alone(device, config.batch_size, progress.advance, config.mixed_precision)
        predicted = predict_ids(vilt, batches, batches.in_order(evaluator.batch_size), evaluator)
    return [vilt.config.id2label[int(label)] for label in predicted.label]


def _text(figures: dict[str, Any], known: Overlap) -> str:
    rows = [
        [f"{kind} type", name, *(round(100 * part[key], 1) for key in ("accuracy", "low", "high")), int(part["n"])]
        for kind in ("answer", "question")
        for name, part in list(figures[f"by_{kind}_type"].items())[:15]
    ]
    shown = table(["", "type", "accuracy %", "low", "high", "n"], rows)
    lines = [show_metrics(figures, figures["priors"], figures["score"], known.mark())]
    if "unseen" in figures:
        lines.append(f"of these unseen in training: {show_metrics(figures['unseen'], {}, figures['score'])}")
    return "\n".join([*lines, "", shown])
