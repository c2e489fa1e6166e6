"""Ranges of activations from sample batches, in bounded memory: one run of the graph for a batch, nothing of it kept.

onnxruntime's own calibrators keep every tensor of every batch until the last one. Here minimum and maximum are taken as
each batch comes; a histogram takes a second pass over the batches, into bins that the first pass has set. The ranges are those that
its calibrators find (tests hold them equal), with two differences that are meant: only the inputs of layers that can be
quantized are looked at, and rows of padding don't count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tasks.errors import ConfigError, DataError
from tasks.quantize.calibration.histograms import Histogram, entropy_range, percentile_range
from tasks.quantize.graph import files as graph_files
from tasks.quantize.graph import nodes
from tasks.quantize.graph.rewriting import prepare
from tasks.quantize.plan import METHODS
from tasks.quantize.weights import scale_of

Batch = Mapping[str, np.ndarray]
# Bytes of tensors that one run may give back; a batch whose tensors are larger is run several times.
OUTPUT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Ranges:
    """Where activations lie.

    Args:
        values: (lowest, highest) by the name of the tensor.
    """

    values: dict[str, tuple[float, float]]

    def scale_of(self, name: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """(scale, zero point) of a tensor in "s8" or "u8"."""
        low, high = (np.asarray(bound, np.float32) for bound in self.values[name])
        return scale_of(low, high, kind)


def collect(
    source: str | Path,
    batches: Iterable[Batch],
    method: str = "minmax",
    *,
    percentile: float = 99.99,
    bins: int = 2048,
    moving_average: float | None = None,
    check: Callable[[], None] = lambda: None,
) -> Ranges:
    """Runs the float graph over the batches.

    Args:
        batches: inputs by name, float graphs' own; where `attention_mask` [batch, length] is among them, tensors [batch,
            length, ...] count only where it is 1.
        method: "minmax"; "percentile" cuts so much off both ends together; "entropy" takes the range with the least
            divergence (Kullback-Leibler) between the values and the values in 8 bits, with 128 steps.
        bins: of the histograms, over [-highest absolute value, +highest absolute value].
        moving_average: of "minmax": the weight of the newest batch's range; None: the widest range of all batches.
        check: called after each batch; may raise to stop.

    Raises:
        ConfigError: an unknown method or a number out of its range.
        DataError: no batches, or values that are no numbers.
    """
    _check_options(method, percentile, bins, moving_average)
    batches = list(batches)
    if not batches:
        raise DataError("no calibration data: static quantization needs some rows of the training split (--data)")
    watch = _Watch(source)
    lows, highs = _extremes(watch, batches, moving_average if method == "minmax" else None, check)
    values = {name: (float(lows[name]), float(highs[name])) for name in watch.tensors}
    if method != "minmax":
        found = {name: Histogram(lows[name], highs[name], bins) for name in watch.tensors}
        for batch in batches:
            for name, array in watch.run(batch):
                found[name].add(array)
            check()
        for name, histogram in found.items():
            values[name] = (
                percentile_range(histogram, percentile) if method == "percentile" else entropy_range(histogram)
            )
    return Ranges(values)


class _Watch:
    """A session that gives back the tensors in groups of bounded size, real rows only."""

    def __init__(self, source: str | Path) -> None:
        model = prepare(source)
        inputs = {node.name: node.input[0] for node in model.graph.node}
        layers = [layer for layer in nodes.layers(model) if layer.operator != "Gather"]
        self.tensors = list(dict.fromkeys(inputs[layer.node] for layer in layers))
        fed = {value.name for value in model.graph.input}
        self.fed = [name for name in self.tensors if name in fed]
        self.asked = [name for name in self.tensors if name not in fed]
        known = {output.name for output in model.graph.output}
        for name in self.asked:
            if name not in known:
                model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self.session = graph_files.session(model)
        self.inputs = {value.name for value in self.session.get_inputs()}
        self.group = len(self.asked)

    def run(self, batch: Batch) -> Iterable[tuple[str, np.ndarray]]:
        """(name, float32 values) of each tensor for one batch; flat."""
        mask = batch.get("attention_mask")
        feeds = {name: value for name, value in batch.items() if name in self.inputs}
        for name in self.fed:
            yield name, np.asarray(batch[name], np.float32).ravel()
        place = 0
        while place < len(self.asked):
            names = self.asked[place : place + max(self.group, 1)]
            arrays = self.session.run(names, feeds)
            size = sum(array.nbytes for array in arrays)
            if size > OUTPUT_BYTES and self.group > 1:
                self.group = max(1, int(self.group * OUTPUT_BYTES / size))
            for name, array in zip(names, arrays, strict=True):
                yield name, real_rows(array, mask)
            place += len(names)


def real_rows(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The values of a tensor [batch, length, ...] or [batch * length, ...] at the positions that are no padding, flat."""
    if mask is None or mask.ndim != 2 or mask.all():
        return array.ravel()
    if array.ndim >= 3 and array.shape[:2] == mask.shape:
        return array[mask != 0].ravel()
    if array.ndim == 2 and array.shape[0] == mask.size:
        return array[mask.ravel() != 0].ravel()
    return array.ravel()


def _extremes(
    watch: _Watch, batches: list[Batch], moving: float | None, check: Callable[[], None]
) -> tuple[dict[str, np.float32], dict[str, np.float32]]:
    lows: dict[str, np.float32] = {}
    highs: dict[str, np.float32] = {}
    for batch in batches:
        for name, array in watch.run(batch):
            low, high = np.float32(array.min(initial=np.inf)), np.float32(array.max(initial=-np.inf))
            if not (np.isfinite(low) and np.isfinite(high)):
                raise DataError(f"calibration: the tensor {name} holds values that are no numbers; the model is broken")
            if name not in lows:
                lows[name], highs[name] = low, high
            elif moving is None:
                lows[name], highs[name] = min(lows[name], low), max(highs[name], high)
            else:
                lows[name] += np.float32(moving) * (low - lows[name])
                highs[name] += np.float32(moving) * (high - highs[name])
        check()
    return lows, highs


def _check_options(method: str, percentile: float, bins: int, moving_average: float | None) -> None:
    if method not in METHODS:
        raise ConfigError(f"--calibration {method}: no such method; one of {', '.join(METHODS)}")
    if not 50 < percentile <= 100:
        raise ConfigError(f"--percentile {percentile:g}: give a number above 50, at most 100, such as 99.99")
    if bins < 128:
        raise ConfigError(f"a calibration histogram needs at least 128 bins, not {bins}")
    if moving_average is not None and not 0 < moving_average <= 1:
        raise ConfigError(f"--moving-average {moving_average:g}: give a number above 0, at most 1, such as 0.01")
