"""The checkpoint format: tensors in safetensors, the rest in JSON, and a marker with sizes and hashes that is written last."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from recipes.process.dtensor import trained_weights, weights
from tasks.errors import ConfigError
from tasks.files import remove_tree, sha256, sync_tree, write_folder, write_json
from tasks.tensor_files import save_tensors

MARKER = "complete.json"
# Between a name and one within it.
NESTED = "/"
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def name_of(step: int) -> str:
    """The folder name of a step's checkpoint; names sort as steps do."""
    return f"step-{step:08d}"


@dataclass
class Content:
    """What a checkpoint holds, on the CPU.

    Attributes:
        weights: the model's trained parameters and persistent buffers by name; a tied one once.
        optimizer: the optimizer's tensors as `flatten` names them; `scalars` are its other values.
        state: JSON values: step, schedule, best metric, ...
    """

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    scalars: dict[str, Any]
    state: dict[str, Any]

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        return count_bytes(self.weights) + count_bytes(self.optimizer)


def content(model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> Content:
    """What to save of a run, without copying: the tensors are the living ones."""
    tensors, scalars = flatten(optimizer)
    return Content(trained_weights(model), tensors, scalars, state)


def write(folder: Path, step: int, saved: Content) -> Path:
    """Writes a checkpoint's content and returns its folder.

    Raises:
        OutOfDisk: nothing of it is left, older checkpoints are untouched.
    """

    def fill(aside: Path) -> None:
        digests = {
            MODEL: save_tensors(aside / MODEL, saved.weights),
            OPTIMIZER: save_tensors(aside / OPTIMIZER, saved.optimizer),
        }
        write_json(aside / STATE, {**saved.state, "step": step, "optimizer": saved.scalars})
        digests[STATE] = sha256(aside / STATE)
        sync_tree(aside)
        sizes = {name: (aside / name).stat().st_size for name in sorted(digests)}
        write_json(aside / MARKER, {name: {"size": size, "sha256": digests[name]} for name, size in sizes.items()})

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
    if notes:
        notes[-1] = f"{notes[-1].rpartition(';')[0]}; there is none older: from step 0 on"
    return None, notes


def read(path: Path) -> Content:
    """A checkpoint's content."""
    state = json.loads((path / STATE).read_text(encoding="utf-8"))
    scalars = state.pop("optimizer")
    return Content(load_file(str(path / MODEL)), load_file(str(path / OPTIMIZER)), scalars, state)


@torch.no_grad()
def set_weights(model: nn.Module, saved: dict[str, torch.Tensor]) -> None:
    """Copies weights into the model, name by name.

    Raises:
        ConfigError: names or shapes are another model's.
    """
    living, trained = weights(model), trained_weights(model)
    # Older checkpoints hold frozen weights too.
    wrong = sorted((set(trained) - set(saved)) | (set(saved) - set(living))) or [
        name for name, value in saved.items() if value.shape != living[name].shape
    ]
    if wrong:
        raise ConfigError(
            f"the checkpoint is of another model: {wrong[0]} and {len(wrong) - 1} more don't fit; start anew with --fresh"
        )
    for name, value in saved.items():
        living[name].copy_(value)


def flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors and JSON values, without pickle."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, Any] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            # bitsandbytes keeps its 8-bit state in a dict within the parameter's.
            nested = isinstance(value, dict)
            for key, item in value.items() if nested else [(name, value)]:
                path = f"{index}.{name}{NESTED}{key}" if nested else f"{index}.{name}"
                if isinstance(item, torch.Tensor):
                    tensors[path] = item.detach()
                else:
                    values[path] = item
    return tensors, {"values": values, "param_groups": state["param_groups"]}


def unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], scalars: dict[str, Any]) -> None:
    """The reverse of `flatten`."""
    entries: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *scalars["values"].items()]:
        index, _, name = key.partition(".")
        outer, nested, part = name.partition(NESTED)
        entry = entries.setdefault(int(index), {})
        if nested:
            entry.setdefault(outer, {})[part] = value
        else:
            entry[name] = value
    optimizer.load_state_dict({"state": entries, "param_groups": scalars["param_groups"]})


def prune(folder: Path, keep: int, also: set[int], newest: int | None = None) -> None:
    """Removes all but the newest `keep` checkpoints and those of the steps in `also`; and leftovers of killed writes.

    Args:
        newest: the step just saved; checkpoints of later steps are of a past that the run went back from, and go too.
    """
    paths = all_in(folder)
    current = [path for path in paths if newest is None or path.name <= name_of(newest)]
    kept = {path.name for path in current[-keep:]} | {name_of(step) for step in also}
    for path in paths:
        if path.name not in kept:
            # Renamed first: a half-removed folder must never look like a checkpoint.
            doomed = path.with_name(f".{path.name}.old")
            path.rename(doomed)
            remove_tree(doomed)
    for leftover in sorted(folder.glob(".step-*")):
        remove_tree(leftover)


def count_bytes(tensors: dict[str, torch.Tensor]) -> int:
    """The bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
