"""The official VQA accuracy to the letter, simpler scores for data with one answer, and the priors beside them.

Source of the official rules: https://github.com/GT-Vision-Lab/VQA, PythonEvaluationTools/vqaEvaluation/vqaEval.py.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.files import write_text

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_LOOSE_STOP = re.compile(r"\.(?!\d)")
# The official code passes a flag where `re.sub` expects a count, so it deletes at most this many full stops.
_STOPS_DELETED = 32
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4",
    "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_NUMBER = re.compile(r"\d+(\.\d+)?")
_WORD = re.compile(r"[\w']+")
# Answers repeat: 200,000 questions hold 2,000,000 answers, but some 100,000 different ones.
_CACHED_STRINGS = 1 << 18


@functools.cache
def contractions() -> dict[str, str]:
    """The official table of 120 contractions: a word as people write it -> the word with its apostrophe."""
    return json.loads(Path(__file__).with_name("contractions.json").read_text(encoding="utf-8"))


def process_punctuation(text: str) -> str:
    """Deletes punctuation or makes it a space, by the official rules.

    A mark that stands beside a space anywhere in `text` is deleted everywhere, as are all marks where `text` has a
    comma between digits; any other mark becomes a space. A full stop goes unless a digit follows.
    """
    comma_in_number = _DIGIT_COMMA_DIGIT.search(text) is not None
    result = text
    for mark in _PUNCTUATION:
        if mark in text:
            deleted = comma_in_number or f"{mark} " in text or f" {mark}" in text
            result = result.replace(mark, "" if deleted else " ")
    return _LOOSE_STOP.sub("", result, count=_STOPS_DELETED)


def process_digits_articles(text: str) -> str:
    """Lower case, number words to digits, articles dropped, contractions given their apostrophe, single spaces."""
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    table = contractions()
    return " ".join(table.get(word, word) for word in words if word not in _ARTICLES)


@functools.lru_cache(maxsize=_CACHED_STRINGS)
def normalize(answer: str) -> str:
    """An answer as the official evaluation compares it, also the form in which training answers become labels."""
    return process_digits_articles(process_punctuation(_clean(answer)))


def form(answer: str) -> str:
    """The form in which answers are labels: normalised; an article alone stays, as one of the options A, B, C, D."""
    return normalize(answer) or answer.strip().lower()


def question_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """The official accuracy of one question, in 0..1.

    Args:
        prediction: the answer to score.
        answers: the ground truths, usually ten. A single one scores 0 by definition: there is no other to agree with.

    Raises:
        DataError: no ground truth at all.
    """
    if not answers:
        raise DataError("a question without a ground-truth answer can't be scored")
    truths = [_clean(answer) for answer in answers]
    predicted = _clean(prediction)
    # Ground truths that all agree are compared as they stand, not even in lower case: so does the official code.
    if truths.count(truths[0]) < len(truths):
        truths = [normalize(truth) for truth in truths]
        predicted = normalize(predicted)
    if predicted not in truths:
        return 0.0
    return _leave_one_out(tuple([truth == predicted for truth in truths]))


def official_accuracy(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """The official accuracy per question, float64 [n] in 0..1.

    Args:
        predictions: [n] answers.
        answers: [n] lists of ground truths.

    Raises:
        DataError: lengths differ, or a question has no ground truth.
    """
    _check_lengths(predictions, answers)
    empty = [row for row, truths in enumerate(answers, start=1) if not truths]
    if empty:
        raise DataError(f"row {empty[0]} has no ground-truth answer ({len(empty)} such rows in all)")
    return np.array([question_accuracy(*pair) for pair in zip(predictions, answers, strict=True)], dtype=np.float64)


def weighted_accuracy(predictions: Sequence[str], weights: Sequence[Mapping[str, float]]) -> np.ndarray:
    """The given weight of each predicted answer, 0.0 where it has none; float64 [n].

    Args:
        predictions: [n] answers.
        weights: [n] mappings answer -> score in 0..1, as in the `label.ids`, `label.weights` layout.

    Raises:
        DataError: lengths differ.
    """
    _check_lengths(predictions, weights)
    pairs = zip(predictions, weights, strict=True)
    return np.array([_weight(answer, given) for answer, given in pairs], dtype=np.float64)


def _weight(answer: str, given: Mapping[str, float]) -> float:
    """The weight of an answer as it is spelled, else of one that is the same after normalisation."""
    if answer in given or not given:
        return float(given.get(answer, 0.0))
    return max((float(weight) for label, weight in given.items() if form(label) == form(answer)), default=0.0)


def summary(
    accuracy: np.ndarray, question_types: Sequence[str] | None = None, answer_types: Sequence[str] | None = None
) -> dict[str, Any]:
    """Means in 0..1, unrounded, with the number of questions behind each.

    Returns:
        {"overall", "n"}, and where types are given "per_answer_type" and "per_question_type":
        type -> {"accuracy", "n"}, types in alphabetical order.
    """
    result: dict[str, Any] = {"overall": _mean(accuracy.tolist()), "n": len(accuracy)}
    for key, types in (("per_answer_type", answer_types), ("per_question_type", question_types)):
        if types is not None:
            grouped = _by_type(accuracy, types)
            result[key] = {name: {"accuracy": _mean(values), "n": len(values)} for name, values in grouped.items()}
    return result


def official_summary(
    accuracy: np.ndarray, question_types: Sequence[str], answer_types: Sequence[str]
) -> dict[str, Any]:
    """The official form: {"overall", "perQuestionType", "perAnswerType"} in per cent, rounded to two decimals."""
    by_question, by_answer = _by_type(accuracy, question_types), _by_type(accuracy, answer_types)
    return {
        "overall": _official_percent(accuracy.tolist()),
        "perQuestionType": {name: _official_percent(values) for name, values in by_question.items()},
        "perAnswerType": {name: _official_percent(values) for name, values in by_answer.items()},
    }


def most_frequent(counts: Counter[str]) -> str:
    """The answer with the highest count; of equals, the alphabetically first."""
    return min(counts, key=lambda answer: (-counts[answer], answer))


def majority_prior(train_answers: Sequence[str], eval_questions: Sized) -> list[str]:
    """Answers every question with the most frequent training answer; of equals, the alphabetically first.

    Raises:
        DataError: there is no training answer.
    """
    if not train_answers:
        raise DataError("a prior needs at least one training answer")
    return [most_frequent(Counter(train_answers))] * len(eval_questions)


def question_prior(
    train_questions: Sequence[str], train_answers: Sequence[str], eval_questions: Sequence[str], minimum: int = 10
) -> list[str]:
    """Answers from the question alone, blind to the image.

    Of the prefixes of a question, in whole words, takes the longest that starts at least `minimum` training
    questions, and answers what was most frequent there; where no prefix is that frequent, the majority answer.

    Args:
        train_questions, train_answers: [m], one answer a question.
        eval_questions: [n].

    Raises:
        DataError: lengths differ, or there is no training answer.
    """
    _check_lengths(train_questions, train_answers)
    majority = majority_prior(train_answers, [None])[0]
    table = _prefix_answers(train_questions, train_answers, minimum)
    predictions = []
    for question in eval_questions:
        words, answer = _words(question), majority
        for length in range(1, len(words) + 1):
            # A prefix is at least as frequent as its continuations, so the first miss ends the search.
            known = table.get(" ".join(words[:length]))
            if known is None:
                break
            answer = known
        predictions.append(answer)
    return predictions


@functools.lru_cache(maxsize=_CACHED_STRINGS)
def answer_type(answer: str) -> str:
    """One of the official names yes/no, number and other, for data that doesn't state the type."""
    normal = normalize(answer)
    if normal in ("yes", "no"):
        return "yes/no"
    return "number" if _NUMBER.fullmatch(normal) else "other"


