"""Loading of visual questions: from any of the known formats to checked training and evaluation splits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tasks.images import deep_note
from tasks.readers import source as base
from tasks.readers.choice import CUSTOM, choose
from tasks.readers.holdout import parted, subsets
from tasks.readers.problems import Problems
from tasks.vqa import checks
from tasks.vqa.checks import check_classes, check_rows, check_some, labelled
from tasks.vqa.holdout import hold_out, without_shared
from tasks.vqa.questions import Questions
from tasks.vqa.readers import Options, Source, recognise

__all__ = ["Options", "Questions", "Splits", "load_splits"]


@dataclass
class Splits(base.Splits[Questions]):
    """What a run trains on and what it is measured on.

    Attributes:
        shared: bool [n], the evaluation questions on pictures that training has too; None where only one split was read.
        notes: how cells were read where that may not be what one expects, a line each.
    """

    shared: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def shared_count(self) -> int:
        """How many evaluation questions are on pictures that training has too, as far as is known."""
        return 0 if self.shared is None else int(self.shared.sum())


def load_splits(
    options: Options,
    need: tuple[str, ...] = ("train", "evaluation"),
    *,
    check_images: bool = True,
    decode: bool | None = False,
) -> Splits:
    """Reads, parts and checks the data.

    The evaluation split is the one named, else validation, else test where it has answers, else a hold-out by image of
    `eval_fraction`. With `need` = ("evaluation",) data of a single split are taken whole; so a run's own hold-out comes
    back only with both needed and the run's seed and fraction.

    Args:
        options: with `skip_bad` every image is decoded once.
        need: "train", "evaluation" (both with answers), or "prediction": the evaluation split, answers or not.
        check_images: open the header of every image in use.
        decode: as `ImageStore.problems`; all are with `skip_bad`.

    Raises:
        ConfigError: a split, a column or a number that can't be.
        DataError: unusable data; up to ten problems with file and row.
        ToolError: a Hub id without a network.
    """
    source = recognise(options)
    problems = Problems(skip=options.skip_bad, noun="question")
    train, evaluation, held_out = _parts(source, options, need, problems)
    train, evaluation = subsets(train, evaluation, options)
    if check_images:
        train, evaluation = (
            part if part is None else checks.check_images(part, problems, decode=options.skip_bad or decode)
            for part in (train, evaluation)
        )
    problems.raise_if_any()
    for part in (train, evaluation):
        if part is not None:
            check_some(part)
    if train is not None:
        check_classes(train)
    shared: np.ndarray | None = None
    leaks: list[str] = []
    if train is not None and evaluation is not None and not held_out:
        name, drop = evaluation.source, options.drop_leaks
        evaluation, shared, leaks = without_shared(train, evaluation, drop=drop, name=name)
    parts = [part for part in (train, evaluation) if part is not None]
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    if check_images and (deep := deep_note(*((part.images, part.image) for part in parts))):
        notes[deep] = None
    return Splits(
        train,
        evaluation,
        _describe(source, train, evaluation, held_out),
        held_out,
        problems.summary(),
        leaks,
        shared,
        list(notes),
    )


def _parts(
    source: Source, options: Options, need: tuple[str, ...], problems: Problems
) -> tuple[Questions | None, Questions | None, bool]:
    """(training split, evaluation split, whether the second was held out of the first), rows checked."""
    answers = "prediction" not in need
    train_name, eval_name = choose(source, options, need, unit="image", custom=(*CUSTOM, "test-dev", "test-std"))
    evaluation = _read(source, eval_name, problems) if eval_name is not None else None
    unlabelled = evaluation is not None and answers and not labelled(evaluation)
    if unlabelled and options.eval_split is None and train_name is not None:
        evaluation = None  # a test split published without its answers
    if evaluation is not None:
        evaluation = check_rows(evaluation, problems, answers)
    train = None if train_name is None else check_rows(_read(source, train_name, problems), problems, True)

    def part(whole: Questions) -> tuple[Questions, Questions]:
        return hold_out(check_some(whole), options.eval_fraction, options.seed)

    return parted(train, evaluation, need, problems, part)


def _read(source: Source, name: str, problems: Problems) -> Questions:
    return check_some(source.splits[name](problems))


def _describe(source: Source, train: Questions | None, evaluation: Questions | None, held_out: bool) -> str:
    """One line: 'easy-vqa: 38,575 + 9,673 questions on 5,000 images'."""
    splits = [part for part in (train, evaluation) if part is not None]
    sizes = " + ".join(f"{len(part):,}" for part in splits)
    stores: dict[int, list[np.ndarray]] = {}
    for part in splits:
        stores.setdefault(id(part.images), []).append(part.image)
    images = sum(len(np.unique(np.concatenate(used))) for used in stores.values())
    note = ", the second held out by image" if held_out else ""
    return f"{source.name}: {sizes} questions on {images:,} image{'s' if images != 1 else ''}{note}"
