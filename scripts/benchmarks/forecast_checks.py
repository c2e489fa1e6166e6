"""What must agree between the two sides of the forecasting benchmark, looked at in one process. Writes one JSON object.

python -m benchmarks.forecast_checks --set S --file F --kind K --model FOLDER --trained FOLDER [--draws PEER OURS] --output F
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gluonts.transform import InstanceSampler

from benchmarks import forecast_ours, forecast_peer
from benchmarks.forecast_run import Run
from benchmarks.forecast_sets import BATCH, by_name, spread_over
from tasks.forecast.models import losses
from tasks.forecast.origins import Origins
from tasks.forecast.score.scale import actual_rows, seasonal_error

RESAMPLES = 100
LEVELS = (0.1, 0.5, 0.9)
DROPS = ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop")
# Autoformer's windows are drawn one by one to be compared, so not all of them.
ONE_BY_ONE = 16
Batch = dict[str, torch.Tensor]


class At(InstanceSampler):
    """A window at one given step."""

    step: int

    def __call__(self, series: np.ndarray) -> np.ndarray:
        """The step."""
        return np.array([self.step])


def peer_window(peer: forecast_peer.Peer, series: int, origin: int) -> Batch:
    """The window that GluonTS cuts out of a training entry."""
    config, entry = peer.model.config, peer.train_entries[series]
    data = forecast_peer.as_dataset([entry], peer.set)
    transformed = forecast_peer.transformation(peer.set.freq, config).apply(data, is_train=True)
    (window,) = forecast_peer.splitter(config, At(step=origin)).apply(transformed, is_train=True)
    names = forecast_peer.INPUTS + forecast_peer.TARGETS
    return {name: torch.as_tensor(window[name]) for name in names}


def windows_apart(peer: forecast_peer.Peer, ours: forecast_ours.Ours, count: int = 24) -> dict[str, Any]:
    """The largest difference, by field, of windows for training at random origins (the first with a padded past) and of the test's.

    As a share of the larger of the field's greatest value and 1.
    """
    one, windows = ours.set, ours.windows()
    origins = Origins(ours.loaded.train_ends, context_length=one.context, prediction_length=one.horizon)
    numbers = np.random.default_rng(1).integers(0, len(origins), count)
    numbers[0] = 0
    series, origin = origins.locate(numbers)
    theirs = [peer_window(peer, int(a), int(b)) for a, b in zip(series, origin, strict=True)]
    joined = {name: torch.stack([window[name] for window in theirs]) for name in theirs[0]}
    found = differences(joined, windows.take(series, origin))
    chosen = spread_over(len(peer.test_entries), 2 * count)
    data = forecast_peer.as_dataset([peer.test_entries[i] for i in chosen], one, cut=one.horizon)
    for first, batch in enumerate(forecast_peer.test_loader(peer.model.config, one.freq, data)):
        at = chosen[first * forecast_peer.TEST_BATCH :][: forecast_peer.TEST_BATCH]
        for name, value in differences(batch, ours.batch(at, windows)).items():
            found[name] = max(found[name], value)
    return found


def differences(theirs: Batch, ours: Batch) -> dict[str, float]:
    """The largest difference of each of the peer's fields; infinite where ours lacks it or has another shape."""
    found = {}
    for name, value in theirs.items():
        other = ours.get(name)
        if other is None or other.shape != value.shape:
            found[name] = float("inf")
        else:
            size = max(1.0, float(value.abs().max()))
            found[name] = float((value.double() - other.double()).abs().max()) / size
    return found


