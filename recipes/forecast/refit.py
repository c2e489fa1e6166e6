"""Refits: back-tests whose models are trained anew as time goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from recipes.config import options_of
from recipes.forecast.config import Backtest, DataOptions, Train
from recipes.forecast.networks import Opened, open_network, place
from recipes.process.interrupts import Interrupts
from recipes.runs import find
from recipes.runs import folder as run_folder
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError
from tasks.forecast.panel import Entries

if TYPE_CHECKING:
    from recipes.forecast.setup import Setup

FOLDER = "refits"


def groups(
    config: Backtest, setup: Setup, run: run_folder.Run, device: torch.device, interrupts: Interrupts
) -> Iterator[tuple[list[Opened], int, Entries]]:
    """The models, the number of the first entry, and the entries that they forecast; without refits all of them at once, those that
    were seen in training after the others.

    Raises:
        ConfigError: a model that isn't a run can't be trained anew.
    """
    test = setup.loaded.test
    if config.refit == "never":
        unseen = int((~setup.seen.entries).sum()) if setup.seen.mixed else len(test)
        yield setup.models, 0, test.part(slice(0, unseen))
        if unseen < len(test):
            yield setup.models, unseen, test.part(slice(unseen, None))
        return
    every = int(config.refit)
    for first in range(0, int(test.window.max()) + 1, every):
        chosen = (test.window >= first) & (test.window < first + every)
        models = [train_again(config, model, first, run, interrupts) for model in setup.models]
        place(models, device)
        yield models, int(chosen.argmax()), test.part(chosen)


def train_again(config: Backtest, model: Opened, window: int, run: run_folder.Run, interrupts: Interrupts) -> Opened:
    """The model trained as its run was, on what was known at a window's origin; taken from the disk where that is done."""
    if model.network is None:
        return model
    if model.run is None:
        raise ConfigError(
            f"--refit: {model.name} is no run, so that nothing says how it was trained; give a run folder"
        )
    from recipes.forecast import train

    options = train_options(config, model.run, window, str(run.path / FOLDER))
    done = find.newest_of(options.output_dir, "forecast", options)
    if done is None or done.status().get("state") != "finished":
        print_line(f"refit     {model.name} before window {window + 1}")
        done = train.refit(options, interrupts)
    found = open_network(str(done.path), None, None)
    return dataclasses.replace(found, name=model.name, run=model.run)


def train_options(config: Backtest, run: run_folder.Run, window: int, output_dir: str) -> Train:
    """The run's own options, on the back-test's data and windows."""
    was = run.config()
    names = {info.name for info in options_of(Train)}
    values: dict[str, Any] = {name: value for name, value in was.items() if name in names}
    values |= {info.name: getattr(config, info.name) for info in options_of(DataOptions)}
    # The run's seed draws its weights and, of such data, the sample: a back-test on another sample can't be a refit of it.
    values |= {"output_dir": output_dir, "first_window": window, "tracker": [], "on_exit": None, "push_to_hub": None}
    values |= {"resume": None, "fresh": False, "num_processes": 1, "num_machines": 1, "dry_run": False}
    return Train(**values)
