"""What the products of a graph typically multiply: the mean row of each input, by which their weights are rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx

from tasks.errors import DataError
from tasks.quantize.calibration.ranges import Batch
from tasks.quantize.graph import files as graph_files
from tasks.quantize.graph import nodes
from tasks.quantize.graph.rewriting import prepare


def typical_rows(
    source: str | Path, texts: Iterable[Batch], check: Callable[[], None] = lambda: None
) -> dict[str, np.ndarray]:
    """float64 [inner] by the name of each product's input: the mean of its first rows, those of the token that a head reads.

    Args:
        texts: inputs of the float graph by name, one text each; random ones do.
        check: called after each text; may raise to stop.

    Raises:
        DataError: no texts.
    """
    model = prepare(source)
    inputs = {node.name: node.input[0] for node in model.graph.node}
    layers = [layer for layer in nodes.layers(model) if layer.operator != "Gather"]
    known = {value.name for value in (*model.graph.input, *model.graph.output)}
    names = [name for name in dict.fromkeys(inputs[layer.node] for layer in layers) if name not in known]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = graph_files.session(model)
    taken = {value.name for value in session.get_inputs()}
    sums: dict[str, np.ndarray] = {}
    count = 0
    for text in texts:
        arrays = session.run(names, {name: value for name, value in text.items() if name in taken})
        for name, array in zip(names, arrays, strict=True):
            sums[name] = sums.get(name, 0) + array.reshape(-1, array.shape[-1])[0].astype(np.float64)
        count += 1
        check()
    if not count:
        raise DataError("no texts to find typical rows with")
    return {name: total / count for name, total in sums.items()}
