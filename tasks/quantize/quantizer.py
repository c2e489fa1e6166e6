"""Quantizes a float ONNX graph by a plan."""

from __future__ import annotations

import functools
from pathlib import Path

from tasks.errors import ConfigError
from tasks.quantize.blocks import SIZES, block_product
from tasks.quantize.calibration.ranges import Ranges
from tasks.quantize.graph import files as graph_files
from tasks.quantize.graph import nodes
from tasks.quantize.graph.rewriting import Product, Rewriting, prepare
from tasks.quantize.graph.tables import replace_table
from tasks.quantize.plan import Plan
from tasks.quantize.products import Rows, dynamic_product, static_product

# The oldest operator set with what static quantization writes.
STATIC_OPSET = 13


def quantize(
    source: str | Path, target: str | Path, plan: Plan, ranges: Ranges | None = None, typical: Rows | None = None
) -> dict[str, int]:
    """Writes `target`, the float graph `source` with the products and tables that the plan takes in 8 or 4 bits.

    Args:
        ranges: of "static": what `calibration.ranges.collect` found on the same source.
        typical: of 8-bit products: what `calibration.typical.typical_rows` found on it; None rounds each weight to the nearest.

    Returns:
        As `nodes.counts`.

    Raises:
        ConfigError: as `prepare`, the plan excludes what isn't there, or a block size that the kernel doesn't have.
        ToolError: nothing could be quantized, or an activation has no range.
    """
    if plan.approach == "int4" and plan.block_size not in SIZES:
        raise ConfigError(f"--block-size {plan.block_size}: one of {', '.join(map(str, SIZES))}")
    model = prepare(source, STATIC_OPSET) if plan.approach == "static" else prepare(source)
    Rewriting(model).run(plan, functools.partial(_replace, plan=plan, ranges=ranges, typical=typical or {}))
    counts = nodes.require_quantized(model, plan, source)
    graph_files.save(model, target)
    return counts


def _replace(rewriting: Rewriting, product: Product, plan: Plan, ranges: Ranges | None, typical: Rows) -> None:
    if product.layer.operator == "Gather":
        replace_table(rewriting, product, plan.row_scales)
    elif plan.approach == "int4":
        block_product(rewriting, product, plan.block_size)
    elif plan.approach == "static":
        assert ranges is not None
        static_product(rewriting, product, plan, ranges, typical)
    else:
        dynamic_product(rewriting, product, plan, typical)
