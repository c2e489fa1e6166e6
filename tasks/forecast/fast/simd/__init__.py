"""The training step of small Transformers, Informers and Autoformers on the CPU in compiled C, one window in each lane of a vector.

The compiled layers are an optional part of the installation: where no C compiler was at hand, PyTorch's (`tasks.forecast.fast.pytorch`)
are used. There is a build for each level of the processor, so that an installation may move to another machine.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
from pathlib import Path

LEVELS = ("v4", "v3", "any")


def builds() -> dict[str, Path]:
    """The builds that were installed, the most demanding first: "v4" (AVX-512) and "v3" (AVX2) of x86-64, "any"."""
    ends = importlib.machinery.EXTENSION_SUFFIXES
    paths = [(level, Path(__file__).with_name(f"compiled_{level}{end}")) for level in LEVELS for end in ends]
    return {level: path for level, path in paths if path.is_file()}


def digest() -> str | None:
    """Of the C sources beside this file, as setup.py builds it in; None where only the builds were installed."""
    folder = Path(__file__).parent
    paths = [*sorted(folder.glob("*.c")), *sorted(folder.glob("*.h"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest() if paths else None
