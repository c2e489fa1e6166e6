"""The options of `tool quantize`."""

from __future__ import annotations

import dataclasses
from typing import Any

from recipes.config import option
from recipes.options import EVALUATION, HUB, MACHINE, MODEL, OUTPUT
from recipes.registry import get

APPROACHES = ("dynamic", "static", "int4", "auto", "bnb-int8", "bnb-nf4")
METHODS = ("minmax", "entropy", "percentile")
FORMATS = ("u8s8", "u8u8", "s8s8", "s8u8")
TARGETS = ("this", "avx2", "avx512", "vnni", "amx", "neon")
GRAPHS = ("none", "basic", "fused")
QUANTIZATION, CALIBRATION, SEARCH = "Quantization", "Calibration", "Search"
BNB = ("bnb-int8", "bnb-nf4")
# Whose models are quantized; its options of data join those here.
RECIPE = "glue"
DataOptions: Any = get(RECIPE).part("TrainedDataOptions")


@dataclasses.dataclass
class Quantize(DataOptions):
    """`tool quantize`."""

    model: str | None = option(
        None,
        "Run folder, model folder (PyTorch, or ONNX in float) or Hub id.",
        panel=MODEL,
        shown_default="the newest finished glue run",
    )
    revision: str | None = option(None, "Branch, tag or commit of the Hub model.", panel=HUB)
    token: str | None = option(None, "Hub token; better in HF_TOKEN.", panel=HUB, secret=True, affects_result=False)

    approach: str = option(
        "dynamic",
        "dynamic: activations as they come; static: by calibration; int4: weights in blocks; auto: the fastest within --max-drop.",
        panel=QUANTIZATION,
        choices=APPROACHES,
    )
    format: str | None = option(
        None,
        "Signs of activations and weights.",
        panel=QUANTIZATION,
        choices=FORMATS,
        shown_default="the best for the target",
    )
    target: str = option("this", "The processor that it will run on.", panel=QUANTIZATION, choices=TARGETS)
    per_channel: bool | None = option(
        None, "A scale for each output channel of a weight.", panel=QUANTIZATION, shown_default="by target"
    )
    reduce_range: bool | None = option(
        None,
        "Weights in 7 bits, so that sums can't saturate where the processor adds in 16.",
        panel=QUANTIZATION,
        shown_default="by target",
    )
    operators: list[str] = option(
        [], "Operators to quantize, of MatMul, Gemm and Gather (embeddings); left out: all.", panel=QUANTIZATION
    )
    exclude: list[str] = option(
        [], "Layers to leave float, by name, or by its beginning up to a dot.", panel=QUANTIZATION
    )
    block_size: int = option(32, "Weights that share a scale, for int4.", panel=QUANTIZATION, minimum=16, maximum=256)
    graph: str = option(
        "none",
        "What is fused before, see `tool export onnx`; with 8-bit products plain operators are fastest on most CPUs.",
        panel=QUANTIZATION,
        choices=GRAPHS,
    )

    calibration: str = option("minmax", "How static ranges are found.", panel=CALIBRATION, choices=METHODS)
    calibration_samples: int = option(
        256, "Training texts to calibrate on, drawn by seed.", panel=CALIBRATION, minimum=1
    )
    calibration_batch_size: int = option(8, "Texts of a calibration batch.", panel=CALIBRATION, minimum=1)
    percentile: float = option(
        99.99, "Share of the values kept, for percentile.", panel=CALIBRATION, above=50, maximum=100
    )
    moving_average: float | None = option(
        None,
        "minmax: average the batches' ranges, each weighing so much against those before.",
        panel=CALIBRATION,
        above=0,
        maximum=1,
    )
    train_split: str | None = option(None, "Split to calibrate on.", panel=CALIBRATION, shown_default="train")
    seed: int | None = option(
        None, "Seeds the choice of calibration texts.", panel=CALIBRATION, minimum=0, shown_default="the run's, else 0"
    )

    eval_split: str | None = option(None, "Split to measure on.", panel=EVALUATION, shown_default="as in training")
    max_drop: float = option(
        1.0,
        "Points of the score that may be lost; above it the files are put aside and the exit code is 1.",
        panel=EVALUATION,
        minimum=0,
    )
    batch_size: int = option(32, "Texts a batch, where throughput is measured.", panel=EVALUATION, minimum=1)
    max_length: int | None = option(
        None,
        "Longer texts are cut to so many tokens.",
        panel=EVALUATION,
        minimum=4,
        shown_default="as in training, else 128",
    )
    latency_samples: int = option(
        100,
        "Texts of the split, short and long as it has them, whose latency is measured.",
        panel=EVALUATION,
        minimum=1,
    )
    budget_minutes: float = option(
        30.0, "auto: begin no further trial after so many minutes.", panel=SEARCH, above=0, affects_result=False
    )
    optimize_for: str = option(
        "latency",
        "auto: what fastest means: one text at a time, or the whole split in batches.",
        panel=SEARCH,
        choices=("latency", "throughput"),
    )
    threads: int | None = option(None, "CPU threads.", panel=MACHINE, minimum=1, shown_default="all cores")
    output: str | None = option(
        None, "Folder to write.", panel=OUTPUT, affects_result=False, shown_default="RUN/model-int8 or NAME-int8"
    )
    output_dir: str = option("runs", "Where run folders are looked for.", panel=OUTPUT, affects_result=False)
    fresh: bool = option(False, "Try anew what an earlier call has tried already.", panel=OUTPUT, affects_result=False)

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
