"""Dynamic quantization: weights in 8 bits beforehand, activations with each batch's own range at run time."""

from __future__ import annotations

import time
from pathlib import Path

from tasks.quantize import graph, nodes
from tasks.quantize.plan import Plan, Result


def quantize_dynamic(source: str | Path, target: str | Path, plan: Plan) -> Result:
    """Writes `target`, the float graph `source` with its weighty products in integers.

    Raises:
        ConfigError: the source is quantized already, or the plan excludes what isn't there.
        ToolError: nothing could be quantized.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    started = time.monotonic()
    nodes.require_float(source)
    model = graph.load(source)
    excluded = nodes.left_float(model, plan)
    with graph.refusals(source, "dynamic quantization"):
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=list(plan.operators),
            per_channel=plan.format.per_channel,
            reduce_range=plan.format.reduce_range,
            weight_type=QuantType.QInt8 if plan.format.weight == "s8" else QuantType.QUInt8,
            nodes_to_exclude=excluded,
        )
    counts = nodes.require_quantized(target, plan)
    return Result(counts, Path(target).stat().st_size, time.monotonic() - started)
