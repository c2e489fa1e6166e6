"""The peer's own environment: optimum-onnx pins a transformers that can't stand beside the tool's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.common import REPOSITORY, BenchmarkFailed, say

FOLDER = REPOSITORY / ".bench-venv" / "optimum"
# torch first, by the constraints, so that it is the same build as the tool's. optimum-onnx 0.1.0 works with these.
TORCH = "torch==2.13.0"
PINS = ("optimum-onnx==0.1.0", "transformers==4.57.6", "onnxruntime==1.32.0", "onnx==1.23.2", "numpy==2.4.6")
MARKER = ".installed"


def peer_python() -> Path:
    """The Python of the peer's environment, which is made where it isn't there, or not as it should be.

    Raises:
        BenchmarkFailed: it can't be made.
    """
    python = FOLDER / "bin" / "python"
    wanted = "\n".join((TORCH, *PINS))
    marker = FOLDER / MARKER
    if marker.is_file() and marker.read_text(encoding="utf-8") == wanted:
        return python
    say(f"making {FOLDER} for the peer: {', '.join(PINS)}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(FOLDER)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-c", str(REPOSITORY / "constraints.txt"), TORCH])
    _run([*pip, TORCH, *PINS])
    marker.write_text(wanted, encoding="utf-8")
    return python


def versions(python: Path) -> dict[str, str]:
    """What is installed there, of what matters to the figures."""
    names = [pin.partition("==")[0] for pin in (TORCH, *PINS)]
    code = "import importlib.metadata as m, sys; print('\\n'.join(m.version(name) for name in sys.argv[1:]))"
    found = _run([python, "-c", code, *names])
    return dict(zip(names, found.split(), strict=True))


def _run(command: list[str | Path]) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise BenchmarkFailed(f"exit code {done.returncode} of {' '.join(map(str, command))}\n{said}")
    return done.stdout
