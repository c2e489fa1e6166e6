"""How far the logits move when one layer alone is quantized.

One session serves all layers: their weights are inputs of its graph, so that a run takes one of them rounded and the others
as they are; and before each product stands a switch that rounds its activation as the plan would. Nothing is written or
loaded for a layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tasks.errors import ConfigError, DataError
from tasks.quantize.blocks import from_blocks, to_blocks
from tasks.quantize.calibration.ranges import Batch, Ranges
from tasks.quantize.graph import files as graph_files
from tasks.quantize.graph import nodes
from tasks.quantize.graph.rewriting import prepare
from tasks.quantize.graph.tables import table_integers
from tasks.quantize.plan import Plan
from tasks.quantize.weights import to_integers


def root_mean_square(logits: np.ndarray, others: np.ndarray) -> float:
    """Of the differences between two arrays of logits."""
    return float(np.sqrt(np.mean(np.square(logits.astype(np.float64) - others))))


def sensitivity(
    source: str | Path,
    layers: Sequence[str],
    plan: Plan,
    batches: Iterable[Batch],
    *,
    ranges: Ranges | None = None,
    seconds: float | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[tuple[str, float]]:
    """The root mean square by which each layer moves the logits, mean of the batches, largest first; equal ones by name.

    Args:
        layers: names as `nodes.layers` gives them.
        plan: how the one layer is quantized.
        batches: inputs by name; a few dozen rows are enough to tell layers apart.
        ranges: of the activations, which "static" needs.
        seconds: no further batch is begun after that time; every layer always has the same batches.
        check: called after each run; may raise to stop.

    Raises:
        ConfigError: an unknown layer.
        DataError: no batches.
    """
    batches = list(batches)
    if not batches:
        raise DataError("no calibration data: the sensitivity of layers is measured on some rows of the training split")
    graph = _SwitchedGraph(source, layers, plan, ranges)
    started, used = time.monotonic(), 0
    totals = dict.fromkeys(layers, 0.0)
    for batch in batches:
        reference = graph.run(batch, None)
        for name in layers:
            totals[name] += root_mean_square(reference, graph.run(batch, name))
            check()
        used += 1
        if seconds is not None and time.monotonic() - started > seconds:
            break
    means = [(name, total / used) for name, total in totals.items()]
    return sorted(means, key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True)
class _SwitchedLayer:
    """A layer of the session: the inputs for its weight and for the switch of its activation's rounding, or ""."""

    layer: nodes.Layer
    weight: np.ndarray
    columns_axis: int
    weight_input: str
    switch: str


class _SwitchedGraph:
    """A session that quantizes the layer that a run names."""

    def __init__(self, source: str | Path, names: Sequence[str], plan: Plan, ranges: Ranges | None) -> None:
        self.plan = plan
        model = prepare(source)
        layers = {layer.name: layer for layer in nodes.layers(model)}
        unknown = sorted(set(names) - layers.keys())
        if unknown:
            raise ConfigError(f"the graph has no layer {unknown[0]} that could be quantized")
        self.layers = _switch(model, [layers[name] for name in names], plan, ranges)
        self.session = graph_files.session(model)
        self.inputs = {value.name for value in self.session.get_inputs()}
        self.output = self.session.get_outputs()[0].name

    def run(self, batch: Batch, name: str | None) -> np.ndarray:
        """Logits with the layer `name` quantized; None: with none."""
        feeds = {key: value for key, value in batch.items() if key in self.inputs}
        for switched in self.layers:
            quantized = switched.layer.name == name
            feeds[switched.weight_input] = rounded_weight(switched, self.plan) if quantized else switched.weight
            if switched.switch:
                feeds[switched.switch] = np.array(quantized)
        return np.asarray(self.session.run([self.output], feeds)[0])


def rounded_weight(switched: _SwitchedLayer, plan: Plan) -> np.ndarray:
    """What a plan makes of a layer's weight, as floats."""
    weight, columns_axis = switched.weight, switched.columns_axis
    if switched.layer.operator == "Gather":
        return table_integers(weight, plan.row_scales).floats(0 if plan.row_scales else None)
    if plan.approach == "int4":
        inner = weight if columns_axis == 1 else weight.T
        floats = from_blocks(*to_blocks(inner, plan.block_size), len(inner))
        return floats if columns_axis == 1 else np.ascontiguousarray(floats.T)
    axis = columns_axis if plan.format.per_channel else None
    return to_integers(weight, plan.format, axis).floats(axis)


def _switch(
    model: onnx.ModelProto, layers: list[nodes.Layer], plan: Plan, ranges: Ranges | None
) -> list[_SwitchedLayer]:
    """Turns the layers' weights into inputs of the graph, and puts switches before their activations."""
    graph = model.graph
    tensors = graph_files.initializers(model)
    by_node = {layer.node: layer for layer in layers}
    switched: list[_SwitchedLayer] = []
    new: list[onnx.NodeProto] = []
    for node in graph.node:
        layer = by_node.get(node.name)
        if layer is not None:
            weight = graph_files.array(tensors[layer.weight])
            weight_input = f"{layer.node}_weight"  # of this layer's own, also where two share one
            graph.input.append(helper.make_tensor_value_info(weight_input, onnx.TensorProto.FLOAT, list(weight.shape)))
            node.input[nodes.WEIGHT_INPUT[node.op_type]] = weight_input
            rounded = node.op_type != "Gather" and plan.approach != "int4"
            switch = _rounding(node, plan, ranges, new, graph) if rounded else ""
            axis = 0 if nodes.is_transposed(node) else 1
            switched.append(_SwitchedLayer(layer, weight, axis, weight_input, switch))
        new.append(node)
    graph_files.set_nodes(graph, new)
    graph_files.drop_unread(model)
    return switched


def _rounding(
    node: onnx.NodeProto, plan: Plan, ranges: Ranges | None, new: list[onnx.NodeProto], graph: onnx.GraphProto
) -> str:
    """Rounds a product's activation where a switch says so; returns the switch's name."""
    data, name = node.input[0], node.name
    scale, zero, switch = f"{name}_scale", f"{name}_zero", f"{name}_switch"
    if ranges is None:
        new.append(helper.make_node("DynamicQuantizeLinear", [data], [f"{name}_q", scale, zero]))
    else:
        values = ranges.scale_of(data, plan.format.activation)
        graph.initializer.extend(numpy_helper.from_array(v, n) for v, n in zip(values, (scale, zero), strict=True))
        new.append(helper.make_node("QuantizeLinear", [data, scale, zero], [f"{name}_q"]))
    new.append(helper.make_node("DequantizeLinear", [f"{name}_q", scale, zero], [f"{name}_rounded"]))
    graph.input.append(helper.make_tensor_value_info(switch, onnx.TensorProto.BOOL, []))
    new.append(helper.make_node("Where", [switch, f"{name}_rounded", data], [f"{name}_data"]))
    node.input[0] = f"{name}_data"
    return switch
