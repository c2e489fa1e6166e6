"""Weights whose rounding errors are carried along a typical row: what they do to a product, and to the logits of a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_encoder import batch, logits, write_encoder

from tasks.errors import DataError
from tasks.quantize.calibration.typical import typical_rows
from tasks.quantize.formats import Format
from tasks.quantize.plan import Plan
from tasks.quantize.quantizer import quantize
from tasks.quantize.weights import to_integers

FORMATS = [Format("u8", "s8", True, False), Format("u8", "s8", True, True), Format("u8", "u8", False, False)]
# Between what the two ways shift the logits by, over eight graphs in 7 bits, in which no processor saturates.
SHIFT = 0.019


def texts(count: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Single texts of random tokens behind one that all begin with, as BERT's do."""
    made = [batch(1, 4 + number % 13, seed * 1000 + number) for number in range(count)]
    for feeds in made:
        feeds["input_ids"][0, 0] = 3
    return made


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_product_with_the_typical_row_stays(form: Format) -> None:
    draw = np.random.default_rng(0)
    weight, row = draw.normal(0, 1, (96, 40)).astype(np.float32), draw.normal(0, 1, 96)
    axis = 1 if form.per_channel else None
    nearest, carried = to_integers(weight, form, axis), to_integers(weight, form, axis, row)
    error = {name: np.abs(row @ (one.floats(axis) - weight)).max() for name, one in (("n", nearest), ("c", carried))}
    assert error["c"] < error["n"] / 4
    assert np.abs(carried.values.astype(int) - nearest.values).max() <= 3  # hardly another weight
    np.testing.assert_array_equal(carried.scale, nearest.scale)
    np.testing.assert_array_equal(carried.zero, nearest.zero)


def test_a_row_of_nothing_rounds_to_the_nearest() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (24, 5)).astype(np.float32)
    nearest, carried = (to_integers(weight, FORMATS[0], 1, row) for row in (None, np.zeros(24)))
    np.testing.assert_array_equal(carried.values, nearest.values)


def test_typical_rows_are_the_means_of_first_rows(tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "model.onnx")
    rows = typical_rows(path, texts(3, 1))
    assert "logits" not in rows
    assert len(rows) == 11  # what its thirteen products read: queries, keys and values mostly share theirs

    model = onnx.load(str(path))
    model.graph.output.append(onnx.helper.make_tensor_value_info("taken", onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = np.mean([session.run(["taken"], feeds)[0][0] for feeds in texts(3, 1)], axis=0)
    np.testing.assert_allclose(rows["taken"], wanted, atol=1e-5)
    with pytest.raises(DataError, match="no texts"):
        typical_rows(path, [])


def test_int8_logits_are_shifted_less(tmp_path: Path) -> None:
    """Over eight graphs: of one alone chance decides."""
    shifts: dict[bool, list[float]] = {True: [], False: []}
    evaluated = texts(40, 1)
    for seed in range(8):
        path = write_encoder(tmp_path / "model.onnx", seed=seed, labels=16)
        reference = np.concatenate([logits(path, feeds) for feeds in evaluated])
        rows = typical_rows(path, texts(32, 2))
        for carried in (True, False):
            out = tmp_path / "int8.onnx"
            quantize(path, out, Plan(format=FORMATS[1]), typical=rows if carried else None)
            apart = np.concatenate([logits(out, feeds) for feeds in evaluated]) - reference
            shifts[carried].append(float(np.abs(apart.mean(axis=0)).mean()))
    assert np.mean(shifts[True]) < SHIFT < np.mean(shifts[False])
