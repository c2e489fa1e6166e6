"""Quantization: `tool export onnx` and `tool quantize` beside optimum-onnx, on a model of DistilBERT's size and SST-2's dev set.

The peer has an environment of its own, which is made at the first run. Both sides start from the same folder of random weights and use
the same number of threads, in processes that take turns. `--only` takes parts: make (export and quantize), latency, score,
whole (the tool's command beside the peer's three steps) and calibrate. What a part needs is made without being asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import quantize_report as report
from benchmarks.common import BenchmarkFailed, Options, describe_machine, machine, run, say, settle, tool
from benchmarks.quantize_request import Request
from benchmarks.quantize_venv import peer_python, versions

PARTS = ("make", "latency", "score", "whole", "calibrate")
METHODS = ("minmax", "entropy", "percentile")
SAMPLES = 1000
# Logits of the two float graphs; they have a spread of 1.
SAME_LOGITS = 1e-3
# Mean distance of an int8 model's logits from its own float model's, and the share of equal answers: random weights have
# many texts near the border.
NEAR_LOGITS = 0.12
SAME_ANSWERS = 0.9
COMPARED = 100


@dataclass(frozen=True)
class Place:
    """Where things are."""

    python: Path
    data: Path
    work: Path

    @property
    def inputs(self) -> Path:
        """model/, dev.json, calibration.json."""
        return self.work / "inputs"

    def made(self, side: str, what: str) -> Path:
        """A side's folder: its float graph ("float"), its int8 graph, by the way it was made."""
        return self.work / "made" / side / what


def bench(options: Options) -> dict[str, Any]:
    """Runs the parts and prints their figures.

    Raises:
        BenchmarkFailed: a side failed, or the two don't compute the same.
    """
    asked = choose(options)
    found: dict[str, Any] = {"machine": machine()}
    if asked is None:
        return {}
    data = options.data / "glue"
    if not (data / "SST-2" / "dev.tsv").is_file():
        raise BenchmarkFailed(
            f"no {data / 'SST-2'}: --data names the folder of real data, which has GLUE's SST-2 in it"
        )
    python = peer_python()
    found["peer"] = versions(python)
    say(describe_machine(found["machine"]))
    say("peer      " + ", ".join(f"{name} {version}" for name, version in found["peer"].items()))
    place = Place(python, data, options.work / "quantize")
    shutil.rmtree(place.work, ignore_errors=True)
    worker(
        [sys.executable, "-m", "benchmarks.quantize_inputs"], place.work / "making", "--data", data / "SST-2",
        "--vocabulary", data / "bert-base-uncased-vocab.txt", "--size", asked.size, "--output", place.inputs,
    )  # fmt: skip
    report.header(asked)
    found["make"] = make(place, asked)
    for part, function in (("latency", latency), ("score", score), ("whole", whole), ("calibrate", calibrate)):
        if part in asked.parts:
            found[part] = function(place, asked)
    if not options.keep:
        settle(place.work)
    report.closing(found, asked)
    return found


def choose(options: Options) -> Request | None:
    """By the parts that `--only` names; None where they are all of other benchmarks."""
    parts = tuple(part for part in PARTS if part in options.only) if options.only else PARTS
    if not parts:
        return None
    quick = options.quick
    return Request(
        parts=parts,
        pairs=options.pairs or (1 if quick else 2),
        rounds=3 if quick else 20,
        rows=20 if quick else sys.maxsize,
        samples=40 if quick else SAMPLES,
        size="full",
        threads=int(os.environ.get("OMP_NUM_THREADS") or min(2, os.cpu_count() or 1)),
    )


def worker(command: Sequence[str | Path], folder: Path, *arguments: Any) -> dict[str, Any]:
    """Runs a process and gives its seconds from start to end and its peak memory."""
    process = run([*command, *map(str, arguments)], folder)
    return {"wall_seconds": process.seconds, "peak_bytes": process.peak_bytes}


