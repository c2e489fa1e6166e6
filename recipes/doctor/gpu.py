"""GPUs, their driver and the torch build: whether they fit each other. Verdicts over plain facts, gathered by `probe.py`."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from recipes.doctor import wheels
from recipes.doctor.findings import Finding, ok, stop, warn
from recipes.doctor.wheels import Version
from recipes.terminal.progress import size
from tasks.hub import one_line

# The verdicts on torch.
_ok, _warn, _stop = (functools.partial(verdict, "torch") for verdict in (ok, warn, stop))
# What cuInit answers, where that says more than that CUDA is not to be had: (what it means, the mend).
_INIT = {
    34: ("libcuda.so.1 is a stub for building", "take .../stubs out of LD_LIBRARY_PATH"),
    802: (
        "the GPUs' NVSwitch service is not running (error 802)",
        "sudo systemctl start nvidia-fabricmanager; on a rented machine take another one",
    ),
    803: (
        "the driver in the kernel and its library have different versions (error 803)",
        "restart the machine, or the container; an update of the driver is half done",
    ),
    804: (
        "a CUDA compatibility library is loaded that this GPU doesn't support (error 804)",
        "take .../cuda/compat out of LD_LIBRARY_PATH, or choose an image with an older CUDA",
    ),
    999: (
        "the driver fails to start (error 999)",
        "sudo modprobe nvidia-uvm, or restart the machine; in a container restart that",
    ),
}


@dataclass(frozen=True)
class Gpu:
    """One that torch can see; memory in bytes. `error`: what a first computation on it raised."""

    name: str
    capability: Version
    total: int = 0
    free: int | None = None  # None: it doesn't say
    error: str = ""


@dataclass(frozen=True)
class GpuFacts:
    """What is there, before any verdict."""

    torch: str | None = None
    error: str = ""  # of the import of torch
    late: bool = False  # the import didn't end in time
    cuda: str | None = None  # what torch was built with
    hip: str | None = None
    mps: bool = False
    threads: int | None = None
    available: bool = False
    warning: str = ""
    archs: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    cards: tuple[Gpu, ...] = ()  # the same by the driver's word, also where torch can't use them
    holders: tuple[tuple[int, int], ...] = ()  # (process, bytes)
    driver: str | None = None
    driver_cuda: Version | None = None  # the newest that the driver knows
    init: int | None = None  # cuInit's answer; None where there is no libcuda
    nodes: int = 0  # /dev/nvidia0 and on
    nvidia_cards: int = 0  # on the PCI bus
    amd: bool = False
    visible: str | None = None  # CUDA_VISIBLE_DEVICES

    @classmethod
    def of(cls, answer: dict[str, Any], visible: str | None) -> GpuFacts:
        """From the probe's JSON."""
        known = answer.keys() & {field.name for field in fields(cls)}
        facts: dict[str, Any] = {}
        for key in known:
            facts[key] = tuple(answer[key]) if isinstance(answer[key], list) else answer[key]
        for key in ("gpus", "cards"):
            cards = answer.get(key, [])
            facts[key] = tuple(Gpu(**{**card, "capability": tuple(card["capability"])}) for card in cards)
        facts["holders"] = tuple(map(tuple, answer.get("holders", [])))
        return cls(**facts, visible=visible)

    @property
    def usable(self) -> bool:
        """Whether a run would go on a GPU of NVIDIA's or AMD's."""
        return self.available and bool(self.gpus)

    @property
    def present(self) -> bool:
        """Whether this machine, or container, has been given an NVIDIA GPU."""
        return self.nodes > 0 or self.init == 0

    @property
    def hidden(self) -> bool:
        """Whether the user hides the GPUs on purpose."""
        return self.visible is not None and self.visible.strip() in {"", "-1"}

    @property
    def capabilities(self) -> list[Version]:
        """Of the GPUs, from torch or else from the driver."""
        return [gpu.capability for gpu in self.gpus or self.cards]

    @property
    def knows(self) -> Version | None:
        """The newest CUDA of the driver; from its own number where libcuda doesn't say (NVIDIA's compatibility table)."""
        if self.driver_cuda is not None or not self.driver:
            return self.driver_cuda
        number = int(self.driver.split(".")[0])
        return (13, 0) if number >= 580 else (12, 0) if number >= 525 else (11, 0)


