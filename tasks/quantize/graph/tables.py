"""Tables that rows are looked up in (embeddings), in 8 bits."""

from __future__ import annotations

import onnx

from tasks.quantize.formats import Format
from tasks.quantize.graph.rewriting import Product, Rewriting
from tasks.quantize.weights import to_integers


def replace_table(rewriting: Rewriting, part: Product, form: Format) -> None:
    """Looks rows up in a table of bytes.

    With `per_channel` each row has a scale of its own, looked up beside it: rows of rare and of frequent words differ
    many times in size, and one scale for all rounds the small ones to a few steps.
    """
    name, weight = part.layer.weight, part.weight
    if not form.per_channel:
        table = to_integers(weight, Format("u8", "u8", False, False), None)
        values = rewriting.constant(f"{name}_quantized", table.values)
        scale = rewriting.constant(f"{name}_scale", table.scale)
        zero = rewriting.constant(f"{name}_zero_point", table.zero)
        rows = rewriting.node("Gather", [values, part.data], f"{part.output}_quantized", axis=0)
        rewriting.node("DequantizeLinear", [rows, scale, zero], part.output)
        return
    table = to_integers(weight, Format("u8", "s8", True, False), 0)
    values = rewriting.constant(f"{name}_quantized", table.values)
    scales = rewriting.constant(f"{name}_scale", table.scale[:, None])
    rows = rewriting.node("Gather", [values, part.data], f"{part.output}_quantized", axis=0)
    floats = rewriting.node("Cast", [rows], f"{part.output}_cast", to=onnx.TensorProto.FLOAT)
    scale = rewriting.node("Gather", [scales, part.data], f"{part.output}_scale", axis=0)
    rewriting.node("Mul", [floats, scale], part.output)
