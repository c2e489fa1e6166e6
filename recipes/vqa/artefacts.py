"""Files of a finished VQA run: the model folder with its card, predictions, scores and the report."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recipes.config import as_dict
from recipes.loop.loop import Outcome
from recipes.options import ON_CARD
from recipes.report.card import Card, known_environment
from recipes.report.content import BarChart, Example, Headline, Section, Table, Verdict, evenly, half_wrong
from recipes.report.outputs import write_outputs
from recipes.runs import scores
from recipes.runs.folder import Run
from recipes.scoring.seen_data import after
from recipes.vqa.config import Train
from recipes.vqa.parts import Parts
from recipes.vqa.seen_questions import unseen_figures
from tasks import seen
from tasks.errors import DataError
from tasks.files import write_json
from tasks.seen import Seen
from tasks.vqa import baselines, evaluation, training_record
from tasks.vqa.evaluation import ranked
from tasks.vqa.models import pretrained
from tasks.vqa.questions import Questions
from tasks.vqa.score import write_official_results

TYPES_SHOWN = 20
FIGURES = ("loss", "accuracy", "accuracy_low", "accuracy_high", "n", "images", "by_answer_type", "by_question_type")

TRAINING = ("model", *ON_CARD, "augment", "head_learning_rate_factor", "dropout", "seed")

USAGE = """from PIL import Image
from transformers import ViltForQuestionAnswering, ViltProcessor

folder = "."  # this folder, or the Hub id
processor = ViltProcessor.from_pretrained(folder)
model = ViltForQuestionAnswering.from_pretrained(folder).eval()
inputs = processor(Image.open("photo.jpg").convert("RGB"), "What colour is it?", return_tensors="pt")
print(model.config.id2label[model(**inputs).logits.argmax(-1).item()])
"""


def write(config: Train, parts: Parts, run: Run, outcome: Outcome) -> dict[str, Any]:
    """Writes everything and returns the run's summary, as `--json` prints it."""
    figures = {key: outcome.metrics[key] for key in FIGURES}
    figures |= {
        "score": parts.choice.kind,
        "seen": parts.seen.facts(),
        "ceiling": parts.ceiling,
        "priors": parts.priors,
        "best_step": outcome.best_step,
    }
    answers, kind = outcome.metrics["predictions"], parts.choice.kind
    found = baselines.judge(outcome.metrics["scores"], answers, parts.train_questions, parts.eval_questions, kind)
    verdict = found.as_dict()
    figures["unseen"] = unseen_figures(outcome.metrics["scores"], parts.eval_questions, parts.seen)
    write_json(run.path / "evaluation.json", {**figures, "verdict": verdict})
    saw = after(config.model, training_record.record(parts.train_questions))
    write_official_results(run.path / "predictions.json", parts.eval_questions.question_id, answers)
    scores.write(run.path, per_question(config, parts, outcome.metrics["scores"]))
    accuracy, low, high = (figures[key] for key in ("accuracy", "accuracy_low", "accuracy_high"))
    title = evaluation.label(parts.choice.kind) + parts.seen.mark()
    headline = Headline(
        "accuracy",
        accuracy,
        low,
        high,
        figures["n"],
        parts.priors,
        parts.ceiling,
        verdict=found.line or "",
        title=title,
    )
    summary = write_outputs(
        run,
        partial(save, parts, saw),
        make_card(config, parts, run, headline),
        title=f"VQA · {config.model} on {config.data}",
        headline=headline,
        sections=sections(parts.eval_questions, outcome.metrics),
        metrics={key: value for key, value in figures.items() if not key.startswith("by_")},
    )
    return {**summary, "verdict": verdict}


def save(parts: Parts, saw: Seen, folder: Path) -> None:
    """The model as `from_pretrained` loads it, and beside it what it was trained on, for whoever evaluates it."""
    pretrained.save(parts.model, parts.processor, folder)
    seen.write(folder, saw)


def per_question(config: Train, parts: Parts, accuracy: np.ndarray) -> scores.Scores:
    """What each question scored, for comparing runs. A question is known by its text, answers and picture's name."""
    questions, kind = parts.eval_questions, parts.choice.kind
    usual = kind == evaluation.kind_of(questions)
    # The sample's pictures are another set with each seed, under the same names.
    origin = f"sample {config.seed}" if config.data == "sample" else ""
    answers = questions.weights if questions.weights is not None else questions.answers
    names = {int(i): Path(questions.images.where(int(i))).name for i in np.unique(questions.image)}
    sizes = {"questions": len(questions), "images": len(names)}
    return scores.Scores(
        # Runs measured by different scores are not compared question by question.
        metric="accuracy" if usual else f"accuracy ({kind})",
        greater_is_better=True,
        data={"name": config.data, "revision": config.data_revision, "split": config.eval_split, **sizes},
        ids=list(questions.question_id),
        scores=[float(score) for score in accuracy],
        groups=[int(i) for i in questions.image],
        contents=[
            scores.digest(origin, text, given, names[int(image)])
            for text, given, image in zip(questions.question, answers, questions.image, strict=True)
        ],
    )


