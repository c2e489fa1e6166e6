"""Trackers besides metrics.jsonl: none unless asked for.

metrics.jsonl is the truth, and a resumed run finds it cut to its checkpoint. A tracker that can begin anew (TensorBoard, W&B
offline) gets the whole of it and drops its older files once the new one is on the disk; W&B's server gets what it lacks. So each
step is there once, whatever stopped the run before.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.runs import wandb as wandb_tools
from recipes.runs.folder import Run
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError, Preempted, ToolError
from tasks.files import disk_errors, remove_tree, sync_tree

Line = dict[str, Any]
Picture = tuple[str, Path, int]
# The lines of metrics.jsonl, a validation's with the picture that the run folder has of it.
History = list[tuple[Line, Picture | None]]
PICTURES = "validation"


class Trackers:
    """Weights & Biases and TensorBoard behind one `log`. Once they run, nothing that fails in them ends the training.

    Raises:
        ConfigError: a tracker can't be started; a resumed run goes on with W&B offline instead.
    """

    def __init__(self, names: list[str], run: Path, project: str, config: dict[str, Any]) -> None:
        self._open: dict[str, Any] = {}
        self._failed: set[str] = set()
        history = _history(run) if names else []
        try:
            for name in dict.fromkeys(names):
                self._open[name] = _Wandb(run, project, config, history) if name == "wandb" else _Board(run, history)
        except BaseException:
            self.close()
            raise

    def log(self, line: Line) -> None:
        """One metrics line; numbers only."""
        self._each("log", line)

    def picture(self, name: str, path: Path, step: int) -> None:
        """A picture of a validation. A resumed run finds by itself those called `step-000500.png` in the run folder's `validation`."""
        self._each("picture", (name, path, step))

    def close(self) -> None:
        """Flushes and ends, in a time that a machine about to be taken away still has."""
        error = sys.exception()
        while self._open:
            name, tracker = self._open.popitem()
            self._guarded(name, tracker.close, error)

    def _each(self, method: str, value: Any) -> None:
        for name, tracker in self._open.items():
            if name not in self._failed:
                self._guarded(name, getattr(tracker, method), value)

    def _guarded(self, name: str, call: Callable[[Any], None], value: Any) -> None:
        try:
            call(value)
        except Preempted:
            raise
        except Exception as error:
            if name not in self._failed:
                self._failed.add(name)
                print_line(
                    f"          --tracker {name} failed ({wandb_tools.brief(error)}): the run goes on without it; its "
                    f"figures are in metrics.jsonl"
                )


class _Board:
    """TensorBoard: one event file with the whole history.

    The older files go at the end, not before: a TensorBoard that is open is lost when the file that it reads goes away.
    """

    def __init__(self, run: Path, history: History) -> None:
        folder = run / "tensorboard"
        self._older = list(folder.glob("events.out.tfevents.*"))
        self._excepthook, others = threading.excepthook, set(threading.enumerate())
        with disk_errors(folder):
            # From step 0: readers forget what they have from the older files.
            self._writer = _load("torch.utils.tensorboard", "tensorboard").SummaryWriter(
                str(folder), purge_step=0 if self._older else None, flush_secs=int(wandb_tools.FLUSH_SECONDS)
            )
            # An error in its thread comes back with the next call; there is no need for a traceback too.
            ours = set(threading.enumerate()) - others
            threading.excepthook = lambda error: None if error.thread in ours else self._excepthook(error)
            began = time.time() - max((line.get("seconds", 0.0) for line, _ in history), default=0.0)
            for line, picture in history:
                at = began + line.get("seconds", 0.0)
                self.log(line, at)
                if picture is not None:
                    with contextlib.suppress(OSError, ValueError):  # a picture that was broken since
                        self.picture(picture, at)
            self._writer.flush()

    def log(self, line: Line, at: float | None = None) -> None:
        for key, value in _values(line).items():
            self._writer.add_scalar(key, value, int(line["step"]), walltime=at)

    def picture(self, picture: Picture, at: float | None = None) -> None:
        import numpy as np
        from PIL import Image

        name, path, step = picture
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(name, pixels, step, walltime=at, dataformats="HWC")

    def close(self, error: BaseException | None) -> None:
        try:
            self._writer.close()
        finally:
            threading.excepthook = self._excepthook
        if self._older:
            sync_tree(self._older[0].parent)
        for file in self._older:
            file.unlink(missing_ok=True)


