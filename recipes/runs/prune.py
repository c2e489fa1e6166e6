"""Freeing disk under a folder of runs: old checkpoints, leftovers of killed writes, whole runs."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from recipes.runs import folder as run_folder
from recipes.runs.folder import UNFINISHED, Run
from recipes.terminal.progress import size
from recipes.terminal.tables import table
from tasks.errors import ToolError
from tasks.files import LEFTOVER, disk_errors, folder_bytes, remove_tree

HELD = "a living process has it"


@dataclass
class Item:
    """Something that can go. `what`: checkpoints, leftover or run; `state` is the run's, None where it is in none."""

    run: Run
    path: Path
    what: str
    bytes: int
    state: str | None = None


@dataclass
class Plan:
    """What can go, and which runs are left alone and why."""

    items: list[Item] = field(default_factory=list)
    kept: list[tuple[Run, str]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.items)


def plan(
    runs: list[Run],
    *,
    older_than: float | None = None,
    unfinished: bool = False,
    whole: bool = False,
    now: datetime.datetime | None = None,
) -> Plan:
    """What can go of the runs.

    Args:
        older_than: days since a run last wrote its status.
        unfinished: whole runs that failed, were preempted or killed; the same command can't go on with them then.
        whole: whole finished runs.
    """
    found = Plan()
    for run in runs:
        if older_than is None or age(run, now) >= older_than:
            _consider(found, run, unfinished, whole)
    return found


def stray(output_dir: Path) -> list[Item]:
    """Runs whose removal was cut short: folders that are named so, beside the runs."""
    if not output_dir.is_dir():
        return []
    paths = sorted(path for path in output_dir.iterdir() if is_stray(path) and path.is_dir() and not path.is_symlink())
    return [_item(Run(path), path, "leftover", None) for path in paths]


def is_stray(path: Path) -> bool:
    """Whether a folder beside the runs is one whose removal was cut short."""
    return path.name.endswith(".old") and LEFTOVER.fullmatch(path.name) is not None


def age(run: Run, now: datetime.datetime | None = None) -> float:
    """Days since the run last wrote its status."""
    now = now or datetime.datetime.now(datetime.UTC)
    try:
        then = datetime.datetime.fromisoformat(str(run.status().get("updated")))
        then = then if then.tzinfo else then.replace(tzinfo=datetime.UTC)
    except ValueError:
        then = datetime.datetime.fromtimestamp((run.path / "status.json").stat().st_mtime, datetime.UTC)
    return (now - then).total_seconds() / 86_400


def remove(found: Plan) -> Plan:
    """Removes what was planned, and returns what went; a run that a process took meanwhile is left alone.

    Raises:
        ToolError: something can't be removed; names it.
    """
    done = Plan(kept=list(found.kept))
    for path, group in groupby(found.items, key=lambda item: item.run.path):
        items, run = list(group), Run(path)
        if items[0].state is None:
            done.items += [_removed(item, run) for item in items]
            continue
        with disk_errors(path):
            mine = run.acquire()
        if not mine or run.status().get("state") != items[0].state:
            done.kept.append((run, HELD if not mine else "it changed meanwhile"))
            continue
        try:
            done.items += [_removed(item, run) for item in items]
        finally:
            run.let_go()
    return done


def text(found: Plan, removed: bool) -> str:
    """What can go, or went, as a table with its sum; and what is kept."""
    rows = [[item.run.path.name, _named(item), size(item.bytes)] for item in found.items]
    lines = [table(["run", "what", "size"], rows)] if rows else []
    lines += [f"kept   {run.path.name}: {reason}" for run, reason in found.kept]
    lines.append(f"{'freed' if removed else 'total':<7}{size(found.bytes)}" if rows else "nothing to remove")
    return "\n".join(lines)


def as_dict(found: Plan, removed: bool) -> dict[str, Any]:
    """The same as plain values, for --json."""
    return {
        "removed": removed,
        "bytes": found.bytes,
        "items": [
            {"run": item.run.path.name, "path": str(item.path), "what": item.what, "bytes": item.bytes}
            for item in found.items
        ],
        "kept": [{"run": run.path.name, "reason": reason} for run, reason in found.kept],
    }


# -- what can go ---------------------------------------------------------------------------------------------------------


def _consider(found: Plan, run: Run, unfinished: bool, whole: bool) -> None:
    state = str(run.status().get("state", ""))
    if run.path.is_symlink():
        found.kept.append((run, "it is a link to another place"))
    elif run_folder.held(run):
        found.kept.append((run, HELD))
    elif (whole and state == "finished") or (unfinished and state in UNFINISHED):
        found.items.append(_item(run, run.path, "run", state))
    else:
        reason = _reason(run, state)
        paths = [run.checkpoints] if not reason and run.checkpoints.is_dir() else []
        found.items += [_item(run, path, "checkpoints", state) for path in paths]
        found.items += [_item(run, path, "leftover", state) for path in _leftovers(run.path, skip=paths)]
        if reason:
            found.kept.append((run, reason))


def _reason(run: Run, state: str) -> str:
    """Why a run's checkpoints have to stay."""
    if state in UNFINISHED:
        return f"{run_folder.state(run)}, the same command goes on with it; --unfinished removes it"
    if state != "finished":
        return "its state isn't known"
    if run.checkpoints.is_symlink():
        return "its checkpoints are a link to another place"
    if run.checkpoints.is_dir() and not (run.model.is_dir() and any(run.model.iterdir())):
        return "it has no model/, so its checkpoints are all that there is of it"
    return ""


def _leftovers(folder: Path, skip: list[Path]) -> Iterator[Path]:
    """Leftovers of killed writes below a run folder; links are looked at, not followed."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *names]):
            if LEFTOVER.fullmatch(name):
                yield Path(root, name)
        folders[:] = [name for name in folders if not LEFTOVER.fullmatch(name) and Path(root, name) not in skip]


def _item(run: Run, path: Path, what: str, state: str | None) -> Item:
    count = 0
    if not path.is_symlink():
        count = folder_bytes(path) if path.is_dir() else path.lstat().st_size
    return Item(run, path, what, count, state)


def _named(item: Item) -> str:
    if item.what != "leftover" or item.state is None:
        return item.what
    return f"leftover {item.path.relative_to(item.run.path)}"


# -- removing ------------------------------------------------------------------------------------------------------------


def _removed(item: Item, run: Run) -> Item:
    """Removes one thing. A folder is renamed first, so that half of one is never taken for a whole; links go as links."""
    path = item.path
    with disk_errors(path):
        if path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
            return item
        # Renamed, not moved into a new folder: a full disk may have no room for one.
        aside = path if item.what == "leftover" else path.with_name(f".{path.name}.{os.getpid()}.old")
        if aside != path:
            path.rename(aside)
        if item.what == "run":
            (aside / "status.json").unlink(missing_ok=True)
            run.let_go()  # nobody finds it any more, and network file systems keep a folder with an open file
        remove_tree(aside)
    if aside.exists():
        raise ToolError(f"can't remove all of {aside}; mend its permissions and run again")
    return item
