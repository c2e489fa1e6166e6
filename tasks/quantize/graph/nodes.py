"""Quantizable layers of a graph, by readable names, and the share that is quantized."""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from tasks.errors import ConfigError, ToolError
from tasks.quantize.graph.files import initializers, read
from tasks.quantize.plan import Plan

# Where torch's exporter notes the path of a node's module.
SCOPES = "pkg.torch.onnx.name_scopes"
# Nodes that are there only in a quantized graph.
INTEGER = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QLinearMatMul",
    "QLinearConv",
    "QGemm",
    "QAttention",
    "MatMulNBits",
    "MatMulBnb4",
    "GatherBlockQuantized",
)
# What shows that the products are in integers, by approach.
_PRODUCTS = {
    "dynamic": ("MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "ConvInteger", "QAttention"),
    "static": ("QuantizeLinear", "QLinearMatMul", "MatMulIntegerToFloat", "QLinearConv"),
    "int4": ("MatMulNBits",),
}
# Where a node's weight stands among its inputs.
WEIGHT_INPUT = {"MatMul": 1, "Gemm": 1, "Gather": 0}


@dataclass(frozen=True)
class Layer:
    """One weight that can be quantized.

    Args:
        name: path of its module in the torch model ("bert.encoder.layer.3.output.dense") where the graph says it, else
            its weight's or its node's name.
        operator: type of its node.
        node: name of its node.
        weight: name of its constant.
        columns: outputs, which per-channel quantization gives a scale each.
    """

    name: str
    operator: str
    node: str
    weight: str
    columns: int


def layers(model: str | Path | onnx.ModelProto, operators: tuple[str, ...] = tuple(WEIGHT_INPUT)) -> list[Layer]:
    """Every node with a constant float weight [inner, outer], in the graph's order; names are unique.

    A first word that all names share is left out: it is the exporter's wrapper around the model.
    """
    model = model if isinstance(model, onnx.ModelProto) else read(model, weights=False)
    constants = initializers(model)
    found: list[Layer] = []
    taken: Counter[str] = Counter()
    for node in model.graph.node:
        weight = constants.get(_weight(node))
        if weight is None or weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) != 2:
            continue
        if node.op_type == "Gather" and weight.dims[1] < 2:  # scales of a quantized table
            continue
        name = module_name(node, weight.name)
        taken[name] += 1
        name = name if taken[name] == 1 else f"{name}#{taken[name]}"
        columns = weight.dims[0 if is_transposed(node) else 1]
        found.append(Layer(name, node.op_type, node.name, weight.name, columns))
    first = {layer.name.partition(".")[0] for layer in found}
    if len(first) == 1 and all("." in layer.name for layer in found):
        found = [replace(layer, name=layer.name.partition(".")[2]) for layer in found]
    return [layer for layer in found if layer.operator in operators]


def module_name(node: onnx.NodeProto, weight: str) -> str:
    """The path of a node's module as torch's exporter noted it, else its weight's name, else its own."""
    scopes = {prop.key: prop.value for prop in node.metadata_props}.get(SCOPES, "")
    try:
        path = [str(scope) for scope in ast.literal_eval(scopes)] if scopes else []
    except (ValueError, SyntaxError):
        path = []
    if len(path) > 1 and path[-2]:
        return path[-2]
    plain = weight.removesuffix(".T")
    if plain.endswith(".weight"):
        return plain.removesuffix(".weight")
    return node.name


def left_float(model: onnx.ModelProto, plan: Plan) -> list[str]:
    """Names of the nodes that a plan leaves float, in the graph's order.

    Raises:
        ConfigError: the plan excludes what the graph doesn't have.
    """
    every = layers(model, plan.operators)
    nodes = {node.name for node in model.graph.node}
    wanted: set[str] = set()
    for name in plan.excluded:
        hits = [layer.node for layer in every if layer.name == name or layer.name.startswith(name + ".")]
        if not hits and name not in nodes:
            near = difflib.get_close_matches(name, [layer.name for layer in every], 3, 0.3)
            raise ConfigError(
                f"--exclude {name}: the graph has no such layer or node; near it: {', '.join(near) or 'none'}"
            )
        wanted.update(hits or [name])
    wanted.update(layer.node for layer in every if layer.columns < plan.narrow)
    return [node.name for node in model.graph.node if node.name in wanted]


def counts(path: str | Path | onnx.ModelProto) -> dict[str, int]:
    """How many nodes of each quantized type a graph has, and `weights_quantized` of `weights` (constants of weighty nodes)."""
    model = path if isinstance(path, onnx.ModelProto) else read(path, weights=False)
    types = Counter(node.op_type for node in model.graph.node)
    found = {name: types[name] for name in INTEGER if types[name]}
    quantized = _quantized_weights(model)
    found["weights_quantized"] = quantized
    found["weights"] = quantized + len(layers(model))
    return found


def require_float(path: str | Path) -> None:
    """Refuses a graph that is quantized already.

    Raises:
        ConfigError: naming what it found.
    """
    found = counts(path)
    kinds = [name for name in INTEGER if name in found]
    if kinds:
        raise ConfigError(
            f"{path} is quantized already ({', '.join(f'{found[name]} {name}' for name in kinds)}); give the float model"
        )


def require_quantized(model: onnx.ModelProto, plan: Plan, name: str | Path) -> dict[str, int]:
    """The counts of a graph that its plan has quantized; messages call it `name`.

    Raises:
        ToolError: nothing was quantized, or weights alone where activations were to be.
    """
    found, every = counts(model), layers(model, plan.operators)
    operators, products = ", ".join(plan.operators), _PRODUCTS[plan.approach]
    if not found["weights_quantized"]:
        reason = f"the graph has no {operators} with a constant float weight"
        if every:
            reason = f"all {len(every)} layers of {operators} are excluded, or narrower than {plan.narrow} columns"
        raise ToolError(
            f"{name}: {plan.name} quantized nothing: {reason}; name other operators or exclude fewer layers"
        )
    if not any(found.get(kind) for kind in products):
        raise ToolError(
            f"{name}: {plan.name} quantized weights alone, so the products stay float: no {' or '.join(products)} in the "
            f"graph; quantize its MatMul or Gemm too, or give the graph without fused operators (tool export onnx --graph none)"
        )
    return found


def _weight(node: onnx.NodeProto) -> str:
    """The name of what may be a node's weight; "" where the node is of a form that has no integer counterpart."""
    place = WEIGHT_INPUT.get(node.op_type)
    if place is None or len(node.input) <= place:
        return ""
    numbers = {a.name: a.f if a.type == onnx.AttributeProto.FLOAT else a.i for a in node.attribute}
    if node.op_type == "Gemm" and (
        numbers.get("transA", 0) or numbers.get("alpha", 1) != 1 or numbers.get("beta", 1) != 1
    ):
        return ""
    return "" if node.op_type == "Gather" and numbers.get("axis", 0) != 0 else str(node.input[place])


def is_transposed(node: onnx.NodeProto) -> bool:
    """Whether a node holds its weight as [columns, inner]."""
    return node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)


def _quantized_weights(model: onnx.ModelProto) -> int:
    eight = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
    names = {t.name for t in model.graph.initializer if t.data_type in eight and len(t.dims) >= 2}
    return len({name for node in model.graph.node for name in node.input if name in names})
