"""The `sample` data, for a first run with no network and no files: short reviews with a rule behind their label.

Words alone don't tell the label: praise is negated, the clause after "but" counts more than the one before it, and of two
things compared one is liked better. The same seed gives the same sentences in memory and on disk.
"""

from __future__ import annotations

import csv
import random
from functools import lru_cache, partial
from pathlib import Path

from tasks.files import write_folder
from tasks.glue.readers.source import Options, Raw, Source
from tasks.readers.problems import Problems

TRAIN, EVALUATION = 8000, 2000
LABELS = ["negative", "positive"]

THINGS = (
    "room", "breakfast", "pool", "view", "service", "film", "plot", "ending", "soundtrack", "script",
    "phone", "screen", "battery", "speaker", "soup", "coffee", "dessert", "waiter", "terrace", "wine",
)  # fmt: skip
GOOD = ("good", "great", "lovely", "excellent", "pleasant", "charming", "superb", "reliable")
BAD = ("bad", "awful", "dull", "terrible", "dreadful", "shabby", "tedious", "useless")
DEGREES = ("", "", "really ", "truly ", "quite ", "rather ", "simply ")
NEGATIONS = ("not", "never", "hardly", "not really", "not at all")
BETTER = ("is better than", "is much better than", "beats", "easily beats", "is nicer than")
WORSE = ("is worse than", "is much worse than", "loses to", "clearly loses to", "is uglier than")
TIMES = ("old", "first", "last", "previous")
OPENINGS = (
    "", "", "my sister said that ", "we found that ", "to be fair , ", "last week ", "this time ", "as before , "
)  # fmt: skip


class Draws:
    """Random choices from one stream."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"reviews {seed}")

    def of(self, options: tuple[str, ...]) -> str:
        return options[int(self.random.random() * len(options))]

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def adjective(self, good: bool) -> str:
        return self.of(GOOD if good else BAD)


def _clause(draw: Draws, good: bool) -> str:
    """A clause whose sense is `good`: mostly said outright, else by negating the opposite."""
    thing, degree = draw.of(THINGS), draw.of(DEGREES)
    if draw.chance(OUTRIGHT):
        return f"the {thing} was {degree}{draw.adjective(good)}"
    return f"the {thing} was {draw.of(NEGATIONS)} {draw.adjective(not good)}"


def plain(draw: Draws, good: bool) -> str:
    """One clause."""
    return f"{draw.of(OPENINGS)}{_clause(draw, good)} ."


def contrast(draw: Draws, good: bool) -> str:
    """Two clauses of opposite sense; the main one, or the one after "but", counts."""
    main, other = _clause(draw, good), _clause(draw, not good)
    return draw.of((f"{other} , but {main} .", f"although {other} , {main} .", f"{main} , although {other} ."))


def comparison(draw: Draws, good: bool) -> str:
    """The new thing against an older one: which of them comes first decides, with the same words."""
    new, old = f"this {draw.of(THINGS)}", f"the {draw.of(TIMES)} one"
    first, second = (new, old) if draw.chance(0.5) else (old, new)
    verb = draw.of(BETTER if (first == new) == good else WORSE)
    return f"{draw.of(OPENINGS)}{first} {verb} {second} ."


# What a sentence is drawn from: by these shares plain, contrast, or else comparison; clauses said outright.
PLAIN, CONTRAST, OUTRIGHT = 0.5, 0.35, 0.7


def _sentence(draw: Draws, good: bool) -> str:
    at = draw.random.random()
    make = plain if at < PLAIN else contrast if at < PLAIN + CONTRAST else comparison
    return make(draw, good)


@lru_cache(maxsize=2)
def _all(seed: int) -> dict[str, bool]:
    """Sentence -> whether it is positive, in the order drawn."""
    draw = Draws(seed)
    seen: dict[str, bool] = {}
    while len(seen) < TRAIN + EVALUATION:
        good = draw.chance(0.5)
        seen.setdefault(_sentence(draw, good), good)
    return seen


def rows_of(split: str, seed: int = 0) -> tuple[list[str], list[int]]:
    """(sentences, labels) of "train" or "validation"; no sentence is there twice, in one split or across them."""
    part = slice(0, TRAIN) if split == "train" else slice(TRAIN, None)
    sentences = _all(seed)
    return list(sentences)[part], [int(good) for good in sentences.values()][part]


def source(options: Options) -> Source:
    """The sample as recognised data, made in memory from the options' seed."""

    def read(split: str, problems: Problems) -> Raw:
        first, label = rows_of(split, options.seed)
        names = ("sentence", "label")
        return Raw(first, None, label, None, f"sample ({split})", range(1, len(first) + 1), "label", LABELS, names)

    return Source("sample", "sample", {split: partial(read, split) for split in ("train", "validation")})


def write_sample(folder: str | Path, seed: int = 0) -> None:
    """Writes train.csv and validation.csv with the columns sentence and label; whole or not at all."""

    def fill(root: Path) -> None:
        for split in ("train", "validation"):
            with open(root / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(["sentence", "label"])
                rows.writerows((text, LABELS[label]) for text, label in zip(*rows_of(split, seed), strict=True))

    write_folder(folder, fill)
