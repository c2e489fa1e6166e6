"""Which evaluation questions a model's training saw: those on its pictures, by content, whatever their names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recipes.scoring.seen_data import SeenData, record_of
from tasks.vqa import evaluation, training_record
from tasks.vqa.data import Splits
from tasks.vqa.questions import Questions


@dataclass(frozen=True)
class SeenQuestions(SeenData):
    """Which questions are on pictures that training saw.

    Attributes:
        questions: how many of them training saw word for word, on the same picture; None: not counted.
    """

    unit: str = "questions' pictures"
    questions: int | None = None

    def line(self) -> str:
        """For the console; empty where nothing was seen."""
        same = self.count and self.questions is not None
        return f"{super().line()} ({self.questions:,} with the same question)" if same else super().line()

    def facts(self) -> dict[str, Any] | None:
        """For the result as JSON; None: not known."""
        facts = super().facts()
        if facts is None:
            return None
        return {**facts, "unit": "questions"} | ({} if self.questions is None else {"same_question": self.questions})


def seen_questions(model: str, splits: Splits) -> SeenQuestions:
    """What a trained model saw of the evaluation split; of runs without a record, by the run's own training data."""
    assert splits.evaluation is not None
    mask, same = training_record.seen(record_of(model), splits.evaluation)
    return SeenQuestions(splits.shared) if mask is None else SeenQuestions(mask, questions=same)


def will_be_seen(model: str, splits: Splits) -> SeenQuestions:
    """What a training that starts from a model will have seen of the evaluation split: with its own data, that model's."""
    assert splits.evaluation is not None
    mask = np.zeros(len(splits.evaluation), bool) if splits.shared is None else splits.shared
    before = seen_questions(model, replace(splits, shared=None)).mask
    return SeenQuestions(mask if before is None else mask | before)


def unseen_figures(scores: np.ndarray, questions: Questions, seen: SeenQuestions) -> dict[str, Any] | None:
    """The figures of the questions on pictures that training didn't see, where it saw some and not all."""
    rows = seen.unseen
    if rows is None:
        return None
    figures = evaluation.summarise(scores[rows], questions.take(rows))
    return {name: value for name, value in figures.items() if not name.startswith("by_")}
