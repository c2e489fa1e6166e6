"""Classes from a table of numbers: data, training, evaluation and prediction of a small network."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model
from torch import nn

from recipes import training
from recipes.loop.loop import Outcome
from recipes.process.memory import to_device
from recipes.report.card import Card
from recipes.report.content import Headline
from recipes.runs.select import choose_model
from recipes.work import Batch, Evaluator, Work
from tabular_recipe.config import Eval, Predict, Sample, Train
from tasks.errors import ConfigError, DataError
from tasks.files import write_json, write_text
from tasks.stats import bootstrap_mean

HELD_OUT = 5  # every fifth row is for evaluation


@dataclass
class Table:
    """Rows float32 [n, columns] and their classes int64 [n]."""

    rows: np.ndarray
    label: np.ndarray

    def part(self, held_out: bool) -> Table:
        chosen = (np.arange(len(self.label)) % HELD_OUT == 0) == held_out
        return Table(self.rows[chosen], self.label[chosen])


def sample_text(seed: int) -> str:
    """Points of two rings around the same middle, as CSV."""
    draw = np.random.default_rng(seed)
    label, angle = draw.integers(0, 2, 1000), draw.uniform(0, 2 * np.pi, 1000)
    radius = 1 + label + draw.normal(0, 0.2, 1000)
    points = zip(radius * np.cos(angle), radius * np.sin(angle), label, strict=True)
    return "x,y,label\n" + "".join(f"{x:.5f},{y:.5f},{kind}\n" for x, y, kind in points)


def read(data: str) -> Table:
    """The table of a CSV file, or the sample's.

    Raises:
        DataError: with file and row.
    """
    if data != "sample" and not Path(data).is_file():
        raise DataError(f"{data}: no such file; give a CSV file, or `sample`")
    lines = list(csv.DictReader(io.StringIO(sample_text(0) if data == "sample" else Path(data).read_text("utf-8"))))
    rows, label = [], []
    for number, line in enumerate(lines, start=2):
        try:
            label.append(int(line.pop("label")))
            rows.append([float(value) for value in line.values()])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{data}, row {number}: needs numbers and a whole number `label` ({error})") from None
    if len(rows) < 2 * HELD_OUT:
        raise DataError(f"{data}: {len(rows)} rows are too few; give at least {2 * HELD_OUT}")
    return Table(np.asarray(rows, np.float32), np.asarray(label))


def network(columns: int, classes: int, hidden: int, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Linear(columns, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, classes))


class TabularWork(Work):
    """What the loop trains: batches of rows, their loss, and the evaluation on held-out rows."""

    unit = "rows"

    def __init__(self, model: nn.Module, config: Train, table: Table) -> None:
        self.train, self.held_out = table.part(False), table.part(True)
        digest = hashlib.sha256(table.rows.tobytes() + table.label.tobytes()).hexdigest()
        super().__init__(
            model,
            config,
            examples=len(self.train.label),
            eval_examples=len(self.held_out.label),
            metric="accuracy",
            data=digest,
        )

    def collate(self, numbers: np.ndarray, epoch: int) -> Batch:
        return {"x": torch.from_numpy(self.train.rows[numbers]), "y": torch.from_numpy(self.train.label[numbers])}

    def training_step(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        loss = nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="sum")
        return loss, len(batch["y"])

    def evaluate(self, model: nn.Module, evaluator: Evaluator) -> dict[str, Any]:
        return score(model, self.held_out, evaluator, majority=int(np.bincount(self.train.label).argmax()))


def score(model: nn.Module, table: Table, evaluator: Evaluator, majority: int) -> dict[str, Any]:
    """Accuracy with its interval, beside that of always giving the class that training has most of."""
    mine = []
    for first in evaluator.mine(range(0, len(table.label), evaluator.batch_size)):
        rows = {"x": torch.from_numpy(table.rows[first : first + evaluator.batch_size])}
        best = model(to_device(rows, evaluator.device)["x"]).argmax(1).tolist()
        mine.append((first, best))
        evaluator.progress(len(best))
    answers = [label for _, part in sorted(evaluator.gather(mine)) for label in part]
    found = bootstrap_mean((np.asarray(answers) == table.label).astype(float))
    baseline = float((table.label == majority).mean())
    return {
        "accuracy": found.mean,
        "low": found.low,
        "high": found.high,
        "n": len(answers),
        "majority": baseline,
        "majority_class": majority,
    }


def words(figures: dict[str, Any]) -> str:
    low, high, majority = (100 * figures[name] for name in ("low", "high", "majority"))
    accuracy = f"accuracy {100 * figures['accuracy']:.1f} % (n {figures['n']}, 95 % {low:.1f} to {high:.1f})"
    return f"{accuracy} · majority {majority:.1f}"


class Tabular(training.Recipe[Train, Table]):
    """The way of a training; all else, from memory to resume, is the loop's."""

    name = "tabular"

    def prepare(self) -> Table:
        return read(self.config.data)

    def header(self) -> list[str]:
        return [f"tabular · {len(self.parts.label):,} rows of {self.parts.rows.shape[1]} numbers"]

    def make_work(self) -> Work:
        torch.manual_seed(self.config.seed)
        shape = (self.parts.rows.shape[1], int(self.parts.label.max()) + 1, self.config.hidden)
        return TabularWork(network(*shape, self.config.dropout), self.config, self.parts)

    def save(self, folder: Path) -> None:
        super().save(folder)
        columns, classes = self.parts.rows.shape[1], int(self.parts.label.max()) + 1
        shape = {"columns": columns, "classes": classes, "hidden": self.config.hidden}
        write_json(folder / "config.json", shape)

    def card(self, outcome: Outcome) -> Card:
        figures = outcome.metrics
        accuracy, low, high, majority = (figures[name] for name in ("accuracy", "low", "high", "majority"))
        headline = Headline("accuracy", accuracy, low, high, figures["n"], {"majority": majority})
        summary = f"Classes from {self.parts.rows.shape[1]} numbers, trained on {self.config.data}."
        return replace(super().card(outcome), name="Tabular classes", summary=summary, headline=headline)

    def score(self, outcome: Outcome) -> str:
        return words(outcome.metrics)


