"""Answer vocabulary: the classes of the model, soft labels, and the best score within reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tasks.errors import DataError
from tasks.vqa.anls import Candidates
from tasks.vqa.evaluation import accepted, kind_of
from tasks.vqa.questions import Questions
from tasks.vqa.score import form

# ViLT keeps the answers that are the commonest one of nine training questions or more (3,129 of VQA v2).
MIN_FREQUENCY = 9
# From so many training questions on that number stands; below, it falls until so much of them keeps its commonest
# answer.
LARGE = 10_000
COVERAGE = 0.99


@dataclass
class Vocabulary:
    """Answers in the order of the model's labels.

    Attributes:
        answers: normalised; by frequency descending, then alphabetically.
        frequency: of how many training questions each is the commonest answer.
        min_frequency: the least frequency that was asked of them.
        coverage: share of the training questions whose commonest answer is among them, or where all answers count, of those.
    """

    answers: list[str]
    frequency: list[int] = field(default_factory=list)
    min_frequency: int = 1
    coverage: float = 1.0
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.index = {answer: i for i, answer in enumerate(self.answers)}

    def __len__(self) -> int:
        return len(self.answers)


@dataclass
class Targets:
    """Sparse soft labels: of question i, `ids` and `scores` from `offsets[i]` to `offsets[i + 1]`.

    Attributes:
        offsets: int64 [n + 1].
        ids: int32, index into the vocabulary.
        scores: float32 in 0..1.
    """

    offsets: np.ndarray
    ids: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def dense(self, numbers: np.ndarray, num_labels: int) -> torch.Tensor:
        """Labels of the questions at `numbers`: float32 [len(numbers), num_labels]."""
        labels = np.zeros((len(numbers), num_labels), np.float32)
        for row, number in enumerate(numbers):
            part = slice(self.offsets[number], self.offsets[number + 1])
            labels[row, self.ids[part]] = self.scores[part]
        return torch.from_numpy(labels)


def build_vocabulary(
    questions: Questions,
    *,
    min_frequency: int | None = None,
    max_answers: int | None = None,
    every: bool = False,
) -> Vocabulary:
    """The vocabulary of a training split.

    An answer counts once for each question whose commonest answer it is (`multiple_choice_answer` of VQA v2), as in
    ViLT, or with `every` each answer once for each question that has it; of equally common ones, the one given first.
    Given soft labels count their heaviest answer and keep their spelling: they name classes already.

    Without `min_frequency`: 9 from 10,000 questions on. Below, the largest number up to 9 with which at least 99 %
    of the questions keep their commonest answer, else 1. Where fewer than two answers reach 9 among many questions,
    the same rule holds.

    Args:
        every: count all answers of a question, and not its commonest alone.

    Raises:
        DataError: fewer than two answers are left.
    """
    counts = Counter(_every(questions) if every else _commonest(questions))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    large = sum(map(bool, questions.answers)) >= LARGE
    least = min_frequency if min_frequency is not None else _least([count for _, count in ordered], large)
    chosen = [(answer, count) for answer, count in ordered if count >= least][:max_answers]
    if len(chosen) < 2:
        raise DataError(
            f"{questions.source}: {len(chosen)} of {len(counts):,} answers left at frequency >= {least} (the commonest "
            f"has {ordered[0][1] if ordered else 0}); give a smaller --min-answer-frequency or more questions"
        )
    total = sum(counts.values())
    return Vocabulary(
        answers=[answer for answer, _ in chosen],
        frequency=[count for _, count in chosen],
        min_frequency=least,
        coverage=sum(count for _, count in chosen) / total,
    )


def _least(counts: Sequence[int], large: bool) -> int:
    """The default least frequency for these answers' frequencies, in descending order."""
    total = sum(counts)
    if large and len(counts) > 1 and counts[1] >= MIN_FREQUENCY:
        return MIN_FREQUENCY
    covered = {least: sum(count for count in counts if count >= least) for least in range(MIN_FREQUENCY, 1, -1)}
    enough = (
        least for least, kept in covered.items() if kept >= COVERAGE * total and counts[1:] and counts[1] >= least
    )
    return next(enough, 1)


def _commonest(questions: Questions) -> Iterator[str]:
    """Each labelled question's commonest answer, in the form of the vocabulary."""
    for votes in _votes(questions):
        if votes:
            yield max(votes, key=votes.__getitem__)


