"""Choice of the training and evaluation splits."""

from __future__ import annotations

import difflib
from typing import Any

from tasks.errors import ConfigError
from tasks.readers.options import DataOptions
from tasks.readers.paths import canonical, first_of
from tasks.readers.source import Source

# The splits to measure on by custom, the first that is there.
CUSTOM = ("validation", "test")


def choose(
    source: Source[Any],
    options: DataOptions,
    need: tuple[str, ...],
    *,
    unit: str,
    custom: tuple[str, ...] = CUSTOM,
) -> tuple[str | None, str | None]:
    """Which splits to read: (training or None, evaluation or None for a hold-out or none needed).

    Args:
        need: "train", "evaluation" (not one known to be unlabelled) or "prediction".
        unit: by what a hold-out is parted, for messages.
        custom: the splits to measure on where none is named, the best first.

    Raises:
        ConfigError: a name that is not there, or no way to tell which split is for training.
    """
    names = list(source.splits)
    train, evaluation = (named(source, name, flag) if name else None for flag, name in flags(options))
    labelled = [name for name in names if name not in source.unlabelled]
    if "train" not in need:
        return None, evaluation or first_of(names if "prediction" in need else labelled, custom) or names[0]
    rest = [name for name in names if name != evaluation]
    train = train or ("train" if "train" in names else rest[0] if len(rest) == 1 else None)
    if train is None:
        raise ConfigError(f"{source.name} has the splits {', '.join(names)}; say which to train on with --train-split")
    if train == evaluation:
        raise ConfigError(
            f"--eval-split {options.eval_split}: is what the training reads; leave it out to hold some of it out by {unit}"
        )
    if "evaluation" not in need:
        return train, None
    return train, evaluation or first_of([name for name in labelled if name != train], custom)


def named(source: Source[Any], name: str, flag: str) -> str:
    """The split that a flag's value means: its own name, or what we call it.

    Raises:
        ConfigError: there is none.
    """
    names = list(source.splits)
    for form in (name, canonical(name)):
        if form in names:
            return form
    near = difflib.get_close_matches(canonical(name), names, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
    raise ConfigError(f"{flag} {name}: {source.name} has no such split; {hint}")


def flags(options: DataOptions) -> tuple[tuple[str, str | None], ...]:
    """(flag, its value) of the splits to train on and to measure on."""
    return ("--train-split", options.train_split), ("--eval-split", options.eval_split)


def inspected(source: Source[Any], options: DataOptions) -> list[str]:
    """The splits to describe: those named, else all.

    Raises:
        ConfigError: a name that is not there.
    """
    wanted = [named(source, name, flag) for flag, name in flags(options) if name]
    return list(dict.fromkeys(wanted)) or list(source.splits)
