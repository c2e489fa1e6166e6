"""The command line that both sides of the quantization benchmark have; it runs under either environment's Python.

python -m benchmarks.quantize_peer export --source FOLDER --output FOLDER --report FILE
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What a side can do: the arguments in, figures out; "seconds" is without imports.
Step = Callable[[argparse.Namespace], dict[str, Any]]


def serve(steps: dict[str, Step]) -> None:
    """Runs the step that is asked for and writes its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--source", type=Path, required=True, help="folder of the model or graph")
    parser.add_argument("--output", type=Path, required=True, help="folder, or file of logits, to write")
    parser.add_argument("--texts", type=Path, help="JSON rows: [text, label], or texts")
    parser.add_argument("--rows", type=int, help="take so many of them")
    parser.add_argument("--length", type=int, default=128, help="tokens at most")
    parser.add_argument("--batch-size", type=int, default=32, help="texts a batch, where there are batches")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--way", default="", help="which of several")
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()
    found = steps[options.step](options)
    options.report.write_text(json.dumps({**found, "peak_bytes": peak()}), encoding="utf-8")


def texts_of(options: argparse.Namespace) -> list[Any]:
    """The rows to work on."""
    return list(json.loads(options.texts.read_text(encoding="utf-8"))[: options.rows])


def peak() -> int:
    """The largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
