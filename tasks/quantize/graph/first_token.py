"""Computes the last layer of an encoder for one token alone, where the head reads no other.

A classifier that takes the first token's hidden state throws the last layer's other rows away. Linear layers, norms,
residual sums and activations work row by row, and attention row by row over its queries; so the choice of the row can move
up in the graph to where the keys and values need all rows. What is computed stays equal up to rounding; of six layers it
saves about a seventh of the work.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tasks.errors import ToolError
from tasks.quantize.graph.files import has_subgraphs, set_nodes

Shape = list[int | str | None]

_UNARY = {"Gelu", "Erf", "Tanh", "Relu", "Sigmoid", "Cast", "Identity", "Neg", "Sqrt", "IsNaN", "Not"}
_BROADCAST = {"Add", "Mul", "Sub", "Div", "Pow", "Where", "And", "Or", "BiasGelu", "FastGelu", "SkipLayerNormalization"}
_SMALL = 1024


@dataclass
class _Cone:
    """What moves: nodes whose rows are cut (and on which axis of what they give), and tensors cut by a Gather in front of them."""

    nodes: list[int] = field(default_factory=list)
    axis: dict[int, int] = field(default_factory=dict)
    cuts: dict[tuple[str, int], list[tuple[int, int]]] = field(default_factory=dict)


def keep_first_token(model: onnx.ModelProto) -> int:
    """Rewrites the graph in place; it must still hold the shapes that its exporter noted.

    Returns:
        How many products with weights now run for one row; 0: the graph is as it was.
    """
    graph = model.graph
    if has_subgraphs(graph):
        return 0
    constants = {tensor.name for tensor in graph.initializer}
    rows = {number: row for number, node in enumerate(graph.node) if (row := _row(graph, node)) is not None}
    readers = _readers(graph)
    for number, row in rows.items():
        node = graph.node[number]
        shapes = _shapes(model)
        if len(shapes.get(node.input[0], [])) != 3 or len(readers[node.input[0]]) != 1:
            continue
        cone = _cone(graph, number, shapes, readers)
        products = [i for i in cone.nodes if graph.node[i].op_type == "MatMul" and graph.node[i].input[1] in constants]
        if products:
            _rewrite(graph, number, row, cone, shapes)
            return len(products)
    return 0


def _row(graph: onnx.GraphProto, node: onnx.NodeProto) -> int | None:
    """The row that a Gather takes alone from [batch, rows, hidden], dropping that axis."""
    if node.op_type != "Gather" or _integer(node, "axis", 0) != 1:
        return None
    index = next((tensor for tensor in graph.initializer if tensor.name == node.input[1]), None)
    return int(numpy_helper.to_array(index)) if index is not None and not index.dims else None


def _cone(graph: onnx.GraphProto, select: int, shapes: dict[str, Shape], readers: dict[str, list[int]]) -> _Cone:
    """Walks up from the choice of the row as far as every reader of a tensor wants that row alone."""
    asks: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    asks[graph.node[select].input[0]].append((select, 0, 1))
    cone = _Cone()
    for number in range(select - 1, -1, -1):
        node = graph.node[number]
        asked = [name for name in node.output if name in asks]
        if not asked:
            continue
        read = [name for name in node.output if readers[name]]
        axes = {axis for name in read for _, _, axis in asks.get(name, [])}
        whole = len(axes) == 1 and all(len(asks.get(name, [])) == len(readers[name]) for name in read)
        wanted = _inputs(node, next(iter(axes)), shapes) if whole else None
        if wanted is None:
            continue
        for name in asked:
            del asks[name]
        cone.nodes.append(number)
        cone.axis[number] = next(iter(axes))
        for place, axis in wanted:
            asks[node.input[place]].append((number, place, axis))
    for name, places in asks.items():
        for number, place, axis in places:
            cone.cuts.setdefault((name, axis), []).append((number, place))
    return cone


def _inputs(node: onnx.NodeProto, axis: int, shapes: dict[str, Shape]) -> list[tuple[int, int]] | None:
    """Which inputs to cut, and on which axis, for an output cut on `axis`; None where the node mixes rows."""
    shape = shapes.get(node.output[0])
    if shape is None:
        return None
    rank = len(shape)
    if node.op_type in _UNARY:
        return [(0, axis)]
    if node.op_type == "LayerNormalization":
        return [(0, axis)] if _integer(node, "axis", -1) % rank > axis else None
    if node.op_type == "Softmax":
        return [(0, axis)] if _integer(node, "axis", -1) % rank != axis else None
    if node.op_type in _BROADCAST:
        return _broadcast(node, axis - rank, shapes)
    if node.op_type == "MatMul":
        left, right = shapes.get(node.input[0], []), shapes.get(node.input[1], [])
        rows = len(left) == rank and axis < rank - 1 and (len(right) == 2 or axis == rank - 2)
        return [(0, axis)] if rows else None
    if node.op_type == "Transpose":
        perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), list(range(rank))[::-1])
        return [(0, perm[axis])]
    if node.op_type == "Reshape":
        before = shapes.get(node.input[0], [])
        same = before[: axis + 1] == shape[: axis + 1] and None not in before[: axis + 1]
        return [(0, axis)] if same and sum(not isinstance(dim, int) for dim in shape[axis + 1 :]) <= 1 else None
    if node.op_type == "MultiHeadAttention":
        return _attention(node, axis, shapes)
    return None


def _broadcast(node: onnx.NodeProto, from_end: int, shapes: dict[str, Shape]) -> list[tuple[int, int]] | None:
    found = []
    for place, name in enumerate(node.input):
        shape = shapes.get(name)
        if name and shape is None:
            return None
        if shape and len(shape) >= -from_end and shape[from_end] != 1:
            found.append((place, len(shape) + from_end))
    return found


def _attention(node: onnx.NodeProto, axis: int, shapes: dict[str, Shape]) -> list[tuple[int, int]] | None:
    """onnxruntime's fused node: its queries [batch, rows, hidden], and a bias of the scores [., ., rows, keys]."""
    if axis != 1 or len(node.output) > 1 or len(shapes.get(node.input[0], [])) != 3:
        return None
    wanted = [(0, 1)]
    if len(node.input) > 5 and node.input[5]:
        bias = shapes.get(node.input[5], [])
        if len(bias) != 4:
            return None
        wanted += [(5, 2)] if bias[2] != 1 else []
    return wanted