def make_card(config: Train, parts: Parts, run: Run, headline: Headline) -> Card:
    """The model card's content."""
    options = as_dict(config)
    return Card(
        name=f"{config.model.rstrip('/').rsplit('/', 1)[-1]} for visual question answering",
        summary=(
            f"A ViLT that answers questions on images by choosing among {len(parts.vocabulary.answers)} answers. "
            f"Trained on {parts.splits.description}."
        ),
        pipeline_tag="visual-question-answering",
        headline=headline,
        metric=evaluation.label(parts.choice.kind),
        usage=USAGE,
        base_model=config.model,
        dataset_id=config.data,
        dataset_name=Path(config.data).name,
        data={
            "data": config.data,
            "training questions": len(parts.train_questions),
            "evaluation questions": len(parts.eval_questions),
            "held out by image": parts.splits.held_out,
            "answers": len(parts.vocabulary.answers),
            "least frequency of an answer": parts.vocabulary.min_frequency,
            "label answers": config.label_answers,
            "measured by": evaluation.NAMES[parts.choice.kind],
            **({"leaks": "; ".join(parts.splits.leaks)} if parts.splits.leaks else {}),
        },
        training={key: options[key] for key in TRAINING if options[key] is not None},
        limits=[
            "It can only give the answers it was trained with.",
            "Measured on the evaluation split named above, and on nothing else: other images and other wordings were not tried.",
        ],
        environment=known_environment(run.environment()),
    )


def sections(questions: Questions, metrics: dict[str, Any]) -> list[Section]:
    """The report's parts: accuracy by type, what is confused with what, and examples right and wrong."""
    charts = [_bars(f"By {kind} type", metrics[f"by_{kind}_type"]) for kind in ("answer", "question")]
    rule = "Drawn from the evaluation split by the same rule each time."
    return [
        Section("Accuracy by kind of question", charts=charts),
        Section("Answers that were wrong", tables=[_confusions(questions, metrics)]),
        Section("Examples", rule, examples=examples(questions, metrics)),
    ]


def _bars(title: str, types: dict[str, dict[str, float]]) -> BarChart:
    shown = list(types.items())[:TYPES_SHOWN]
    return BarChart(
        title,
        [f"{name} (n {int(part['n'])})" for name, part in shown],
        [part["accuracy"] for _, part in shown],
        [part["low"] for _, part in shown],
        [part["high"] for _, part in shown],
        note=f"The {TYPES_SHOWN} most frequent of {len(types)}." if len(types) > TYPES_SHOWN else "",
    )


def _confusions(questions: Questions, metrics: dict[str, Any]) -> Table:
    truths = evaluation.given_answers(questions)
    wrong = np.flatnonzero(np.asarray(metrics["scores"]) < 0.5)
    counts = Counter((evaluation.consensus(truths[number]), metrics["predictions"][number]) for number in wrong)
    rows = [[*pair, count] for pair, count in ranked(counts)[:15]]
    note = "Questions that score below one half, by what most annotators said." if rows else "There is none."
    return Table("Most frequent mistakes", ["expected", "answered", "questions"], rows, note)


def examples(questions: Questions, metrics: dict[str, Any]) -> list[Example]:
    """Half right, half wrong where there are as many, spread evenly over the split."""
    scores = np.asarray(metrics["scores"])
    truths = evaluation.given_answers(questions)
    shown = []
    for number in half_wrong(scores < 0.5):
        image, score = None, float(scores[number])
        with suppress(DataError):
            image = questions.images.load(int(questions.image[number]))
        answer = f"{metrics['predictions'][number]} ({metrics['confidence'][number]:.2f})"
        lines = [("answer", answer), ("expected", _expected(truths[number]))]
        verdict: Verdict = "right" if score >= 0.9 else "partly" if score >= 0.3 else "wrong"
        shown.append(Example(image, questions.question[number], lines, verdict, score))
    return shown


def _expected(answers: list[str]) -> str:
    if len(answers) == 1:
        return answers[0]
    return ", ".join(f"{answer} ({count})" for answer, count in ranked(Counter(answers))[:3])


def sample_answers(questions: Questions, predictions: list[str]) -> list[str]:
    """Three answers of the model, spread over the evaluation questions."""
    truths = evaluation.given_answers(questions)
    return [
        f"answer    {questions.question[at]} {predictions[at]} (expected {evaluation.consensus(truths[at])})"
        for at in evenly(np.arange(len(questions)), 3)
    ]
