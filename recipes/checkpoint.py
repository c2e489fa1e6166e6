"""Checkpoints: written aside, hashed, renamed; whole or ignored. Tensors in safetensors, the rest in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from tasks.files import remove_tree, sha256, sync_tree, write_folder, write_json

MARKER = "complete.json"
MODEL, OPTIMIZER, EXTRA, STATE = "model.safetensors", "optimizer.safetensors", "extra.safetensors", "state.json"


def name_of(step: int) -> str:
    """The folder name of a step's checkpoint; names sort as steps do."""
    return f"step-{step:08d}"


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    extra: dict[str, torch.Tensor] | None = None,
) -> Path:
    """Writes the checkpoint of a step and returns its folder.

    Args:
        state: JSON values: step, schedule, best metric, ...
        extra: further tensors (averaged weights, a gradient scaler).

    Raises:
        OutOfDisk: nothing of it is left, older checkpoints are untouched.
    """

    def fill(aside: Path) -> None:
        save_model(model, str(aside / MODEL))
        tensors, scalars = flatten(optimizer)
        save_file(tensors, str(aside / OPTIMIZER))
        if extra:
            save_file(extra, str(aside / EXTRA))
        write_json(aside / STATE, {**state, "step": step, "optimizer": scalars})
        sync_tree(aside)
        files = sorted(path for path in aside.iterdir() if path.is_file())
        write_json(aside / MARKER, {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in files})

    path = folder / name_of(step)
    write_folder(path, fill)
    return path


def problem(path: Path) -> str | None:
    """Why a checkpoint can't be trusted, or None where it is whole and unaltered."""
    try:
        text = (path / MARKER).read_text(encoding="utf-8")
        marker = json.loads(text)
        if text != json.dumps(marker, indent=2) + "\n":
            raise ValueError
        expected = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in marker.items()}
    except FileNotFoundError:
        return f"its marker {MARKER} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"its marker {MARKER} is damaged"
    if not {MODEL, OPTIMIZER, STATE} <= set(expected):
        return f"its marker {MARKER} is damaged"
    for name, (size, digest) in expected.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} of {size} bytes"
        if sha256(file) != digest:
            return f"{name} was altered"
    return None


def all_in(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest step first, whole or not."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and a line for each damaged one that was passed over."""
    notes: list[str] = []
    for path in reversed(all_in(folder)):
        trouble = problem(path)
        if trouble is None:
            return path, notes
        notes.append(f"checkpoint {path} is not whole ({trouble}); taking an older one")
    return None, notes


def read_state(path: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint."""
    return dict(json.loads((path / STATE).read_text(encoding="utf-8")))


def load(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Restores model and optimizer in place; returns the state and the extra tensors."""
    state = read_state(path)
    load_weights(path, model)
    unflatten(optimizer, load_file(str(path / OPTIMIZER)), state.pop("optimizer"))
    extra = load_file(str(path / EXTRA)) if (path / EXTRA).exists() else {}
    return state, extra


def load_weights(path: Path, model: nn.Module) -> None:
    """Restores the model's weights alone, strictly."""
    load_model(model, str(path / MODEL), strict=True)


def flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors and JSON values, without pickle."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, Any] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.detach().contiguous().clone()
            else:
                values[f"{index}.{name}"] = value
    return tensors, {"values": values, "param_groups": state["param_groups"]}


def unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], scalars: dict[str, Any]) -> None:
    """The reverse of `flatten`."""
    entries: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *scalars["values"].items()]:
        index, _, name = key.partition(".")
        entries.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": entries, "param_groups": scalars["param_groups"]})


def prune(folder: Path, keep: int, also: set[int]) -> None:
    """Removes all but the newest `keep` checkpoints and those of the steps in `also`; and leftovers of killed writes."""
    paths = all_in(folder)
    kept = {path.name for path in paths[-keep:]} | {name_of(step) for step in also}
    for path in paths:
        if path.name not in kept:
            # Renamed first: a half-removed folder must never look like a checkpoint.
            doomed = path.with_name(f".{path.name}.old")
            path.rename(doomed)
            remove_tree(doomed)
    for leftover in sorted(folder.glob(".step-*")):
        remove_tree(leftover)