def train(config: Train) -> dict[str, Any]:
    return training.train(Tabular(config))


def open_model(config: Eval | Predict) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """The network in evaluation mode, its shape, and the figures that its run measured."""
    path, run = choose_model(config.model, config.output_dir, ("tabular",))
    if run is None:
        raise ConfigError(f"--model {path}: no run folder of this recipe")
    shape = json.loads((run.model / "config.json").read_text())
    model = network(shape["columns"], shape["classes"], shape["hidden"])
    load_model(model, run.model / "model.safetensors")
    return model.eval(), shape, run.status()["metrics"]


def evaluate(config: Eval) -> dict[str, Any]:
    """Scores a run on the held-out rows of the data."""
    model, _, measured = open_model(config)
    with torch.inference_mode():
        evaluator = Evaluator.alone(torch.device("cpu"), 256)
        figures = score(model, read(config.data).part(True), evaluator, measured["majority_class"])
    return {**figures, "text": words(figures)}


def predict(config: Predict) -> dict[str, Any]:
    """The class of each row given."""
    model, shape, _ = open_model(config)
    try:
        rows = torch.tensor([[float(value) for value in text.split(",")] for text in config.inputs])
    except ValueError as error:
        raise ConfigError(f"rows are numbers with commas between them, as 0.1,-2.3 ({error})") from None
    if rows.ndim != 2 or rows.shape[1] != shape["columns"]:
        raise ConfigError(f"give rows of {shape['columns']} numbers: tool predict tabular 0.1,-2.3")
    with torch.inference_mode():
        classes = model(rows).argmax(1).tolist()
    return {"predictions": classes, "text": "\n".join(map(str, classes))}


def sample(config: Sample) -> dict[str, Any]:
    """Writes the sample data."""
    write_text(Path(config.output), sample_text(config.seed))
    return {"path": config.output, "text": f"1,000 rows in {config.output}"}
