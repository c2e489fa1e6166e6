"""Conditioning gain: how much lower the denoising loss is with a pair's own condition than with another's, or with none.

A net that has learnt nothing, or that has only learnt what the pictures of a set have in common, gains nothing over shuffled
conditions. No picture has to be drawn and judged for it.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

from tasks.controlnet.models.diffusion import Diffusion, as_condition, losses, predict
from tasks.stats import bootstrap_mean, percentile_intervals, resampled_ratios

BANDS = 5
KINDS = ("own", "shuffled", "none")


def bands(timesteps: int) -> list[tuple[int, int]]:
    """The timesteps in equal parts, each (first, behind the last)."""
    edges = [round(timesteps * part / BANDS) for part in range(BANDS + 1)]
    return list(itertools.pairwise(edges))


def derangement(count: int, seed: int) -> np.ndarray:
    """For each of `count` pairs another one, int64 [count]; the pair itself where there is but one."""
    order = np.random.default_rng([seed, 77]).permutation(count)
    partner = np.empty(count, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner


def measure_batch(diffusion: Diffusion, unet: Any, controlnet: Any, batch: dict[str, Any]) -> np.ndarray:
    """The losses of an evaluation batch (`PairBatches.collate_evaluation`, encoded, on the device): float64 [b, bands, 3]."""
    latents = diffusion.latents(batch["mean"], batch["std"], batch["posterior"])
    own, shuffled = (as_condition(batch[name], latents.dtype) for name in ("condition", "shuffled"))
    found = []
    for timesteps in batch["timesteps"].unbind(dim=1):
        noisy = diffusion.noisy(latents, batch["noise"], timesteps)
        target = diffusion.target(latents, batch["noise"], timesteps)
        for net, condition in ((controlnet, own), (controlnet, shuffled), (None, None)):
            predicted = predict(unet, net, noisy, timesteps, batch["hidden"], condition, batch.get("tokens"))
            found.append(losses(predicted, target))
    stacked = torch.stack(found, dim=1).double().cpu().numpy()
    return stacked.reshape(len(stacked), -1, len(KINDS))


def summarise(found: np.ndarray, edges: list[tuple[int, int]]) -> dict[str, Any]:
    """Losses of every pair, band and kind as the figures of an evaluation.

    Args:
        found: float [n, bands, 3]: with its own condition, with another pair's, and of the base alone.

    Returns:
        loss (own) with its interval, shuffled and none, gain and gain_none (relative, 0.1 is 10 % lower) with their intervals
        over pairs, by_band, n, per_pair.
    """
    means = found.mean(axis=1)
    figures: dict[str, Any] = dict(zip(_with_interval("loss"), bootstrap_mean(means[:, 0]), strict=True))
    figures |= {kind: float(found[:, :, at].mean()) for at, kind in enumerate(KINDS) if at}
    for at, name in ((1, "gain"), (2, "gain_none")):
        figures |= zip(_with_interval(name), _gain(means, at), strict=True)
    by_band = {
        f"{first}-{behind - 1}": {
            **dict(zip(KINDS, map(float, found[:, number].mean(axis=0)), strict=True)),
            **dict(zip(("gain", "low", "high"), _gain(found[:, number], 1), strict=True)),
        }
        for number, (first, behind) in enumerate(edges)
    }
    per_pair = {kind: means[:, at].tolist() for at, kind in enumerate(KINDS)}
    return {**figures, "n": len(found), "by_band": by_band, "per_pair": per_pair}


def over_pairs(per_pair: dict[str, list[float]], chosen: np.ndarray) -> dict[str, Any]:
    """Gain with its interval, and n, over some of the pairs.

    Args:
        per_pair: as `summarise` gives it.
        chosen: bool [n].
    """
    means = np.array([per_pair[kind] for kind in KINDS]).T[chosen]
    return {**dict(zip(_with_interval("gain"), _gain(means, 1), strict=True)), "n": len(means)}


def _with_interval(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _gain(means: np.ndarray, against: int) -> tuple[float, float, float]:
    """1 - sum(own) / sum(against) over pairs [n, 3], and its bootstrap interval."""
    drawn = 1 - resampled_ratios(means[:, :1], means[:, against : against + 1])
    low, high = percentile_intervals(drawn)[:, 0]
    return float(1 - means[:, 0].sum() / means[:, against].sum()), float(low), float(high)
