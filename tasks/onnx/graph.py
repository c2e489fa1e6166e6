"""A graph as a file: its operators, and the forms that it can take.

- `none`: as exported, cleaned of what computes nothing; plain ONNX, attention as MatMul, Softmax, MatMul.
- `basic`: LayerNorm with the sum before it, and Gelu with the bias before it, as onnxruntime's own operators.
- `fused`: attention too, as `com.microsoft.MultiHeadAttention`. Its three projections stay MatMuls of their own in front of it,
  so that they can be quantized.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir

from tasks.onnx.attention import write_out
from tasks.onnx.fusion import fuse_layers
from tasks.onnx.writing import write

KINDS = ("none", "basic", "fused")
OPSET = 20
# Above it a file of Protocol Buffers can't be read; weights then lie beside it.
LIMIT_BYTES = 2**31 - 2**24


def shape_graph(model: ir.Model, kind: str, opset: int = OPSET) -> dict[str, int]:
    """Gives a traced and cleaned graph its form, in place; returns what was fused, by operator."""
    attentions = write_out(model, fused=kind == "fused")
    counts = {"MultiHeadAttention": attentions} if kind == "fused" else {}
    if kind != "none":
        counts |= fuse_layers(model)
    model.opset_imports[""] = opset
    model.graph.sort()
    return counts


def save(model: ir.Model, path: Path, limit: int = LIMIT_BYTES) -> None:
    """Writes the graph; its weights go to `path` + ".data" where they are above `limit` bytes."""
    weights = [value.const_value for value in model.graph.initializers.values()]
    if sum(tensor.nbytes for tensor in weights if tensor is not None) > limit:
        ir.save(model, path, external_data=f"{path.name}.data")
    else:
        write(model, path)


def operators(path: str | Path) -> dict[str, int]:
    """How many of each operator a file's graph holds, most frequent first, then by name."""
    graph = onnx.load(str(path), load_external_data=False).graph
    counts = Counter(node.op_type for node in graph.node)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
