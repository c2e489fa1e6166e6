"""Run folders made by hand, with known figures, for the tests of what is done with runs."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from recipes.runs import scores

CONFIG = {"recipe": "vqa", "model": "tiny", "data": "sample", "batch_size": 64, "learning_rate": 0.001, "tracker": []}


def make_run(
    folder: Path,
    name: str,
    *,
    state: str = "finished",
    options: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    lines: list[dict[str, Any]] | None = None,
    files: dict[str, int] | None = None,
) -> Path:
    """A run folder; `files` are paths in it with how many bytes each has."""
    run = folder / name
    run.mkdir(parents=True)
    values = {"recipe": "vqa", "state": state, "started": f"2026-11-22T14:03:11.{len(name):03d}+00:00", "step": 20}
    (run / "status.json").write_text(json.dumps({**values, "total_steps": 20, "seconds": 60.0, **(status or {})}))
    (run / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **(options or {})}))
    (run / "environment.json").write_text(json.dumps({"processor": "any", "versions": {"torch": "2.13.0"}}))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines or []))
    for path, size in (files or {}).items():
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        (run / path).write_bytes(b"x" * size)
    return run


def measured(accuracy: float) -> dict[str, Any]:
    """The status of a run that measured this."""
    figures = {"loss": 0.5, "accuracy": accuracy, "accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1}
    return {
        "score": f"accuracy {100 * accuracy:.1f} %",
        "best_step": 10,
        "metrics": {**figures, "n": 100, "priors": {"majority": 0.3}},
    }


def write_scores(run: Path, values: list[float], ids: list[Any] | None = None, **other: Any) -> None:
    """scores.json; each example is a group of its own unless `groups` says otherwise."""
    ids = list(range(len(values))) if ids is None else ids
    given = {"metric": "accuracy", "greater_is_better": True, "data": {"name": "sample"}, "groups": ids, **other}
    scores.write(run, scores.Scores(ids=ids, scores=values, **given))


def logged(steps: int, validated: int, accuracy: float = 0.5) -> list[dict[str, Any]]:
    """Metrics: a line a step, and a validation every `validated` steps."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        lines.append({"kind": "train", "step": step, "epoch": step / 10, "loss": 4 / step, "seconds": step})
        if step % validated == 0:
            figures = {"accuracy": accuracy, "accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1, "n": 100}
            lines.append({"kind": "validation", "step": step, "epoch": step / 10, "loss": 3 / step, **figures})
    return lines


@contextmanager
def held(run: Path) -> Iterator[None]:
    """The run as a living process has it."""
    with open(run / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with what files hold; the locks, which are empty, left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }
