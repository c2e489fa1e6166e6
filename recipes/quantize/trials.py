"""Trials of a quantization search, stored on disk so that an interrupted search resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.quantize.config import Quantize
from recipes.terminal.progress import duration
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
        """What the search makes small: the median latency of one text, or of a batch, as a share of the float model's, which was
        measured in turns with it. Milliseconds of different hours, and other load, could not be compared.
        """
        if not self.measured:
            return float("inf")
        latency = self.measured["latency"]
        size = "1" if optimize_for == "latency" else list(latency)[-1]
        return float(latency[size]["median_ms"]) / float(self.measured["against"]["float_latency"][size]["median_ms"])


@dataclass
class SearchResult:
    """What a search came to.

    Attributes:
        chosen: the fastest trial within the allowed drop; None where there is none.
        sensitivity: (layer, how far the logits move when it alone is quantized), largest first, by the plan it was measured for.
        unfinished: what the time did not suffice for.
    """

    trials: list[Trial]
    chosen: Trial | None
    sensitivity: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)


def line(trial: Trial, config: Quantize) -> str:
    """A trial in a line."""
    if trial.error:
        return f"{trial.name}: {trial.error}"
    against = trial.measured["against"]
    verdict = "" if trial.within(config.max_drop) else " · over"
    return (
        f"{trial.name}: drop {against['drop']:+.2f} points{verdict} · {trial.cost('latency'):.2f} of float's latency · "
        f"{trial.cost('throughput'):.2f} in batches · "
        f"{duration(sum(trial.seconds.values()))}"
    )


def pareto(trials: list[Trial], optimize_for: str) -> list[str]:
    """Keys of the trials that no other beats in both speed and drop."""
    measured: list[Any] = [trial for trial in trials if trial.measured]
    return [
        one.key
        for one in measured
        if not any(
            (two.cost(optimize_for) <= one.cost(optimize_for) and two.drop < one.drop)
            or (two.cost(optimize_for) < one.cost(optimize_for) and two.drop <= one.drop)
            for two in measured
        )
    ]


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
        for folder in sorted(self.folder.iterdir()):
            if folder.is_dir() and folder.name not in keep and not folder.name.startswith("float-"):
                remove_tree(folder)


def key_of(*facts: Any) -> str:
    """A short digest of plain values."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
