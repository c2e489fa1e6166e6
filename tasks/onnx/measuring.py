"""Is onnxruntime's fused attention faster on this machine than attention in plain operators?"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tasks.onnx.attention import write_out
from tasks.onnx.cleaning import constant, shape_constant
from tasks.onnx.session import Session
from tasks.onnx.tracing import DOMAIN

# (batch, length): one text, and a batch of short ones.
SHAPES = ((1, 128), (8, 32))
Times = dict[str, dict[str, float]]


def measure(heads: int, hidden: int, opset: int, longest: int, threads: int | None = None) -> Times:
    """Milliseconds of one layer's attention, from the products with the weights on, fused and plain, by `batch x length`.

    The rest of a model is the same in both forms, so that this decides between them without two copies of all weights.
    """
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        for name in ("plain", "fused"):
            path = Path(folder) / f"{name}.onnx"
            model = one_layer(heads, hidden, opset)
            write_out(model, fused=name == "fused")
            ir.save(model, path)
            sessions[name] = Session(path, threads=threads)
        found: Times = {}
        for batch, length in SHAPES:
            length = min(length, longest)
            draw = np.random.default_rng(0)
            feeds = {name: draw.standard_normal((batch, length, hidden), np.float32) for name in ("q", "k", "v")}
            feeds["attention_mask"] = np.ones((batch, length), np.int64)
            times = alternate(list(sessions.values()), feeds)
            found[f"{batch} x {length}"] = {
                name: round(1000 * seconds, 3) for name, seconds in zip(sessions, times, strict=True)
            }
    return found


def fused_is_faster(times: Times) -> bool:
    """By the product over the shapes: no shape counts for more than another."""
    ratio = 1.0
    for entry in times.values():
        ratio *= entry["fused"] / entry["plain"]
    return ratio <= 1


def alternate(sessions: list[Session], feeds: dict[str, np.ndarray], seconds: float = 0.5) -> list[float]:
    """The median seconds of each session's run, taken in turns, so that what else the machine does meets all alike."""
    times: list[list[float]] = [[] for _ in sessions]
    for session in sessions:
        session.run(feeds)
    end = time.monotonic() + seconds
    while len(times[0]) < 5 or (time.monotonic() < end and len(times[0]) < 200):
        for session, taken in zip(sessions, times, strict=True):
            begun = time.perf_counter()
            session.run(feeds)
            taken.append(time.perf_counter() - begun)
    return [statistics.median(taken) for taken in times]


def one_layer(heads: int, hidden: int, opset: int) -> ir.Model:
    """Attention over three products [batch, sequence, hidden] with their biases, split into heads and merged again."""
    size = hidden // heads
    whole: list[int | str] = ["batch", "sequence", hidden]
    split: list[int | str] = ["batch", "sequence", heads, size]
    inputs = [_value(name, whole, ir.DataType.FLOAT) for name in ("q", "k", "v")]
    mask = _value("attention_mask", ["batch", "sequence"], ir.DataType.INT64)
    graph = ir.Graph([*inputs, mask], [], nodes=[], opset_imports={"": opset, DOMAIN: 1}, name="attention")

    def node(
        op: str,
        given: list[ir.Value],
        shape: list[int | str],
        domain: str = "",
        kind: ir.DataType = ir.DataType.FLOAT,
        **attributes: Any,
    ) -> ir.Value:
        made = ir.node(op, given, attributes=attributes, domain=domain)
        graph.append(made)
        made.outputs[0].shape = ir.Shape(shape)
        made.outputs[0].dtype = kind
        return made.outputs[0]

    parts = []
    for value in inputs:
        bias = constant(graph, f"{value.name}.bias", np.zeros(hidden, np.float32))
        biased = node("Add", [value, bias], whole)
        view = node("Reshape", [biased, shape_constant(graph, [0, 0, heads, size])], split)
        parts.append(node("Transpose", [view], ["batch", heads, "sequence", size], perm=[0, 2, 1, 3]))
    boolean = ir.DataType.BOOL
    seen = node("Cast", [mask], ["batch", "sequence"], kind=boolean, to=int(boolean))
    seen = node("Unsqueeze", [seen, shape_constant(graph, [1, 2])], ["batch", 1, 1, "sequence"], kind=boolean)
    context = node(
        "Attention", [*parts, seen], ["batch", heads, "sequence", size], domain=DOMAIN, scale=float(size) ** -0.5
    )
    merged = node("Transpose", [context], split, perm=[0, 2, 1, 3])
    out = node("Reshape", [merged, shape_constant(graph, [0, 0, hidden])], whole)
    last = node("Identity", [out], whole)
    last.name = "logits"
    graph.outputs.append(last)
    return ir.Model(graph, ir_version=10)


def _value(name: str, shape: list[int | str], kind: ir.DataType) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(kind))
