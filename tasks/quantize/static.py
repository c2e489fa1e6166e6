"""Static quantization: activations in 8 bits too, with ranges that a calibration found.

A pair of QuantizeLinear and DequantizeLinear stands before each weighty product, none behind it: what comes out stays
float, so nothing is rounded that isn't multiplied. onnxruntime fuses pair, weight and product into one integer kernel when it loads
the graph; a product of two activations (the attention's own) stays float, where 8 bits gain no time.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import ToolError
from tasks.quantize import graph, nodes
from tasks.quantize.calibration import Ranges
from tasks.quantize.plan import Plan, Result
from tasks.quantize.rewriting import Product, Rewriting, prepare
from tasks.quantize.tables import replace_table
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
    started = time.monotonic()
    model = prepare(source, OLDEST)
    Rewriting(model).run(plan, lambda rewriting, part: _replace(rewriting, part, plan, ranges))
    counts = nodes.require_quantized(model, plan, source)
    return Result(counts, graph.save(model, target), time.monotonic() - started)


def _replace(rewriting: Rewriting, part: Product, plan: Plan, ranges: Ranges) -> None:
    if part.layer.operator == "Gather":
        replace_table(rewriting, part, plan.format)
        return
    name, data, out = part.layer.weight, part.data, part.output
    if data not in ranges.values:
        raise ToolError(
            f"{part.layer.name}: the calibration found no range of its input {data}; calibrate on this graph"
        )
    lowest, highest = (np.float32(bound) for bound in ranges.values[data])
    scale, zero = scale_of(np.asarray(lowest), np.asarray(highest), plan.format.activation)
    scale_name = rewriting.constant(f"{data}_scale", scale)
    zero_name = rewriting.constant(f"{data}_zero_point", zero)
    quantized = rewriting.node("QuantizeLinear", [data, scale_name, zero_name], f"{data}_quantized")
    floats = rewriting.node("DequantizeLinear", [quantized, scale_name, zero_name], f"{data}_dequantized")
    axis = 1 if plan.format.per_channel else None
    weight = to_integers(part.weight, plan.format, axis)
    values = rewriting.constant(f"{name}_quantized", weight.values)
    weight_scale = rewriting.constant(f"{name}_scale", weight.scale)
    weight_zero = rewriting.constant(f"{name}_zero_point", weight.zero)
    axes: dict[str, Any] = {} if axis is None else {"axis": axis}
    weights = rewriting.node("DequantizeLinear", [values, weight_scale, weight_zero], f"{name}_dequantized", **axes)
    scaled = f"{out}_scaled" if part.bias else out
    rewriting.node("MatMul", [floats, weights], scaled)
    if part.bias:
        rewriting.node("Add", [scaled, part.bias], out)
