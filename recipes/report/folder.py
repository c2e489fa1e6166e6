"""Reading of a run folder for reports; a torn line or a missing file is told, never fatal."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.report.figures import finite


@dataclass
class Record:
    """The files of one run. `problems` says in words what could not be read."""

    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    training: list[dict[str, Any]] = field(default_factory=list)
    validation: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_run(run: Path) -> Record:
    """Reads config.yaml, environment.json, status.json and metrics.jsonl of a run folder."""
    record = Record()
    record.config = _mapping(run / "config.yaml", record.problems)
    record.environment = _mapping(run / "environment.json", record.problems)
    record.status = _mapping(run / "status.json", record.problems)
    record.training, record.validation = _metrics(run / "metrics.jsonl", record.problems)
    return record


def _mapping(path: Path, problems: list[str]) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        problems.append(f"{path.name} could not be read.")
        return {}
    return value if isinstance(value, dict) else {}


def _metrics(path: Path, problems: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training and validation lines in order of step. After a resume the later line of a step replaces the earlier."""
    found: dict[str, dict[float, dict[str, Any]]] = {"train": {}, "validation": {}}
    if not path.is_file():
        return [], []
    broken = 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            entry = _entry(line)
            if entry is None:
                broken += bool(line.strip())
            elif entry["kind"] in found:
                found[entry["kind"]][entry["step"]] = entry
    if broken:
        lines = "1 line was" if broken == 1 else f"{broken:,} lines were"
        problems.append(f"{lines} torn or unreadable in metrics.jsonl and left out.")
    train, validation = ([by_step[step] for step in sorted(by_step)] for by_step in found.values())
    return train, validation


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    usable = isinstance(entry, dict) and isinstance(entry.get("kind"), str)
    return entry if usable and not math.isnan(finite(entry.get("step"))) else None
