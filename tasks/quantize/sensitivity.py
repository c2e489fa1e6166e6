"""How far the logits move when one layer alone is quantized.

One session serves all layers: their weights are inputs of its graph, so that a run takes one of them rounded and the others
as they are; and before each product stands a switch that rounds its activation as the plan would. Nothing is written or
loaded for a layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tasks.errors import ConfigError, DataError
from tasks.quantize.blocks import from_blocks, to_blocks
from tasks.quantize.calibration.ranges import Ranges, collect
from tasks.quantize.formats import Format
from tasks.quantize.graph import files as graph_files
from tasks.quantize.graph import nodes
from tasks.quantize.graph.rewriting import prepare
from tasks.quantize.plan import Plan
from tasks.quantize.weights import scale_of, to_integers

Batch = Mapping[str, np.ndarray]
Distance = Callable[[np.ndarray, np.ndarray], float]


def root_mean_square(logits: np.ndarray, others: np.ndarray) -> float:
    """Of the differences between two arrays of logits."""
    return float(np.sqrt(np.mean(np.square(logits.astype(np.float64) - others))))


def sensitivity(
    source: str | Path,
    layers: Sequence[str],
    plan: Plan,
    batches: Iterable[Batch],
    distance: Distance = root_mean_square,
    *,
    ranges: Ranges | None = None,
    seconds: float | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[tuple[str, float]]:
    """The mean distance over the batches for each layer, largest first; equal ones by name.

    Args:
        layers: names as `nodes.layers` gives them.
        plan: how the one layer is quantized; of "static" with the ranges given, else those of these batches.
        batches: inputs by name; a few dozen rows are enough to tell layers apart.
        distance: between logits [rows, labels] of the float graph and with the layer quantized.
        seconds: no further batch is begun after that time; every layer always has the same batches.
        check: called after each run; may raise to stop.

    Raises:
        ConfigError: an unknown layer.
        DataError: no batches.
    """
    batches = list(batches)
    if not batches:
        raise DataError("no calibration data: the sensitivity of layers is measured on some rows of the training split")
    if plan.approach == "static" and ranges is None:
        ranges = collect(
            source,
            batches,
            plan.method or "minmax",
            percentile=plan.percentile,
            moving_average=plan.moving_average,
            check=check,
        )
    bench = _Bench(source, layers, plan, ranges)
    started, used = time.monotonic(), 0
    totals = dict.fromkeys(layers, 0.0)
    for batch in batches:
        reference = bench.run(batch, None)
        for name in layers:
            totals[name] += distance(reference, bench.run(batch, name))
            check()
        used += 1
        if seconds is not None and time.monotonic() - started > seconds:
            break
    means = [(name, total / used) for name, total in totals.items()]
    return sorted(means, key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True)
class _Switched:
    """A layer of the session: its weight's input, and its switch's or ""."""

    layer: nodes.Layer
    weight: np.ndarray
    columns_axis: int
    switch: str


class _Bench:
    """The session, and what to feed it."""

    def __init__(self, source: str | Path, layers: Sequence[str], plan: Plan, ranges: Ranges | None) -> None:
        self.plan = plan
        model = prepare(source)
        wanted = set(layers)
        found = [layer for layer in nodes.layers(model) if layer.name in wanted]
        unknown = sorted(wanted - {layer.name for layer in found})
        if unknown:
            raise ConfigError(f"the graph has no layer {unknown[0]} that could be quantized")
        self.parts = _switch(model, found, plan, ranges)
        self.session = graph_files.session(model)
        self.inputs = {value.name for value in self.session.get_inputs()}
        self.output = self.session.get_outputs()[0].name
        self.rounded: tuple[str, np.ndarray] = ("", np.zeros(0))

    def run(self, batch: Batch, name: str | None) -> np.ndarray:
        """Logits with the layer `name` quantized; None: with none."""
        feeds = {key: value for key, value in batch.items() if key in self.inputs}
        for part in self.parts.values():
            feeds[part.layer.weight] = part.weight
            if part.switch:
                feeds[part.switch] = np.array(False)
        if name is not None:
            part = self.parts[name]
            feeds[part.layer.weight] = self._rounded(part)
            if part.switch:
                feeds[part.switch] = np.array(True)
        return np.asarray(self.session.run([self.output], feeds)[0])

    def _rounded(self, part: _Switched) -> np.ndarray:
        if self.rounded[0] != part.layer.name:
            self.rounded = (part.layer.name, rounded_weight(part.weight, part.layer, part.columns_axis, self.plan))
        return self.rounded[1]


def rounded_weight(weight: np.ndarray, layer: nodes.Layer, columns_axis: int, plan: Plan) -> np.ndarray:
    """What a plan makes of a layer's weight, as floats."""
    form = plan.format
    if layer.operator == "Gather":
        by_row = form.per_channel or plan.approach == "int4"
        form = Format("u8", "s8", True, False) if by_row else Format("u8", "u8", False, False)
        return to_integers(weight, form, 0 if by_row else None).floats(0 if by_row else None)
    if plan.approach == "int4":
        inner = weight if columns_axis == 1 else weight.T
        floats = from_blocks(*to_blocks(inner, plan.block_size), len(inner))
        return floats if columns_axis == 1 else np.ascontiguousarray(floats.T)
    axis = columns_axis if form.per_channel else None
    return to_integers(weight, form, axis).floats(axis)


