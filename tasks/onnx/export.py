"""Exports a classifier to ONNX and checks the result against torch before it is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.errors import ToolError
from tasks.files import disk_errors
from tasks.onnx import graph as graphs
from tasks.onnx.architectures import Spec, spec_of
from tasks.onnx.cleaning import clean
from tasks.onnx.measuring import Times, fused_is_faster
from tasks.onnx.measuring import measure as measure_attention
from tasks.onnx.session import Session
from tasks.onnx.tracing import UntranslatedError, quiet, trace

NAME = "model.onnx"
TOLERANCE = 1e-4


@dataclass
class Exported:
    """What was written, and how it was checked."""

    path: Path
    spec: Spec
    graph: str
    opset: int
    fused: dict[str, int]
    largest_difference: float
    nodes: dict[str, int]
    bytes: int
    seconds: float
    tolerance: float
    attention_milliseconds: Times = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def export(
    model: Any,
    folder: Path,
    *,
    graph: str = "fused",
    opset: int = graphs.OPSET,
    tolerance: float = TOLERANCE,
    limit: int = graphs.LIMIT_BYTES,
    measure: bool = True,
    threads: int | None = None,
) -> Exported:
    """Writes `folder/model.onnx` (weights in `model.onnx.data` above 2 GB), with dynamic batch and sequence.

    Args:
        model: a transformers classifier of texts or images, or a ViLT; float32, on the CPU.
        graph: one of `tasks.onnx.graph.KINDS`.
        tolerance: the largest difference of a logit from torch's that is let through.
        measure: whether fused attention is kept only where it is faster here than plain operators.
        threads: what it is measured with.
        limit: bytes of weights above which they lie in a file of their own.

    Raises:
        ConfigError: a model of another kind.
        ToolError: an operation without translation, or logits that differ; nothing is kept then.
        OutOfDisk: no room.
    """
    started = time.monotonic()
    model = model.eval()
    spec = spec_of(model)
    traced = translated(model, spec)
    path, data = folder / NAME, folder / f"{NAME}.data"
    notes: list[str] = []
    times: Times = {}
    if graph == "fused" and measure and spec.heads:
        times = measure_attention(spec.heads, spec.hidden, opset, spec.longest, threads)
        if not fused_is_faster(times):
            graph = "basic"
            notes.append("attention is left in plain operators, which are faster here than the fused one")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fused = graphs.shape_graph(traced, graph, opset)
        if graph == "fused" and not fused["MultiHeadAttention"]:
            graph, times = "basic", {}
            notes.append("its attention has a form that onnxruntime has no fused operator for")
        try:
            graphs.save(traced, path, limit)
            del traced
            worst = check(model, spec, path, tolerance)
        except BaseException:
            for file in (path, data):
                file.unlink(missing_ok=True)
            raise
    return Exported(
        path=path,
        spec=spec,
        graph=graph,
        opset=opset,
        fused=fused,
        largest_difference=worst,
        nodes=graphs.operators(path),
        bytes=path.stat().st_size + (data.stat().st_size if data.exists() else 0),
        seconds=round(time.monotonic() - started, 2),
        tolerance=tolerance,
        attention_milliseconds=times,
        notes=notes,
    )


def translated(model: Any, spec: Spec) -> Any:
    """The cleaned graph in memory.

    Raises:
        ToolError: an operation of the model has no translation; names it.
    """
    try:
        traced = trace(model, spec.example(2, min(9, spec.longest), seed=1), spec.axes)
    except UntranslatedError as error:
        raise ToolError(
            f"this {spec.model_type} can't be exported: {error}; write that part of the model in operations that ONNX knows"
        ) from error
    with quiet():
        clean(traced)
    return traced


def check(model: Any, spec: Spec, path: Path, tolerance: float) -> float:
    """The largest difference between torch's logits and the file's over the spec's shapes.

    Raises:
        ToolError: it is above the tolerance, or one is no number; names the shape.
    """
    session = Session(path)
    worst = 0.0
    for number, (batch, length) in enumerate(spec.shapes()):
        inputs = spec.example(batch, length, seed=10 + number)
        with torch.inference_mode():
            wanted = model(**inputs).logits.float().numpy()
        found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
        difference = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
        if not difference <= tolerance:  # also where it is NaN
            raise ToolError(
                f"the ONNX graph differs from torch by {difference:.2g} at batch {batch} x length {length}, above "
                f"--tolerance {tolerance:g}; nothing was kept: try --graph none, or a larger --tolerance"
            )
        worst = max(worst, difference)
    return worst
