"""Calibration: ranges as onnxruntime's calibrators find them, batch by batch, without padding, in bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization.calibrate import CalibrationMethod, HistogramCollector, create_calibrator
from tiny_encoder import batch, change, write_encoder

from tasks.errors import ConfigError, DataError
from tasks.quantize.calibration import ranges
from tasks.quantize.calibration.histograms import Histogram, entropy_range, percentile_range
from tasks.quantize.calibration.ranges import collect, real_rows
from tasks.quantize.graph.first_token import keep_first_token

BATCHES = [batch(4, 9, seed) for seed in range(5)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("calibrated") / "model.onnx")


@pytest.mark.parametrize("moving", [None, 0.1])
def test_minimum_and_maximum_are_onnxruntimes(encoder: Path, tmp_path: Path, moving: float | None) -> None:
    model = onnx.load(str(encoder))
    keep_first_token(model)
    onnx.save(model, str(tmp_path / "reduced.onnx"))
    options = {} if moving is None else {"moving_average": True, "averaging_constant": moving}
    theirs = create_calibrator(
        str(tmp_path / "reduced.onnx"),
        ["MatMul", "Gemm"],
        str(tmp_path / "augmented.onnx"),
        CalibrationMethod.MinMax,
        extra_options=options,
    )
    for feeds in BATCHES:
        left = iter([feeds])
        reader = type("Reader", (), {"get_next": lambda self, left=left: next(left, None)})()
        theirs.collect_data(reader)
    wanted = theirs.compute_data()
    found = collect(encoder, BATCHES, moving_average=moving)
    assert len(found.values) == 11
    for name, (low, high) in found.values.items():
        assert low == pytest.approx(float(wanted[name].lowest.item()), rel=1e-6)
        assert high == pytest.approx(float(wanted[name].highest.item()), rel=1e-6)


def heavy_tails(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, 20_000).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_histograms_are_read_as_onnxruntime_reads_them(seed: int) -> None:
    values = heavy_tails(seed)
    if seed == 2:
        values = np.abs(values)  # as behind a ReLU: one side is empty
    ours = Histogram(values.min(), values.max(), 1024)
    for part in np.split(values, 4):
        ours.add(part)
    for method in ("percentile", "entropy"):
        theirs = HistogramCollector(method, False, 1024, 128, 99.9, "same")
        with redirect_stdout(io.StringIO()):
            theirs.collect({"x": values})
            low, high = theirs.compute_collection_result()["x"][:2]
        found = percentile_range(ours, 99.9) if method == "percentile" else entropy_range(ours)
        assert found == pytest.approx((float(low), float(high)), rel=1e-6)
        assert found[1] < 0.6 * values.max()  # it cuts the tail off


def test_a_percentile_leaves_its_share_outside(encoder: Path) -> None:
    widest = collect(encoder, BATCHES).values
    whole = collect(encoder, BATCHES, "percentile", percentile=100).values
    most = collect(encoder, BATCHES, "percentile", percentile=95).values
    entropy = collect(encoder, BATCHES, "entropy", bins=256).values
    for name, (low, high) in widest.items():
        assert whole[name] == pytest.approx((low, high), abs=(high - low) / 500)
        assert low <= most[name][0] < most[name][1] <= high
        assert most[name][1] - most[name][0] < high - low
        assert low <= entropy[name][0] < entropy[name][1] <= high


def test_a_tensor_of_zeros_has_a_range() -> None:
    zeros = Histogram(np.float32(0), np.float32(0), 256)
    zeros.add(np.zeros(10, np.float32))
    assert percentile_range(zeros, 99.0) == (0.0, 0.0)
    assert entropy_range(zeros) == (0.0, 0.0)


def test_padding_does_not_count(encoder: Path) -> None:
    """What stands behind the mask changes nothing, for each method."""
    padded = batch(4, 12, padded=6)
    other = {"input_ids": padded["input_ids"].copy(), "attention_mask": padded["attention_mask"]}
    other["input_ids"][-1, -6:] = (other["input_ids"][-1, -6:] + 11) % 60
    for method in ("minmax", "percentile", "entropy"):
        one, two = (collect(encoder, [feeds], method, bins=256).values for feeds in (padded, other))
        for name, bounds in one.items():
            assert bounds == pytest.approx(two[name], rel=1e-4, abs=1e-4)
    seen = {"input_ids": padded["input_ids"], "attention_mask": np.ones_like(padded["attention_mask"])}
    assert collect(encoder, [seen]).values != collect(encoder, [padded]).values


def test_rows_of_each_shape() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    tokens = np.arange(12).reshape(2, 3, 2)
    assert real_rows(tokens, mask).tolist() == [0, 1, 2, 3, 6, 7]
    assert real_rows(tokens.reshape(6, 2), mask).tolist() == [0, 1, 2, 3, 6, 7]
    assert real_rows(tokens[:, 0], mask).tolist() == [0, 1, 6, 7]  # one row a text: all are real
    assert len(real_rows(tokens, None)) == 12


def test_batches_may_come_from_a_generator_and_stop(encoder: Path) -> None:
    seen = []

    def stream() -> Iterator[dict[str, np.ndarray]]:
        yield from BATCHES

    found = collect(encoder, stream(), "percentile", check=lambda: seen.append(1))
    assert found.values == collect(encoder, BATCHES, "percentile").values
    assert len(seen) == 2 * len(BATCHES)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(encoder, BATCHES, check=stop)


def test_large_tensors_are_taken_in_groups(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collect(encoder, BATCHES).values
    monkeypatch.setattr(ranges, "OUTPUT_BYTES", 10_000)
    assert collect(encoder, BATCHES).values == whole


def test_what_cannot_be_calibrated_is_told(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no calibration data"):
        collect(encoder, [])
    with pytest.raises(ConfigError, match="--calibration mse: no such method; one of minmax, entropy, percentile"):
        collect(encoder, BATCHES, "mse")
    with pytest.raises(ConfigError, match="--percentile 20: give a number above 50"):
        collect(encoder, BATCHES, "percentile", percentile=20)
    with pytest.raises(ConfigError, match="--moving-average 2: "):
        collect(encoder, BATCHES, moving_average=2)
    broken = write_encoder(tmp_path / "broken.onnx")
    change(broken, "bert.words", lambda table: table * np.float32(np.nan))
    with pytest.raises(DataError, match="holds values that are no numbers"):
        collect(broken, BATCHES)


PEAK = """
import resource, sys
sys.path[:0] = [{root!r}, {here!r}]
from tiny_encoder import batch
from tasks.quantize.calibration.ranges import collect
batches = [batch(64, 40, seed) for seed in range({count})]
collect({path!r}, batches, {method!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_memory_does_not_grow_with_the_samples(encoder: Path, method: str) -> None:
    """Kept, the tensors of 300 batches would take 1.9 GB."""
    here = Path(__file__).parent
    peaks = []
    for count in (10, 300):
        text = PEAK.format(
            root=str(here.parents[2]), here=str(here.parent), count=count, path=str(encoder), method=method
        )
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 60
