"""Reading and writing ONNX graphs for the quantizers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tasks.errors import DataError, ToolError
from tasks.files import disk_errors

# Above this, protobuf can't hold a model in one message and its weights go to a file beside it.
_MESSAGE_BYTES = 2**31 - 2**20


def load(path: str | Path) -> onnx.ModelProto:
    """A graph with every node named and without the shapes that its exporter noted, which quantizers trip over.

    Raises:
        DataError: no such file, or not an ONNX graph.
    """
    path = Path(path)
    try:
        model = onnx.load(str(path))
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error})") from error
    except Exception as error:  # protobuf's DecodeError is not importable from one place over its versions
        raise DataError(f"{path} is not a whole ONNX file; export it again: tool export onnx --model ...") from error
    if not model.graph.node:
        raise DataError(f"{path} holds no ONNX graph; export it again: tool export onnx --model ...")
    del model.graph.value_info[:]
    _name_nodes(model.graph)
    return model


def skeleton(path: str | Path) -> onnx.ModelProto:
    """The graph as `load` gives it, but external weights unread: for looking at its structure."""
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise DataError(f"{path} is not a whole ONNX file; export it again: tool export onnx --model ...") from error
    _name_nodes(model.graph)
    return model


def save(model: onnx.ModelProto, path: str | Path) -> int:
    """Writes a graph, with its weights in `<name>.data` beside it where one file can't hold them; returns the bytes."""
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        large = model.ByteSize() > _MESSAGE_BYTES
        beside = path.with_name(path.name + ".data")
        beside.unlink(missing_ok=True)
        if large:
            onnx.save(model, str(path), save_as_external_data=True, location=beside.name)
        else:
            onnx.save(model, str(path))
    return path.stat().st_size + (beside.stat().st_size if large else 0)


def initializers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Constant tensors by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def array(tensor: onnx.TensorProto) -> np.ndarray:
    """A constant tensor's values."""
    return numpy_helper.to_array(tensor)


@contextmanager
def refusals(path: str | Path, what: str) -> Iterator[None]:
    """Turns what a quantizing library raises into one line that names the file."""
    try:
        yield
    except (ToolError, MemoryError, OSError):
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ToolError(f"{path}: {what} failed: {line}; try another --approach, or leave the node float") from error


def _name_nodes(graph: onnx.GraphProto) -> None:
    taken = {node.name for node in graph.node}
    for number, node in enumerate(graph.node):
        if not node.name:
            name = f"{node.op_type}_{number}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