def _rewrite(graph: onnx.GraphProto, select: int, row: int, cone: _Cone, shapes: dict[str, Shape]) -> None:
    _constant(graph, "kept_row", np.array([row], np.int64))
    _constant(graph, "only_row", np.array(0, np.int64))
    before: dict[int, list[onnx.NodeProto]] = defaultdict(list)
    for (name, axis), places in cone.cuts.items():
        kept = f"{name}_kept_row{axis}"
        gather = helper.make_node("Gather", [name, "kept_row"], [kept], name=f"keep_row_{name}_{axis}", axis=axis)
        before[min(number for number, _ in places)].append(gather)
        for number, place in places:
            graph.node[number].input[place] = kept
    for number in cone.nodes:
        node = graph.node[number]
        if node.op_type == "Reshape":
            _reshape(graph, node, shapes[node.output[0]], cone.axis[number])
    graph.node[select].input[1] = "only_row"
    set_nodes(graph, [made for number, node in enumerate(graph.node) for made in (*before[number], node)])
    del graph.value_info[:]


def _reshape(graph: onnx.GraphProto, node: onnx.NodeProto, shape: Shape, cut: int) -> None:
    """A shape that copies all up to the rows, whatever their number; they stand alike before and after."""
    sizes = [0 if axis <= cut else dim if isinstance(dim, int) else -1 for axis, dim in enumerate(shape)]
    name = "kept_shape_" + "_".join(str(size).replace("-", "m") for size in sizes)
    _constant(graph, name, np.array(sizes, np.int64))
    node.input[1] = name
    kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
    del node.attribute[:]
    node.attribute.extend(kept)


def _constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> None:
    if all(tensor.name != name for tensor in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(value, name))


def _readers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Which nodes read a tensor, once a place; the graph's own outputs count as a reader that wants all of it."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, node in enumerate(graph.node):
        for name in node.input:
            found[name].append(number)
    for output in graph.output:
        found[output.name].append(-1)
    return found


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Of every tensor that is known, inferred on a copy in which large weights are inputs."""
    small = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = small.graph
    graph.CopyFrom(onnx.GraphProto(name="shapes", node=model.graph.node, input=model.graph.input))
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    for tensor in model.graph.initializer:
        if int(np.prod(tensor.dims)) <= _SMALL and not tensor.external_data:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    try:
        inferred = onnx.shape_inference.infer_shapes(small, data_prop=True).graph
    except ToolError:  # a stop that was asked for
        raise
    except Exception:  # its own error type says nothing more: what the exporter noted must do
        inferred = graph
    found = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output, *model.graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            found[value.name] = [_dim(dim) for dim in value.type.tensor_type.shape.dim]
    return found


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None


def _integer(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
