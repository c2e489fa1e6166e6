"""Which of the splits at hand a run trains on, and which it is measured on."""

from __future__ import annotations

import difflib

from tasks.errors import ConfigError
from tasks.glue.readers.source import Options, Source
from tasks.readers.choice import flags
from tasks.readers.paths import canonical

# MNLI has two evaluation sets: of the training's genres, and of others.
HALVES = ("matched", "mismatched")


def choose(source: Source, options: Options, need: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """(split to train on or None, splits to be measured on; [] for a hold-out or where none is needed).

    Raises:
        ConfigError: a name that is not there, or no way to tell which split is for training.
    """
    names = list(source.splits)
    wanted, evaluation = (named(source, name, flag) if name else [] for flag, name in flags(options))
    if not {"train", "calibration"} & set(need):
        order = ("test", "validation") if "prediction" in need else ("validation", "test")
        return None, evaluation or _of_kind(source, order, "prediction" in need, None) or names[:1]
    train = wanted[0] if wanted else _training(names, evaluation)
    if train is None:
        raise ConfigError(f"{source.name} has the splits {', '.join(names)}; say which to train on with --train-split")
    if train in evaluation:
        raise ConfigError(
            f"--eval-split {options.eval_split}: is what the training reads; leave it out to hold some of it out"
        )
    return train, evaluation or _of_kind(source, ("validation", "test"), False, train)


def named(source: Source, name: str, flag: str) -> list[str]:
    """The splits that a word of the user's means; MNLI's `dev` means both halves.

    Raises:
        ConfigError: there is none.
    """
    names = list(source.splits)
    if name in names:
        return [name]
    alike = [split for split in names if canonical(split) == canonical(name)]
    halves = [split for split in names if _kind(split) == canonical(name) or split.partition("_")[2] == name]
    if name in HALVES:  # the labelled one of the two, not the test set's
        halves = [split for split in halves if _kind(split) == "validation"] or halves
    if alike or halves:
        return alike[:1] or halves
    near = difflib.get_close_matches(name, names, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
    raise ConfigError(f"{flag} {name}: {source.name} has no such split; {hint}")


def called(split: str) -> str:
    """What an evaluation split is called in results: MNLI's halves by their own names."""
    half = split.partition("_")[2]
    return half if half in HALVES else split


def _training(names: list[str], evaluation: list[str]) -> str | None:
    for name in names:
        if canonical(name) == "train":
            return name
    others = [name for name in names if name not in evaluation]
    return others[0] if len(others) == 1 else None


def _kind(split: str) -> str:
    """ "validation" of "dev_matched"."""
    first, _, half = split.partition("_")
    return canonical(first) if half in HALVES else canonical(split)


def _of_kind(source: Source, kinds: tuple[str, ...], unlabelled: bool, train: str | None) -> list[str]:
    """The splits of the first kind that is there."""
    usable = [name for name in source.splits if name != train and (unlabelled or name not in source.unlabelled)]
    for kind in kinds:
        matching = [name for name in usable if _kind(name) == kind]
        if matching:
            return matching if len(matching) > 1 and all("_" in name for name in matching) else matching[:1]
    return []
