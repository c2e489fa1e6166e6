"""What every training run begins and ends with: the processes, the run folder, the libraries' words, the figures at the end."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from recipes.checkpoints import format as checkpoints
from recipes.distributed.device import make_accelerator, silence
from recipes.loop.estimate import Estimate
from recipes.loop.loop import Loop, Outcome
from recipes.options import TrainOptions
from recipes.process.interrupts import Interrupts, settle
from recipes.process.memory import peak_memory
from recipes.process.worker import goes_on
from recipes.runs import find, push
from recipes.runs import folder as run_folder
from recipes.terminal.progress import duration, size
from recipes.terminal.tables import table
from recipes.work import Work
from tasks.errors import ConfigError, Preempted, ToolError
from tasks.files import folder_bytes, free_bytes

LIBRARIES = (
    "transformers",
    "datasets",
    "accelerate",
    "huggingface_hub",
    "torch",
    "diffusers",
    "py.warnings",
    "evaluate",
    "PIL",
)


@dataclass
class Session:
    """A run on its device; `checkpoint` where --resume names one."""

    run: run_folder.Run
    accelerator: Accelerator
    checkpoint: Path | None = None


def start(recipe: str, config: TrainOptions, interrupts: Interrupts, label: str = "") -> Session:
    """Sets up the device and finds the unfinished run of the same command, or makes a new one; a dry run makes none.

    Raises:
        ConfigError: fp16 without a GPU; a --resume that doesn't fit.
    """
    silence()
    accelerator = make_accelerator(config)
    if config.dry_run:
        return Session(run_folder.Run(Path(config.output_dir) / "dry-run"), accelerator)
    path: list[Any] = [None]
    run: run_folder.Run | None = None
    checkpoint: Path | None = None
    if accelerator.is_main_process:
        run, checkpoint = pick_run(recipe, config, label)
        path = [str(run.path)]
    broadcast_object_list(path)
    run = run or run_folder.Run(Path(path[0]))
    log_to(run, accelerator.is_main_process)
    return Session(run, accelerator, checkpoint)


@contextlib.contextmanager
def noting_the_end(run: run_folder.Run, *, main: bool = True) -> Iterator[None]:
    """Writes into status.json how the run ended, whatever ended it but SIGKILL."""
    try:
        yield
    except BaseException as error:
        begun = run.taken_up is None
        if main and begun and run.path.exists() and run.status().get("state") != "finished":
            with contextlib.suppress(ToolError):  # the disk may be what it failed for
                run.update(state="preempted" if isinstance(error, Preempted) else "failed", error=str(error))
        raise


def pick_run(recipe: str, config: TrainOptions, label: str) -> tuple[run_folder.Run, Path | None]:
    """The run that --resume names, else the unfinished one of the same command, else a new one; and the checkpoint named."""
    if config.resume:
        run, checkpoint = find.open_to_resume(config.resume)
        trouble = checkpoints.problem(checkpoint) if checkpoint is not None else None
        if trouble:  # before anything is noted: the run stays what it was
            raise ConfigError(f"--resume: {checkpoint} is not whole ({trouble}); give {run.path} for the newest")
        find.check_resumable(run, recipe, config)
        return find.take_up(run, recipe, config), checkpoint
    found = None if config.fresh and not goes_on() else find.find_unfinished(config.output_dir, recipe, config)
    if found is not None:
        return find.take_up(found, recipe, config), None
    return run_folder.create(config.output_dir, recipe, config, label), None


def train(work: Work, config: TrainOptions, session: Session, interrupts: Interrupts) -> Outcome | Estimate:
    """The loop over `work`: to its end, or with --dry-run only what it will take."""
    loop = Loop(work, config, session.run, session.accelerator, interrupts, session.checkpoint)
    return loop.dry_run() if config.dry_run else loop.train()


def say_estimate(estimate: Estimate, config: TrainOptions, session: Session) -> dict[str, Any]:
    """What --dry-run prints; nothing on the other processes."""
    if not session.accelerator.is_main_process:
        return {}
    free = free_bytes(session.run.path)
    money = config.cost_text(estimate.seconds)
    rows = [
        [
            "steps",
            f"{estimate.steps:,}, each of {estimate.batch_size} examples, {estimate.micro_batch_size} at once a process",
        ],
        ["time", duration(estimate.seconds)],
        ["memory", f"{size(estimate.memory_bytes)} a process at most"],
        ["disk", f"{size(estimate.disk_bytes)} at most, {size(free)} free in {config.output_dir}"],
        ["checkpoint", size(estimate.checkpoint_bytes)],
        *([["cost", money]] if money else []),
    ]
    text = table(["a whole run", "estimate"], rows)
    if estimate.disk_bytes > free:
        text += f"\nthe disk is too small: the run would end with code 5; free {size(estimate.disk_bytes - free)} first"
    return {**estimate.as_dict(), **config.cost(estimate.seconds), "free_bytes": free, "text": text}


def measured(config: TrainOptions, session: Session, outcome: Outcome) -> dict[str, Any]:
    """What the run took until now, for status.json, in the estimate's terms."""
    seconds = round(outcome.seconds + time.monotonic() - outcome.ended, 3)
    cost = config.cost(seconds)
    taken = {
        "seconds": seconds,
        "memory_bytes": max(outcome.memory_bytes, peak_memory(session.accelerator.device)),
        "disk_bytes": max(outcome.disk_bytes, folder_bytes(session.run.path)),
        **cost,
    }
    return {"seconds": seconds, "measured": taken, **cost}


def close(
    config: TrainOptions, session: Session, outcome: Outcome, write: Callable[[], dict[str, Any]], score: str
) -> dict[str, Any]:
    """Ends a run: the recipe's artefacts by `write`, what was measured beside the estimate, the upload.

    Returns:
        The recipe's summary, with `seconds` and `estimated_seconds`; nothing on the other processes.
    """
    run, summary = session.run, {}
    if session.accelerator.is_main_process:
        # The report shows it; the run is finished only when that is written too.
        run.update(step=outcome.steps, best_step=outcome.best_step, score=score, **measured(config, session, outcome))
        summary = write()
        found = measured(config, session, outcome)
        if not config.push_to_hub:
            settle()
        run.update(state="finished", error=None, went_back_to=None, metrics=summary["metrics"], **found)
        estimate = run.status().get("estimate", {})
        summary |= {
            "steps": outcome.steps,
            "seconds": found["seconds"],
            "estimated_seconds": estimate.get("seconds"),
            "notes": outcome.notes,
        }
        if config.push_to_hub:
            try:
                url = push.push(run.model, config.push_to_hub, private=config.private, token=config.token, run=run.path)
            except Preempted as stop:  # not with its code: the same command would train anew
                raise ToolError(
                    f"{str(stop).partition(';')[0]} while uploading; the run is finished: "
                    f"tool runs push {run.path} --to {config.push_to_hub}"
                ) from None
            settle()
            run.update(pushed=url)
            summary["url"] = url
    session.accelerator.wait_for_everyone()
    session.accelerator.end_training()
    return summary


def log_to(run: run_folder.Run, main: bool) -> None:
    """Sends the libraries' log lines and warnings to the run's log.txt."""
    if not main:
        return
    logging.raiseExceptions = False  # a full disk is told by what matters, not by a log line
    handler = logging.FileHandler(run.path / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.captureWarnings(True)
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.WARNING)
