"""Verdict on a conditioning gain: whether the net uses its condition, and is of more use than the base alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks import verdict
from tasks.verdict import Baseline, Evidence, Verdict
from tasks.words import counted


def judge(metrics: dict[str, Any]) -> Verdict:
    """By the figures of `tasks.controlnet.score.gain.summarise`: the gain over another pair's condition and that over the base
    alone must both lie above 0 with their interval over pairs; the one that is less sure is told."""
    own = np.asarray(metrics["per_pair"]["own"])
    found = []
    for key, kind, name, words in (
        ("gain", "shuffled", "no condition", "a net that ignores its condition"),
        ("gain_none", "none", "base alone", "the base alone"),
    ):
        differing = int((np.abs(own - np.asarray(metrics["per_pair"][kind])) > 1e-12).sum())
        value, low, high = (float(metrics[f"{key}{end}"]) for end in ("", "_low", "_high"))
        evidence = Evidence(value, low, high, differing, "bootstrap of the gain over pairs")
        found.append((evidence, Baseline(name, 0.0, words), value))
    evidence, baseline, figure = min(found, key=lambda one: (one[0].significant, one[0].low))
    return verdict.judge(
        "gain",
        figure,
        baseline,
        evidence,
        examples=counted(metrics["n"], "pair"),
        more="evaluate on more",
    )
