"""`tool predict vqa`: images and questions in, answers out in the form of transformers' former pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from recipes.distributed.device import silence
from recipes.runs.select import choose_model
from recipes.terminal.progress import print_line
from recipes.vqa.config import Predict, require_inputs
from recipes.vqa.inference import generate, open_vilt, predict_logits
from recipes.work import Evaluator
from tasks.errors import ConfigError, DataError, data_errors
from tasks.files import write_text
from tasks.images import FileImages
from tasks.readers.paths import read_text
from tasks.vqa.models import pretrained
from tasks.vqa.questions import Questions
from tasks.vqa.readers.source import grouped

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def predict(config: Predict) -> dict[str, Any]:
    """Answers; returns a list of predictions, each with its image, question and the best answers."""
    silence()
    require_inputs(config)
    pairs = check_images(read_inputs(config.inputs), config.skip_bad)
    model, _ = choose_model(config.model, config.output_dir, ("vqa",))
    questions = as_questions(pairs)
    if pretrained.model_type(model, config.revision, config.token) == "vilt":
        answers = by_vilt(config, model, questions)
    else:
        answers = [[{"answer": text}] for text in generate(config, model, questions, lambda count: None)]
    predictions = [
        {"image": image, "question": question, "answers": given}
        for (image, question), given in zip(pairs, answers, strict=True)
    ]
    if config.output:
        write_text(config.output, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in predictions))
        return {"predictions": predictions, "text": f"{len(predictions):,} predictions written to {config.output}"}
    return {"predictions": predictions, "text": "\n".join(_line(entry) for entry in predictions)}


def read_inputs(inputs: list[str]) -> list[tuple[str, str]]:
    """(image path, question) pairs from images, folders and JSON lines files followed by questions.

    Raises:
        ConfigError: no question, or nothing that exists.
        DataError: a JSON line without image or question, with file and row.
    """
    pairs: list[tuple[str, str]] = []
    images: list[str] = []
    questions: list[str] = []
    for text in inputs:
        path = Path(text)
        if path.suffix.lower() in {".jsonl", ".json"} and path.is_file():
            pairs += _json_lines(path)
        elif path.is_dir():
            inside = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(f"{text}: no image in this folder ({', '.join(sorted(SUFFIXES))})")
            images += inside
        elif path.is_file() or path.suffix.lower() in SUFFIXES:
            images.append(text)
        else:
            questions.append(text)
    if images and not questions:
        raise ConfigError(
            f'no question for {images[0]}; write it behind the image: tool predict vqa {images[0]} "What is it?"'
        )
    if questions and not images:
        raise ConfigError(
            f"no image for the question {questions[0]!r}, or no file of that name; give an image, a folder or JSON lines first"
        )
    return pairs + [(image, question) for image in images for question in questions]


def check_images(pairs: list[tuple[str, str]], skip_bad: bool) -> list[tuple[str, str]]:
    """Decodes nothing yet, but opens each image's header; broken ones end the command, or are left out and counted."""
    paths = list(dict.fromkeys(image for image, _ in pairs))
    bad = {paths[at]: why for at, why in FileImages(paths).problems(range(len(paths)), decode=skip_bad).items()}
    if bad and not skip_bad:
        reasons = [f"{path}: {why}" for path, why in bad.items()]
        raise data_errors(reasons, len(bad), "Mend them, or leave them out with --skip-bad")
    if bad:
        print_line(f"skipped   {len(bad)} broken images, first {next(iter(bad))}: {next(iter(bad.values()))}")
    return [pair for pair in pairs if pair[0] not in bad]


def as_questions(pairs: list[tuple[str, str]]) -> Questions:
    """The pairs as one unlabelled split."""
    image, first = grouped([path for path, _ in pairs])
    count = len(pairs)
    return Questions(
        question_id=list(range(count)),
        question=[question for _, question in pairs],
        image=image,
        answers=[[] for _ in pairs],
        weights=None,
        question_type=[""] * count,
        answer_type=[""] * count,
        images=FileImages([pairs[row][0] for row in first]),
        source="input",
    )


def by_vilt(config: Predict, model: str, questions: Questions) -> list[list[dict[str, Any]]]:
    """`[{"score", "answer"}]` for each question: sigmoid scores, best first, at most as many as the model has answers."""
    if not len(questions):
        return []
    vilt, batches, device = open_vilt(config, model, questions)
    top = min(config.top_k, vilt.config.num_labels)
    answers: list[list[dict[str, Any]]] = [[] for _ in range(len(questions))]
    evaluator = Evaluator.alone(device, config.batch_size)
    with torch.inference_mode():
        for numbers, logits, _ in predict_logits(vilt, batches, batches.in_order(config.batch_size), evaluator):
            best, labels = logits.sigmoid().topk(top)
            for at, number in enumerate(numbers):
                answers[number] = [
                    {"score": float(score), "answer": vilt.config.id2label[int(label)]}
                    for score, label in zip(best[at], labels[at], strict=True)
                ]
    return answers


def _json_lines(path: Path) -> list[tuple[str, str]]:
    pairs = []
    for row, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            image, question = entry["image"], entry["question"]
            if image is None or question is None:
                raise KeyError
        except (json.JSONDecodeError, KeyError, TypeError):
            raise DataError(f'{path}, row {row}: needs {{"image": "path", "question": "text"}}') from None
        where = Path(str(image))
        pairs.append((str(where if where.is_absolute() or where.exists() else path.parent / where), str(question)))
    if not pairs:
        raise DataError(f"{path}: no rows")
    return pairs


def _line(entry: dict[str, Any]) -> str:
    best = " · ".join(
        f"{answer['answer']} {answer['score']:.3f}" if "score" in answer else str(answer["answer"])
        for answer in entry["answers"]
    )
    return f"{entry['image']}  {entry['question']}  {best}"
