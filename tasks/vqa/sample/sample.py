"""The `sample` data, for a first run with no network and no files: in memory, or written in the official VQA layout.

The same seed gives the same questions and the same pixels both ways. What the images show is in `tasks.vqa.sample.scenes`.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.files import write_folder
from tasks.images import ImageStore
from tasks.vqa.questions import Questions
from tasks.vqa.readers.source import Load, Options, Source
from tasks.vqa.sample.scenes import SampleQuestion, Scene, draw, make_scene

# How much there is. Four fifths of the images are for training.
IMAGES = 3000
QUESTIONS_PER_IMAGE = 5
SIZE = 64
TRAIN_SHARE = 0.8


class SampleImages(ImageStore):
    """Scenes drawn when they are asked for.

    Args:
        scenes: what each image shows.
        first: number of the first scene in the whole sample, for messages.
    """

    def __init__(self, scenes: list[Scene], first: int) -> None:
        super().__init__()
        self.scenes, self.first = scenes, first

    def __len__(self) -> int:
        return len(self.scenes)

    def open(self, i: int) -> Image.Image:
        return draw(self.scenes[i], SIZE)

    def where(self, i: int) -> str:
        return f"sample, image {self.first + i + 1}"

    def size(self, i: int) -> tuple[int, int]:
        return SIZE, SIZE

    def problem(self, i: int, decode: bool = False) -> str | None:
        return None

    def content(self, i: int) -> bytes:
        file = io.BytesIO()
        self.open(i).save(file, "PNG")
        return file.getvalue()


def source(options: Options) -> Source:
    """The sample as recognised data, made in memory from the options' seed."""

    def load(split: str) -> Load:
        return lambda problems: questions_of(split, options.seed)

    return Source("sample", "sample", {split: load(split) for split in ("train", "validation")})


def _numbers(split: str, images: int) -> range:
    """Scenes of a split."""
    training = round(TRAIN_SHARE * images)
    return range(training) if split == "train" else range(training, images)


def questions_of(split: str, seed: int = 0, images: int = IMAGES) -> Questions:
    """One split, "train" or "validation", in memory."""
    numbers = _numbers(split, images)
    scenes = [make_scene(seed, number, QUESTIONS_PER_IMAGE) for number in numbers]
    entries = _entries(range(len(scenes)), scenes)
    return Questions(
        question_id=[_question_id(numbers[i], k) for i, k, _ in entries],
        question=[entry.question for _, _, entry in entries],
        image=np.array([i for i, _, _ in entries], np.int64),
        answers=[entry.answers for _, _, entry in entries],
        weights=None,
        question_type=[entry.kind for _, _, entry in entries],
        answer_type=[_answer_type(entry.truth) for _, _, entry in entries],
        images=SampleImages(scenes, numbers.start),
        source=f"sample ({split})",
    )


def write_sample(folder: str | Path, seed: int = 0, images: int = IMAGES) -> None:
    """Writes the sample in the official VQA layout: questions, annotations, and a folder of PNG a split; whole or
    not at all.
    """

    def fill(root: Path) -> None:
        for split, subtype in (("train", "train"), ("validation", "val")):
            numbers = _numbers(split, images)
            scenes = [make_scene(seed, number, QUESTIONS_PER_IMAGE) for number in numbers]
            (root / subtype).mkdir()
            for number, scene in zip(numbers, scenes, strict=True):
                draw(scene, SIZE).save(root / subtype / f"shapes_{subtype}_{number + 1:012d}.png")
            entries = _entries(numbers, scenes)
            head = {
                "info": {"description": "Generated scenes of shapes"},
                "data_type": "shapes",
                "data_subtype": subtype,
            }
            for field, made in (("questions", _question), ("annotations", _annotation)):
                text = json.dumps({**head, field: [made(*entry) for entry in entries]})
                (root / f"shapes_{subtype}_{field}.json").write_text(text, encoding="utf-8")

    write_folder(folder, fill)


def _entries(numbers: range, scenes: list[Scene]) -> list[tuple[int, int, SampleQuestion]]:
    """(number of the scene, place in it, question) of each."""
    return [(n, k, entry) for n, scene in zip(numbers, scenes, strict=True) for k, entry in enumerate(scene.asked)]


def _question_id(number: int, k: int) -> int:
    return (number + 1) * 1000 + k


def _question(number: int, k: int, entry: SampleQuestion) -> dict[str, Any]:
    return {"image_id": number + 1, "question": entry.question, "question_id": _question_id(number, k)}


def _annotation(number: int, k: int, entry: SampleQuestion) -> dict[str, Any]:
    answers = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": i} for i, answer in enumerate(entry.answers, 1)
    ]
    return {
        "question_id": _question_id(number, k),
        "image_id": number + 1,
        "question_type": entry.kind,
        "answer_type": _answer_type(entry.truth),
        "multiple_choice_answer": entry.truth,
        "answers": answers,
    }


def _answer_type(truth: str) -> str:
    return "yes/no" if truth in ("yes", "no") else "number" if truth in ("1", "2", "3") else "other"
