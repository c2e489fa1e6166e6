"""8-bit weights: scales and zero points as onnxruntime's quantizers choose them, vectorised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.quantize.formats import Format

_LIMITS = {("s8", False): (-127, 127), ("s8", True): (-64, 64), ("u8", False): (0, 255), ("u8", True): (0, 127)}
# Of the typical row's mean square, which keeps the last weights from taking up what they can't.
NOISE = 0.05
_TYPES = {"s8": np.int8, "u8": np.uint8}


@dataclass(frozen=True)
class Integers:
    """(values - zero) * scale is about the weight.

    Args:
        values: int8 or uint8, of the weight's shape.
        scale: float32, a scalar or one for each channel.
        zero: of the values' type, shaped as the scale.
    """

    values: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    def floats(self, axis: int | None) -> np.ndarray:
        """The weight that these stand for; `axis` is the channels'."""
        shape = () if axis is None else tuple(-1 if place == axis else 1 for place in range(self.values.ndim))
        scale, zero = self.scale.reshape(shape), self.zero.reshape(shape).astype(np.int32)
        return ((self.values.astype(np.int32) - zero) * scale).astype(np.float32)


def to_integers(weight: np.ndarray, form: Format, axis: int | None, typical: np.ndarray | None = None) -> Integers:
    """A weight in 8 bits: symmetric about 0 where signed, with a zero point where unsigned.

    Args:
        axis: the channels that have a scale each; None: one scale for all.
        typical: [inner], a row that a weight [inner, columns] is multiplied by; see `_carried`. None: each number to the nearest.
    """
    weight = np.asarray(weight, dtype=np.float32)
    others = None if axis is None else tuple(place for place in range(weight.ndim) if place != axis)
    lowest = np.minimum(weight.min(axis=others, initial=0.0), 0.0).astype(np.float32)
    highest = np.maximum(weight.max(axis=others, initial=0.0), 0.0).astype(np.float32)
    scale, zero = scale_of(lowest, highest, form.weight, form.reduce_range, form.weight == "s8")
    shape = () if axis is None else tuple(-1 if place == axis else 1 for place in range(weight.ndim))
    low, high = _LIMITS[form.weight, form.reduce_range]
    if typical is not None:
        return Integers(_carried(weight, scale, zero, (low, high), typical).astype(_TYPES[form.weight]), scale, zero)
    values = weight / scale.reshape(shape)
    np.rint(values, out=values)
    values += zero.reshape(shape).astype(np.float32)
    np.clip(values, low, high, out=values)
    return Integers(values.astype(_TYPES[form.weight]), scale, zero)


def _carried(
    weight: np.ndarray, scale: np.ndarray, zero: np.ndarray, limits: tuple[int, int], typical: np.ndarray
) -> np.ndarray:
    """Values of a weight [inner, columns] of which each takes up what rounding those before it did to the product with `typical`.

    Rounded each to the nearest, the errors of a column add up to a shift of all texts' answers, where their rows have much in
    common. This is the sequential rounding of GPTQ (Frantar et al., OPTQ, ICLR 2023) for inputs whose second moments are those of
    one row, and a little of noise: what an error moves the product by is spread over the weights that follow, as their inputs are.
    """
    row, scales, zeros = typical.astype(np.float64), scale.astype(np.float64), zero.astype(np.float64)
    squares = row * row
    following = np.cumsum(squares[::-1])[::-1] - squares + max(NOISE * float(squares.mean()), np.finfo(np.float64).tiny)
    carry = np.zeros(weight.shape[1])
    values = np.empty(weight.shape)
    for place, wanted in enumerate(weight.astype(np.float64)):
        wanted = wanted + row[place] * carry
        values[place] = np.clip(np.rint(wanted / scales) + zeros, *limits)
        carry += (wanted - (values[place] - zeros) * scales) * (row[place] / following[place])
    return values


def scale_of(
    lowest: np.ndarray, highest: np.ndarray, kind: str, reduced: bool = False, symmetric: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(scale, zero point) for ranges that include 0; a range of nothing gets scale 1.

    Args:
        kind: "s8" or "u8".
        reduced: 7 bits.
        symmetric: the range is widened to be symmetric about 0.
    """
    if kind == "s8" and not symmetric and not reduced:
        low, high = -128, 127
    else:
        low, high = _LIMITS[kind, reduced]
    lowest, highest = np.minimum(lowest, np.float32(0)), np.maximum(highest, np.float32(0))
    if symmetric:
        highest = np.maximum(-lowest, highest)
        lowest = -highest
    exact = (highest.astype(np.float64) - lowest.astype(np.float64)) / (high - low)
    nothing = exact < np.finfo(np.float32).tiny
    exact = np.where(nothing, 1.0, exact)
    middle = np.full(exact.shape, np.rint((low + high) / 2)) if symmetric else np.rint(low - lowest / exact)
    zero = np.where(nothing, 0.0, middle)
    return exact.astype(np.float32), np.clip(zero, low, high).astype(_TYPES[kind])
