"""A small set of texts with a rule that a tiny model learns in seconds."""

import csv

import numpy as np
from running import within

WORDS = ["film", "plot", "song", "story", "book", "scene", "cast", "score"]


def sentences(count, seed):
    """Texts of 2 to 12 words; "fine" among them means yes, "poor" no."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        words = [WORDS[at] for at in rng.integers(0, len(WORDS), rng.integers(1, 12))]
        words.insert(int(rng.integers(0, len(words) + 1)), "fine" if number % 2 else "poor")
        found.append((" ".join(words), "yes" if number % 2 else "no"))
    return found


def write_csv(path, rows, header):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_data(folder):
    """train.csv with 320 texts and dev.csv with 120."""
    folder.mkdir()
    write_csv(folder / "train.csv", sentences(320, 0), ["text", "label"])
    write_csv(folder / "dev.csv", sentences(120, 1), ["text", "label"])


def train(folder):
    """The data under `folder`, and a run of a tiny model that learnt them."""
    write_data(folder / "data")
    within(
        "train", "glue", "--model", "tiny", "--data", "data", "--threads", 1, "--epochs", 2, "--batch-size", 16,
        "--learning-rate", 2e-3, cwd=folder,
    )  # fmt: skip
