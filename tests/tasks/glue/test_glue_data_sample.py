"""The generated reviews: the same for a seed, balanced, without a sentence twice, and beyond a count of words."""

import csv
import hashlib

import numpy as np

from tasks.glue.data import Options, load_splits
from tasks.glue.sample import rows_of, write_sample

# Of all sentences of seed 0: a run's data must not change with a version of Python or of this package.
DIGEST = "676acfc95fcbfe7a"


def test_size_and_balance():
    splits = load_splits(Options("sample"))
    held = splits.evaluation["validation"]
    assert splits.description == "sample: 8,000 + 2,000 texts, 2 classes"
    assert (splits.labels, splits.task, splits.held_out) == (["negative", "positive"], None, False)
    assert len(set(splits.train.first) | set(held.first)) == 10_000
    assert 0.48 < splits.train.label.mean() < 0.52
    assert 0.47 < held.label.mean() < 0.53


def test_same_seed_same_sentences():
    assert load_splits(Options("sample", seed=3)).train.first == rows_of("train", 3)[0] != rows_of("train", 4)[0]
    text = "\n".join(rows_of("train", 0)[0] + rows_of("validation", 0)[0])
    assert hashlib.sha256(text.encode()).hexdigest().startswith(DIGEST)


def test_on_disk_as_in_memory(tmp_path):
    write_sample(tmp_path / "reviews", seed=2)
    assert sorted(path.name for path in (tmp_path / "reviews").iterdir()) == ["train.csv", "validation.csv"]
    with open(tmp_path / "reviews" / "train.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert set(first) == {"sentence", "label"}
    written, made = load_splits(Options(str(tmp_path / "reviews"))), load_splits(Options("sample", seed=2))
    assert (written.labels, list(written.evaluation)) == (made.labels, ["validation"])
    assert written.train.first == made.train.first
    assert (written.train.label == made.train.label).all()


def test_words_alone_do_not_tell():
    """Naive Bayes over words, the usual baseline, stays far below what order and negation give away."""
    splits = load_splits(Options("sample"))
    held, train = splits.evaluation["validation"], splits.train
    words = {word: i for i, word in enumerate(sorted({word for text in train.first for word in text.split()}))}
    counts = np.ones((2, len(words)))
    for text, label in zip(train.first, train.label, strict=True):
        np.add.at(counts[label], [words[word] for word in text.split()], 1)
    weight = np.log(counts[1] / counts[1].sum()) - np.log(counts[0] / counts[0].sum())
    score = np.array([sum(weight[words[word]] for word in text.split() if word in words) for text in held.first])
    assert 0.52 < ((score > 0) == held.label).mean() < 0.68


def test_the_rule_decides_every_sentence():
    """A reader who knows the rule, written here apart from the generator, is always right."""
    good = {"good", "great", "lovely", "excellent", "pleasant", "charming", "superb", "reliable"}

    def sense(clause):
        words = clause.split()
        return (words[-1] in good) != bool({"not", "never", "hardly"} & set(words))

    def reads(text):
        text = text.removesuffix(" .").removeprefix("to be fair , ").removeprefix("as before , ")
        if "although" in text:
            before, after = text.split(" , ")
            return sense(after if before.startswith("although") else before)
        if " , but " in text:
            return sense(text.split(" , but ")[1])
        if " one" not in text:
            return sense(text)
        better = bool({"better", "nicer", "beats"} & set(text.split()))
        return better == text.endswith(" one")  # then the new thing is the subject

    for split in ("train", "validation"):
        for text, label in zip(*rows_of(split), strict=True):
            assert reads(text) == bool(label), text
