"""The workplace of a quantization: the float graph, its figures, and a trial of any plan from start to verdict."""

from __future__ import annotations

import platform
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.process.interrupts import Interrupts
from recipes.quantizable import Feeds, Quantizable
from recipes.quantize import measure
from recipes.quantize.config import Quantize
from recipes.quantize.measure import Measured
from recipes.quantize.trials import Store, Trial, key_of
from recipes.terminal.progress import Progress
from tasks.errors import ToolError
from tasks.files import sha256
from tasks.onnx.session import Session
from tasks.quantize import formats
from tasks.quantize.blocks import quantize_blocks
from tasks.quantize.calibration import ranges as calibration
from tasks.quantize.dynamic import quantize_dynamic
from tasks.quantize.graph import nodes
from tasks.quantize.plan import Plan, Result
from tasks.quantize.static import quantize_static

GRAPH = "model.onnx"
USAGE = """It needs nothing but onnxruntime, tokenizers and numpy:

```python
import numpy, onnxruntime, tokenizers
session = onnxruntime.InferenceSession("model.onnx")
text = tokenizers.Tokenizer.from_file("tokenizer.json").encode({example})
given = {"input_ids": text.ids, "attention_mask": text.attention_mask, "token_type_ids": text.type_ids}
print(session.run(["logits"], {one.name: numpy.array([given[one.name]]) for one in session.get_inputs()}))
```"""


@dataclass
class OnnxContext:
    """Everything that trials share.

    Attributes:
        source: the float graph that is quantized.
        store: trials on disk.
        reference: the float graph's figures.
    """

    config: Quantize
    subject: Quantizable
    source: Path
    store: Store
    interrupts: Interrupts
    reference: Measured = field(init=False)
    float_run: measure.Run = field(init=False)
    _ranges: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _calibration: list[Feeds] | None = None
    _digest: str = ""

    def check(self) -> None:
        """A safe point: a stop that was asked for happens here."""
        self.interrupts.check()

    def open_float(self) -> None:
        """Measures the float graph: the baseline of all trials."""
        self.float_run = self.open(self.source)
        self.reference = self.score("float", self.float_run, model_bytes(self.source.parent))
        times = measure.time_them(self.subject, {"float": self.float_run}, self.config, self.check)
        self.reference.latency = times["float"]
        # Above 2 GB the weights lie beside the graph.
        self._digest = " ".join(sha256(file) for file in model_files(self.source.parent))

    def open(self, path: Path) -> measure.Run:
        """A graph that answers to feeds."""
        return Session(path, threads=self.config.threads).run

    def score(self, label: str, run: measure.Run, size: int) -> Measured:
        """Every text of the evaluation splits."""
        total = sum(len(batches) for batches in self.subject.evaluation.values())

        def advance(count: int) -> None:
            progress.advance(count)
            self.check()

        with Progress(label, total, unit="texts") as progress:
            return measure.measure(self.subject, run, size, self.config.batch_size, advance)

    def try_plan(self, plan: Plan) -> Trial:
        """Quantizes and measures; what an earlier call has measured on the same is taken from there."""
        key = self.key(plan)
        known = self.store.known.get(key)
        if known is not None:
            return known
        trial = Trial(key, plan.name, plan.as_dict())
        try:
            result = self.make(plan, key)
            trial.counts, trial.seconds["quantize"] = result.counts, round(result.seconds, 2)
            self.measure(trial)
        except ToolError as error:
            if (
                type(error) is not ToolError
            ):  # wrong options or data, no disk, a stop: of the command, not of this trial
                raise
            trial.error = str(error)
            return trial  # not kept: another version of a library may do it
        self.store.add(trial)
        return trial

    def key(self, plan: Plan) -> str:
        """A digest of all that a trial's figures depend on."""
        import onnxruntime

        config, chosen = self.config, plan.as_dict()
        calibrated = (
            (config.calibration_samples, config.calibration_batch_size, self.subject.seed)
            if plan.approach == "static"
            else ()
        )
        machine = (formats.cpu_features(), platform.machine(), config.threads, onnxruntime.__version__)
        return key_of(
            self._digest, chosen, calibrated, self.subject.digest, config.batch_size, config.latency_samples, *machine
        )

    def make(self, plan: Plan, key: str) -> Result:
        """Writes the trial's graph, unless it is there, and says what was quantized."""
        folder = self.store.path(key)
        target = folder / GRAPH
        if target.is_file():
            return Result(nodes.require_quantized(target, plan), model_bytes(folder), 0.0)
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{GRAPH}"
        if plan.approach == "dynamic":
            result = quantize_dynamic(self.source, aside, plan)
        elif plan.approach == "static":
            result = quantize_static(self.source, aside, plan, self.ranges(plan))
        else:
            result = quantize_blocks(self.source, aside, plan)
        aside.replace(target)
        return result

    def ranges(self, plan: Plan) -> Any:
        """Ranges of the activations, collected once for each method."""
        which = (plan.method, plan.percentile, plan.moving_average)
        if which not in self._ranges:
            self._ranges[which] = calibration.collect(
                self.source,
                self.calibration_batches(),
                plan.method or "minmax",
                percentile=plan.percentile,
                moving_average=plan.moving_average,
                check=self.check,
            )
        return self._ranges[which]

    def calibration_batches(self) -> list[Feeds]:
        """The calibration texts as batches, made once."""
        if self._calibration is None:
            config = self.config
            self._calibration = self.subject.calibration(
                config.approach, config.calibration_samples, config.calibration_batch_size
            )
        return self._calibration

    def measure(self, trial: Trial) -> None:
        """Fills in the trial's figures."""
        began = time.monotonic()
        folder = self.store.path(trial.key)
        run = self.open(folder / GRAPH)
        found = self.score(trial.name, run, model_bytes(folder))
        found.against = measure.compare(self.subject, self.reference, found)
        times = measure.time_them(self.subject, {"float": self.float_run, "this": run}, self.config, self.check)
        found.latency = times["this"]
        found.against["float_latency"] = times["float"]
        trial.measured = found.as_dict()
        trial.seconds["measure"] = round(time.monotonic() - began, 2)

    def write_model(self, trial: Trial, folder: Path) -> None:
        """The trial's graph, made again where its files were dropped."""
        trial.counts = self.make(self.plan_of(trial), trial.key).counts
        for file in model_files(self.store.path(trial.key)):
            shutil.copyfile(file, folder / file.name)
        self.subject.settings.save_pretrained(folder)

    def tidy(self) -> None:
        """Drops the graphs of all trials."""
        self.store.drop_files(set())

    @property
    def usage(self) -> str:
        """How the written folder is run, for its README."""
        return USAGE

    def time_again(self, trials: list[Trial]) -> None:
        """Measures the latency of several trials and of the float graph in turns, so that they can be told apart.

        The store keeps the figures that the search went by: with them the same command takes the same way again.
        """
        runs: dict[str, measure.Run] = {"float": self.float_run}
        for trial in trials:
            self.make(self.plan_of(trial), trial.key)
            runs[trial.key] = self.open(self.store.path(trial.key) / GRAPH)
        times = measure.time_them(self.subject, runs, self.config, self.check)
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