def losses_apart(peer: forecast_peer.Peer, ours: forecast_ours.Ours) -> dict[str, Any]:
    """One batch through one model without dropout, by both sides: the losses, and how far the gradients lie apart.

    Informer draws keys: both draw from the same seed. Autoformer is in training mode, for in evaluation transformers gives
    windows the delays of others.
    """
    one = ours.set
    origins = Origins(ours.loaded.train_ends, context_length=one.context, prediction_length=one.horizon)
    (numbers,) = origins.batches(seed=1, epoch=0, batch_size=BATCH, count=1)
    batch = ours.windows().take(*origins.locate(numbers))
    model = peer.fresh(**dict.fromkeys(DROPS, 0.0)).train(peer.run.kind == "autoformer")
    theirs, wanted = gradients(model, lambda: model(**batch).loss)
    mine, found = gradients(model, lambda: losses(model, batch).mean())
    pairs = [(found[name], wanted[name]) for name in sorted(wanted.keys() & found.keys())]
    apart = sum(float((a - b).square().sum()) for a, b in pairs) / sum(float(b.square().sum()) for _, b in pairs)
    return {
        "peer": theirs,
        "tool": mine,
        "gradients_apart": apart**0.5,
        "one_side_only": sorted(wanted.keys() ^ found.keys()),
        "windows": len(numbers),
    }


def gradients(model: Any, loss: Callable[[], torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    """A loss, and its gradient for every weight that it reaches."""
    torch.manual_seed(0)
    model.zero_grad(set_to_none=True)
    value = loss()
    value.backward()
    return float(value.detach()), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def single_draws(peer: forecast_peer.Peer, trained: Path, draws: np.ndarray) -> np.ndarray:
    """The peer's samples of the first entries that were forecast, one window at a time.

    In a batch of several transformers 5 gives Autoformer's windows the delays of others, so that a forecast depends on its
    neighbours.
    """
    peer.load(trained)
    chosen = spread_over(len(peer.test_entries), len(draws))[:ONE_BY_ONE]
    torch.manual_seed(2)
    return np.concatenate([peer.forecast([peer.test_entries[number]]) for number in chosen])


def draws_apart(ours: forecast_ours.Ours, both: list[np.ndarray], entries: int) -> dict[str, Any]:
    """MASE of the medians, and quantiles over all entries and steps in units of each entry's scale, of both sides' samples.

    Each with the standard error of its difference over the draw, from samples drawn anew with replacement.

    Args:
        both: samples of the first of `entries` entries spread over the test.
    """
    test = ours.loaded.test.part(spread_over(len(ours.loaded.test), entries)[: len(both[0])])
    actual = actual_rows(ours.loaded.panel, test, ours.set.horizon)
    scale = seasonal_error(ours.loaded.panel, test, ours.set.season)
    figures = [statistics(samples, actual, scale) for samples in both]
    errors = []
    for number, samples in enumerate(both):
        random, drawn = np.random.default_rng(number), []
        for _ in range(RESAMPLES):
            rows = random.integers(0, samples.shape[1], samples.shape[:2])
            drawn.append(statistics(np.take_along_axis(samples, rows[..., None], 1), actual, scale))
        errors.append(np.std(drawn, axis=0, ddof=1))
    names = ("mase", *(f"quantile_{level}" for level in LEVELS))
    together = np.hypot(*errors)
    return {
        name: {"peer": figures[0][i], "tool": figures[1][i], "standard_error": float(together[i])}
        for i, name in enumerate(names)
    }


def statistics(samples: np.ndarray, actual: np.ndarray, scale: np.ndarray) -> list[float]:
    """MASE of the median, then each quantile's mean distance from what came true, over the entries' scale."""
    ordered = np.sort(samples, axis=1)
    count = samples.shape[1]
    median = (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2
    found = [float((np.abs(actual - median) / scale).mean())]
    return found + [float(((ordered[:, round(level * (count - 1))] - actual) / scale).mean()) for level in LEVELS]


def main() -> None:
    """Writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--kind", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--draws", type=Path, nargs=2)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    run = Run(by_name(options.set), options.file, options.kind, options.model)
    peer, ours = forecast_peer.Peer(run), forecast_ours.Ours(run)
    found = {"windows": windows_apart(peer, ours), "loss": losses_apart(peer, ours)}
    if options.draws:
        theirs, mine = (np.load(path) for path in options.draws)
        entries = len(theirs)
        if options.kind == "autoformer":
            theirs = single_draws(peer, options.trained, theirs)
        found["draws"] = draws_apart(ours, [theirs, mine[: len(theirs)]], entries)
    options.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
