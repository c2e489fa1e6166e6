"""The environment of a run: versions, hardware, git revision, command line."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

VERSIONS = ("modeltool", "torch", "transformers", "accelerate", "datasets", "evaluate", "numpy", "safetensors")


def conditions(processes: int, device: torch.device, shards: int = 1) -> dict[str, Any]:
    """What a run's arithmetic depends on beside its options: on the same it goes on to the bit.

    Args:
        shards: into how many the model is cut.
    """
    import torch

    return {
        "processes": processes,
        "shards": shards,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
    }


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each package that is there."""
    from importlib import metadata

    installed = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def environment() -> dict[str, Any]:
    """Versions, hardware, git revision and command line, for environment.json."""
    import psutil
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "versions": versions(VERSIONS),
        "git": _git_revision(),
        "command": shlex.join(["tool", *sys.argv[1:]]),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _git_revision() -> str | None:
    command, place = ["git", "rev-parse", "HEAD"], Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
