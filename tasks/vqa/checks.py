"""Data checks before training: rows and images that can't be used, each named with file and row."""

from __future__ import annotations

import numpy as np

from tasks.errors import DataError
from tasks.readers.problems import Problems
from tasks.vqa.questions import Questions
from tasks.vqa.score import normalize


def check_rows(questions: Questions, problems: Problems, answers: bool) -> Questions:
    """Reports rows without image, without a question, with a repeated id or, with `answers`, without an answer.

    Returns:
        the questions without such rows (all problems are raised later unless they may be skipped).

    Raises:
        DataError: not one row has an answer, though they are needed.
    """
    if answers and len(questions) and not labelled(questions):
        raise DataError(
            f"{questions.source}: none of its {len(questions):,} questions has an answer; give data with answers"
        )
    known: dict[int | str, int] = {}
    keep = np.ones(len(questions), bool)
    for i, key in enumerate(questions.question_id):
        first = known.setdefault(key, i)
        wrong = _wrong(questions, i, answers)
        if wrong is None and first != i:
            row = questions.where(first).removeprefix(f"{questions.source}, ")
            wrong = f"question_id {key} is taken by {row}", "repeated question_id"
        if wrong is not None:
            keep[i] = False
            problems.add(questions.where(i), *wrong)
    return questions if keep.all() else questions.take(np.flatnonzero(keep))


def labelled(questions: Questions) -> bool:
    """Whether any question has an answer."""
    return any(questions.answers)


def _wrong(questions: Questions, i: int, answers: bool) -> tuple[str, str] | None:
    if questions.image[i] < 0:
        return "has no image", "no image"
    if not questions.question[i]:
        return "the question is empty", "empty question"
    if answers and questions.weights is None and not questions.answers[i]:
        return "has no answer", "no answer"
    return None


def check_images(questions: Questions, problems: Problems, decode: bool | None) -> Questions:
    """Opens every image that a question needs and reports each broken one once, with the first row that needs it.

    Args:
        decode: as `ImageStore.problems`.

    Returns:
        the questions whose image is sound.
    """
    used, first, counts = np.unique(questions.image, return_index=True, return_counts=True)
    broken = questions.images.problems(used.tolist(), decode=decode)
    if not broken:
        return questions
    for image, row, count in zip(used.tolist(), first.tolist(), counts.tolist(), strict=True):
        if image in broken:
            where, file = questions.where(row), questions.images.where(image)
            what = broken[image] if file == where else f"{file}: {broken[image]}"
            problems.add(where, what, "image missing or broken", count)
    return questions.take(np.flatnonzero(~np.isin(questions.image, sorted(broken))))


def check_classes(questions: Questions) -> None:
    """Training needs two different answers at least.

    Raises:
        DataError: there is one, or none.
    """
    seen: set[str] = set()
    for answers in dict.fromkeys(map(tuple, questions.answers)):  # a few, where all the questions have one class
        seen.update(map(normalize, answers))
        if len(seen) > 1:
            return
    only = f"every answer is {next(iter(seen))!r}" if seen else "there is no answer at all"
    raise DataError(f"{questions.source}: {only}; training needs two different answers at least")


def check_some(questions: Questions) -> Questions:
    """
    Raises:
        DataError: no question is left.
    """
    if not len(questions):
        raise DataError(f"{questions.source}: no rows; it needs an image, a question and an answer in each")
    return questions
