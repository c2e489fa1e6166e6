"""`tool train forecast`: the recipe, what the loop trains, and the closing back-test."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from recipes import training
from recipes.forecast import artefacts
from recipes.forecast.config import ARCHITECTURES, Train, with_defaults
from recipes.forecast.data import digest, notes
from recipes.forecast.forecasting import ForecastRequest, forecast, windows_for
from recipes.forecast.networks import Opened, place, say_difference
from recipes.forecast.parts import Parts, prepare
from recipes.forecast.seen import SeenWindows, find_seen, refuse_seen
from recipes.forecast.testing import BacktestResult, measure
from recipes.loop.loop import Outcome
from recipes.process.interrupts import Interrupts
from recipes.process.memory import to_device
from recipes.runs.folder import Run
from recipes.work import Batch, Evaluator, Work
from tasks.forecast.models import layers_of
from tasks.forecast.panel import Entries
from tasks.forecast.self_checks import check_training

RECIPE = "forecast"
# Windows at once in the closing back-test; `tool backtest` has the same, and so gives the same figures.
TEST_BATCH = 128
# Windows that say how long the closing back-test will take.
TRIED = 16


def train(config: Train) -> dict[str, Any]:
    """Trains, back-tests and writes the run; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    return training.train(Forecasting(with_defaults(config)))


def refit(config: Train, interrupts: Interrupts) -> Run:
    """A run without header and closing back-test, for a back-test's refits."""
    recipe = Refit(config)
    recipe.run(interrupts)
    return recipe.session.run


class Forecasting(training.Recipe[Train, Parts]):
    """A forecasting model on windows of series, back-tested on those that it hasn't seen."""

    name = RECIPE
    tested: BacktestResult
    seen: SeenWindows

    def prepare(self) -> Parts:
        parts = prepare(self.config)
        base = [] if parts.base is None else [parts.base]
        self.seen = find_seen(base, parts.loaded.panel, parts.test)
        refuse_seen(self.seen, "other data")
        return parts

    def header(self) -> list[str]:
        parts, spec = self.parts, self.parts.spec
        count = sum(parameter.numel() for parameter in parts.model.parameters())
        size = f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"
        lags = f", lags to {max(spec.lags)}" if spec.has_lags else ""
        difference, layers = self.check_layers(), self.layers_in_use()
        if layers == "PyTorch":
            layers += "; those compiled by a C compiler at installation take half the time: see tool doctor"
        return [
            f"forecast · {self.config.model}, {size} parameters · {parts.loaded.description}",
            f"windows   {len(parts.origins):,} to train on, {len(parts.validation):,} choose the best weights, "
            f"{len(parts.test):,} test · context {spec.context_length}, horizon {spec.prediction_length}{lags} · "
            f"m {parts.facts.periodicity}",
            *(f"layers    {line}" for line in (difference, layers) if line),
            *notes(parts.loaded),
            *(f"note      {line}" for line in self.seen.notes),
        ]

    def make_work(self) -> Work:
        say_difference(self.check_layers())
        return WindowWork(self.config, self.parts, self.session.accelerator.device, self.layers_in_use())

    def check_layers(self) -> str | None:
        """Compares the CPU's fast layers with the library's; what to say where they differ, the first time."""
        accelerator = self.session.accelerator
        fast = accelerator.device.type == "cpu" and accelerator.mixed_precision == "no"
        return check_training(self.parts.model.network) if fast else None

    def layers_in_use(self) -> str:
        """Whose layers train on the CPU, for the log and for resumes; "" where there is no choice."""
        accelerator = self.session.accelerator
        if accelerator.device.type != "cpu" or accelerator.mixed_precision != "no" or self.config.compile:
            return ""
        return layers_of(self.parts.model.network)

    def test(self) -> None:
        """The back-test of the trained model, shared by all processes."""
        config, parts, accelerator = self.config, self.parts, self.session.accelerator
        name = config.model if config.model in (*ARCHITECTURES, "tiny") else "model"
        model = Opened(name, parts.model.network, parts.facts)
        place([model], accelerator.device)
        self.tested = measure(
            [model],
            forecast_request(config, parts, parts.test, accelerator.device),
            parts.facts.periodicity,
            share=(accelerator.process_index, accelerator.num_processes),
            gather=lambda items: gather_object(items),
            show=accelerator.is_main_process,
            seen=self.seen,
        )

    def score(self, outcome: Outcome) -> str:
        return self.tested.headline()

    def write(self, outcome: Outcome) -> dict[str, Any]:
        return artefacts.write(self.config, self.parts, self.session.run, outcome, self.tested)

    def summary(self, outcome: Outcome, summary: dict[str, Any]) -> str:
        return artefacts.summary_text(self.session.run, self.tested, summary)


