"""Times ONNX graphs of both sides in turns, in one process, under one onnxruntime and the same session options.

    python -m benchmarks.quantize_latency --graphs NAME=FILE ... --length 128 --threads 2 --rounds 20 --output FILE

Each turn is a burst of calls on the same random tokens; its first isn't counted. Between turns all wait until the threads of
the session before have ceased to spin.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime

BURST = 4
WAIT_SECONDS = 0.05


def main() -> None:
    """Writes {"milliseconds": {name: [one list of calls a round]}, "logits": {name: values}}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", nargs="+", required=True)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    sessions = {
        name: _open(path, options.threads) for name, _, path in (graph.partition("=") for graph in options.graphs)
    }
    tokens = np.random.default_rng(0).integers(1000, 20000, (1, options.length))
    feeds = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
    logits = {name: session.run(None, feeds)[0][0].tolist() for name, session in sessions.items()}
    took: dict[str, list[list[float]]] = {name: [] for name in sessions}
    names = list(sessions)
    for number in range(options.rounds):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            time.sleep(WAIT_SECONDS)
            took[name].append(_burst(sessions[name], feeds)[1:])
    options.output.write_text(json.dumps({"milliseconds": took, "logits": logits}), encoding="utf-8")


def _open(path: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])


def _burst(session: onnxruntime.InferenceSession, feeds: dict[str, np.ndarray]) -> list[float]:
    found = []
    for _ in range(BURST):
        began = time.perf_counter()
        session.run(None, feeds)
        found.append(1000 * (time.perf_counter() - began))
    return found


if __name__ == "__main__":
    main()
