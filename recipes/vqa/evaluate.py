"""`tool eval vqa`: a trained ViLT, or a generative model without training, on data with answers."""

from __future__ import annotations

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
from recipes.vqa.inference import generate, open_vilt, predict_ids, show_metrics
from recipes.work import Evaluator
from tasks.vqa import baselines, evaluation
from tasks.vqa.data import Options, Splits, load_splits
from tasks.vqa.models import pretrained
from tasks.vqa.questions import Questions
from tasks.vqa.score import write_official_results


def evaluate(config: Eval) -> dict[str, Any]:
    """Scores a model; returns the figures and the text to print."""
    silence()
    model, run = choose_model(config.model, config.output_dir, ("vqa",))
    splits = read_data(config, run)
    questions = splits.evaluation
    assert questions is not None
    print_line(f"vqa · {model} · {splits.description}")
    for line in splits.skipped:
        print_line(f"skipped   {line}")
    if pretrained.model_type(model, config.revision, config.token) == "vilt":
        answers = answer_by_vilt(config, model, questions)
    else:
        with Progress("evaluating", len(questions), unit="questions") as progress:
            answers = generate(config, model, questions, progress.advance)
    kind = evaluation.kind_of(questions)
    scores = evaluation.accuracy(answers, questions, kind)
    figures: dict[str, Any] = {
        "model": model,
        "score": kind,
        **evaluation.summarise(scores, questions),
        "priors": baselines.priors(splits.train, questions, kind),
        "verdict": baselines.judge(scores, answers, splits.train, questions, kind).as_dict(),
    }
    if config.output:
        write_official_results(Path(config.output), questions.question_id, answers)
    return {**figures, "text": _text(figures)}


def read_data(config: Eval, run: run_folder.Run | None) -> Splits:
    """The evaluation split: of the data given, else the very one that the run was measured on."""
    was = run.config() if run is not None else {}
    same = bool(was) and config.data in (None, was.get("data"))
    need = ("train", "evaluation") if same else ("evaluation",)
    return load_splits(data_options(Options, config, was if same else None), need)


def answer_by_vilt(config: Eval, model: str, questions: Questions) -> list[str]:
    """The best answer of a fine-tuned ViLT to each question."""
    vilt, batches, device = open_vilt(config, model, questions)
    with Progress("evaluating", len(questions), unit="questions") as progress, torch.inference_mode():
        evaluator = Evaluator.alone(device, config.batch_size, progress.advance, config.mixed_precision)
        predicted = predict_ids(vilt, batches, batches.in_order(evaluator.batch_size), evaluator)
    return [vilt.config.id2label[int(label)] for label in predicted.label]


def _text(figures: dict[str, Any]) -> str:
    rows = [
        [f"{kind} type", name, *(round(100 * part[key], 1) for key in ("accuracy", "low", "high")), int(part["n"])]
        for kind in ("answer", "question")
        for name, part in list(figures[f"by_{kind}_type"].items())[:15]
    ]
    shown = table(["", "type", "accuracy %", "low", "high", "n"], rows)
    lines = [show_metrics(figures, figures["priors"]), *verdict_lines(figures["verdict"])]
    return "\n".join([*lines, "", shown])
