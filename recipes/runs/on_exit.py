"""`--on-exit CMD`: a shell command at the end of a run, however it ends, with the status in its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recipes.options import TrainOptions
from recipes.process.worker import is_worker
from recipes.runs import find
from recipes.runs import folder as run_folder
from recipes.terminal.progress import print_line
from tasks.errors import exit_code_of

LIMIT_SECONDS = 300


@dataclass
class Told:
    """What the command is told of: the run of this config, as far as it is known."""

    config: TrainOptions


@contextmanager
def running(recipe: str, config: TrainOptions) -> Iterator[Told]:
    """Runs --on-exit when its body ends, after the last word to the disk; workers leave it to their launcher.

    The command gets TOOL_STATUS (finished, preempted, failed), TOOL_EXIT_CODE, TOOL_ERROR, TOOL_RUN, TOOL_STEP, TOOL_TOTAL_STEPS,
    TOOL_SECONDS, TOOL_SCORE and TOOL_COST; what isn't known is empty. Its own failure is said and changes nothing.
    """
    told = Told(config)
    if not config.on_exit or is_worker():
        yield told
        return
    began = run_folder.now()
    try:
        yield told
    except BaseException as error:
        code = exit_code_of(error)
        _run(config.on_exit, recipe, told.config, began, code, str(error))
        raise
    _run(config.on_exit, recipe, told.config, began, 0, "")


def _run(command: str, recipe: str, config: TrainOptions, began: str, code: int, error: str) -> None:
    run = find.newest_of(config.output_dir, recipe, config)
    if run is not None and run.status().get("state") == "finished" and str(run.status().get("updated", "")) < began:
        run = None  # an earlier one of the same command
    if config.dry_run:
        run = None
    status: dict[str, Any] = run.status() if run is not None else {}
    state = {0: "finished", 75: "preempted"}.get(code, "failed")
    values = {
        "STATUS": state,
        "EXIT_CODE": code,
        "ERROR": error,
        "RUN": run.path.absolute() if run is not None else "",
        "STEP": status.get("step", ""),
        "TOTAL_STEPS": status.get("total_steps", ""),
        "SECONDS": status.get("seconds", ""),
        "SCORE": status.get("score", ""),
        "COST": status.get("cost", ""),
    }
    environment = {**os.environ, **{f"TOOL_{name}": str(value) for name, value in values.items()}}
    sys.stdout.flush()
    try:
        # Its words go to stderr: stdout is the result's.
        done = subprocess.run(
            command, shell=True, env=environment, stdout=sys.stderr, timeout=LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        print_line(f"--on-exit: stopped after {LIMIT_SECONDS} s")
        return
    if done.returncode:
        print_line(f"--on-exit: ended with code {done.returncode}")
