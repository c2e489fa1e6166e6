"""Writes a graph's file weight by weight.

Protocol Buffers would build the whole file in memory first, twice, and take longer for it than the disk does. Its encoding allows more:
a message is its fields one behind the other in any order, each a tag, a length and bytes.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

# Weights above this many bytes are streamed; the others stay in the small message.
LARGE = 4096
# Tags of fields that have a length: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW = ((number << 3 | 2).to_bytes(1, "little") for number in (7, 5, 9))


def write(model: ir.Model, path: Path) -> None:
    """Writes `path` with all weights inside; no more than one of them is copied at a time."""
    graph = model.graph
    large = [value for value in graph.initializers.values() if _bytes(value) > LARGE]
    for value in large:
        graph.initializers.pop(str(value.name))
    try:
        proto = ir.to_proto(model)
    finally:
        for value in large:
            graph.register_initializer(value)
    small = proto.graph.SerializeToString()
    proto.ClearField("graph")
    heads = [_head(value) for value in large]
    total = len(small) + sum(len(head) + _bytes(value) for head, value in zip(heads, large, strict=True))
    with open(path, "wb") as file:
        file.write(proto.SerializeToString() + _GRAPH + varint(total) + small)
        for head, value in zip(heads, large, strict=True):
            assert value.const_value is not None
            file.write(head)
            file.write(value.const_value.tobytes())


def _head(value: ir.Value) -> bytes:
    """Everything of an initializer's field before its numbers."""
    tensor = value.const_value
    assert tensor is not None
    shape = [int(dim) for dim in tensor.shape]
    about = onnx.TensorProto(name=value.name, data_type=int(tensor.dtype), dims=shape).SerializeToString()
    about += _RAW + varint(tensor.nbytes)
    return _INITIALIZER + varint(len(about) + tensor.nbytes) + about


def _bytes(value: ir.Value) -> int:
    return value.const_value.nbytes if value.const_value is not None else 0


def varint(number: int) -> bytes:
    """A number as Protocol Buffers writes lengths: seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
