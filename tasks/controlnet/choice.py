"""Which of the splits at hand a run trains on, and which it is measured on."""

from __future__ import annotations

import difflib

from tasks.controlnet.readers.source import Source
from tasks.errors import ConfigError
from tasks.readers.paths import canonical


def choose(
    source: Source, need: tuple[str, ...], train_split: str | None, eval_split: str | None
) -> tuple[str | None, str | None]:
    """Which splits to read: (training or None, evaluation or None for a hold-out or none needed).

    Raises:
        ConfigError: a name that is not there, or no way to tell which split is for training.
    """
    names = list(source.splits)
    train = named(source, train_split, "--train-split") if train_split else None
    evaluation = named(source, eval_split, "--eval-split") if eval_split else None
    if "train" not in need:
        return None, evaluation or _evaluation(names) or names[0]
    rest = [name for name in names if name != evaluation]
    train = train or ("train" if "train" in names else rest[0] if len(rest) == 1 else None)
    if train is None:
        raise ConfigError(f"{source.name} has the splits {', '.join(names)}; say which to train on with --train-split")
    if train == evaluation:
        raise ConfigError(
            f"--eval-split {eval_split}: is what the training reads; leave it out to hold some of it out by picture"
        )
    if "evaluation" not in need:
        return train, None
    return train, evaluation or _evaluation([name for name in names if name != train])


def _evaluation(names: list[str]) -> str | None:
    return next((name for name in ("validation", "test") if name in names), None)


def named(source: Source, name: str, flag: str) -> str:
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
