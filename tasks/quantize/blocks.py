"""Weight-only 4-bit quantization in blocks: the smallest files, not the fastest."""

from __future__ import annotations

import numpy as np

from tasks.quantize.graph.rewriting import MICROSOFT, Product, Rewriting

SIZES = (16, 32, 64, 128, 256)
# Products in 8-bit integers (activations rounded by block); 1 would be in float32.
ACCURACY_LEVEL = 4
_LOW, _HIGH = -8, 7


def to_blocks(weight: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A weight [inner, columns] in symmetric 4 bits, blocks running down the inner axis.

    The largest absolute value of a block becomes -8, as onnxruntime's own quantizer has it.

    Returns:
        values: uint8 [columns, blocks, size / 2], two numbers a byte, the earlier one in the low half, each plus 8.
        scales: float32 [columns, blocks].
    """
    inner, columns = weight.shape
    blocks = -(-inner // size)
    padded = np.zeros((columns, blocks * size), np.float32)
    padded[:, :inner] = weight.T
    padded = padded.reshape(columns, blocks, size)
    place = np.abs(padded).argmax(axis=2)[:, :, None]
    scales = np.take_along_axis(padded, place, 2) / np.float32(_LOW)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    values = np.clip(np.rint(padded * inverse), _LOW, _HIGH).astype(np.int8)
    raised = (values - _LOW).astype(np.uint8)
    return raised[:, :, 0::2] | (raised[:, :, 1::2] << 4), scales[:, :, 0]


def from_blocks(values: np.ndarray, scales: np.ndarray, inner: int) -> np.ndarray:
    """The weight [inner, columns] that `to_blocks`' results stand for."""
    columns, blocks, half = values.shape
    numbers = np.empty((columns, blocks, half * 2), np.float32)
    numbers[:, :, 0::2], numbers[:, :, 1::2] = values & 15, values >> 4
    floats = (numbers + _LOW) * scales[:, :, None]
    return np.ascontiguousarray(floats.reshape(columns, -1)[:, :inner].T)


def block_product(rewriting: Rewriting, product: Product, size: int) -> None:
    """Writes a product with weights of 4 bits (MatMulNBits) in blocks of `size`."""
    name = product.layer.weight
    inner, columns = product.weight.shape
    packed, block_scales = to_blocks(product.weight, size)
    values = rewriting.constant(f"{name}_int4", packed)
    scales = rewriting.constant(f"{name}_scales", block_scales.ravel())
    with rewriting.biased(product, "product") as output:
        rewriting.node(
            "MatMulNBits",
            [product.data, values, scales],
            output,
            domain=MICROSOFT,
            K=inner,
            N=columns,
            bits=4,
            block_size=size,
            accuracy_level=ACCURACY_LEVEL,
        )
