"""`--on-exit CMD`: a shell command at the end of a run, however it ends, with the status in its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from recipes.options import TrainOptions
from recipes.process.worker import is_worker
from recipes.runs import find
from recipes.runs import folder as run_folder
from recipes.terminal.progress import print_line
from tasks.errors import exit_code_of

LIMIT_SECONDS = 300


@contextmanager
def running(recipe: str, config: Callable[[], TrainOptions]) -> Iterator[None]:
    """Runs --on-exit of the config, as it is by then, after the body and the last write to the disk; not in workers.

    The command gets TOOL_STATUS (finished, preempted, failed), TOOL_EXIT_CODE, TOOL_ERROR, TOOL_RUN, TOOL_STEP, TOOL_TOTAL_STEPS,
    TOOL_SECONDS, TOOL_SCORE and TOOL_COST; what isn't known is empty. Its own failure is said and changes nothing.
    """
    command = config().on_exit
    if not command or is_worker():
        yield
        return
    began = run_folder.now()
    try:
        yield
    except BaseException as error:
        _run(command, recipe, config(), began, exit_code_of(error), str(error))
        raise
    _run(command, recipe, config(), began, 0, "")


def _run(command: str, recipe: str, config: TrainOptions, began: str, code: int, error: str) -> None:
    run = find.newest_of(config.output_dir, recipe, config)
    status: dict[str, Any] = run.status() if run is not None else {}
    earlier = status.get("state") == "finished" and str(status.get("updated", "")) < began  # of the same command
    if earlier or config.dry_run:
        run, status = None, {}
    values = {
        "STATUS": {0: "finished", 75: "preempted"}.get(code, "failed"),
        "EXIT_CODE": code,
        "ERROR": error,
        "RUN": run.path.absolute() if run is not None else "",
        **{key.upper(): status.get(key, "") for key in ("step", "total_steps", "seconds", "score", "cost")},
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
