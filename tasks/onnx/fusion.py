"""Small fusions into onnxruntime's operators, each equal up to rounding, and counted."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from tasks.onnx.attention import MICROSOFT, add, bias_sum, take_over


def fuse_layers(model: ir.Model) -> dict[str, int]:
    """Fuses `x + y` with the LayerNorm behind it, and a bias with the Gelu behind it."""
    counts = {"SkipLayerNormalization": 0, "BiasGelu": 0}
    for node in list(model.graph):
        if node.op_type == "LayerNormalization" and _skip(model.graph, node):
            counts["SkipLayerNormalization"] += 1
        elif node.op_type == "Gelu" and _bias_gelu(model.graph, node):
            counts["BiasGelu"] += 1
    if sum(counts.values()):
        model.opset_imports[MICROSOFT] = 1
    common.RemoveUnusedNodesPass()(model)
    return counts


def _skip(graph: ir.Graph, node: ir.Node) -> bool:
    """LayerNorm(x + skip), with the bias of `x = product + bias` taken in as well."""
    total = node.inputs[0].producer() if node.inputs[0] is not None else None
    if total is None or total.op_type != "Add" or node.attributes.get_int("axis", -1) != -1 or len(node.outputs) > 1:
        return False
    left, right = total.inputs
    if left is None or right is None or _rank(left) != 3 or _rank(right) != 3 or not _same_shape(left, right):
        return False
    gamma, beta = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    bias = None
    for one, other in ((left, right), (right, left)):
        split = bias_sum(one)
        if split is not None:
            left, right, bias = split[0], other, split[1]
            break
    shared = len(list(total.outputs[0].uses())) > 1
    fused = ir.node(
        "SkipLayerNormalization",
        [left, right, gamma, beta, bias],
        attributes={"epsilon": node.attributes.get_float("epsilon", 1e-5)},
        domain=MICROSOFT,
        num_outputs=4 if shared else 1,
    )
    graph.insert_before(node, fused)
    take_over(graph, node, fused.outputs[0])
    if shared:  # others read the sum too, and all come after the node in a layer's order
        for output in fused.outputs[1:3]:
            output.name = ""
        take_over(graph, total, fused.outputs[3])
    return True


def _bias_gelu(graph: ir.Graph, node: ir.Node) -> bool:
    if node.attributes.get_string("approximate", "none") != "none":
        return False
    split = bias_sum(node.inputs[0])
    if split is None:
        return False
    take_over(graph, node, add(graph, node, "BiasGelu", split, domain=MICROSOFT))
    return True


def _rank(value: ir.Value) -> int:
    return len(value.shape) if value.shape is not None else -1


def _same_shape(one: ir.Value, other: ir.Value) -> bool:
    return [str(dim) for dim in one.shape or ()] == [str(dim) for dim in other.shape or ()]
