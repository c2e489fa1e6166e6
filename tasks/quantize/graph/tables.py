"""8-bit lookup tables (embeddings)."""

from __future__ import annotations

import numpy as np
import onnx

from tasks.quantize.formats import Format
from tasks.quantize.graph.rewriting import Product, Rewriting
from tasks.quantize.weights import Integers, to_integers


def table_integers(table: np.ndarray, by_row: bool) -> Integers:
    """A table in signed bytes with a scale for each row, or in unsigned ones with one scale for all.

    Rows of rare and of frequent words differ many times in size, and one scale for all rounds the small ones to a few steps.
    """
    if by_row:
        return to_integers(table, Format("u8", "s8", True, False), 0)
    return to_integers(table, Format("u8", "u8", False, False), None)


def replace_table(rewriting: Rewriting, product: Product, by_row: bool) -> None:
    """Looks rows up in a table of bytes, and beside it their scales where each row has its own."""
    name, out = product.layer.weight, product.output
    table = table_integers(product.weight, by_row)
    values = rewriting.constant(f"{name}_quantized", table.values)
    scale = rewriting.constant(f"{name}_scale", table.scale[:, None] if by_row else table.scale)
    rows = rewriting.node("Gather", [values, product.data], f"{out}_quantized", axis=0)
    if not by_row:
        zero = rewriting.constant(f"{name}_zero_point", table.zero)
        rewriting.node("DequantizeLinear", [rows, scale, zero], out)
        return
    floats = rewriting.node("Cast", [rows], f"{out}_cast", to=onnx.TensorProto.FLOAT)
    row_scale = rewriting.node("Gather", [scale, product.data], f"{out}_scale", axis=0)
    rewriting.node("Mul", [floats, row_scale], out)
