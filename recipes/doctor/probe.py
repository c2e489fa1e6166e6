"""Run as a script, by its path: imports libraries that may fail, hang or crash, and prints a line of JSON for each.

    python -P probe.py torch | torchvision | wandb | tensorboard | bitsandbytes ...

It imports nothing of this project, so that it says what the libraries do by themselves.
"""

from __future__ import annotations

import ctypes
import glob
import importlib
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MIB = 1 << 20


def main(names: list[str]) -> None:
    """Prints an object a name: what was found, or `error`. Whatever else the libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for name in names:
        try:
            answer = PROBES[name]()
        except Exception as error:  # a library may raise anything while it is imported
            answer = {"error": said(error)}
        print(json.dumps({"name": name, **answer}), file=answers, flush=True)


def said(error: Exception) -> str:
    """Its type and words; some have none."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def torch_and_gpu() -> dict[str, Any]:
    """The driver's own word, then torch's, then a first computation on each GPU."""
    facts: dict[str, Any] = driver()
    try:
        import torch
    except Exception as error:
        return {**facts, "error": said(error)}
    with warnings.catch_warnings(record=True) as caught:  # why CUDA can't be used comes as a warning
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    facts |= {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
        "available": available,
        "warning": str(caught[0].message) if caught else "",
    }
    if available:
        facts["archs"] = torch.cuda.get_arch_list()
        facts["gpus"] = [gpu(number) for number in range(torch.cuda.device_count())]
        facts["holders"] = holders()
    return facts


def driver() -> dict[str, Any]:
    """What the kernel and NVIDIA's library say, without torch."""
    version = None
    with suppress(OSError):
        found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", Path("/proc/driver/nvidia/version").read_text())
        version = found.group() if found else None
    facts: dict[str, Any] = {
        "driver": version,
        "nodes": len(glob.glob("/dev/nvidia[0-9]*")),
        "nvidia_cards": nvidia_cards(),
        "amd": os.path.exists("/dev/kfd"),
    }
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libcuda.so.1")
        number = ctypes.c_int()
        if library.cuDriverGetVersion(ctypes.byref(number)) == 0:
            facts["driver_cuda"] = [number.value // 1000, number.value % 1000 // 10]
        facts["init"] = library.cuInit(0)
        facts["cards"] = cards(library) if facts["init"] == 0 else []
    return facts


def cards(library: Any) -> list[dict[str, Any]]:
    """The GPUs' names and capabilities as the driver tells them, for a torch that can't."""
    attribute_major, attribute_minor = 75, 76
    count, device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(count))
    found = []
    for number in range(count.value):
        name = ctypes.create_string_buffer(128)
        library.cuDeviceGet(ctypes.byref(device), number)
        library.cuDeviceGetName(name, len(name), device)
        library.cuDeviceGetAttribute(ctypes.byref(major), attribute_major, device)
        library.cuDeviceGetAttribute(ctypes.byref(minor), attribute_minor, device)
        found.append({"name": name.value.decode(errors="replace"), "capability": [major.value, minor.value]})
    return found


def nvidia_cards() -> int:
    """Graphics and compute cards of NVIDIA on the PCI bus, with or without a driver."""
    count = 0
    for folder in glob.glob("/sys/bus/pci/devices/*"):
        with suppress(OSError):
            vendor = Path(folder, "vendor").read_text().strip()
            count += vendor == "0x10de" and Path(folder, "class").read_text().startswith("0x03")
    return count


def gpu(number: int) -> dict[str, Any]:
    """One GPU's name, capability and memory, and what a first computation on it says."""
    import torch

    properties = torch.cuda.get_device_properties(number)
    facts: dict[str, Any] = {
        "name": properties.name,
        "capability": [properties.major, properties.minor],
        "total": properties.total_memory,
    }
    try:
        facts["free"] = torch.cuda.mem_get_info(number)[0]
        torch.ones(8, device=f"cuda:{number}").sum().item()
    except Exception as error:
        facts["error"] = said(error)
    return facts


def holders() -> list[list[int]]:
    """(process, bytes of GPU memory) as nvidia-smi tells; in a container it often may not."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
        lines = [re.fullmatch(r"(\d+), (\d+)", line.strip()) for line in done.stdout.splitlines()]
        return [[int(line[1]), int(line[2]) * MIB] for line in lines if line and int(line[1]) != os.getpid()]
    return []


def plain_import(module: str) -> Callable[[], dict[str, Any]]:
    """A probe that imports and says the version."""

    def probe() -> dict[str, Any]:
        return {"version": getattr(importlib.import_module(module), "__version__", None)}

    return probe


def bitsandbytes() -> dict[str, Any]:
    """It imports without its native library too, and fails only when that is called."""
    native = importlib.import_module("bitsandbytes.cextension")
    stand_in = getattr(native, "ErrorHandlerMockBNBNativeLibrary", ())
    missing = native.lib is None or isinstance(native.lib, stand_in)
    return {"native": not missing, "reason": str(getattr(native.lib, "error_msg", "")) if missing else ""}


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": torch_and_gpu,
    "torchvision": plain_import("torchvision"),
    "wandb": plain_import("wandb"),
    "tensorboard": plain_import("torch.utils.tensorboard"),
    "bitsandbytes": bitsandbytes,
}

if __name__ == "__main__":
    main(sys.argv[1:])
