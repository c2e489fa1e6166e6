"""Verdicts on conditioning gains: a net that ignores its condition, one that is worse than the base alone, and too few pairs."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.controlnet.score.gain import bands, summarise
from tasks.controlnet.score.verdict import judge


def losses(count: int, own: float, shuffled: float, none: float, spread: float = 0.001) -> np.ndarray:
    """[count, bands, 3] with a little noise of each pair's own."""
    generator = np.random.default_rng(1)
    noise = generator.normal(0, spread, size=(count, 5, 3))
    return np.asarray([own, shuffled, none]) + noise


@pytest.mark.parametrize(
    ("own", "shuffled", "none", "baseline"),
    [
        (0.10, 0.10, 0.12, "no condition"),
        (0.12, 0.14, 0.10, "base alone"),
        (0.10, 0.12, 0.12, None),
    ],
)
def test_a_net_must_use_its_condition_and_beat_the_base(
    own: float, shuffled: float, none: float, baseline: str | None
) -> None:
    found = judge(summarise(losses(60, own, shuffled, none), bands(1000)))
    assert found.clears is (baseline is None)
    if baseline is None:
        assert found.line is None
    else:
        assert found.baseline == baseline
        assert str(found.line).startswith("no better than ")


def test_a_few_pairs_are_too_few() -> None:
    found = judge(summarise(losses(4, 0.10, 0.12, 0.12), bands(1000)))
    assert not found.clears
    assert "(0.0 %), as far as 4 pairs can tell; train longer or evaluate on more" in str(found.line)


def test_an_untrained_net_is_the_base_itself() -> None:
    same = np.repeat(losses(60, 0.1, 0.1, 0.1)[:, :, :1], 3, axis=2)
    found = judge(summarise(same, bands(1000)))
    assert (found.clears, found.difference) == (False, 0.0)
