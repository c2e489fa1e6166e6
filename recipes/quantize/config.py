"""The options of `tool quantize`."""

from __future__ import annotations

import dataclasses
from typing import Any

from recipes.config import Panel
from recipes.options import EVALUATION, HUB, MACHINE, MODEL, OUTPUT
from recipes.registry import get
from tasks.quantize.formats import TARGETS
from tasks.quantize.plan import APPROACHES, METHODS

FORMATS = ("u8s8", "u8u8", "s8s8", "s8u8")
GRAPHS = ("none", "basic", "fused")
QUANTIZATION, CALIBRATION, SEARCH = Panel("Quantization"), Panel("Calibration"), Panel("Search")
BNB = ("bnb-int8", "bnb-nf4")
# Whose models are quantized; its options of data join those here.
RECIPE = "glue"
DataOptions: Any = get(RECIPE).part("TrainedDataOptions")


@dataclasses.dataclass
class Quantize(DataOptions):
    """`tool quantize`."""

    model: str | None = MODEL.option(
        None,
        "Run folder, model folder (PyTorch, or ONNX in float) or Hub id.",
        shown_default="the newest finished glue run",
    )
    revision: str | None = HUB.option(None, "Branch, tag or commit of the Hub model.")
    token: str | None = HUB.setting(None, "Hub token; better in HF_TOKEN.", secret=True)

    approach: str = QUANTIZATION.option(
        "dynamic",
        "dynamic: activations as they come; static: by calibration; int4: weights in blocks; auto: the fastest within --max-drop.",
        choices=(*APPROACHES, "auto", *BNB),
    )
    format: str | None = QUANTIZATION.option(
        None, "Signs of activations and weights.", choices=FORMATS, shown_default="the best for the target"
    )
    target: str = QUANTIZATION.option("this", "The processor that it will run on.", choices=TARGETS)
    per_channel: bool | None = QUANTIZATION.option(
        None, "A scale for each output channel of a weight.", shown_default="by target"
    )
    reduce_range: bool | None = QUANTIZATION.option(
        None,
        "Weights in 7 bits, so that sums can't saturate where the processor adds in 16.",
        shown_default="by target",
    )
    operators: list[str] = QUANTIZATION.option(
        [], "Operators to quantize, of MatMul, Gemm and Gather (embeddings); left out: all."
    )
    exclude: list[str] = QUANTIZATION.option([], "Layers to leave float, by name, or by its beginning up to a dot.")
    block_size: int = QUANTIZATION.option(32, "Weights that share a scale, for int4.", minimum=16, maximum=256)
    graph: str = QUANTIZATION.option(
        "none",
        "What is fused before, see `tool export onnx`; with 8-bit products plain operators are fastest on most CPUs.",
        choices=GRAPHS,
    )

    calibration: str = CALIBRATION.option("minmax", "How static ranges are found.", choices=METHODS)
    calibration_samples: int = CALIBRATION.option(256, "Training texts to calibrate on, drawn by seed.", minimum=1)
    calibration_batch_size: int = CALIBRATION.option(8, "Texts of a calibration batch.", minimum=1)
    percentile: float = CALIBRATION.option(99.99, "Share of the values kept, for percentile.", above=50, maximum=100)
    moving_average: float | None = CALIBRATION.option(
        None, "minmax: average the batches' ranges, each weighing so much against those before.", above=0, maximum=1
    )
    train_split: str | None = CALIBRATION.option(None, "Split to calibrate on.", shown_default="train")
    seed: int | None = CALIBRATION.option(
        None, "Seeds the choice of calibration texts.", minimum=0, shown_default="the run's, else 0"
    )

    eval_split: str | None = EVALUATION.option(None, "Split to measure on.", shown_default="as in training")
    max_drop: float = EVALUATION.option(
        1.0, "Points of the score that may be lost; above it the files are put aside and the exit code is 1.", minimum=0
    )
    force: bool = EVALUATION.option(
        False, "Quantize a model too whose score is no better than that of a constant answer."
    )
    eval_batch_size: int = EVALUATION.option(
        1,
        "Texts a batch, where answers are scored: as the model will be used. Dynamic ranges hang on the batch.",
        minimum=1,
    )
    batch_size: int = EVALUATION.option(
        32, "Texts a batch, where throughput is measured; scores that differ there are told too.", minimum=1
    )
    max_length: int | None = EVALUATION.option(
        None, "Longer texts are cut to so many tokens.", minimum=4, shown_default="as in training, else 128"
    )
    latency_samples: int = EVALUATION.option(
        100, "Texts of the split, short and long as it has them, whose latency is measured.", minimum=1
    )
    budget_minutes: float = SEARCH.setting(30.0, "auto: begin no further trial after so many minutes.", above=0)
    optimize_for: str = SEARCH.option(
        "latency",
        "auto: what fastest means: one text at a time, or the whole split in batches.",
        choices=("latency", "throughput"),
    )
    threads: int | None = MACHINE.option(None, "CPU threads.", minimum=1, shown_default="all cores")
    output: str | None = OUTPUT.setting(None, "Folder to write.", shown_default="RUN/model-int8 or NAME-int8")
    output_dir: str = OUTPUT.setting("runs", "Where run folders are looked for.")
    fresh: bool = OUTPUT.setting(False, "Try anew what an earlier call has tried already.")

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        found: list[str] = super().problems()
        if self.calibration != "percentile" and self.percentile != 99.99:
            found.append("--percentile: only with --calibration percentile")
        if self.calibration != "minmax" and self.moving_average is not None:
            found.append("--moving-average: only with --calibration minmax")
        if self.approach == "dynamic" and (self.format or "").startswith("s8"):
            found.append(
                f"--format {self.format}: dynamic quantization has unsigned activations only; take u8s8 or u8u8"
            )
        return found