def step(place: Place, side: str, name: str, *arguments: Any) -> dict[str, Any]:
    """One step of a side, in a process of its own: its figures, with seconds and memory of the whole process."""
    folder = place.work / "step"
    settle(folder)
    python = place.python if side == "peer" else sys.executable
    output = folder / "report.json"
    process = worker([python, "-m", f"benchmarks.quantize_{side}", name], folder, *arguments, "--report", output)
    return {**json.loads(output.read_text(encoding="utf-8")), **process}


def make(place: Place, asked: Request) -> list[dict[str, Any]]:
    """Export and quantization by each side, in turns; what stays are the graphs of the last."""
    pairs: list[dict[str, Any]] = []
    for number in range(asked.pairs if "make" in asked.parts else 1):
        pair: dict[str, Any] = {}
        for side in ("peer", "ours") if number % 2 == 0 else ("ours", "peer"):
            pair[side] = make_side(place, side)
            report.made(number, side, pair[side])
        pairs.append(pair)
    # What the peer's own example asks for, beside the preset.
    arguments = ["--source", place.made("peer", "float"), "--output", place.made("peer", "run_glue")]
    step(place, "peer", "quantize", *arguments, "--way", "run_glue")
    return pairs


def make_side(place: Place, side: str) -> dict[str, Any]:
    """A model folder to a float graph, and that to int8."""
    graph, int8 = place.made(side, "float"), place.made(side, "int8")
    for folder in (graph, int8):
        shutil.rmtree(folder, ignore_errors=True)
    if side == "peer":
        export = step(place, side, "export", "--source", place.inputs / "model", "--output", graph)
    else:
        command = [tool(), "export", "onnx", "--graph", "none", "--model", place.inputs / "model", "--output", graph]
        export = worker(list(map(str, command)), place.work / "step")
        export["seconds"] = json.loads((graph / "export.json").read_text(encoding="utf-8"))["seconds"]
    way = ["--way", "avx2"] if side == "peer" else []
    return {"export": export, "quantize": step(place, side, "quantize", "--source", graph, "--output", int8, *way)}


def latency(place: Place, asked: Request) -> dict[str, Any]:
    """Batch 1 x 128 of all graphs, in one process, in turns."""
    graphs = {
        "ours float": place.made("ours", "float") / "model.onnx",
        "ours int8": place.made("ours", "int8") / "model.onnx",
        "peer float": place.made("peer", "float") / "model.onnx",
        "peer int8": place.made("peer", "int8") / "model_quantized.onnx",
        "peer run_glue": place.made("peer", "run_glue") / "model_quantized.onnx",
    }
    folder = place.work / "latency"
    output = folder / "found.json"
    worker(
        [sys.executable, "-m", "benchmarks.quantize_latency"], folder, "--graphs", *(f"{k}={v}" for k, v in graphs.items()),
        "--threads", asked.threads, "--rounds", asked.rounds, "--output", output,
    )  # fmt: skip
    found = dict(json.loads(output.read_text(encoding="utf-8")))
    one, other = (np.array(found["logits"][name]) for name in ("ours float", "peer float"))
    if not np.abs(one - other).max() <= SAME_LOGITS:
        raise BenchmarkFailed(f"the two float graphs disagree on the same tokens: {one} and {other}")
    found["ratios"] = ratios(found["milliseconds"])
    report.latency(found)
    return found


def ratios(milliseconds: dict[str, list[list[float]]]) -> dict[str, list[float]]:
    """Of our int8 to each other graph, round by round, by the medians of the bursts."""
    middle = {name: np.median(np.array(rounds), axis=1) for name, rounds in milliseconds.items()}
    return {name: (middle["ours int8"] / times).tolist() for name, times in middle.items() if name != "ours int8"}


