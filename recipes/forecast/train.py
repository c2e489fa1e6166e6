"""`tool train forecast`: data, windows, model, the loop, and the closing back-test."""

from __future__ import annotations

import dataclasses
import functools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from recipes import runs, training
from recipes.forecast import artefacts
from recipes.forecast.config import ARCHITECTURES, Train, with_defaults
from recipes.forecast.data import (
    check_for_training,
    check_inputs,
    cut,
    digest,
    for_model,
    open_data,
    say_notes,
    with_item_category,
)
from recipes.forecast.facts import Facts
from recipes.forecast.forecasting import Asked, forecast, windows_for
from recipes.forecast.module import Trained
from recipes.forecast.networks import Opened, open_network
from recipes.forecast.testing import Tested, measure
from recipes.interrupts import Interrupts
from recipes.loop import Outcome
from recipes.memory import to_device
from recipes.optimizers import decay_groups
from recipes.progress import print_line
from recipes.session import Session, close, noting_the_end, start
from recipes.session import train as session_train
from recipes.work import Batch, Evaluator, Work
from tasks.forecast.calendar import lags_for, seasonality_of, time_features
from tasks.forecast.data import Loaded
from tasks.forecast.models import Spec, build, layers_of, spec_of
from tasks.forecast.origins import Origins, validation_entries
from tasks.forecast.panel import Entries
from tasks.forecast.windows import Windows

RECIPE = "forecast"
# Windows at once in the closing back-test; `tool backtest` has the same, and so gives the same figures.
TEST_BATCH = 128
# Windows that say how long the closing back-test will take.
TRIED = 16


@dataclass
class Parts:
    """Everything that a forecasting run is made of."""

    loaded: Loaded
    facts: Facts
    spec: Spec
    model: Trained
    origins: Origins
    validation: Entries
    test: Entries


def train(config: Train) -> dict[str, Any]:
    """Trains, back-tests and writes the run; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    return training.train(training.Stages(RECIPE, prepare, say_header, make_work, finish), with_defaults(config))


def train_only(config: Train, interrupts: Interrupts) -> runs.Run:
    """A run without the closing back-test, for a back-test's refits."""
    parts = prepare(config)
    session = start(RECIPE, config, interrupts)
    with noting_the_end(session.run, main=session.accelerator.is_main_process):
        work = make_work(config, parts, session)
        outcome = session_train(work, config, session, interrupts)
        assert isinstance(outcome, Outcome)
        close(config, session, outcome, functools.partial(artefacts.write_model, config, parts, session.run), "")
    return session.run


def prepare(config: Train) -> Parts:
    """Reads and checks the data, builds the model, and lays out which windows train, choose and test."""
    opened = (
        None if config.model in (*ARCHITECTURES, "tiny") else open_network(config.model, config.revision, config.token)
    )
    facts = opened.facts if opened else None
    horizon = spec_of(opened.network).prediction_length if opened else config.prediction_length
    loaded = open_data(config, prediction_length=horizon, facts=facts)
    if facts is not None:
        loaded = for_model(loaded, facts)
    elif config.item_embedding and not loaded.panel.category_names:
        loaded = dataclasses.replace(loaded, panel=with_item_category(loaded.panel))
    facts = facts or make_facts(config, loaded)
    test = cut(loaded.test, config.first_window)
    length = spec_of(opened.network).prediction_length if opened else loaded.prediction_length
    ends, held_out = train_ends(loaded, test, config.first_window), config.validation_windows * length
    spec = spec_of(opened.network) if opened else make_spec(config, loaded, int(ends.max()) - held_out)
    check_inputs(spec, loaded, config.model)
    network = opened.network if opened else build(spec, config.seed)
    usable = check_for_training(
        loaded, ends - held_out, spec, lags=[int(lag) for lag in config.lags], skip=config.skip_bad
    )
    return Parts(
        loaded,
        facts,
        spec,
        Trained(network),
        Origins(ends - held_out, context_length=spec.context_length, prediction_length=length),
        validation_entries(
            np.where(usable, ends, 0),
            prediction_length=length,
            windows=config.validation_windows,
            most=config.max_eval_series,
        ),
        test,
    )


