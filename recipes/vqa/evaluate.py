"""`tool eval vqa`: a trained ViLT, or a generative model without training, on data with answers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from recipes.data_sets import data_options
from recipes.distributed.device import silence
from recipes.runs import folder as run_folder
from recipes.runs.select import choose_model
from recipes.runs.summary import verdict_lines
from recipes.terminal.progress import Progress, print_line
from recipes.terminal.tables import table
from recipes.vqa.config import Eval
from recipes.vqa.inference import generate, open_vilt, predict_ids, show_metrics, told
from recipes.vqa.seen_questions import SeenQuestions, seen_questions, unseen_figures
from recipes.work import Evaluator
from tasks.errors import ConfigError
from tasks.vqa import baselines, evaluation
from tasks.vqa.data import Options, Splits, load_splits
from tasks.vqa.evaluation import Choice, choose_score
from tasks.vqa.models import pretrained
from tasks.vqa.questions import Questions
from tasks.vqa.score import write_official_results


def evaluate(config: Eval) -> dict[str, Any]:
    """Scores a model; returns the figures and the text to print."""
    silence()
    model, run = choose_model(config.model, config.output_dir, ("vqa",))
    splits = read_data(config, run)
    seen = seen_questions(model, splits)
    if config.drop_leaks:
        splits, seen = without_seen(model, splits, seen)
    questions = splits.evaluation
    assert questions is not None
    choice = choice_for(config, run, questions)
    print_line(f"vqa · {model} · {splits.description} · measured by {evaluation.NAMES[choice.kind]}: {choice.why}")
    # What was seen tells of the pictures that the run's own splits share, too.
    for line in told(replace(splits, leaks=[]) if seen.count else splits, choice):
        print_line(line)
    if seen.line():
        print_line(seen.line())
    if pretrained.model_type(model, config.revision, config.token) == "vilt":
        answers = answer_by_vilt(config, model, questions)
    else:
        with Progress("evaluating", len(questions), unit="questions") as progress:
            answers = generate(config, model, questions, progress.advance)
    kind = choice.kind
    scores = evaluation.accuracy(answers, questions, kind)
    figures: dict[str, Any] = {
        "model": model,
        "score": kind,
        **evaluation.summarise(scores, questions),
        "seen": seen.facts(),
        "unseen": unseen_figures(scores, questions, seen),
        "priors": baselines.priors(splits.train, questions, kind),
        "verdict": baselines.judge(scores, answers, splits.train, questions, kind).as_dict(),
    }
    if config.output:
        write_official_results(Path(config.output), questions.question_id, answers)
    return {**figures, "text": _text(figures, seen.mark())}


def read_data(config: Eval, run: run_folder.Run | None) -> Splits:
    """The evaluation split: of the data given, else the very one that the run was measured on."""
    was = run.config() if run is not None else {}
    same = bool(was) and config.data in (None, was.get("data"))
    need = ("train", "evaluation") if same else ("evaluation",)
    return load_splits(data_options(Options, config, was if same else None), need)


def without_seen(model: str, splits: Splits, seen: SeenQuestions) -> tuple[Splits, SeenQuestions]:
    """The splits for --drop-leaks, and what of them was seen.

    Raises:
        DataError: no question would be left, or it isn't known which pictures training saw.
    """
    assert splits.evaluation is not None
    left = seen.left()
    if not seen.count:
        return splits, seen
    lines = [*splits.leaks, f"{seen.text()}, and are left out"]
    shared = None if splits.shared is None else splits.shared[left]
    splits = replace(splits, evaluation=splits.evaluation.take(left), leaks=lines, shared=shared)
    return splits, seen_questions(model, splits)


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


def _text(figures: dict[str, Any], mark: str) -> str:
    rows = [
        [f"{kind} type", name, *(round(100 * part[key], 1) for key in ("accuracy", "low", "high")), int(part["n"])]
        for kind in ("answer", "question")
        for name, part in list(figures[f"by_{kind}_type"].items())[:15]
    ]
    shown = table(["", "type", "accuracy %", "low", "high", "n"], rows)
    lines = [show_metrics(figures, figures["priors"], figures["score"], mark), *verdict_lines(figures["verdict"])]
    if figures["unseen"]:
        lines.append(f"unseen    {show_metrics(figures['unseen'], {}, figures['score'])}")
    return "\n".join([*lines, "", shown])
