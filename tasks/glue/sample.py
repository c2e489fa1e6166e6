"""The `sample` data, for a first run with no network and no files: short reviews with a rule behind their label.

Words alone don't tell the label: praise is negated, the clause after "but" counts more than the one before it, and of two
things compared one is liked better. The same seed gives the same sentences in memory and on disk.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.files import write_folder
from tasks.glue.readers.source import Load, Options, Raw, Source

TRAIN, EVALUATION = 8000, 2000
LABELS = ["negative", "positive"]

THINGS = (
    "room", "bed", "breakfast", "pool", "view", "service", "staff member", "lobby", "shower", "balcony",
    "film", "plot", "ending", "soundtrack", "lead actor", "script", "camera work", "dialogue", "first act", "cast",
    "phone", "screen", "battery", "keyboard", "speaker", "case", "charger", "lens", "menu", "manual",
    "soup", "bread", "coffee", "dessert", "waiter", "terrace", "fish", "salad", "wine", "sauce",
)  # fmt: skip
GOOD = (
    "good", "great", "lovely", "excellent", "pleasant", "superb", "charming", "wonderful", "impressive", "delightful",
    "reliable", "brilliant", "nice", "perfect", "splendid",
)  # fmt: skip
BAD = (
    "bad", "awful", "dull", "terrible", "dreadful", "poor", "tedious", "horrible", "disappointing", "mediocre",
    "useless", "shabby", "boring", "hopeless", "weak",
)  # fmt: skip
DEGREES = ("", "", "really ", "truly ", "quite ", "rather ", "simply ")
OWNERS = ("", "", "my sister said that ", "we found that ", "to be fair, ", "last week ", "this time ", "as before, ")
BETTER = ("is better than", "beats", "is nicer than", "outdoes")
WORSE = ("is worse than", "falls short of", "is duller than", "loses to")
TIMES = ("old", "first", "last", "previous")


class Draws:
    """Random choices from one stream."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng([seed, 3])

    def of(self, options: tuple[str, ...]) -> str:
        return options[int(self.random.integers(len(options)))]

    def coin(self) -> int:
        return int(self.random.integers(2))

    def adjective(self, good: int) -> str:
        return self.of(GOOD if good else BAD)


def _clause(draw: Draws, good: int) -> str:
    """A clause whose sense is `good`: said outright, or by negating its opposite."""
    thing, degree = draw.of(THINGS), draw.of(DEGREES)
    if draw.coin():
        return f"the {thing} was {degree}{draw.adjective(good)}"
    negated = (
        f"the {thing} was not {draw.adjective(1 - good)}",
        f"the {thing} was never {draw.adjective(1 - good)}",
        f"nobody could call the {thing} {draw.adjective(1 - good)}",
    )
    return draw.of(negated)


def plain(draw: Draws, good: int) -> str:
    """One clause."""
    return f"{draw.of(OWNERS)}{_clause(draw, good)} ."


def contrast(draw: Draws, good: int) -> str:
    """Two clauses of opposite sense; the main one, or the one after "but", counts."""
    main, other = _clause(draw, good), _clause(draw, 1 - good)
    return draw.of((f"{other} , but {main} .", f"although {other} , {main} .", f"{main} , although {other} ."))


def comparison(draw: Draws, good: int) -> str:
    """The new thing against an older one: which of them comes first decides, with the same words."""
    thing, time = draw.of(THINGS), draw.of(TIMES)
    new, old = f"this {thing}", f"the {time} one"
    first, second = (new, old) if draw.coin() else (old, new)
    verb = draw.of(BETTER if (first == new) == bool(good) else WORSE)
    return f"{draw.of(OWNERS)}{first} {verb} {second} , a {draw.of(DEGREES)}different {draw.of(THINGS)} ."


KINDS: tuple[Callable[[Draws, int], str], ...] = (plain, contrast, contrast, comparison)


def rows_of(split: str, seed: int = 0) -> tuple[list[str], list[int]]:
    """(sentences, labels) of "train" or "validation"; no sentence is there twice, in one split or across them."""
    draw, seen = Draws(seed), {}
    while len(seen) < TRAIN + EVALUATION:
        kind, good = KINDS[int(draw.random.integers(len(KINDS)))], draw.coin()
        seen.setdefault(kind(draw, good), good)
    sentences, labels = list(seen), list(seen.values())
    part = slice(0, TRAIN) if split == "train" else slice(TRAIN, None)
    return sentences[part], labels[part]


def source(options: Options) -> Source:
    """The sample as recognised data, made in memory from the options' seed."""

    def load(split: str) -> Load:
        def read(problems: object) -> Raw:
            first, label = rows_of(split, options.seed)
            names = ("sentence", "label")
            return Raw(first, None, label, None, f"sample ({split})", range(1, len(first) + 1), "label", LABELS, names)

        return read

    return Source("sample", "sample", {split: load(split) for split in ("train", "validation")})


def write_sample(folder: str | Path, seed: int = 0) -> None:
    """Writes train.csv and validation.csv with the columns sentence and label; whole or not at all."""

    def fill(root: Path) -> None:
        for split in ("train", "validation"):
            with open(root / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(["sentence", "label"])
                rows.writerows((text, LABELS[label]) for text, label in zip(*rows_of(split, seed), strict=True))

    write_folder(folder, fill)