def _switch(
    model: onnx.ModelProto, layers: list[nodes.Layer], plan: Plan, ranges: Ranges | None
) -> dict[str, _Switched]:
    """Turns the layers' weights into inputs of the graph, and puts switches before their activations."""
    own = model.graph
    tensors = graph_files.initializers(model)
    by_node = {layer.node: layer for layer in layers}
    parts: dict[str, _Switched] = {}
    new: list[onnx.NodeProto] = []
    fed: set[str] = set()
    for node in own.node:
        layer = by_node.get(node.name)
        if layer is not None:
            weight = graph_files.array(tensors[layer.weight])
            transposed = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
            alone = f"{layer.node}_weight"  # of this layer's own, also where two share one
            if alone not in fed:
                own.input.append(helper.make_tensor_value_info(alone, onnx.TensorProto.FLOAT, list(weight.shape)))
                fed.add(alone)
            node.input[nodes.WEIGHT_INPUT[node.op_type]] = alone
            switch = (
                "" if node.op_type == "Gather" or plan.approach == "int4" else _rounding(node, plan, ranges, new, own)
            )
            parts[layer.name] = _Switched(replace(layer, weight=alone), weight, 0 if transposed else 1, switch)
        new.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in new]
    del own.node[:]
    own.node.extend(kept)
    graph_files.drop_unread(model)
    return parts


def _rounding(
    node: onnx.NodeProto, plan: Plan, ranges: Ranges | None, new: list[onnx.NodeProto], own: onnx.GraphProto
) -> str:
    """Rounds a product's activation where a switch says so; returns the switch's name."""
    data, name = node.input[0], node.name
    scale, zero = f"{name}_scale", f"{name}_zero"
    if ranges is None:
        new.append(helper.make_node("DynamicQuantizeLinear", [data], [f"{name}_q", scale, zero]))
    else:
        lowest, highest = (np.asarray(bound, np.float32) for bound in ranges.values[data])
        values = scale_of(lowest, highest, plan.format.activation)
        own.initializer.extend(numpy_helper.from_array(v, n) for v, n in zip(values, (scale, zero), strict=True))
        new.append(helper.make_node("QuantizeLinear", [data, scale, zero], [f"{name}_q"]))
    new.append(helper.make_node("DequantizeLinear", [f"{name}_q", scale, zero], [f"{name}_rounded"]))
    switch = f"{name}_switch"
    own.input.append(helper.make_tensor_value_info(switch, onnx.TensorProto.BOOL, []))
    new.append(helper.make_node("Where", [switch, f"{name}_rounded", data], [f"{name}_data"]))
    node.input[0] = f"{name}_data"
    return switch
