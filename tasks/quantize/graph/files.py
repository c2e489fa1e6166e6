"""Reading and writing ONNX graphs for the quantizers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from tasks.errors import DataError, ToolError, one_line
from tasks.files import disk_errors
from tasks.onnx.session import usable_threads

_SUBGRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
# Above this, protobuf can't hold a model in one message and its weights go to a file beside it.
_MESSAGE_BYTES = 2**31 - 2**24
# Constants from this size on are read from a file by a session, and not copied.
_LARGE = 2**16


def read(path: str | Path, weights: bool = True) -> onnx.ModelProto:
    """A graph with every node named; without `weights` those in a file of their own stay unread.

    Raises:
        DataError: no such file, or not an ONNX graph.
    """
    hint = "export it again: tool export onnx --model ..."
    try:
        model = onnx.load(str(path), load_external_data=weights)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error}); {hint}") from error
    except ToolError:  # a stop that was asked for
        raise
    except Exception as error:  # protobuf's DecodeError and onnx's own errors share no base class
        raise DataError(f"{path} is not a whole ONNX file, or the weights beside it are missing; {hint}") from error
    if not model.graph.node:
        raise DataError(f"{path} holds no ONNX graph; {hint}")
    _name_nodes(model.graph)
    return model


def save(model: onnx.ModelProto, path: str | Path) -> None:
    """Writes a graph, with its weights in `<name>.data` beside it where one file can't hold them."""
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".data")
        beside.unlink(missing_ok=True)
        large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _MESSAGE_BYTES
        onnx.save(model, str(path), save_as_external_data=large, location=beside.name)


def has_subgraphs(graph: onnx.GraphProto) -> bool:
    """Whether a node (If, Loop) holds a graph of its own."""
    return any(a.type in _SUBGRAPHS for node in graph.node for a in node.attribute)


def drop_unread(model: onnx.ModelProto) -> None:
    """Takes constants out that no node reads."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    if not has_subgraphs(graph):
        unread = [number for number, tensor in enumerate(graph.initializer) if tensor.name not in read]
        for number in reversed(unread):
            del graph.initializer[number]


def set_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Replaces the nodes of a graph, of which some may be its own."""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def initializers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Constant tensors by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def array(tensor: onnx.TensorProto) -> np.ndarray:
    """A constant tensor's values."""
    return numpy_helper.to_array(tensor)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Runs a graph that is in memory, its weights read from a file that goes away at once, so that they are held once.

    Raises:
        DataError: it isn't a graph that onnxruntime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_threads()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    with (
        tempfile.TemporaryDirectory(prefix="modeltool-", ignore_cleanup_errors=True) as folder,
        disk_errors(Path(folder)),
    ):
        path = Path(folder) / "model.onnx"
        onnx.save(model, str(path), save_as_external_data=True, location="weights", size_threshold=_LARGE)
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except ToolError:
            raise
        except Exception as error:  # its errors share no base class
            line = one_line(str(error), limit=200)
            raise DataError(f"the graph can't be run by onnxruntime ({line}); export it again") from error


def _name_nodes(graph: onnx.GraphProto) -> None:
    taken = {node.name for node in graph.node}
    for number, node in enumerate(graph.node):
        if not node.name:
            name = f"{node.op_type}_{number}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
