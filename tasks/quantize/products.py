"""Products with weights in integers, activations in 8 bits: with each batch's own range (dynamic), or a calibration's (static).

Dynamic: the nodes are those of onnxruntime's quantizer, in the order in which its loader fuses them with the bias into one kernel
(DynamicQuantizeMatMul, MatMulIntegerToFloat); a test holds the logits equal to its own. They are written here because
its quantizer stops at graphs with fused operators, and writes and reads the whole model four times.

Static: a pair of QuantizeLinear and DequantizeLinear stands before each weighty product, none behind it: what comes out stays
float, so nothing is rounded that isn't multiplied. onnxruntime fuses pair, weight and product into one integer kernel when it loads
the graph; a product of two activations (the attention's own) stays float, where 8 bits gain no time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from tasks.errors import ToolError
from tasks.quantize.calibration.ranges import Ranges
from tasks.quantize.graph.rewriting import Product, Rewriting
from tasks.quantize.plan import Plan
from tasks.quantize.weights import Integers, to_integers

Rows = Mapping[str, np.ndarray]


def _weight(product: Product, plan: Plan, typical: Rows) -> Integers:
    axis = 1 if plan.format.per_channel else None
    return to_integers(product.weight, plan.format, axis, typical.get(product.data))


def dynamic_product(rewriting: Rewriting, product: Product, plan: Plan, typical: Rows) -> None:
    """Writes a product with weights in 8 bits; activations are rounded as they come."""
    name, data, out = product.layer.weight, product.data, product.output
    weight = _weight(product, plan, typical)
    values = rewriting.constant(f"{name}_quantized", weight.values)
    weight_scale = rewriting.constant(f"{name}_scale", weight.scale)
    weight_zero = rewriting.constant(f"{name}_zero_point", weight.zero)
    scale, zero = f"{data}_scale", f"{data}_zero_point"
    quantized = rewriting.node("DynamicQuantizeLinear", [data], f"{data}_quantized", scale, zero)
    sums = rewriting.node("MatMulInteger", [quantized, values, zero, weight_zero], f"{out}_integers")
    floats = rewriting.node("Cast", [sums], f"{out}_cast", to=onnx.TensorProto.FLOAT)
    scales = rewriting.node("Mul", [scale, weight_scale], f"{out}_scales")
    with rewriting.biased(product, "scaled") as scaled:
        rewriting.node("Mul", [floats, scales], scaled)


def static_product(rewriting: Rewriting, product: Product, plan: Plan, ranges: Ranges, typical: Rows) -> None:
    """Writes a product with weights in 8 bits; activations are rounded by their ranges.

    Raises:
        ToolError: the activation has no range.
    """
    name, data, out = product.layer.weight, product.data, product.output
    if data not in ranges.values:
        raise ToolError(
            f"{product.layer.name}: the calibration found no range of its input {data}; calibrate on this graph"
        )
    data_scale, data_zero = ranges.scale_of(data, plan.format.activation)
    scale = rewriting.constant(f"{data}_scale", data_scale)
    zero = rewriting.constant(f"{data}_zero_point", data_zero)
    quantized = rewriting.node("QuantizeLinear", [data, scale, zero], f"{data}_quantized")
    weight = _weight(product, plan, typical)
    values = rewriting.constant(f"{name}_quantized", weight.values)
    weight_zero = rewriting.constant(f"{name}_zero_point", weight.zero)
    with rewriting.biased(product, "scaled") as scaled:
        if product.layer.operator == "Gemm":
            # In integers outright: of a pair here the loader would make a Gemm in float, with the activation behind it.
            sums = rewriting.node("MatMulInteger", [quantized, values, zero, weight_zero], f"{out}_integers")
            floats = rewriting.node("Cast", [sums], f"{out}_cast", to=onnx.TensorProto.FLOAT)
            scales = rewriting.constant(f"{out}_scales", (data_scale * weight.scale).astype(np.float32))
            rewriting.node("Mul", [floats, scales], scaled)
            return
        axis: dict[str, Any] = {"axis": 1} if plan.format.per_channel else {}
        weight_scale = rewriting.constant(f"{name}_scale", weight.scale)
        floats = rewriting.node("DequantizeLinear", [quantized, scale, zero], f"{data}_dequantized")
        inputs = [values, weight_scale, weight_zero]
        weights = rewriting.node("DequantizeLinear", inputs, f"{name}_dequantized", **axis)
        rewriting.node("MatMul", [floats, weights], scaled)
