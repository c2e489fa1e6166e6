"""Runs the benchmarks: each against a named peer, in turns, and checks that the results agree.

    python scripts/bench.py            all of them
    python scripts/bench.py vqa        one; --quick for a shorter run

A ratio is only reported where both sides computed the same. Exit code 1: a side failed, or the two disagree.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.common import DATA, BenchmarkFailed, Options, say

# name -> (module with a function `bench(Options) -> dict`, what it compares)
BENCHMARKS = {
    "vqa": ("benchmarks.vqa", "tool train vqa against the transformers guide to visual question answering"),
    "checkpoint": ("benchmarks.checkpoint", "what a checkpoint a minute costs, beside Accelerator.save_state"),
    "forecast": ("benchmarks.forecast", "forecasting models against GluonTS's loader and transformers' generate"),
    "controlnet": ("benchmarks.controlnet", "tool train controlnet against the step of diffusers' train_controlnet.py"),
    "quantize": ("benchmarks.quantize", "export, int8 and scoring against optimum-onnx with its own transformers"),
    "forecast-scale": ("benchmarks.forecast_scale", "forecasting data of traffic's size, and 100,000 series"),
}


def main() -> int:
    """Runs what the command line asks for."""
    parser = make_parser()
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    # So that a stopped run ends its child and leaves no temporary folder.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    found = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        options = make_options(arguments, Path(temporary))
        for name in names:
            try:
                found[name] = importlib.import_module(BENCHMARKS[name][0]).bench(options)
            except BenchmarkFailed as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
    if not any(found.values()):
        print(
            f"--only {' '.join(arguments.only)}: no benchmark has such a part; give it once for each part",
            file=sys.stderr,
        )
        return 2
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        say(f"figures   {arguments.json}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    listed = "\n".join(f"  {name:<12} {what}" for name, (_, what) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"benchmarks:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="which; left out: all")
    parser.add_argument("--quick", action="store_true", help="fewer steps and pairs: shows that it works, not how fast")
    parser.add_argument("--pairs", type=int, help="runs of each side; left out: the benchmark's own number")
    parser.add_argument("--steps", type=int, help="training steps of each run; left out: the benchmark's own number")
    parser.add_argument("--batch-size", type=int, help="at most so many examples a step")
    parser.add_argument(
        "--only",
        "--part",
        "--models",
        action="append",
        default=[],
        help="a part of the benchmark, such as tiny or b32; repeatable",
    )
    parser.add_argument("--profile", action="store_true", help="also list the heaviest operators of a step")
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder of real data; left out: {DATA}")
    parser.add_argument("--work", type=Path, help="folder to work in, kept afterwards; left out: a temporary one")
    parser.add_argument("--json", help="write every figure here")
    return parser


def make_options(arguments: argparse.Namespace, temporary: Path) -> Options:
    """What the benchmarks are told."""
    return Options(
        quick=arguments.quick,
        pairs=arguments.pairs,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        only=tuple(arguments.only),
        profile=arguments.profile,
        data=arguments.data.resolve(),
        work=(arguments.work or temporary).resolve(),
        keep=arguments.work is not None,
    )


if __name__ == "__main__":
    raise SystemExit(main())
