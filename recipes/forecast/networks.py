"""Opening of trained networks by name (run folder, local folder, Hub id), and of the baselines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recipes.forecast.config import BASELINES
from recipes.forecast.facts import FILE, Facts
from recipes.runs import find
from recipes.runs import folder as run_folder
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError
from tasks.forecast.models import load, spec_of
from tasks.forecast.score.training_record import FILE as RECORD
from tasks.forecast.score.training_record import TrainingRecord
from tasks.forecast.self_checks import check_sampling
from tasks.weights import model_folder


@dataclass
class Opened:
    """A model as the user named it; a baseline has no network, and what was trained elsewhere no facts and no record."""

    name: str
    network: Any = None
    facts: Facts | None = None
    run: run_folder.Run | None = None
    record: TrainingRecord | None = None

    @property
    def prediction_length(self) -> int | None:
        return int(spec_of(self.network).prediction_length) if self.network is not None else None


def open_network(model: str, revision: str | None, token: str | None) -> Opened:
    """Loads a network, and what its folder says of its data and of what training saw of them.

    Raises:
        ConfigError: there is no such model, or it is no forecaster.
        DataError: it is damaged.
    """
    where = model_folder(model)
    network = load(where, revision, token)
    run = run_folder.Run(Path(model))
    named = run if (run.path / "status.json").is_file() else None
    facts = Facts.read(_folder_of(FILE, where, revision, token))
    return Opened(_short(model), network, facts, named, record_of(model, revision, token))


def record_of(model: str, revision: str | None, token: str | None) -> TrainingRecord | None:
    """What a model's folder says of what its training saw; None where it doesn't.

    Raises:
        DataError: the record is damaged.
    """
    return TrainingRecord.read(_folder_of(RECORD, model_folder(model), revision, token))


def open_models(names: list[str], output_dir: str, revision: str | None, token: str | None) -> list[Opened]:
    """The models asked for, or that of the newest finished run, which is said.

    Raises:
        ConfigError: two of them can't be compared: they forecast other data.
    """
    if not names:
        run = find.newest_finished(output_dir, ("forecast",))
        print_line(f"newest forecast run: {run.path}")
        names = [str(run.path)]
    opened = [Opened(name) if name in BASELINES else open_network(name, revision, token) for name in names]
    seen: dict[str, int] = {}
    for model in opened:
        seen[model.name] = seen.get(model.name, 0) + 1
        if seen[model.name] > 1:
            model.name = f"{model.name} ({seen[model.name]})"
    frequencies = [(model.name, model.facts.freq) for model in opened if model.facts is not None]
    for name, freq in frequencies[1:]:
        first, its = frequencies[0]
        if freq != its:
            raise ConfigError(f"--model: {first} forecasts by {its} and {name} by {freq}; back-test them apart")
    return opened


def place(models: list[Opened], device: torch.device) -> None:
    """Moves the networks to the device that they forecast on, in evaluation mode, and checks their sampling there."""
    for model in models:
        if model.network is not None:
            model.network.to(device).eval()
            say_difference(check_sampling(model.network))


def say_difference(line: str | None) -> None:
    """Prints that a fast path is not used, in one process of the run."""
    if line and os.environ.get("RANK", "0") == "0":
        print_line(f"layers    {line}")


def _short(model: str) -> str:
    path = Path(model)
    return path.parent.name if path.name == "model" else path.name or model


def _folder_of(file: str, where: str, revision: str | None, token: str | None) -> Path:
    """The folder here in which a model's file lies, if the model has it; of a Hub id the file is fetched."""
    if Path(where).is_dir():
        return Path(where)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from tasks.hub import loading

    with loading(where, "--model"):
        try:
            return Path(hf_hub_download(where, file, revision=revision or "main", token=token)).parent
        except (EntryNotFoundError, LocalEntryNotFoundError):
            return Path(where)
