"""Dynamic quantization: weights in 8 bits beforehand, activations with each batch's own range at run time.

The nodes are those of onnxruntime's quantizer, in the order in which its loader fuses them with the bias into one kernel
(DynamicQuantizeMatMul, MatMulIntegerToFloat); a test holds the logits equal to its own. They are written here because
its quantizer stops at graphs with fused operators, and writes and reads the whole model four times.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from tasks.quantize.graph.rewriting import Product, Rewriting, quantize
from tasks.quantize.graph.tables import replace_table
from tasks.quantize.plan import Plan, Result
from tasks.quantize.weights import to_integers


def quantize_dynamic(source: str | Path, target: str | Path, plan: Plan) -> Result:
    """Writes `target`, the float graph `source` with its weighty products in integers.

    Raises:
        ConfigError: the source is quantized already, or the plan excludes what isn't there.
        ToolError: nothing could be quantized.
    """
    return quantize(source, target, plan, _replace)


def _replace(rewriting: Rewriting, part: Product, plan: Plan) -> None:
    if part.layer.operator == "Gather":
        replace_table(rewriting, part, plan.format)
        return
    name, data, out = part.layer.weight, part.data, part.output
    weight = to_integers(part.weight, plan.format, 1 if plan.format.per_channel else None)
    values = rewriting.constant(f"{name}_quantized", weight.values)
    weight_scale = rewriting.constant(f"{name}_scale", weight.scale)
    weight_zero = rewriting.constant(f"{name}_zero_point", weight.zero)
    scale, zero = f"{data}_scale", f"{data}_zero_point"
    quantized = rewriting.node("DynamicQuantizeLinear", [data], f"{data}_quantized", scale, zero)
    sums = rewriting.node("MatMulInteger", [quantized, values, zero, weight_zero], f"{out}_integers")
    floats = rewriting.node("Cast", [sums], f"{out}_cast", to=onnx.TensorProto.FLOAT)
    scales = rewriting.node("Mul", [scale, weight_scale], f"{out}_scales")
    scaled = f"{out}_scaled" if part.bias else out
    rewriting.node("Mul", [floats, scales], scaled)
    if part.bias:
        rewriting.node("Add", [scaled, part.bias], out)
