"""How far a classifier's answers depend on what else is in their batch: int8 with ranges that span the whole batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipes.glue.config import Eval
from recipes.glue.inference import Classifier
from tasks.glue import evaluation
from tasks.glue.data import Splits


def scored_batch_size(classifier: Classifier, config: Eval) -> int:
    """Texts a batch where answers are scored: one by one where they depend on the batch, unless it is said."""
    return config.eval_batch_size or (1 if classifier.batch_dependent else config.batch_size)


def in_batches(
    splits: Splits, logits: dict[str, np.ndarray], batched: dict[str, np.ndarray], batch_size: int
) -> dict[str, Any]:
    """What `batched`, the logits of batches of another size, score.

    Returns:
        "batch_size", "figures", and "changed": the texts with another answer than by `logits`.
    """
    found = evaluation.summarise(splits, batched, dict.fromkeys(batched, float("nan")))
    changed = 0
    for name in batched:
        one, two = (evaluation.answers_of(side[name], splits.labels, splits.thresholds) for side in (logits, batched))
        differ = np.abs(one - two) >= 0.05 if splits.labels is None else one != two
        changed += int(differ.reshape(len(differ), -1).any(axis=1).sum())
    figures = {key: value for key, value in found.items() if key != "splits" and not key.endswith("loss")}
    return {"batch_size": batch_size, "figures": figures, "changed": changed}


def batches_line(splits: Splits, size: int, beside: dict[str, Any] | None) -> str:
    """That answers depend on the batch, its size, and what another size gives."""
    line = f"batches   int8 whose answers depend on what else is in the batch: scored at batch {size}"
    if beside is None:
        return line
    metric = splits.metrics[0]
    score = evaluation.text_of(metric, beside["figures"][metric])
    count = beside["changed"]
    differ = f"{count:,} answer{'s differ' if count != 1 else ' differs'}" if count else "no answer differs"
    return f"{line}; at batch {beside['batch_size']} {differ}, {evaluation.title(metric)} {score}"
