"""`tool train forecast`: data, windows, model, the loop, and the closing back-test."""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from recipes import training
from recipes.forecast import artefacts
from recipes.forecast.config import ARCHITECTURES, Train, with_defaults
from recipes.forecast.data import (
    digest,
    say_notes,
)
from recipes.forecast.forecasting import ForecastRequest, forecast, windows_for
from recipes.forecast.networks import Opened, place, say_difference
from recipes.forecast.parts import Parts, prepare
from recipes.forecast.testing import BacktestResult, measure
from recipes.loop.loop import Outcome
from recipes.loop.optimizers import decay_groups
from recipes.process.interrupts import Interrupts
from recipes.process.memory import to_device
from recipes.runs import folder as run_folder
from recipes.session import Session, close, noting_the_end, start
from recipes.session import train as session_train
from recipes.terminal.progress import print_line
from recipes.work import Batch, Evaluator, Work
from tasks.forecast.models import layers_of
from tasks.forecast.panel import Entries
from tasks.forecast.self_checks import check_training
from tasks.forecast.windows import Windows

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
    return training.train(training.Stages(RECIPE, prepare, say_header, make_work, finish), with_defaults(config))


def train_only(config: Train, interrupts: Interrupts) -> run_folder.Run:
    """A run without the closing back-test, for a back-test's refits."""
    parts = prepare(config)
    session = start(RECIPE, config, interrupts)
    with noting_the_end(session.run, main=session.accelerator.is_main_process):
        work = make_work(config, parts, session)
        outcome = session_train(work, config, session, interrupts)
        assert isinstance(outcome, Outcome)
        close(config, session, outcome, functools.partial(artefacts.write_model, config, parts, session.run), "")
    return session.run


def make_work(config: Train, parts: Parts, session: Session) -> Work:
    """What the loop trains."""
    rate, device = config.learning_rate, session.accelerator.device
    assert rate is not None
    windows = windows_for(parts.loaded.panel, parts.model.network, device)

    def plan(batch_size: int, epoch: int) -> list[np.ndarray]:
        count = config.batches_per_epoch or 100
        return parts.origins.batches(seed=config.seed, epoch=epoch, batch_size=batch_size, count=count)

    def collate(numbers: np.ndarray, epoch: int) -> Batch:
        series, origin = parts.origins.locate(numbers)
        return {"series": torch.from_numpy(series), "origin": torch.from_numpy(origin)}

    def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        found: torch.Tensor = model(to_device(windows.take(batch["series"], batch["origin"]), device))
        return found

    return Work(
        model=parts.model,
        plan=plan,
        collate=collate,
        loss=loss,
        evaluate=functools.partial(validate, parts.validation, windows),
        metric="loss" if len(parts.validation) else None,
        greater_is_better=False,
        parameter_groups=lambda model: decay_groups(model, learning_rate=rate, weight_decay=config.weight_decay),
        heaviest=lambda size: np.zeros(size, dtype=np.int64),
        examples=len(parts.origins),
        unit="windows",
        computed_by=layers_in_use(config, parts, session),
        eval_examples=len(parts.validation),
        data=digest(parts.loaded.panel, parts.test, parts.origins.first),
        closing=functools.partial(closing_seconds, config, parts, device),
        describe=lambda metrics: f"loss {metrics['loss']:.4f} on {metrics['n']:,} windows",
    )


def validate(entries: Entries, windows: Windows, model: torch.nn.Module, evaluator: Evaluator) -> dict[str, Any]:
    """The mean loss over the validation windows, teacher-forced."""
    mine: list[tuple[float, int]] = []
    starts = range(0, len(entries), evaluator.batch_size)
    for first in evaluator.mine(starts):
        part = entries.part(slice(first, first + evaluator.batch_size))
        with evaluator.autocast():
            losses = model(to_device(windows.take(part.series, part.origin), evaluator.device))
        mine.append((float(losses.double().sum()), len(part)))
        evaluator.progress(len(part))
    found = evaluator.gather(mine)
    count = sum(number for _, number in found)
    return {"loss": sum(total for total, _ in found) / max(1, count), "n": count}


def layers_in_use(config: Train, parts: Parts, session: Session) -> str:
    """Whose layers train on the CPU, checked, for the log and for resumes; "" where there is no choice."""
    accelerator = session.accelerator
    if accelerator.device.type != "cpu" or accelerator.mixed_precision != "no":
        return ""
    say_difference(check_training(parts.model.network))
    return "" if config.compile else layers_of(parts.model.network)


def say_header(config: Train, parts: Parts, session: Session) -> None:
    """The first lines of a run: what is trained on what."""
    if not session.accelerator.is_main_process:
        return
    count = sum(parameter.numel() for parameter in parts.model.parameters())
    size = f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"
    print_line(f"forecast · {config.model}, {size} parameters · {parts.loaded.description}")
    lags = f", lags to {max(parts.spec.lags)}" if parts.spec.has_lags else ""
    print_line(
        f"windows   {len(parts.origins):,} to train on, {len(parts.validation):,} choose the best weights, {len(parts.test):,} test · "
        f"context {parts.spec.context_length}, horizon {parts.spec.prediction_length}{lags} · "
        f"m {parts.facts.periodicity}"
    )
    layers = layers_in_use(config, parts, session)
    if layers == "PyTorch":
        layers += "; those compiled by a C compiler at installation take half the time: see tool doctor"
    if layers:
        print_line(f"layers    {layers}")
    say_notes(parts.loaded)


def ask(config: Train, parts: Parts, entries: Entries, device: torch.device) -> ForecastRequest:
    """What the closing back-test forecasts."""
    length, samples = parts.spec.prediction_length, config.num_parallel_samples
    return ForecastRequest(parts.loaded.panel, entries, length, samples, TEST_BATCH, config.seed, device)


def closing_seconds(config: Train, parts: Parts, device: torch.device, model: Any) -> float:
    """What the closing back-test will take, by a few of its windows."""
    tried = ask(config, parts, parts.test.part(slice(0, TRIED)), device)
    opened = Opened("model", model.network, parts.facts)
    place([opened], device)
    seconds = 0.0
    for _ in range(2):  # the first time is a warm-up
        began = time.monotonic()
        forecast([opened], tried, slice(0, len(tried.entries)))
        seconds = time.monotonic() - began
    return seconds * len(parts.test) / len(tried.entries)


def test_model(config: Train, parts: Parts, session: Session) -> BacktestResult:
    """The back-test of the trained model, shared by all processes."""
    accelerator = session.accelerator
    name = config.model if config.model in (*ARCHITECTURES, "tiny") else "model"
    model = Opened(name, parts.model.network, parts.facts)
    place([model], accelerator.device)
    return measure(
        [model],
        ask(config, parts, parts.test, accelerator.device),
        parts.facts.periodicity,
        share=(accelerator.process_index, accelerator.num_processes),
        gather=lambda items: gather_object(items),
        show=accelerator.is_main_process,
    )


def finish(config: Train, parts: Parts, session: Session, outcome: Outcome) -> dict[str, Any]:
    """The closing back-test; model, card and report; uploads where asked; closes the run."""
    tested = test_model(config, parts, session)
    write = functools.partial(artefacts.write, config, parts, session.run, outcome, tested)
    summary = close(config, session, outcome, write, tested.headline())
    if summary:
        summary["text"] = artefacts.closing_text(session.run, outcome, tested, summary)
    return summary