class Refit(Forecasting):
    """A model trained anew within a back-test, which alone says how good it is, and which windows were seen."""

    def prepare(self) -> Parts:
        return prepare(self.config)

    def header(self) -> list[str]:
        return []

    def test(self) -> None:
        pass

    def score(self, outcome: Outcome) -> str:
        return ""

    def write(self, outcome: Outcome) -> dict[str, Any]:
        return artefacts.write_model(self.parts, self.session.run)

    def summary(self, outcome: Outcome, summary: dict[str, Any]) -> str:
        return ""


class WindowWork(Work):
    """A forecasting model, over windows cut from a panel of series."""

    unit = "windows"
    greater_is_better = False

    def __init__(self, config: Train, parts: Parts, device: torch.device, computed_by: str) -> None:
        super().__init__(
            parts.model,
            config,
            examples=len(parts.origins),
            eval_examples=len(parts.validation),
            metric="loss" if len(parts.validation) else None,
            data=digest(parts.loaded.panel, parts.test, parts.origins.first),
            computed_by=computed_by,
        )
        self.config, self.parts, self.device = config, parts, device
        self.windows = windows_for(parts.loaded.panel, parts.model.network, device)

    def plan(self, batch_size: int, epoch: int) -> list[np.ndarray]:
        config, count = self.config, self.config.batches_per_epoch or 100
        return self.parts.origins.batches(seed=config.seed, epoch=epoch, batch_size=batch_size, count=count)

    def collate(self, numbers: np.ndarray, epoch: int) -> Batch:
        series, origin = self.parts.origins.locate(numbers)
        return {"series": torch.from_numpy(series), "origin": torch.from_numpy(origin)}

    def heaviest(self, batch_size: int) -> np.ndarray:
        return np.zeros(batch_size, dtype=np.int64)

    def training_step(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        each = model(to_device(self.windows.take(batch["series"], batch["origin"]), self.device))
        return each.float().sum(), len(each)

    def evaluate(self, model: torch.nn.Module, evaluator: Evaluator) -> dict[str, Any]:
        """The mean loss over the validation windows, teacher-forced."""
        entries, mine = self.parts.validation, []
        for first in evaluator.mine(range(0, len(entries), evaluator.batch_size)):
            part = entries.part(slice(first, first + evaluator.batch_size))
            with evaluator.autocast():
                losses = model(to_device(self.windows.take(part.series, part.origin), evaluator.device))
            mine.append((float(losses.double().sum()), len(part)))
            evaluator.progress(len(part))
        sums = evaluator.gather(mine)
        count = sum(number for _, number in sums)
        return {"loss": sum(total for total, _ in sums) / max(1, count), "n": count}

    def describe(self, metrics: dict[str, Any]) -> str:
        return f"loss {metrics['loss']:.4f} on {metrics['n']:,} windows"

    def closing_seconds(self, model: Any) -> float:
        """What the closing back-test will take, by a few of its windows."""
        parts = self.parts
        tried = forecast_request(self.config, parts, parts.test.part(slice(0, TRIED)), self.device)
        opened = Opened("model", model.network, parts.facts)
        place([opened], self.device)
        seconds = 0.0
        for _ in range(2):  # the first time is a warm-up
            began = time.monotonic()
            forecast([opened], tried, slice(0, len(tried.entries)))
            seconds = time.monotonic() - began
        return seconds * len(parts.test) / len(tried.entries)


def forecast_request(config: Train, parts: Parts, entries: Entries, device: torch.device) -> ForecastRequest:
    """What the closing back-test forecasts."""
    length, samples = parts.spec.prediction_length, config.num_parallel_samples
    return ForecastRequest(parts.loaded.panel, entries, length, samples, TEST_BATCH, config.seed, device)
