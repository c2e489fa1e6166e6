"""Timing of onnxruntime's fused attention against attention in plain operators."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from tasks.onnx.attention import write_out
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
    return math.prod(entry["fused"] / entry["plain"] for entry in times.values()) <= 1


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
    inputs = ", ".join(f"float[batch, sequence, {hidden}] {name}" for name in "qkv")
    operands = "\n".join(
        f"{name}_sum = Add ({name}, bias)\n"
        f"{name}_split = Reshape ({name}_sum, split)\n"
        f"{name}_heads = Transpose <perm = [0, 2, 1, 3]> ({name}_split)"
        for name in "qkv"
    )
    model = ir.from_onnx_text(f"""
        <ir_version: 10, opset_import: ["": {opset}, "{DOMAIN}": 1]>
        attention ({inputs}, int64[batch, sequence] attention_mask) => (float[batch, sequence, {hidden}] logits)
        <float[{hidden}] bias = {{{", ".join(["0"] * hidden)}}}, int64[4] split = {{0, 0, {heads}, {size}}},
         int64[3] whole = {{0, 0, {hidden}}}, int64[2] axes = {{1, 2}}, float[batch, {heads}, sequence, {size}] context> {{
            {operands}
            mask = Cast <to = {int(ir.DataType.BOOL)}> (attention_mask)
            seen = Unsqueeze (mask, axes)
            context = {DOMAIN}.Attention <scale = {float(size) ** -0.5}> (q_heads, k_heads, v_heads, seen)
            turned = Transpose <perm = [0, 2, 1, 3]> (context)
            merged = Reshape (turned, whole)
            logits = Identity (merged)
        }}""")
    common.ShapeInferencePass()(model)
    return model
