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


def add(
    graph: ir.Graph, before: ir.Node, op: str, inputs: Sequence[ir.Value | None], domain: str = "", **attributes: Any
) -> ir.Value:
    """A new node in front of another one; returns its output."""
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
    source, perm = (key, [0, 1, 3, 2]) if turned is None else (turned, [0, 2, 3, 1])
    turned_key = add(graph, node, "Transpose", [source], perm=perm)
    scores = add(graph, node, "MatMul", [query, turned_key])
    scores = add(graph, node, "Mul", [scores, _scale(graph, node)])
    if rest and rest[0] is not None:
        scores = add(graph, node, "Add", [scores, _bias(graph, node, rest[0], masks)])
    weights = add(graph, node, "Softmax", [scores], axis=-1)
    out = add(graph, node, "MatMul", [weights, value])
    out.name = node.outputs[0].name
    take_over(graph, node, out)


def _fused(graph: ir.Graph, node: ir.Node, masks: dict[Any, ir.Value]) -> bool:
    """As MultiHeadAttention over [batch, length, hidden]; False where the operands aren't split heads of such values."""
    operands = [_merged(value) for value in node.inputs[:3]]
    shape, turned = dims(node.inputs[0]), _only_reader(node.outputs[0])
    merged = _only_reader(turned.outputs[0]) if turned is not None and _is_turned(turned, _HEADS_FIRST) else None
    if None in operands or shape is None or not isinstance(shape[1], int) or turned is None or merged is None:
        return False
    if merged.op_type != "Reshape" or len(dims(merged.outputs[0]) or ()) != 3:
        return False
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    padding = None
    if mask is not None:
        known = dims(mask)
        if known is None or len(known) != 4 or known[1:3] != [1, 1] or mask.dtype != ir.DataType.BOOL:
            return False
        padding = _padding(graph, node, mask, masks)
    sums = [found for operand in operands if (found := bias_sum(operand)) is not None]
    packed = None
    if len(sums) == 3:
        values = [ir.convenience.get_const_tensor(bias).numpy() for _, bias in sums]
        packed = constant(graph, f"{sums[0][1].name}.qkv", np.concatenate(values))
        operands = [product for product, _ in sums]
    out = add(
        graph,
        merged,
        "MultiHeadAttention",
        [*operands, packed, padding, None],
        domain=MICROSOFT,
        num_heads=shape[1],
        scale=node.attributes["scale"].as_float(),
        mask_filter_value=LOWEST,
    )
    take_over(graph, merged, out)
    graph.remove([turned, node], safe=True)
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


def bias_sum(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """(product, bias) where the value is `product + bias`, read once, the bias a weight [size]."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Add" or _only_reader(value) is None:
        return None
    for product, bias in (tuple(node.inputs), tuple(reversed(node.inputs))):
        if product is not None and bias is not None and bias.is_initializer() and len(bias.shape or ()) == 1:
            return product, bias
    return None


def _before(value: ir.Value | None, perm: list[int]) -> ir.Value | None:
    node = value.producer() if value is not None else None
    return node.inputs[0] if node is not None and _is_turned(node, perm) else None


def _is_turned(node: ir.Node, perm: list[int]) -> bool:
    return node.op_type == "Transpose" and list(node.attributes.get_ints("perm", [])) == perm


def _only_reader(value: ir.Value | None) -> ir.Node | None:
    uses = list(value.uses()) if value is not None and not value.is_graph_output() else []
    return uses[0].node if len(uses) == 1 else None


def _scale(graph: ir.Graph, node: ir.Node) -> ir.Value:
    scale = np.float32(node.attributes["scale"].as_float())
    return constant(graph, f"attention_scale_{float(scale):.6g}", scale)


def _bias(graph: ir.Graph, node: ir.Node, mask: ir.Value, masks: dict[Any, ir.Value]) -> ir.Value:
    """What is added to the scores: 0 where a key is seen, else the lowest number; a float mask is that already."""
    if mask.dtype != ir.DataType.BOOL:
        return mask
    if ("bias", mask) not in masks:
        zero = constant(graph, "attention_seen", np.float32(0))
        lowest = constant(graph, "attention_hidden", np.float32(LOWEST))
        masks["bias", mask] = add(graph, node, "Where", [mask, zero, lowest])
    return masks["bias", mask]


def _padding(graph: ir.Graph, node: ir.Node, mask: ir.Value, masks: dict[Any, ir.Value]) -> ir.Value:
    """int32 [batch, keys] of a mask [batch, 1, 1, keys], 1 where a key is seen."""
    if ("padding", mask) not in masks:
        flat = add(graph, node, "Reshape", [mask, shape_constant(graph, [0, -1])])
        masks["padding", mask] = add(graph, node, "Cast", [flat], to=int(ir.DataType.INT32))
    return masks["padding", mask]


def take_over(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Removes a node; what read its first output reads `value`."""
    value.shape, value.dtype = node.outputs[0].shape, node.outputs[0].dtype
    replace(node.outputs[0], value)
    graph.remove(node, safe=True)