def score(place: Place, asked: Request) -> dict[str, Any]:
    """The dev set by each side's int8 model: the peer one text at a time padded to the full length, ours in batches."""
    pairs: list[dict[str, Any]] = []
    for number in range(asked.pairs):
        pair: dict[str, Any] = {}
        for side in ("peer", "ours") if number % 2 == 0 else ("ours", "peer"):
            pair[side] = score_side(place, side, "int8", asked.rows, asked)
            report.scored(number, side, pair[side])
        pairs.append(pair)
    for side in ("peer", "ours"):
        score_side(place, side, "float", min(COMPARED, asked.rows), asked)
    logits = {
        f"{side} {what}": np.load(_logits(place, side, what)) for side in ("peer", "ours") for what in ("float", "int8")
    }
    found: dict[str, Any] = {"pairs": pairs, "agreement": agreement(logits)}
    found["speedup"] = [pair["peer"]["seconds"] / pair["ours"]["seconds"] for pair in pairs]
    report.agreed(found)
    agree(found["agreement"])
    return found


def score_side(place: Place, side: str, what: str, rows: int, asked: Request) -> dict[str, Any]:
    """Logits of the first `rows` texts of the dev set, kept as an array."""
    limit = [] if rows == sys.maxsize else ["--rows", rows]
    return step(
        place, side, "score", "--source", place.made(side, what), "--output", _logits(place, side, what),
        "--texts", place.inputs / "dev.json", "--threads", asked.threads, *limit,
    )  # fmt: skip


def _logits(place: Place, side: str, what: str) -> Path:
    return place.work / f"{side}-{what}.npy"


def agreement(logits: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of the two float graphs, and of each int8 graph with its own float graph, over the rows that both have."""
    found = {}
    for one, other in (("peer float", "ours float"), ("peer float", "peer int8"), ("ours float", "ours int8")):
        rows = min(len(logits[one]), len(logits[other]))
        first, second = logits[one][:rows], logits[other][:rows]
        apart = np.abs(first - second)
        found[f"{one}, {other}"] = {
            "rows": rows,
            "mean_difference": float(apart.mean()),
            "largest_difference": float(apart.max()),
            "equal_answers": float((first.argmax(1) == second.argmax(1)).mean()),
        }
    return found


def agree(found: dict[str, dict[str, float]]) -> None:
    """
    Raises:
        BenchmarkFailed: the float graphs differ, or an int8 graph isn't near its float graph.
    """
    wrong = []
    for names, one in found.items():
        if "int8" not in names and not one["largest_difference"] <= SAME_LOGITS:
            wrong.append(f"{names}: logits up to {one['largest_difference']:.2g} apart")
        if "int8" in names and not (one["mean_difference"] <= NEAR_LOGITS and one["equal_answers"] >= SAME_ANSWERS):
            wrong.append(
                f"{names}: logits {one['mean_difference']:.3f} apart on average, {one['equal_answers']:.3f} equal answers"
            )
    if wrong:
        raise BenchmarkFailed("the sides disagree: " + "; ".join(wrong))


def whole(place: Place, asked: Request) -> dict[str, Any]:
    """From a model folder to an int8 model and its score: one command, which measures more than the peer's three steps."""
    output = place.work / "whole"
    command = [
        tool(), "quantize", "--model", place.inputs / "model", "--data", place.data / "SST-2", "--approach", "dynamic",
        "--max-drop", 100, "--threads", asked.threads, "--output", output,
    ]  # fmt: skip
    ours = worker(list(map(str, command)), place.work / "whole-run")
    peer = make_side(place, "peer")
    peer["score"] = score_side(place, "peer", "int8", asked.rows, asked)
    found = {"ours": ours, "peer": peer}
    report.whole(found)
    return found


def calibrate(place: Place, asked: Request) -> dict[str, Any]:
    """Peak memory of static quantization by each method, of the process that does it from start to end."""
    found = {}
    for method in METHODS:
        found[method] = step(
            place, "ours", "calibrate", "--source", place.made("ours", "float"), "--output", place.made("ours", method),
            "--way", method, "--texts", place.inputs / "calibration.json", "--rows", asked.samples, "--batch-size", 8,
            "--threads", asked.threads,
        )  # fmt: skip
        report.calibrated(method, found[method])
    return found