class _Wandb:
    """A W&B run named after the run folder.

    A step's lines (train, validation) are one row there, sent when the step is over: W&B takes no second row for a step, and a run
    that is stopped between the two lines still has the second to come.
    """

    def __init__(self, run: Path, project: str, config: dict[str, Any], history: History) -> None:
        self._wandb = _library()
        self._row: tuple[int, Line] | None = None
        before = wandb_tools.folders(run)
        names = {"project": project, "id": run.name, "name": run.name, "dir": str(run.resolve()), "config": config}
        try:
            self._run = self._init(run / "log.txt", names, resuming=bool(history or before))
        except BaseException:
            wandb_tools.within(wandb_tools.CLOSE_SECONDS, self._teardown)
            raise
        self._folder = Path(self._run.dir).resolve().parent
        self._older = [] if self._run.disabled else before
        self._first = self._run.starting_step
        if self._run.offline:
            # What W&B has of an earlier folder would be there twice.
            self._older = [folder for folder in before if not wandb_tools.is_sent(folder)]
            sent = (wandb_tools.last_step(folder) for folder in before if folder not in self._older)
            self._first = 1 + max(sent, default=-1)
        self._history_ends = max((int(line["step"]) for line, _ in history), default=-1)
        self._read_from = 0
        for line, picture in history:
            if picture is not None:
                with contextlib.suppress(OSError, ValueError):  # a picture that was broken since
                    self.picture(picture)
            self._fill(int(line["step"]), lambda line=line: _values(line))  # type: ignore[misc]
        self._drop_older()

    def log(self, line: Line) -> None:
        self._fill(int(line["step"]), lambda: _values(line))
        self._drop_older()

    def picture(self, picture: Picture) -> None:
        name, path, step = picture
        self._fill(step, lambda: {name: self._wandb.Image(str(path))})

    def close(self, error: BaseException | None) -> None:
        if error is None or self._run.offline:
            self._send()
        if isinstance(error, Preempted):
            self._run.mark_preempting()
        code = getattr(error, "exit_code", 1) if error else 0
        folder = os.path.relpath(self._folder)
        try:
            in_time = wandb_tools.within(2 * wandb_tools.CLOSE_SECONDS, lambda: self._finish(code))
        except TimeoutError:
            in_time = False
        if not in_time:
            later = "the next start sends it" if error else f"to send it: wandb sync {folder}"
            print_line(
                f"          wandb: what W&B didn't take within {wandb_tools.CLOSE_SECONDS:.0f} s is kept; {later}"
            )
            return
        self._remove_older()
        if self._run.offline and not error:
            print_line(f"          wandb: kept offline; to send it: wandb sync {folder}")

    def _init(self, log: Path, names: dict[str, Any], *, resuming: bool) -> Any:
        begin = functools.partial(self._wandb.init, **names, resume="allow", settings=wandb_tools.settings(self._wandb))
        try:
            with disk_errors(log.parent / "wandb"), wandb_tools.drawing_into(log):
                return begin()
        except ToolError:
            raise
        except Exception as error:
            why = wandb_tools.brief(error)
            if not resuming:
                raise ConfigError(f"--tracker wandb can't start: {why}; {_WAYS_OUT}") from None
            print_line(f"          --tracker wandb goes on offline: {why}")
        wandb_tools.within(wandb_tools.CLOSE_SECONDS, self._teardown)  # it holds the run's name
        with wandb_tools.drawing_into(log):
            return begin(mode="offline")

    def _fill(self, step: int, values: Callable[[], Line]) -> None:
        """Adds to the row of a step that W&B doesn't have yet."""
        if step < self._first:
            return
        if self._row is not None and self._row[0] != step:
            self._send()
        self._row = (step, {**(self._row[1] if self._row else {}), **values()})

    def _send(self) -> None:
        if self._row is not None:
            (step, values), self._row = self._row, None
            self._run.log(values, step=step, commit=True)

    def _drop_older(self) -> None:
        """Offline, the older folders go as soon as the new one has on the disk all that they can hold."""
        ends = self._history_ends
        if not self._older or not self._run.offline or (self._row and self._row[0] <= ends):
            return
        size = wandb_tools.file_size(self._folder)
        if wandb_tools.last_step(self._folder, self._read_from) < ends and self._first <= ends:
            self._read_from = self._read_from or size
            return
        sync_tree(self._folder)
        self._remove_older()

    def _remove_older(self) -> None:
        for older in self._older:
            remove_tree(older)
        self._older = []

    def _finish(self, code: int) -> None:
        try:
            self._run.finish(exit_code=code)
        finally:
            self._teardown()

    def _teardown(self) -> None:
        """Ends W&B's own process here: its exit hook would wait for it without a limit."""
        with contextlib.suppress(Exception):
            self._wandb.teardown()


def check(names: list[str]) -> None:
    """Fails before any work where a tracker's package is missing, or the login that it needs."""
    for name in names:
        if name == "wandb":
            wandb = _library()
            try:
                wandb.login(verify=False)  # asks nothing, reaches out to nobody; offline it does nothing
            except wandb.Error as error:
                raise ConfigError(f"--tracker wandb: {wandb_tools.brief(error)}; {_WAYS_OUT}") from None
        else:
            _load("torch.utils.tensorboard", name)


_WAYS_OUT = "log in with `wandb login`, or log without a network: WANDB_MODE=offline"


def _history(run: Path) -> History:
    history: History = []
    for line in Run(run).read_metrics():
        path = run / PICTURES / picture_name(line["step"])
        drawn = line["kind"] == "validation" and path.is_file()
        history.append((line, (f"{PICTURES}/pictures", path, line["step"]) if drawn else None))
    return history


def picture_name(step: int) -> str:
    """The file of a validation's picture."""
    return f"step-{step:06d}.png"


def _values(line: Line) -> Line:
    kind = line["kind"]
    return {f"{kind}/{key}": value for key, value in line.items() if isinstance(value, (int, float)) and key != "step"}


def _library() -> Any:
    wandb_tools.hush()
    return _load("wandb", "wandb")


def _load(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(f"--tracker {extra} needs its package: pip install 'modeltool[{extra}]'") from None
