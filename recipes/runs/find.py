"""Finding run folders: the newest, the unfinished one of the same command, the one that --resume names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.config import default_options, result_options
from recipes.runs.folder import OF_A_START, UNFINISHED, Run, as_yaml, identity, now
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError, ToolError
from tasks.files import remove_leftovers, write_text

# So long is waited for a run of the same command that a living process holds, before another is begun.
HELD_SECONDS = 15.0


def find_unfinished(output_dir: str | Path, recipe: str, config: Any) -> Run | None:
    """The newest unfinished run that the same command started and no living process holds."""
    wanted = identity(recipe, config)
    deadline = time.monotonic() + HELD_SECONDS
    held: Run | None = None
    while True:
        held, before = None, held
        for run in reversed(list(runs_in(output_dir))):
            if not _may_go_on(run, wanted):
                continue
            if run.acquire():
                if _may_go_on(run, wanted):
                    return run
                run.let_go()  # it was finished meanwhile
                continue
            held = run
        # A launcher that was killed may have left a process that still saves.
        if held is None:
            return None
        if before is None:
            print_line(f"waiting   the same command is at work in {held.path}: {HELD_SECONDS:.0f} s for its end")
        if time.monotonic() > deadline:
            print_line(f"          it goes on there; this is another run beside {held.path.name}")
            return None
        time.sleep(0.5)


def _may_go_on(run: Run, wanted: str) -> bool:
    status = run.status()
    return status.get("identity") == wanted and status.get("state") in UNFINISHED


def newest_of(output_dir: str | Path, recipe: str, config: Any) -> Run | None:
    """The run that was written last by the same command, in whatever state; a resumed one counts too."""
    if config.resume:
        return open_to_resume(config.resume)[0]
    wanted = identity(recipe, config)
    found = [run for run in runs_in(output_dir) if run.status().get("identity") == wanted]
    return max(found, key=lambda run: str(run.status().get("updated", "")), default=None)


def open_run(path: str | Path) -> Run:
    """The run at a folder given by the user.

    Raises:
        ConfigError: it is not a run folder.
    """
    run = Run(Path(path))
    if not (run.path / "status.json").exists():
        raise ConfigError(f"{path} is not a run folder (it has no status.json); see `tool runs list`")
    return run


def open_to_resume(path: str | Path) -> tuple[Run, Path | None]:
    """The run at a folder given by the user, or of a checkpoint given; the latter as well, then.

    Raises:
        ConfigError: it is neither.
    """
    given = Path(path)
    if given.parent.name == "checkpoints" and (given.parent.parent / "status.json").exists():
        run = Run(given.parent.parent)
        if run.status().get("went_back_to") == given.name:
            return run, None  # the same command run again: on from the newest since
        if not given.is_dir():
            there = ", ".join(sorted(step.name for step in given.parent.glob("step-*"))) or "none"
            raise ConfigError(f"--resume: there is no checkpoint {given}; there are: {there}")
        return run, given
    if not given.exists():
        raise ConfigError(f"--resume: there is no {given}; see `tool runs list`")
    return open_run(given), None


def options_to_resume(path: str, recipe: str) -> dict[str, Any]:
    """The options that the run which --resume names was started with, without those that were about that start alone.

    Raises:
        ConfigError: there is no such run or checkpoint, or it is another recipe's.
    """
    run, _ = open_to_resume(path)
    was = _config_of(run, recipe)
    return {name: value for name, value in was.items() if name not in ("recipe", *OF_A_START)}


def _moved(name: str, value: Any) -> bool:
    """Whether it is a place on this machine where the data lie now: that they are the same is seen by their content."""
    return name == "data" and isinstance(value, str) and Path(value).exists()


def _config_of(run: Run, recipe: str) -> dict[str, Any]:
    was = run.config()
    if was.get("recipe") != recipe:
        raise ConfigError(f"--resume: {run.path} is a run of {was.get('recipe')}, not of {recipe}")
    return was


def check_resumable(run: Run, recipe: str, config: Any) -> None:
    """Refuses a resume whose options would change the result, naming the differences."""
    was = _config_of(run, recipe)
    defaults = default_options(type(config))
    differing = [
        f"{name.replace('_', '-')}: {earlier} there, {value} here"
        for name, value in result_options(config).items()
        if (earlier := was.get(name, defaults.get(name))) != value and not _moved(name, value)
    ]
    if differing:
        raise ConfigError(
            f"--resume: {run.path} was started with other options ({'; '.join(differing)}); "
            f"give the same, or start a new run without --resume"
        )
    if run.status().get("state") == "finished" and not any(run.checkpoints.glob("step-*")):
        raise ConfigError(
            f"--resume: {run.path} is finished and its checkpoints were pruned; train on from {run.model} by --model"
        )
    if not run.acquire():
        raise ToolError(f"--resume: {run.path} is being written by a living process; wait for it or stop it")


def take_up(run: Run, recipe: str, config: Any) -> Run:
    """Makes ready a run that is to go on, with the options of now: those that don't change the result may be others."""
    remove_leftovers(run.path)
    remove_leftovers(run.checkpoints)
    run.taken_up = recipe, config
    return run


def note_going_on(run: Run) -> None:
    """Notes that a run that was taken up goes on."""
    if run.taken_up is None:
        return
    recipe, config = run.taken_up
    status = run.status()
    run.update(
        recipe=recipe,
        identity=identity(recipe, config),
        started=status.get("started") or now(),
        state="running",
        error=None,
        verdict=None,
        resumed=int(status.get("resumed") or 0) + 1,
    )
    write_text(run.path / "config.yaml", as_yaml(config, recipe))
    run.taken_up = None


def runs_in(output_dir: str | Path) -> Iterator[Run]:
    """All run folders, oldest first."""
    folder = Path(output_dir)
    if not folder.is_dir():
        return
    found = [Run(path) for path in folder.iterdir() if (path / "status.json").is_file()]
    yield from sorted(found, key=lambda run: (str(run.status().get("started", "")), run.path.name))


def newest_finished(output_dir: str | Path, fitting: tuple[str, ...]) -> Run:
    """The newest finished run of one of the recipes.

    Raises:
        ConfigError: there is none; names the ways to give a model.
    """
    for run in reversed(list(runs_in(output_dir))):
        status = run.status()
        if status.get("state") == "finished" and status.get("recipe") in fitting:
            return run
    raise ConfigError(
        f"--model: there is no finished {' or '.join(fitting)} run under {output_dir}/; give --model with a run folder, "
        f"a model folder or a Hub id, or train one first: tool train {fitting[0]} --model tiny --data sample"
    )
