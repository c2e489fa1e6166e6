"""The tool's side of the forecasting benchmark: its data, windows, losses, draws and scores, and the step that its loop takes."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.forecast_run import Clock, Run, serve
from benchmarks.forecast_sets import BATCH, SAMPLES, Set, spread_over
from recipes.distributed.device import keep_memory
from recipes.forecast.data import with_item_category
from recipes.work import decay_groups
from tasks.forecast.data import Loaded, Options
from tasks.forecast.data import load as load_data
from tasks.forecast.models import load, losses, past_length
from tasks.forecast.origins import Origins
from tasks.forecast.sampling import draw
from tasks.forecast.score import summary
from tasks.forecast.score.scale import actual_rows
from tasks.forecast.score.scores import Score, score_entries
from tasks.forecast.windows import Batch, Windows

# Windows at once, as `tool backtest` has it.
TEST_BATCH = 128
# Scoring takes two thousandths of a second: too little to be timed once.
SCORED = 9


def read(one: Set, file: Path) -> Loaded:
    """The data with each series as its static category."""
    if one.share:
        options = Options(one.name, data_file=str(file), prediction_length=one.horizon)
    else:
        item, stamp, value = one.columns
        options = Options(
            str(file), format="long", item_column=item, timestamp_column=stamp, target_columns=[value], freq=one.freq,
            prediction_length=one.horizon, windows=one.windows,
        )  # fmt: skip
    loaded = load_data(options)
    return Loaded(**{**vars(loaded), "panel": with_item_category(loaded.panel)})


class Ours:
    """One run of this side."""

    def __init__(self, run: Run) -> None:
        keep_memory()
        self.set, self.loaded = run.set, read(run.set, run.file)
        self.model: Any = load(str(run.model))

    def windows(self) -> Windows:
        """The panel's windows, made anew by each part: what that costs counts."""
        return Windows(
            self.loaded.panel, past_length=past_length(self.model), prediction_length=self.set.horizon, device="cpu"
        )

    def train(self, steps: int, clock: Clock) -> list[float]:
        """The loop's step: windows, losses, backward, clipping, fused AdamW."""
        windows = self.windows()
        origins = Origins(self.loaded.train_ends, context_length=self.set.context, prediction_length=self.set.horizon)
        groups = decay_groups(self.model, learning_rate=6e-4, weight_decay=0.1)
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
        self.model.train()
        found = []
        for numbers in origins.batches(seed=0, epoch=0, batch_size=BATCH, count=steps):
            loss = losses(self.model, windows.take(*origins.locate(numbers))).sum() / len(numbers)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.item())
            clock.tick()
        return found

    def save(self, folder: Path) -> None:
        """The trained weights, for both sides' forecasts."""
        self.model.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Weights to forecast with."""
        self.model = load(str(folder))

    def batch(self, numbers: np.ndarray, windows: Windows) -> Batch:
        """The windows of test entries, without what is to be forecast."""
        entries = self.loaded.test.part(numbers)
        return windows.take(entries.series, entries.origin, future=False)

    def sample(self, most: int) -> np.ndarray:
        """float32 [entries, samples, horizon] of at most so many test entries, evenly spread over them."""
        windows, chosen = self.windows(), spread_over(len(self.loaded.test), most)
        generator = torch.Generator().manual_seed(torch.initial_seed())
        found = []
        for first in range(0, len(chosen), TEST_BATCH):
            batch = self.batch(chosen[first : first + TEST_BATCH], windows)
            found.append(draw(self.model, batch, SAMPLES, generator).numpy())
        return np.concatenate(found)

    def score(self, samples: np.ndarray) -> dict[str, Any]:
        """The peer's two metrics of the medians, with all others that a point has; and everything that a back-test reports."""
        medians = np.median(samples, 1)
        self.score_points(medians[:1])  # one entry first, untimed
        marks = [time.perf_counter()]
        for _ in range(SCORED):
            found = self.score_points(medians)
            marks.append(time.perf_counter())
        self.score_all(samples)
        ended = time.perf_counter()
        values = {name: found.overall[name]["value"] for name in ("mase", "smape")}
        seconds = statistics.median(after - before for before, after in itertools.pairwise(marks))
        return {"seconds": seconds, "all_seconds": ended - marks[-1], **values}

    def score_points(self, points: np.ndarray) -> Score:
        """Of the first entries' points."""
        test = self.loaded.test.part(slice(0, len(points)))
        return score_entries(summary.from_points(points), self.loaded.panel, test, m=self.set.season)

    def score_all(self, samples: np.ndarray) -> Score:
        """Quantiles, CRPS and all scores of the first entries' samples."""
        panel, test = self.loaded.panel, self.loaded.test.part(slice(0, len(samples)))
        forecasts = summary.from_samples(samples, actual_rows(panel, test, self.set.horizon))
        return score_entries(forecasts, panel, test, m=self.set.season)


if __name__ == "__main__":
    serve(Ours)
