"""Quantization trials of an ONNX graph: the float graph, its figures, and each plan from quantization to verdict."""

from __future__ import annotations

import platform
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recipes.quantizable import Feeds
from recipes.quantize import measure
from recipes.quantize.context import QuantizationContext
from recipes.quantize.trials import Store, Trial, key_of
from tasks.errors import ToolError
from tasks.files import sha256
from tasks.onnx.session import TEXT_EXAMPLE, Session
from tasks.quantize import formats
from tasks.quantize.calibration import ranges as calibration
from tasks.quantize.calibration.typical import typical_rows
from tasks.quantize.graph import nodes
from tasks.quantize.graph.files import read
from tasks.quantize.plan import Plan
from tasks.quantize.quantizer import quantize

GRAPH = "model.onnx"
# Texts that weights are rounded by; a trial of another way of rounding is another trial.
RANDOM_TEXTS = 32
ROUNDING = f"carried, {RANDOM_TEXTS} random texts"
USAGE = f"It needs nothing but onnxruntime, tokenizers and numpy:\n\n```python\n{TEXT_EXAMPLE}```"


@dataclass
class OnnxContext(QuantizationContext):
    """A float graph, `source`, and trials of it, which `store` keeps on disk."""

    usage = USAGE

    source: Path
    store: Store
    float_run: measure.Run = field(init=False)
    _ranges: dict[tuple[Any, ...], calibration.Ranges] = field(default_factory=dict)
    _calibration: list[Feeds] | None = None
    _typical: dict[str, np.ndarray] | None = None
    _digest: str = ""

    def open_float(self) -> None:
        """Measures the float graph: the baseline of all trials."""
        self.float_run = self.open(self.source)
        self.score_float(self.float_run, model_bytes(self.source.parent))
        times = measure.time_them(self.subject, {"float": self.float_run}, self.config, self.interrupts.check)
        self.reference.latency = times["float"]
        # Above 2 GB the weights lie beside the graph.
        self._digest = " ".join(sha256(file) for file in model_files(self.source.parent))

    def open(self, path: Path) -> measure.Run:
        """A graph that answers to feeds."""
        return Session(path, threads=self.config.threads).run

    def try_plan(self, plan: Plan) -> Trial:
        """Quantizes and measures; what an earlier call has measured on the same is taken from there."""
        key = self.key(plan)
        known = self.store.known.get(key)
        if known is not None:
            return known
        trial = Trial(key, plan.name, asdict(plan))
        try:
            trial.counts, trial.seconds["quantize"] = self.make(plan, key)
            began, folder = time.monotonic(), self.store.path(key)
            self.measure(trial, self.float_run, self.open(folder / GRAPH), model_bytes(folder))
            trial.seconds["measure"] = round(time.monotonic() - began, 2)
        except ToolError as error:
            # A subclass (wrong options or data, no disk, a stop) concerns the command, not this trial alone.
            if type(error) is not ToolError:
                raise
            trial.error = str(error)
            return trial  # not kept: another version of a library may do it
        self.store.add(trial)
        return trial

    def key(self, plan: Plan) -> str:
        """A digest of all that a trial's figures depend on."""
        import onnxruntime

        config, chosen = self.config, asdict(plan)
        calibrated = (
            (config.calibration_samples, config.calibration_batch_size, self.subject.seed)
            if plan.approach == "static"
            else ()
        )
        machine = (formats.cpu_features(), platform.machine(), config.threads, onnxruntime.__version__)
        return key_of(
            self._digest, ROUNDING, chosen, calibrated, self.subject.digest, config.eval_batch_size, config.batch_size,
            config.latency_samples, *machine,
        )  # fmt: skip

    def make(self, plan: Plan, key: str) -> tuple[dict[str, int], float]:
        """Writes the trial's graph, unless it is there; returns the counts of quantized nodes, and the seconds it took."""
        folder = self.store.path(key)
        target = folder / GRAPH
        if target.is_file():
            return nodes.require_quantized(read(target, weights=False), plan, target), 0.0
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{GRAPH}"
        ranges, began = self.ranges(plan), time.monotonic()
        counts = quantize(self.source, aside, plan, ranges, self.typical(plan))
        aside.replace(target)
        return counts, round(time.monotonic() - began, 2)

    def ranges(self, plan: Plan) -> calibration.Ranges | None:
        """Ranges of the activations for a static plan, collected once for each method."""
        if plan.approach != "static":
            return None
        which = (plan.method, plan.percentile, plan.moving_average)
        if which not in self._ranges:
            self._ranges[which] = calibration.collect(
                self.source,
                self.calibration_batches(),
                plan.method or "minmax",
                percentile=plan.percentile,
                moving_average=plan.moving_average,
                check=self.interrupts.check,
            )
        return self._ranges[which]

    def typical(self, plan: Plan) -> dict[str, np.ndarray] | None:
        """The row of each product that its weights are rounded by, found once; None for a plan that hasn't such."""
        if plan.approach == "int4":
            return None
        if self._typical is None:
            self._typical = typical_rows(self.source, self.subject.random_inputs(RANDOM_TEXTS), self.interrupts.check)
        return self._typical

    def calibration_batches(self) -> list[Feeds]:
        """The calibration texts as batches, made once."""
        if self._calibration is None:
            config = self.config
            self._calibration = self.subject.calibration(
                config.approach, config.calibration_samples, config.calibration_batch_size
            )
        return self._calibration

    def write_model(self, trial: Trial, folder: Path) -> None:
        """The trial's graph, made again where its files were dropped."""
        trial.counts, _ = self.make(self.plan_of(trial), trial.key)
        for file in model_files(self.store.path(trial.key)):
            shutil.copyfile(file, folder / file.name)
        self.subject.settings.save_pretrained(folder)

    def tidy(self) -> None:
        """Drops the graphs of all trials."""
        self.store.drop_files(set())

    def time_again(self, trials: list[Trial]) -> None:
        """Measures the latency of several trials and of the float graph in turns, so that they can be told apart.

        The store keeps the figures that the search went by: with them the same command takes the same way again.
        """
        runs: dict[str, measure.Run] = {"float": self.float_run}
        for trial in trials:
            self.make(self.plan_of(trial), trial.key)
            runs[trial.key] = self.open(self.store.path(trial.key) / GRAPH)
        times = measure.time_them(self.subject, runs, self.config, self.interrupts.check)
        self.reference.latency = times["float"]
        for trial in trials:
            trial.measured["latency"] = times[trial.key]
            trial.measured["against"]["float_latency"] = times["float"]

    @staticmethod
    def plan_of(trial: Trial) -> Plan:
        """The plan that a trial was made from."""
        values = dict(trial.plan)
        values["format"] = formats.Format(**values["format"])
        values["operators"], values["excluded"] = tuple(values["operators"]), tuple(values["excluded"])
        return Plan(**values)


def model_files(folder: Path) -> list[Path]:
    """A graph and its external data."""
    return sorted(file for file in folder.iterdir() if file.name.startswith("model") and ".onnx" in file.name)


def model_bytes(folder: Path) -> int:
    """Of the same."""
    return sum(file.stat().st_size for file in model_files(folder))
