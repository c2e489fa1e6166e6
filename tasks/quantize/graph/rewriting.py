"""Replacement of a graph's matrix products, with everything else unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tasks.errors import ConfigError
from tasks.quantize.graph import files as graph_files
from tasks.quantize.graph import nodes
from tasks.quantize.graph.first_token import keep_first_token
from tasks.quantize.plan import Plan

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Product:
    """A node to replace: `data` [..., inner] times `weight` [inner, columns], plus a bias.

    Args:
        layer: which one it is.
        data: name of the tensor that changes; of a Gather, the row numbers.
        weight: float32; of a Gather, the table.
        bias: name of a constant or tensor to add, or "".
        output: name of the result.
    """

    layer: nodes.Layer
    data: str
    weight: np.ndarray
    bias: str
    output: str


class Rewriting:
    """A graph's new nodes and constants, in order."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.new: list[onnx.NodeProto] = []
        self.added: dict[str, onnx.TensorProto] = {}
        self.made: set[str] = set()
        self._scopes: list[onnx.StringStringEntryProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant by its name; the same name means the same value."""
        if name not in self.added:
            self.added[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(
        self, operator: str, inputs: list[str], output: str, *more: str, domain: str = "", **attributes: Any
    ) -> str:
        """A node, unless one has made that output already (what several layers read is quantized once)."""
        if output not in self.made:
            made = helper.make_node(
                operator, inputs, [output, *more], name=f"{output}_node", domain=domain, **attributes
            )
            made.metadata_props.extend(self._scopes)
            self.new.append(made)
            self.made.add(output)
        return output

    @contextmanager
    def biased(self, product: Product, suffix: str) -> Iterator[str]:
        """Names the output to write a product to; the product's bias is added to it afterwards."""
        output = f"{product.output}_{suffix}" if product.bias else product.output
        yield output
        if product.bias:
            self.node("Add", [output, product.bias], product.output)

    def run(self, plan: Plan, replace: Callable[[Rewriting, Product], None]) -> None:
        """Calls `replace` for each layer that the plan takes, in the graph's order."""
        left = set(nodes.left_float(self.model, plan))
        layers = {layer.node: layer for layer in nodes.layers(self.model, plan.operators) if layer.node not in left}
        tensors = graph_files.initializers(self.model)
        for node in self.model.graph.node:
            if node.name not in layers:
                self.new.append(node)
                continue
            self._scopes = [prop for prop in node.metadata_props if prop.key == nodes.SCOPES]
            replace(self, product(node, layers[node.name], tensors))
        graph_files.set_nodes(self.model.graph, self.new)
        self.model.graph.initializer.extend(self.added[name] for name in self.added if name not in tensors)
        graph_files.drop_unread(self.model)
        domains = {opset.domain for opset in self.model.opset_import}
        if MICROSOFT not in domains and any(node.domain == MICROSOFT for node in self.model.graph.node):
            self.model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))


def prepare(source: str | Path, oldest: int = 11) -> onnx.ModelProto:
    """The float graph that all quantizers start from: refused where quantized, its last layer cut to the first token.

    Raises:
        ConfigError: quantized already, or of an operator set before `oldest`.
    """
    nodes.require_float(source)
    model = graph_files.read(source)
    keep_first_token(model)
    del model.graph.value_info[:]  # what its exporter noted would be wrong after changes
    graph_files.drop_unread(model)
    version = next((opset.version for opset in model.opset_import if opset.domain == ""), 0)
    if version < oldest:
        raise ConfigError(
            f"{source} is of ONNX operator set {version}, and this needs {oldest} or later; export it again: tool export onnx"
        )
    return model


def product(node: onnx.NodeProto, layer: nodes.Layer, tensors: dict[str, onnx.TensorProto]) -> Product:
    """A node's parts, its weight as [inner, columns]."""
    weight = graph_files.array(tensors[layer.weight])
    if node.op_type == "Gather":
        return Product(layer, node.input[1], weight, "", node.output[0])
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    return Product(layer, node.input[0], weight.T if nodes.is_transposed(node) else weight, bias, node.output[0])