def _every(questions: Questions) -> Iterator[str]:
    """Each labelled question's different answers, in the form of the vocabulary; of given weights those above 0."""
    for votes in _votes(questions):
        yield from (answer for answer, vote in votes.items() if vote > 0)


def _votes(questions: Questions) -> Iterator[dict[str, float]]:
    """Of each question: answer in the form of the vocabulary -> number of annotators, or its given weight."""
    if questions.weights is not None:
        yield from questions.weights
        return
    for answers in questions.answers:
        votes: dict[str, float] = {}
        for answer in answers:
            label = form(answer)
            votes[label] = votes.get(label, 0) + 1
        votes.pop("", None)
        yield votes


def soft_score(count: float, annotators: int) -> float:
    """Label of an answer that `count` of `annotators` gave: min(1, 3 count / annotators).

    Of ten that is 0, .3, .6, .9, 1 for 0, 1, 2, 3, 4 and more, as VQA trains; an answer that a third of the
    annotators gave is wholly right, so that a single annotator's answer counts 1.
    """
    return min(1.0, 3 * count / annotators)


def targets(questions: Questions, vocabulary: Vocabulary) -> Targets:
    """Soft labels for training; given weights are used as given. Answers outside the vocabulary are left out.

    Raises:
        DataError: no question has an answer in the vocabulary.
    """
    check_vocabulary(questions, vocabulary)
    offsets, ids, scores = [0], [], []
    for answers, votes in zip(questions.answers, _votes(questions), strict=True):
        for answer, vote in votes.items():
            i = vocabulary.index.get(answer)
            if i is not None:
                ids.append(i)
                scores.append(vote if questions.weights is not None else soft_score(vote, len(answers)))
        offsets.append(len(ids))
    return Targets(np.array(offsets, np.int64), np.array(ids, np.int32), np.array(scores, np.float32))


def ceiling(questions: Questions, vocabulary: Vocabulary, kind: str | None = None) -> float:
    """The best score, 0..1, that a model with this vocabulary can reach on these questions: the mean over labelled questions
    of what the best answer in the vocabulary scores.

    Args:
        kind: the score, of `evaluation.NAMES`; by default that which fits the data.
    """
    kind = kind or kind_of(questions)
    if kind == "official":
        votes = zip(questions.answers, _votes(questions), strict=True)
        best = [_official(answers, given, vocabulary) for answers, given in votes if answers]
    elif kind == "weights":
        best = [
            max((given[a] for a in given if a in vocabulary.index), default=0.0) for given in questions.weights or []
        ]
    else:
        best = _reachable([tuple(given) for given in accepted(questions, kind) if given], vocabulary, kind)
    return float(np.mean(best)) if best else 0.0


def _reachable(truths: list[tuple[str, ...]], vocabulary: Vocabulary, kind: str) -> list[float]:
    """What the best answer in the vocabulary scores against these, each right or, by ANLS, nearly right."""
    words = Candidates(vocabulary.answers) if kind == "anls" else None
    known = {
        given: words.best(given)
        if words is not None
        else float(any(form(answer) in vocabulary.index for answer in given))
        for given in dict.fromkeys(truths)
    }
    return [known[given] for given in truths]


def _official(answers: Sequence[str], votes: dict[str, float], vocabulary: Vocabulary) -> float:
    """The official accuracy of the best answer: of n annotators c gave it, each compared with the n - 1 others."""
    n = len(answers)
    if answers.count(answers[0]) == n:  # then the official code compares the raw strings
        raw = answers[0].replace("\n", " ").replace("\t", " ").strip()
        counts: Iterable[float] = [n] if raw in vocabulary.index else []
    else:
        counts = (vote for answer, vote in votes.items() if answer in vocabulary.index)
    return max(((c * min(1.0, (c - 1) / 3) + (n - c) * min(1.0, c / 3)) / n for c in counts), default=0.0)


def check_vocabulary(questions: Questions, vocabulary: Vocabulary) -> None:
    """
    Raises:
        DataError: there are answers, and not one is in the vocabulary.
    """
    some: list[str] = []
    for votes in _votes(questions):
        if any(answer in vocabulary.index for answer in votes):
            return
        some += [answer for answer in votes if answer not in some][: 3 - len(some)]
    if some:
        known = ", ".join(repr(answer) for answer in vocabulary.answers[:3])
        raise DataError(
            f"{questions.source}: none of its answers ({', '.join(map(repr, some))}, ...) is among the "
            f"{len(vocabulary):,} that the model can give ({known}, ...); train on such data, or give other data"
        )
