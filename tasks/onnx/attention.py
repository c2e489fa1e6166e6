"""Writes out the nodes `modeltool.Attention` that `tasks.onnx.tracing` leaves: in plain ONNX, or as onnxruntime's fused node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tasks.onnx.cleaning import constant, dims, replace, shape_constant
from tasks.onnx.tracing import DOMAIN

MICROSOFT = "com.microsoft"
LOWEST = float(np.finfo(np.float32).min)
_HEADS_FIRST = [0, 2, 1, 3]


def write_out(model: ir.Model, fused: bool) -> int:
    """Replaces every attention node; returns how many became a fused one.

    Args:
        fused: as `com.microsoft.MultiHeadAttention` where the layout allows it, else as plain MatMul, Softmax, MatMul.
    """
    count = 0
    masks: dict[Any, ir.Value] = {}
    for node in list(model.graph):
        if node.domain == DOMAIN and node.op_type == "Attention":
            if fused and _fused(model.graph, node, masks):
                count += 1
            else:
                _plain(model.graph, node, masks)
    if count:
        model.opset_imports[MICROSOFT] = 1
    model.opset_imports.pop(DOMAIN, None)
    return count


def add(graph: ir.Graph, before: ir.Node, op: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
    """A new node in front of another one; returns its output."""
    domain = attributes.pop("domain", "")
    node = ir.node(op, inputs, attributes=attributes, domain=domain)
    graph.insert_before(before, node)
    return node.outputs[0]


def _plain(graph: ir.Graph, node: ir.Node, masks: dict[Any, ir.Value]) -> None:
    """softmax(query key' * scale + mask) value, over [batch, heads, length, size]."""
    query, key, value, *rest = node.inputs
    assert query is not None
    assert key is not None
    assert value is not None
    turned = _before(key, _HEADS_FIRST)
    if turned is not None:
        turned_key = add(graph, node, "Transpose", [turned], perm=[0, 2, 3, 1])
    else:
        turned_key = add(graph, node, "Transpose", [key], perm=[0, 1, 3, 2])
    scores = add(graph, node, "MatMul", [query, turned_key])
    scores = add(graph, node, "Mul", [scores, _scale(graph, node)])
    if rest and rest[0] is not None:
        scores = add(graph, node, "Add", [scores, _bias(graph, node, rest[0], masks)])
    weights = add(graph, node, "Softmax", [scores], axis=-1)
    out = add(graph, node, "MatMul", [weights, value])
    out.name = node.outputs[0].name
    _take_over(graph, node, out)


def _fused(graph: ir.Graph, node: ir.Node, masks: dict[Any, ir.Value]) -> bool:
    """As MultiHeadAttention over [batch, length, hidden]; False where the operands aren't split heads of such values."""
    parts = [_merged(value) for value in node.inputs[:3]]
    shape, reader = dims(node.inputs[0]), _only_reader(node.outputs[0])
    merged = _only_reader(reader.outputs[0]) if reader is not None and reader.op_type == "Transpose" else None
    if None in parts or shape is None or not isinstance(shape[1], int) or merged is None:
        return False
    assert reader is not None
    if reader.attributes.get_ints("perm", None) != tuple(_HEADS_FIRST) and list(
        reader.attributes.get_ints("perm", None) or []
    ) != list(_HEADS_FIRST):
        return False
    target = dims(merged.outputs[0])
    if merged.op_type != "Reshape" or target is None or len(target) != 3:
        return False
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    padding = bias = None
    if mask is not None:
        known = dims(mask)
        if known is not None and len(known) == 4 and known[1:3] == [1, 1] and mask.dtype == ir.DataType.BOOL:
            padding = _padding(graph, node, mask, masks)
        else:
            return False
    biases = [_bias_of(part) for part in parts]
    packed = None
    if None not in biases:
        names = [str(found[1].name) for found in biases if found]
        values = [found[1].const_value.numpy() for found in biases if found]
        packed = constant(graph, f"{names[0]}.qkv", np.concatenate(values))
        parts = [found[0] for found in biases if found]
    out = add(
        graph,
        merged,
        "MultiHeadAttention",
        [*parts, packed, padding, bias],
        domain=MICROSOFT,
        num_heads=shape[1],
        scale=node.attributes["scale"].as_float(),
        mask_filter_value=LOWEST,
    )
    out.shape, out.dtype = merged.outputs[0].shape, merged.outputs[0].dtype
    replace(merged.outputs[0], out)
    graph.remove([merged, reader, node], safe=True)
    return True


def _merged(value: ir.Value | None) -> ir.Value | None:
    """The [batch, length, hidden] that [batch, heads, length, size] was split from."""
    view = _before(value, _HEADS_FIRST)
    node = view.producer() if view is not None else None
    if node is None or node.op_type != "Reshape" or node.inputs[0] is None:
        return None
    source, target = dims(node.inputs[0]), dims(view)
    if source is None or target is None or len(source) != 3 or len(target) != 4 or source[:2] != target[:2]:
        return None
    return node.inputs[0]


def _bias_of(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """(what the bias was added to, the bias) of `x W + b` where nothing else reads the sum."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Add" or _only_reader(value) is None:
        return None
    product, bias = node.inputs
    if product is None or bias is None or not bias.is_initializer() or len(bias.shape or ()) != 1:
        return None
    return product, bias


def _before(value: ir.Value | None, perm: list[int]) -> ir.Value | None:
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose" or list(node.attributes["perm"].as_ints()) != perm:
        return None
    return node.inputs[0]


def _only_reader(value: ir.Value | None) -> ir.Node | None:
    readers = list(value.consumers()) if value is not None else []
    return readers[0] if len(readers) == 1 and value is not None and not value.is_graph_output() else None


def _scale(graph: ir.Graph, node: ir.Node) -> ir.Value:
    scale = np.float32(node.attributes["scale"].as_float())
    return constant(graph, f"attention_scale_{float(scale):.6g}", scale)


def _bias(graph: ir.Graph, node: ir.Node, mask: ir.Value, masks: dict[Any, ir.Value]) -> ir.Value:
    """What is added to the scores: 0 where a key is seen, else the lowest number; a float mask is that already."""
    if mask.dtype != ir.DataType.BOOL:
        return mask
    if ("bias", mask) not in masks:
        zero, lowest = (
            constant(graph, "attention_seen", np.float32(0)),
            constant(graph, "attention_hidden", np.float32(LOWEST)),
        )
        masks["bias", mask] = add(graph, node, "Where", [mask, zero, lowest])
    return masks["bias", mask]


def _padding(graph: ir.Graph, node: ir.Node, mask: ir.Value, masks: dict[Any, ir.Value]) -> ir.Value:
    """int32 [batch, keys] of a mask [batch, 1, 1, keys], 1 where a key is seen."""
    if ("padding", mask) not in masks:
        flat = add(graph, node, "Reshape", [mask, shape_constant(graph, [0, -1])])
        masks["padding", mask] = add(graph, node, "Cast", [flat], to=int(ir.DataType.INT32))
    return masks["padding", mask]


def _take_over(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    value.shape, value.dtype = node.outputs[0].shape, node.outputs[0].dtype
    replace(node.outputs[0], value)
    graph.remove(node, safe=True)
