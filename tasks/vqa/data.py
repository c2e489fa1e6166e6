"""Questions on images, from whatever form they come in to checked training and evaluation splits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.readers.choice import CUSTOM, choose
from tasks.readers.problems import Problems
from tasks.vqa import checks
from tasks.vqa.checks import check_classes, check_rows, check_some, labelled
from tasks.vqa.holdout import hold_out, subset
from tasks.vqa.questions import Questions
from tasks.vqa.readers import Options, Source, recognise
from tasks.vqa.readers.columns import Overrides

__all__ = ["Questions", "Splits", "inspect", "load_splits"]


@dataclass
class Splits:
    """What a run trains on and what it is measured on.

    Attributes:
        description: one line for the run header.
        held_out: whether the evaluation split was held out of the training split by image.
        skipped: one line for each sort of question left out (with `skip_bad`).
    """

    train: Questions | None
    evaluation: Questions | None
    description: str
    held_out: bool = False
    skipped: list[str] = field(default_factory=list)


def load_splits(
    data: str,
    *,
    image_root: str | None = None,
    train_split: str | None = None,
    eval_split: str | None = None,
    max_samples: int | None = None,
    max_eval_samples: int | None = None,
    eval_fraction: float = 0.1,
    seed: int = 0,
    skip_bad: bool = False,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | None = None,
    need: tuple[str, ...] = ("train", "evaluation"),
    image_column: str | None = None,
    question_column: str | None = None,
    answer_column: str | None = None,
    check_images: bool = True,
) -> Splits:
    """Reads, parts and checks the data.

    The evaluation split is the one named, else validation, else test where it has answers, else a hold-out by image of
    `eval_fraction`. With `need` = ("evaluation",) data of a single split are taken whole; so a run's own hold-out comes
    back only with both needed and the run's seed and fraction.

    Args:
        data: a file or folder here, a Hub id, or "sample".
        max_samples, max_eval_samples: a random subset, drawn from `seed`.
        skip_bad: leave out rows and images that can't be used, and say so in `Splits.skipped`; every image is
            decoded once for it.
        need: "train", "evaluation" (both with answers), or "prediction": the evaluation split, answers or not.
        check_images: open the header of every image in use.

    Raises:
        ConfigError: a split, a column or a number that can't be.
        DataError: unusable data; up to ten problems with file and row.
        ToolError: a Hub id without a network.
    """
    columns = Overrides(image_column, question_column, answer_column)
    options = Options(image_root, columns, revision, token, cache_dir, seed)
    source = recognise(data, options)
    problems = Problems(skip=skip_bad, noun="question")
    train, evaluation, held_out = _parts(source, need, train_split, eval_split, eval_fraction, seed, problems)
    if train is not None:
        train = subset(train, max_samples, seed)
    if evaluation is not None:
        evaluation = subset(evaluation, max_eval_samples, seed, "--max-eval-samples")
    if check_images:
        train, evaluation = (
            part if part is None else checks.check_images(part, problems, decode=skip_bad)
            for part in (train, evaluation)
        )
    problems.raise_if_any()
    for part in (train, evaluation):
        if part is not None:
            check_some(part)
    if train is not None:
        check_classes(train)
    return Splits(train, evaluation, _describe(source, train, evaluation, held_out), held_out, problems.summary())


def inspect(
    data: str,
    *,
    image_root: str | None = None,
    train_split: str | None = None,
    eval_split: str | None = None,
    max_samples: int | None = None,
    max_eval_samples: int | None = None,
    eval_fraction: float = 0.1,
    seed: int = 0,
    skip_bad: bool = False,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | None = None,
    image_column: str | None = None,
    question_column: str | None = None,
    answer_column: str | None = None,
    check_images: bool = True,
) -> dict[str, Any]:
    """Describes the data as they are; takes what `load_splits` takes. See `tasks.vqa.inspection.inspect`."""
    from tasks.vqa.inspection import inspect as look

    columns = Overrides(image_column, question_column, answer_column)
    options = Options(image_root, columns, revision, token, cache_dir, seed)
    return look(
        data,
        options,
        train_split=train_split,
        eval_split=eval_split,
        max_samples=max_samples,
        check_images=check_images,
    )


def _parts(
    source: Source,
    need: tuple[str, ...],
    train_split: str | None,
    eval_split: str | None,
    fraction: float,
    seed: int,
    problems: Problems,
) -> tuple[Questions | None, Questions | None, bool]:
    """(training split, evaluation split, whether the second was held out of the first), rows checked."""
    answers = "prediction" not in need
    train_name, eval_name = choose(
        source, need, train_split, eval_split, unit="image", custom=(*CUSTOM, "test-dev", "test-std")
    )
    evaluation = _read(source, eval_name, problems) if eval_name is not None else None
    if (
        evaluation is not None
        and answers
        and not labelled(evaluation)
        and eval_split is None
        and train_name is not None
    ):
        evaluation = None  # a test split published without its answers
    if evaluation is not None:
        evaluation = check_rows(evaluation, problems, answers)
    if train_name is None:
        return None, evaluation, False
    train = check_rows(_read(source, train_name, problems), problems, True)
    if evaluation is not None or "evaluation" not in need:
        return train, evaluation, False
    try:
        return (*hold_out(check_some(train), fraction, seed), True)
    except DataError:
        problems.raise_if_any()  # then they are why too little is left
        raise


def _read(source: Source, name: str, problems: Problems) -> Questions:
    return check_some(source.splits[name](problems))


def _describe(source: Source, train: Questions | None, evaluation: Questions | None, held_out: bool) -> str:
    """One line: 'easy-vqa: 38,575 + 9,673 questions on 5,000 images'."""
    parts = [part for part in (train, evaluation) if part is not None]
    sizes = " + ".join(f"{len(part):,}" for part in parts)
    stores: dict[int, list[np.ndarray]] = {}
    for part in parts:
        stores.setdefault(id(part.images), []).append(part.image)
    images = sum(len(np.unique(np.concatenate(used))) for used in stores.values())
    note = ", the second held out by image" if held_out else ""
    return f"{source.name}: {sizes} questions on {images:,} image{'s' if images != 1 else ''}{note}"