def train_ends(loaded: Loaded, test: Entries, first_window: int) -> np.ndarray:
    """How many steps of each series are known before the first test window, int64 [series]."""
    if not first_window:
        return loaded.train_ends
    ends = loaded.train_ends.copy()
    now = test.part(test.window == 0)
    ends[now.series] = now.origin
    return ends


def make_facts(config: Train, loaded: Loaded) -> Facts:
    """What the model folder will say of the data."""
    panel = loaded.panel
    items = [panel.item_ids] if config.item_embedding else None
    return Facts(
        freq=panel.calendar.freq,
        prediction_length=loaded.prediction_length,
        periodicity=config.periodicity or seasonality_of(panel.calendar.freq),
        target_names=panel.target_names,
        category_names=panel.category_names,
        item_embedding=items is not None and panel.category_names == items,
        real_names=panel.real_names,
        covariate_names=panel.covariate_names,
    )


def make_spec(config: Train, loaded: Loaded, longest: int) -> Spec:
    """The model's shape, by the filled-in options and the data; of the frequency's own lags those that the longest series can give."""
    panel, length = loaded.panel, loaded.prediction_length
    assert config.distribution is not None
    assert config.scaling is not None
    assert config.anchor is not None
    assert config.dropout is not None
    season = config.periodicity or seasonality_of(panel.calendar.freq)
    context = config.context_length or 2 * max(length, season if config.scaling == "seasonal" else 1)
    lags = [lag for lag in lags_for(panel.calendar.freq) if lag <= longest - context - length] or [1]
    cardinality = [len(names) for names in panel.category_names]
    return Spec(
        kind="transformer" if config.model == "tiny" else config.model,
        prediction_length=length,
        context_length=context,
        lags=tuple(int(lag) for lag in config.lags) or tuple(lags),
        num_time_features=len(time_features(panel.calendar.freq)) + 1 + len(panel.covariate_names),
        cardinality=tuple(cardinality),
        embedding_dimension=tuple(config.embedding_dimension for _ in cardinality),
        num_static_real_features=len(panel.real_names),
        input_size=panel.dims,
        distribution=config.distribution,
        scaling=config.scaling,
        season=season,
        encoder_layers=config.encoder_layers or 2,
        decoder_layers=config.decoder_layers or 2,
        d_model=config.d_model or 16,
        heads=config.heads,
        ffn_dim=config.ffn_dim or 32,
        dropout=config.dropout,
        layerdrop=config.layerdrop,
        attention=config.attention,
        kernel_size=config.kernel_size,
        label_length=min(config.label_length, context),
        individual=config.individual,
        anchor=config.anchor,
        patch_length=config.patch_length or 0,
        calendar=config.calendar_features,
        **{name: value for name in ("blocks", "block_layers") if (value := getattr(config, name)) is not None},
    )


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
    """Whose layers train on the CPU, for the log and for resumes; "" where there is no choice."""
    accelerator = session.accelerator
    if accelerator.device.type != "cpu" or accelerator.mixed_precision != "no" or config.compile:
        return ""
    return layers_of(parts.model.network)


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


def ask(config: Train, parts: Parts, entries: Entries, device: torch.device) -> Asked:
    """What the closing back-test forecasts."""
    length, samples = parts.spec.prediction_length, config.num_parallel_samples
    return Asked(parts.loaded.panel, entries, length, samples, TEST_BATCH, config.seed, device)


def closing_seconds(config: Train, parts: Parts, device: torch.device, model: Any) -> float:
    """What the closing back-test will take, by a few of its windows."""
    tried = ask(config, parts, parts.test.part(slice(0, TRIED)), device)
    opened = Opened("model", model.network.eval(), parts.facts)
    seconds = 0.0
    for _ in range(2):  # the first time is a warm-up
        began = time.monotonic()
        forecast([opened], tried, slice(0, len(tried.entries)))
        seconds = time.monotonic() - began
    return seconds * len(parts.test) / len(tried.entries)


def test_model(config: Train, parts: Parts, session: Session) -> Tested:
    """The back-test of the trained model, shared by all processes."""
    accelerator = session.accelerator
    name = config.model if config.model in (*ARCHITECTURES, "tiny") else "model"
    model = Opened(name, parts.model.network.eval(), parts.facts)
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
