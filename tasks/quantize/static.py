"""Static quantization: activations in 8 bits too, with ranges that a calibration found.

A pair of QuantizeLinear and DequantizeLinear stands before each weighty product, none behind it: what comes out stays
float, so nothing is rounded that isn't multiplied. onnxruntime fuses pair, weight and product into one integer kernel when it loads
the graph; a product of two activations (the attention's own) stays float, where 8 bits gain no time.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tasks.errors import ToolError
from tasks.quantize.calibration.ranges import Ranges
from tasks.quantize.graph.rewriting import Product, Rewriting, quantize
from tasks.quantize.graph.tables import replace_table
from tasks.quantize.plan import Plan, Result
from tasks.quantize.weights import scale_of, to_integers

OLDEST = 13


def quantize_static(source: str | Path, target: str | Path, plan: Plan, ranges: Ranges) -> Result:
    """Writes `target`, the float graph `source` with its weighty products in integers.

    Args:
        ranges: what `calibration.collect` found on the same source.

    Raises:
        ConfigError: the source is quantized already, or the plan excludes what isn't there.
        ToolError: nothing could be quantized, or an activation has no range.
    """
    return quantize(source, target, plan, functools.partial(_replace, ranges=ranges), OLDEST)


def _replace(rewriting: Rewriting, part: Product, plan: Plan, ranges: Ranges) -> None:
    if part.layer.operator == "Gather":
        replace_table(rewriting, part, plan.format)
        return
    name, data = part.layer.weight, part.data
    if data not in ranges.values:
        raise ToolError(
            f"{part.layer.name}: the calibration found no range of its input {data}; calibrate on this graph"
        )
    lowest, highest = (np.asarray(bound, np.float32) for bound in ranges.values[data])
    activation = scale_of(lowest, highest, plan.format.activation)
    scale = rewriting.constant(f"{data}_scale", activation[0])
    zero = rewriting.constant(f"{data}_zero_point", activation[1])
    quantized = rewriting.node("QuantizeLinear", [data, scale, zero], f"{data}_quantized")
    weight = to_integers(part.weight, plan.format, 1 if plan.format.per_channel else None)
    values = rewriting.constant(f"{name}_quantized", weight.values)
    weight_zero = rewriting.constant(f"{name}_zero_point", weight.zero)
    product = f"{part.output}_scaled" if part.bias else part.output
    if part.layer.operator == "Gemm":
        # In integers outright: of a pair here the loader would make a Gemm in float, with the activation behind it.
        sums = rewriting.node("MatMulInteger", [quantized, values, zero, weight_zero], f"{part.output}_integers")
        floats = rewriting.node("Cast", [sums], f"{part.output}_cast", to=onnx.TensorProto.FLOAT)
        scales = rewriting.constant(f"{part.output}_scales", (activation[0] * weight.scale).astype(np.float32))
        rewriting.node("Mul", [floats, scales], product)
    else:
        axis: dict[str, Any] = {"axis": 1} if plan.format.per_channel else {}
        weight_scale = rewriting.constant(f"{name}_scale", weight.scale)
        floats = rewriting.node("DequantizeLinear", [quantized, scale, zero], f"{data}_dequantized")
        inputs = [values, weight_scale, weight_zero]
        weights = rewriting.node("DequantizeLinear", inputs, f"{name}_dequantized", **axis)
        rewriting.node("MatMul", [floats, weights], product)
    if part.bias:
        rewriting.node("Add", [product, part.bias], part.output)