@functools.lru_cache(maxsize=_CACHED_STRINGS)
def question_type(question: str) -> str:
    """The first two words in lower case, for data that doesn't state the type; "none of the above" without words."""
    return " ".join(_words(question)[:2]) or "none of the above"


@functools.lru_cache(maxsize=_CACHED_STRINGS)
def _clean(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


@functools.lru_cache(maxsize=1 << 14)
def _leave_one_out(hits: tuple[bool, ...]) -> float:
    """Mean over the ground truths of min(1, matches among the others / 3), summed in the official order."""
    matches = sum(hits)
    return sum(min(1.0, (matches - hit) / 3) for hit in hits) / len(hits)


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise DataError("there is no question to score")
    return math.fsum(values) / len(values)


def _official_percent(values: Sequence[float]) -> float:
    if not values:
        raise DataError("there is no question to score")
    # Summed from the left and scaled in the official order, so that the second decimal can't differ.
    return round(100 * float(sum(values)) / len(values), 2)


def _by_type(accuracy: np.ndarray, types: Sequence[str]) -> dict[str, list[float]]:
    _check_lengths(accuracy, types)
    grouped: dict[str, list[float]] = {}
    for value, name in zip(accuracy.tolist(), types, strict=True):
        grouped.setdefault(name, []).append(value)
    return dict(sorted(grouped.items()))


def _prefix_answers(questions: Sequence[str], answers: Sequence[str], minimum: int) -> dict[str, str]:
    """Frequent prefix -> its most frequent answer, found length by length so that rare prefixes aren't kept."""
    table: dict[str, str] = {}
    active = [(_words(question), answer) for question, answer in zip(questions, answers, strict=True)]
    length = 1
    while active:
        active = [pair for pair in active if len(pair[0]) >= length]
        prefixes = [" ".join(words[:length]) for words, _ in active]
        sizes = Counter(prefixes)
        counts: dict[str, Counter[str]] = {}
        going_on = []
        for prefix, pair in zip(prefixes, active, strict=True):
            if sizes[prefix] >= minimum:
                counts.setdefault(prefix, Counter())[pair[1]] += 1
                going_on.append(pair)
        table.update((prefix, most_frequent(found)) for prefix, found in counts.items())
        active = going_on
        length += 1
    return table


def _words(question: str) -> list[str]:
    return _WORD.findall(question.lower())


def _check_lengths(one: Sized, other: Sized) -> None:
    if len(one) != len(other):
        raise DataError(f"the two columns to compare have {len(one)} and {len(other)} rows; they must pair up")


def write_official_results(path: str | Path, ids: Sequence[Any], answers: Sequence[str]) -> None:
    """Writes answers in the official result format, [{"question_id", "answer"}], one row a line.

    Args:
        ids: [n] question ids, whole numbers (or text, where the data has such).
        answers: [n].

    Raises:
        DataError: lengths differ, or an id stands twice.
    """
    if len(ids) != len(answers):
        raise DataError(f"results need an answer for every question, found {len(ids)} ids and {len(answers)} answers")
    plain = [key.item() if isinstance(key, np.generic) else key for key in ids]
    for key, times in Counter(plain).items():
        if times > 1:
            raise DataError(f"results can't hold the question {key!r} twice")
    rows = (
        json.dumps({"question_id": key, "answer": str(answer)}, ensure_ascii=False)
        for key, answer in zip(plain, answers, strict=True)
    )
    write_text(path, "[\n" + ",\n".join(rows) + "\n]\n")