def torch_fits(facts: GpuFacts) -> Finding:
    """torch against the GPUs and their driver."""
    if not facts.torch:
        return _no_torch(facts)
    if facts.usable:
        return _on_gpu(facts) if not facts.hip else _ok(f"torch {facts.torch} with ROCm on {names(facts.gpus)}")
    if facts.mps:
        return _ok(f"torch {facts.torch} on the Apple GPU (mps)")
    if facts.hidden and facts.present:
        return _warn(
            f"CUDA_VISIBLE_DEVICES={facts.visible} hides the GPUs: runs go on the CPU",
            "unset CUDA_VISIBLE_DEVICES (if the CPU is meant, leave it)",
        )
    if facts.present:
        return _idle(facts)
    return _without(facts)


def names(gpus: Sequence[Gpu]) -> str:
    """'2 x NVIDIA L4 (8.9)': GPUs of a kind together."""
    kinds = Counter(f"{gpu.name} ({gpu.capability[0]}.{gpu.capability[1]})" for gpu in gpus)
    return ", ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in kinds.items())


def _no_torch(facts: GpuFacts) -> Finding:
    if facts.late:
        mend = "run it again: a first import from a cold or far disk takes long; else the GPU hangs, see nvidia-smi"
        return _warn(f"could not be checked: {facts.error}", mend)
    install = wheels.install(None, facts.knows, facts.capabilities) if facts.present else wheels.AGAIN
    if os.environ.get("LD_LIBRARY_PATH"):
        install = f"unset LD_LIBRARY_PATH (it may bring in foreign libraries); else: {install}"
    return _stop(f"torch can't be used: {one_line(facts.error)}", install)


def _on_gpu(facts: GpuFacts) -> Finding:
    of = f"torch {facts.torch}"
    mend = wheels.install(facts.torch, facts.knows, facts.capabilities)
    # PTX of a build is compiled by the driver, and only by one that is at least as new as the build's CUDA.
    ptx = facts.driver_cuda is None or facts.driver_cuda >= _version(facts.cuda)
    without = [gpu for gpu in facts.gpus if not any(wheels.covers(arch, gpu.capability, ptx) for arch in facts.archs)]
    if facts.archs and without:
        return _stop(f"{of} has no code for {names(without)}; it has {' '.join(facts.archs)}", mend)
    failing = [number for number, gpu in enumerate(facts.gpus) if gpu.error]
    if failing:
        gpu = facts.gpus[failing[0]]
        return _stop(
            f"GPU {failing[0]}, {names([gpu])}, fails at a first computation: {one_line(gpu.error, limit=160)}",
            "nvidia-smi shows whether others use it; if nobody does, restart the machine or take another",
        )
    native = [arch for arch in facts.archs if arch.startswith("sm_")]
    slow = [gpu for gpu in facts.gpus if not any(wheels.covers(arch, gpu.capability) for arch in native)]
    if native and slow:
        return _warn(f"{of} has no code made for {names(slow)}: the driver compiles it at each start", mend)
    return _ok(f"{of} on {names(facts.gpus)}, {_driver(facts)}")


def _idle(facts: GpuFacts) -> Finding:
    """A GPU is there, but torch can't use it.

    All of these are `stop`, though a run would start: on the CPU, tens of times slower, while the GPU is paid for by the hour.
    `tool doctor && tool train ...` must not go that way unasked. Whoever means the CPU hides the GPU (CUDA_VISIBLE_DEVICES=-1).
    """
    there = f"{names(facts.cards) or 'an NVIDIA GPU'} is there ({_driver(facts)})"
    mend = wheels.install(facts.torch, facts.knows, facts.capabilities)
    if facts.cuda is None:
        return _stop(f"{there}, but torch {facts.torch} is built without CUDA: runs go on the CPU", mend)
    if facts.init is None:
        return _stop(
            f"{there}, but not its library libcuda.so.1: runs go on the CPU",
            "start the container with: docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ...",
        )
    if facts.init in _INIT:
        found, way = _INIT[facts.init]
        return _stop(f"{there}, but {found}", way)
    if facts.knows is not None and facts.knows[0] < _version(facts.cuda)[0]:
        return _stop(f"{there}, but torch {facts.torch} needs CUDA {facts.cuda}: runs go on the CPU", mend)
    if facts.visible is not None and facts.init in {0, 100}:
        return _stop(
            f"{there}, but CUDA_VISIBLE_DEVICES={facts.visible} names none: runs go on the CPU",
            "unset CUDA_VISIBLE_DEVICES, or set it to a number that nvidia-smi shows",
        )
    why = one_line(facts.warning, limit=160) or f"cuInit answers {facts.init}"
    return _stop(f"{there}, but torch can't use it: {why}", "see nvidia-smi; restart the machine, or take another")


