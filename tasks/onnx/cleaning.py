"""Takes out of an exported graph what computes shapes that are known, converts to the same type, or does nothing.

The exporter leaves with each value its shape, with the dynamic axes by name. So most subgraphs that compute shapes can be
replaced by constants: a 0 in a Reshape copies the axis, one -1 stands for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

LAST = np.iinfo(np.int64).max
# Constants above this many elements are not computed beforehand: a Transpose of a weight is written out when it is saved.
FOLD_ELEMENTS = 8192


def clean(model: ir.Model) -> None:
    """Cleans the graph in place; what it computes stays the same to the bit."""
    common.IdentityEliminationPass()(model)
    optimizer.fold_constants(
        model,
        onnx_shape_inference=False,
        input_size_limit=FOLD_ELEMENTS,
        should_fold=lambda node: False if node.op_type == "Transpose" else None,
    )
    known_shapes(model)
    apply(model, _RULES)
    common.RemoveUnusedNodesPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    apply(model, _RULES)
    common.RemoveUnusedNodesPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.RemoveUnusedNodesPass()(model)


def apply(model: ir.Model, rules: dict[str, Callable[[ir.Graph, ir.Node], ir.Value | None]]) -> None:
    """Runs each node's rule; one that gives a value replaces the node's output by it."""
    for node in list(model.graph):
        rule = rules.get(node.op_type) if node.domain == "" else None
        value = rule(model.graph, node) if rule else None
        if value is not None:
            replace(node.outputs[0], value)


def replace(old: ir.Value, new: ir.Value) -> None:
    """Lets everything that read `old` read `new`; the graph's own outputs keep their values."""
    if old.is_graph_output():
        return
    if new.shape is None:
        new.shape = old.shape
    if new.dtype is None:
        new.dtype = old.dtype
    ir.convenience.replace_all_uses_with(old, new)


def constant(graph: ir.Graph, name: str, numbers: Any) -> ir.Value:
    """An initializer of the graph; the same name is taken for the same value."""
    if name not in graph.initializers:
        array = np.asarray(numbers)
        value = ir.Value(
            name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.from_numpy(array.dtype))
        )
        value.const_value = ir.tensor(array, name=name)
        graph.register_initializer(value)
    return graph.initializers[name]


def shape_constant(graph: ir.Graph, numbers: list[int]) -> ir.Value:
    """int64 [n] as an initializer, one for each list of numbers."""
    return constant(graph, "shape_" + "_".join(str(n).replace("-", "m") for n in numbers), np.array(numbers, np.int64))


def dims(value: ir.Value | None) -> list[int | str] | None:
    """The shape with dynamic axes by name; None where it, or an axis of it, isn't known."""
    if value is None or value.shape is None:
        return None
    known = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    return None if None in known else [dim if isinstance(dim, int) else str(dim) for dim in known]


def integers(value: ir.Value | None) -> list[int] | None:
    """The numbers of a constant; None where it is none."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    if tensor is None or tensor.size > FOLD_ELEMENTS:
        return None
    return [int(number) for number in np.asarray(tensor.numpy()).reshape(-1)]


def known_shapes(model: ir.Model) -> None:
    """Fills in the shapes of intermediate values that the exporter left open: results of element-wise operations."""
    for node in model.graph:
        for output in node.outputs:
            source = node.inputs[0] if node.inputs else None
            if output.shape is None and source is not None and node.op_type in {"Identity", "Cast"}:
                output.shape = source.shape
            if node.op_type == "Cast":
                output.dtype = ir.DataType(node.attributes["to"].as_int())


def _reshape(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    source, target = dims(node.inputs[0]), dims(node.outputs[0])
    if target is not None and source == target:
        return node.inputs[0]
    if target is None:
        return None
    source = source or []
    # A 0 also where the axis is a number: it may be cut before.
    numbers = [
        0 if source[axis : axis + 1] == [dim] else dim if isinstance(dim, int) else -1
        for axis, dim in enumerate(target)
    ]
    if numbers.count(-1) > 1 or 0 in target:
        return None
    node.replace_input_with(1, shape_constant(graph, numbers))
    node.attributes.pop("allowzero", None)
    return None


def _same_shape(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    source, target = dims(node.inputs[0]), dims(node.outputs[0])
    return node.inputs[0] if target is not None and source == target else None


def _slice(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    starts, ends, steps = (integers(node.inputs[at]) if len(node.inputs) > at else None for at in (1, 2, 4))
    whole = starts is not None and ends is not None and all(at == 0 for at in starts) and all(at >= LAST for at in ends)
    if whole and (steps is None or all(step == 1 for step in steps)):
        return node.inputs[0]
    return None


def _cast(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    source = node.inputs[0]
    if source is not None and source.dtype is not None and int(source.dtype) == node.attributes["to"].as_int():
        return source
    return None


def _transpose(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    """A weight's transpose becomes a weight, computed when it is written."""
    source = node.inputs[0]
    if source is None or not source.is_initializer() or source.const_value is None:
        return None
    perm = node.attributes.get_ints("perm", None) or list(range(len(source.const_value.shape)))[::-1]
    tensor = source.const_value
    name = f"{source.name}.T"
    if name in graph.initializers:
        return graph.initializers[name]
    shape = ir.Shape([int(tensor.shape[axis]) for axis in perm])
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype))
    value.const_value = ir.LazyTensor(
        lambda: ir.tensor(np.ascontiguousarray(tensor.numpy().transpose(perm)), name=name),
        dtype=tensor.dtype,
        shape=shape,
        name=name,
    )
    graph.register_initializer(value)
    return value


_RULES: dict[str, Callable[[ir.Graph, ir.Node], ir.Value | None]] = {
    "Reshape": _reshape,
    "Expand": _same_shape,
    "Slice": _slice,
    "Cast": _cast,
    "Transpose": _transpose,
    "Concat": lambda graph, node: node.inputs[0] if len(node.inputs) == 1 else None,
}
