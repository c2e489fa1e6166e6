"""Measurement of a classifier: score on the evaluation split, latency at the data's lengths, throughput."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recipes.quantizable import Feeds, Quantizable
from recipes.quantize.config import Quantize

Run = Callable[[Feeds], np.ndarray]
Latency = dict[str, dict[str, float]]
BATCHES_TIMED = 6
WARM_UP = 3
BURST, UNCOUNTED = 4, 2


@dataclass
class Measured:
    """What a model was measured to be.

    Attributes:
        figures: `Quantizable.figures`'s.
        logits: of each split, float32 [n, labels].
        texts_per_second: over all splits, from padded batches to logits.
        latency: batch size -> {"median_ms", "p95_ms"} over texts or batches of all lengths.
        against: the paired comparison with the float model; {} for that itself.
        in_batches: `in_batches`'s, where answers were scored in batches of another size; else {}.
    """

    figures: dict[str, Any]
    logits: dict[str, np.ndarray]
    texts_per_second: float
    bytes: int
    latency: Latency = field(default_factory=dict)
    against: dict[str, Any] = field(default_factory=dict)
    in_batches: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "figures": self.figures,
            "texts_per_second": round(self.texts_per_second, 1),
            "bytes": self.bytes,
            "latency": self.latency,
            "against": self.against,
            "in_batches": self.in_batches,
        }


def compare(subject: Quantizable, reference: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, Any]:
    """The other model against the float one, row by row.

    Args:
        reference, other: logits of each split.

    Returns:
        "drop": points of the headline metric lost, the most of any split, with its interval and p; "equal_answers": their
        share; "largest_logit_difference".
    """
    found: dict[str, Any] = {"metric": subject.metric, "n": 0, "drop": -np.inf}
    equal, largest = [], 0.0
    for name in subject.evaluation:
        one, two = (subject.answers(side[name]) for side in (reference, other))
        pair = subject.paired(name, one, two)
        same = (one == two) if subject.labels is not None else np.abs(one - two) < 0.05
        equal.append(same.reshape(len(same), -1).all(axis=1))  # of several labels all are to be the same
        largest = max(largest, float(np.abs(reference[name] - other[name]).max()))
        drop = 0.0 - points(pair.difference)  # no -0.0
        if not np.isfinite(drop):
            drop = np.inf  # a score that is undefined after quantization is lost
        if drop > found["drop"]:
            found |= {
                "split": name,
                "n": pair.n,
                "drop": drop,
                "drop_low": 0.0 - points(pair.high),
                "drop_high": 0.0 - points(pair.low),
                "p": pair.p,
                "better": pair.better,
                "worse": pair.worse,
            }
    return {**found, "equal_answers": float(np.concatenate(equal).mean()), "largest_logit_difference": largest}


def in_batches(
    subject: Quantizable, reference: Measured, measured: Measured, logits: dict[str, np.ndarray], batch_size: int
) -> dict[str, Any]:
    """What `logits` of batches of another size score, beside those that a model is judged by.

    Returns:
        "batch_size", "figures", "drop", "changed": answers that differ from those it is judged by, of "n".
    """
    pairs = [(subject.answers(measured.logits[name]), subject.answers(logits[name])) for name in subject.evaluation]
    differ = [one != two if subject.labels is not None else np.abs(one - two) >= 0.05 for one, two in pairs]
    return {
        "batch_size": batch_size,
        "figures": subject.figures(logits),
        "drop": compare(subject, reference.logits, logits)["drop"],
        "changed": int(sum(one.reshape(len(one), -1).any(axis=1).sum() for one in differ)),
        "n": sum(map(len, differ)),
    }


def latencies(runs: dict[str, Run], feeds: list[Feeds], check: Callable[[], None]) -> Latency:
    """Median and 95th percentile of the milliseconds a call, of several models in turns on the same input.

    In turns, and each in another place from call to call, so that what else the machine does strikes them alike. A turn is a burst
    of calls on the same input, of which the first ones don't count: the threads of the model before still spin then.
    """
    names = list(runs)
    for name in names:
        for one in (feeds * WARM_UP)[:WARM_UP]:
            runs[name](one)
    took: dict[str, list[float]] = {name: [] for name in names}
    for at, one in enumerate(feeds):
        check()
        for turn in range(len(names)):
            name = names[(at + turn) % len(names)]
            burst = []
            for _ in range(BURST):
                began = time.perf_counter()
                runs[name](one)
                burst.append(1000 * (time.perf_counter() - began))
            took[name].append(float(np.median(burst[UNCOUNTED:])))
    return {
        name: {
            "median_ms": round(float(np.median(times)), 3),
            "p95_ms": round(float(np.quantile(times, 0.95)), 3),
            "mean_ms": round(float(np.mean(times)), 3),
        }
        for name, times in took.items()
    }


def time_them(
    subject: Quantizable, runs: dict[str, Run], config: Quantize, check: Callable[[], None]
) -> dict[str, Latency]:
    """`latencies` for one text at a time and for a batch: name -> batch size -> figures."""
    feeds = {1: subject.of_all_lengths(config.latency_samples)}
    if config.batch_size > 1:
        feeds[config.batch_size] = subject.batches_of_all_lengths(config.batch_size, BATCHES_TIMED)
    times = {str(size): latencies(runs, timed, check) for size, timed in feeds.items()}
    return {name: {size: figures[name] for size, figures in times.items()} for name in runs}


def points(metric_value: float) -> float:
    """A metric in points: per cent, or hundredths of a correlation."""
    return 100 * metric_value if math.isfinite(metric_value) else float("nan")
