"""Trials of a search: what was tried, what came of it, kept on disk after each so that an interrupted call goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.errors import DataError
from tasks.files import remove_tree, write_json

FILE = "trials.json"


@dataclass
class Trial:
    """One way to quantize, and what it came to.

    Attributes:
        key: digest of all that the figures depend on.
        name: the plan's, to read.
        plan: the plan as plain values; `excluded` names the layers left float.
        measured: as `measure.Measured.as_dict`; {} where it failed.
        counts: quantized operators.
        error: why it failed, in a line.
    """

    key: str
    name: str
    plan: dict[str, Any]
    measured: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def drop(self) -> float:
        """Points lost; infinite where it failed."""
        return float(self.measured["against"]["drop"]) if self.measured else float("inf")

    def within(self, max_drop: float) -> bool:
        """Whether it loses no more than allowed. A rounding error is not a loss."""
        return bool(self.measured) and self.drop <= max_drop + 1e-9

    def cost(self, optimize_for: str) -> float:
        """What the search makes small: milliseconds for one text, or seconds for a text in batches."""
        if not self.measured:
            return float("inf")
        if optimize_for == "latency":
            return float(self.measured["latency"]["1"]["median_ms"])
        return 1 / max(float(self.measured["texts_per_second"]), 1e-9)


class Store:
    """The trials of one subject in `folder`, and their files under trial keys."""

    def __init__(self, folder: Path, fresh: bool) -> None:
        self.folder = folder
        if fresh and folder.is_dir():
            remove_tree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.known = {trial.key: trial for trial in self._read()}

    def _read(self) -> list[Trial]:
        path = self.folder / FILE
        if not path.exists():
            return []
        try:
            return [Trial(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
        except (ValueError, TypeError) as error:
            raise DataError(f"{path} can't be read ({error}); start anew with --fresh") from None

    def add(self, trial: Trial) -> None:
        """Keeps a trial, or its newer figures."""
        self.known[trial.key] = trial
        write_json(self.folder / FILE, [dataclasses.asdict(one) for one in self.known.values()])

    def path(self, key: str) -> Path:
        """The folder for the files of a trial."""
        return self.folder / key

    def drop_files(self, keep: set[str]) -> None:
        """Deletes the models of all trials but these: each is made again from its plan where it is needed."""
        for key in self.known:
            if key not in keep and self.path(key).is_dir():
                remove_tree(self.path(key))


def key_of(*facts: Any) -> str:
    """A short digest of plain values."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
