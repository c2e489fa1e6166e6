"""Resuming a run: the training position that a checkpoint holds, and the choice of the run and checkpoint to continue from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from recipes.checkpoints import format as checkpoint
from recipes.checkpoints import share
from recipes.distributed.fsdp import ShardedModel
from recipes.options import TrainOptions
from recipes.process.worker import goes_on
from recipes.runs.environment import conditions
from recipes.runs.find import check_resumable, find_unfinished, note_going_on, open_to_resume, take_up
from recipes.runs.folder import Run, create
from recipes.terminal.progress import print_line
from recipes.work import Work
from tasks.errors import ConfigError


@dataclass
class Position:
    """Where a run stands; everything of it is in each checkpoint."""

    step: int = 0
    evaluated: int = 0
    best: float | None = None
    best_step: int = 0
    without_better: int = 0
    seconds: float = 0.0
    stopped_early: bool = False
    accumulation: int = 1
    batch_size: int = 0
    memory_bytes: int = 0

    @classmethod
    def of(cls, state: dict[str, Any]) -> Position:
        """The one in a checkpoint's state."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in state.items() if name in known})


def pick_run(recipe: str, config: TrainOptions, label: str) -> tuple[Run, Path | None]:
    """The run that --resume names, else the unfinished one of the same command, else a new one; and the checkpoint named."""
    if config.resume:
        run, named = open_to_resume(config.resume)
        trouble = checkpoint.problem(named) if named is not None else None
        if trouble:  # before anything is noted: the run stays what it was
            raise ConfigError(f"--resume: {named} is not whole ({trouble}); give {run.path} for the newest")
        check_resumable(run, recipe, config)
        return take_up(run, recipe, config), named
    unfinished = None if config.fresh and not goes_on() else find_unfinished(config.output_dir, recipe, config)
    if unfinished is not None:
        return take_up(unfinished, recipe, config), None
    return create(config.output_dir, recipe, config, label), None


def state_of(
    at: Position,
    scheduler: Any,
    work: Work,
    accelerator: Accelerator,
    shards: ShardedModel | None = None,
    frozen: str = "",
) -> dict[str, Any]:
    """What a checkpoint holds beside the weights and the optimizer: JSON values."""
    return {
        **vars(at),
        "scheduler": scheduler.state_dict(),
        "conditions": _conditions(work, accelerator, shards),
        "data": work.data,
        **({"frozen": frozen} if frozen else {}),
        **({"scaler": accelerator.scaler.state_dict()} if accelerator.scaler is not None else {}),
    }


def find(
    run: Run,
    data: str,
    start_from: Path | None,
    accelerator: Accelerator,
    shards: ShardedModel | None = None,
    frozen: str = "",
) -> checkpoint.Content | None:
    """The checkpoint to go on from, on all processes: the one given, else the newest whole one; None to begin.

    Args:
        frozen: the digest of the weights that are not trained.

    Raises:
        ConfigError: the data, or the weights that are not trained, are others than it was made with.
    """
    mine = None
    if accelerator.is_main_process:
        mine = _newest(run) if start_from is None else checkpoint.read(start_from)
    found = share.share(accelerator, mine, shards)
    if found is not None and found.state.get("data", data) != data:
        raise ConfigError(
            f"--data: {run.path} began with other data than is there now; give it back, or start anew with --fresh"
        )
    if found is not None and found.state.get("frozen", frozen) != frozen:
        raise ConfigError(
            f"--model: {run.path} began with other weights than are there now, of those that are not trained; give them back, or "
            "start anew with --fresh"
        )
    return found


def go_on(run: Run, step: int, start_from: Path | None) -> None:
    """Notes, when all is checked, that the run goes on from this step. From a checkpoint that was named it goes another way: those
    after it are dropped."""
    note_going_on(run)
    if start_from is not None:
        checkpoint.prune(run.checkpoints, len(checkpoint.all_in(run.checkpoints)), set(), newest=step)
        run.update(went_back_to=start_from.name)
    run.cut_metrics(step)


def say(
    run: Run, state: dict[str, Any], work: Work, accelerator: Accelerator, shards: ShardedModel | None = None
) -> None:
    """Tells the reader where the run goes on, and what keeps it from being exact to the bit."""
    print_line(f"resuming  {run.path} at step {state['step']}")
    before, now = state.get("conditions", {}), _conditions(work, accelerator, shards)
    changed = [
        f"{name} {before[name]} before, {now.get(name, 'others')} now"
        for name in before
        if before[name] != now.get(name)
    ]
    if changed:
        print_line(
            f"          no longer exact to the bit ({'; '.join(changed)}): the batches stay the same, sums differ in rounding"
            f"{', dropout draws anew' if before.get('processes') != now['processes'] else ''}"
        )


def best(
    run: Run, step: int, accelerator: Accelerator, shards: ShardedModel | None = None
) -> tuple[checkpoint.Content | None, str]:
    """The checkpoint of the best step, on all processes; None where it was damaged since, and, on the main one, what of it."""
    if not accelerator.is_main_process:
        return share.share(accelerator, None, shards), ""
    path = run.checkpoints / checkpoint.name_of(step)
    trouble = checkpoint.problem(path)
    found = share.share(accelerator, None if trouble else checkpoint.read(path), shards)
    return found, f"the best checkpoint, {path}, is not whole ({trouble})" if trouble else ""


def _conditions(work: Work, accelerator: Accelerator, shards: ShardedModel | None) -> dict[str, Any]:
    """Of this machine, and the recipe's own."""
    world = accelerator.num_processes
    found = conditions(world, accelerator.device, world if shards is not None else 1)
    return found | ({"layers": work.computed_by} if work.computed_by else {})


def _newest(run: Run) -> checkpoint.Content | None:
    path, notes = checkpoint.newest_whole(run.checkpoints)
    for note in notes:
        print_line(note)
    return None if path is None else checkpoint.read(path)
