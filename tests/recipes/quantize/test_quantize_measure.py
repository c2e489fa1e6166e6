"""Tests of what is said of answers in batches of another size."""

from types import SimpleNamespace

import numpy as np
import pytest

from recipes.quantize import measure
from tasks.glue import multi_label


@pytest.fixture
def subject():
    """Two texts that may have three labels each."""
    labels = np.array([[1, 0, 1], [0, 1, 0]])

    def answers(logits):
        return (logits > 0).astype(np.uint8)

    return SimpleNamespace(
        labels=["a", "b", "c"], metric="micro_f1", evaluation=["dev"], answers=answers, figures=lambda logits: {},
        paired=lambda name, one, two: multi_label.paired("micro_f1", one, two, labels),
    )  # fmt: skip


def test_a_text_whose_labels_differ_counts_once(subject):
    alone = {"dev": np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]])}
    beside = {"dev": np.array([[-1.0, 1.0, -1.0], [-1.0, 1.0, -1.0]])}
    measured = SimpleNamespace(logits=alone)
    found = measure.in_batches(subject, measured, measured, beside, 8)
    assert (found["changed"], found["n"], found["batch_size"]) == (1, 2, 8)