def _without(facts: GpuFacts) -> Finding:
    """No GPU of our own: fine, unless the machine seems to have one that this container or system wasn't given."""
    of = f"torch {facts.torch}"
    if facts.driver:
        return _warn(
            f"{of}; the host has an NVIDIA driver ({facts.driver}), but no GPU was given to this container: CPU",
            "docker run --gpus all ... (Kubernetes: resources.limits nvidia.com/gpu: 1), if it is yours to use",
        )
    if facts.nvidia_cards:
        return _warn(
            f"{of}; {facts.nvidia_cards} NVIDIA card(s) on the bus, but no driver: runs go on the CPU",
            "choose an image with the NVIDIA driver, or: sudo ubuntu-drivers install --gpgpu",
        )
    if facts.amd:
        # Many laptops have such a device in their processor, so it doesn't mean that a GPU is paid for.
        mend = "the ROCm build of torch: https://pytorch.org/get-started/locally/"
        if facts.hip:
            mend = (
                "sudo usermod -aG render,video $USER, then log in anew; docker run --device=/dev/kfd --device=/dev/dri"
            )
        return _warn(f"{of} doesn't use the AMD GPU: runs go on the CPU", mend)
    return _ok(f"{of}, no GPU: runs go on the CPU")


def half_precision(facts: GpuFacts, flags: set[str]) -> Finding:
    """Whether bf16 is computed by the hardware.

    Args:
        flags: those of the CPU, by Linux's names.
    """
    if not facts.torch:
        return ok("bf16", "not known without torch")
    if facts.usable and not facts.hip:
        without = [gpu for gpu in facts.gpus if gpu.capability < (8, 0)]
        if without:
            found = f"{names(without)} has no bf16 units: bf16 would be emulated, slower than float32"
            return warn("bf16", found, "add to the run: --mixed-precision fp16")
        return ok("bf16", f"{names(facts.gpus)} computes it: --mixed-precision auto takes it")
    if facts.usable or facts.mps:
        return ok("bf16", "not looked at on this kind of GPU; try --mixed-precision bf16")
    fast = sorted(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    if fast:
        return ok("bf16", f"this CPU computes it ({', '.join(fast)}): --mixed-precision bf16 may pay")
    return ok("bf16", "this CPU has no bf16 units: float32, as --mixed-precision auto has it")


def gpu_memory(facts: GpuFacts) -> Finding:
    """How much of each GPU is free, and who holds the rest."""
    if not facts.usable:
        return ok("gpu memory", "no GPU" if facts.torch else "not known without torch")
    shown = ", ".join(
        f"{number}: {'unknown' if gpu.free is None else size(gpu.free)} of {size(gpu.total)} free"
        for number, gpu in enumerate(facts.gpus)
    )
    taken = {number: gpu.total - gpu.free for number, gpu in enumerate(facts.gpus) if gpu.free is not None}
    held = {number: count for number, count in taken.items() if count > facts.gpus[number].total / 2}
    if not held:
        return ok("gpu memory", f"GPU {shown}")
    who, mend = f"another process holds {size(max(held.values()))}", "nvidia-smi, then end what is yours there"
    if facts.holders:
        process, count = max(facts.holders, key=lambda holder: holder[1])
        who = f"process {process} holds {size(count)}"
        mend = f"kill {process}, if it is a left-over of yours"
    others = [str(number) for number in range(len(facts.gpus)) if number not in held]
    if others:
        mend += f"; or use the others: export CUDA_VISIBLE_DEVICES={','.join(others)}"
    return warn("gpu memory", f"GPU {shown}; {who}", mend)


def _driver(facts: GpuFacts) -> str:
    cuda = f"CUDA {facts.knows[0]}.{facts.knows[1]}" if facts.knows else "CUDA unknown"
    return f"driver {facts.driver or 'unknown'}, {cuda}"


def _version(text: str | None) -> Version:
    parts = (text or "0.0").split(".")
    return int(parts[0]), int(parts[1])
