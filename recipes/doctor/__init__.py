"""`tool doctor`: checks of this machine, each with a verdict and how to mend what is wrong."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial

from recipes.doctor import disk, gpu, machine, network, packages
from recipes.doctor.findings import Finding, warn, worst
from recipes.doctor.gpu import GpuFacts
from recipes.doctor.probes import LIMIT_SECONDS, Probes, Unanswered
from recipes.process import cgroups
from tasks.hub import one_line
from tasks.quantize.formats import cpu_flags

__all__ = ["Finding", "examine", "worst"]

Check = Callable[[], Finding | list[Finding]]

# These may hang for long: a dead network disk, a network that swallows what is sent.
APART = {"disk", "hub"}


def examine(output_dir: str = "runs", *, offline: bool = False, debug: bool = False) -> list[Finding]:
    """Runs every check; leaves nothing behind.

    Args:
        output_dir: where run folders are to be made.
        offline: ask nothing of the network.
        debug: show the traceback of a check that fails itself.

    Returns:
        The findings in the order of the checks. One that fails itself, or takes too long, is a warning.
    """
    with contextlib.closing(Probes(["torch", *packages.probed()])) as probes:
        running = [_Running(name, check, debug) for name, check in _checks(output_dir, offline, probes)]
        return [finding for each in running for finding in each.findings()]


def _checks(output_dir: str, offline: bool, probes: Probes) -> Iterator[tuple[str, Check]]:
    def facts() -> GpuFacts:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        try:
            return GpuFacts.of(probes.answer("torch"), visible)
        except Unanswered as error:
            return GpuFacts(error=str(error), late=error.late, visible=visible)

    def cpus() -> Finding:
        allowed = cgroups.allowed_cpus()
        return machine.cpus(os.cpu_count() or 1, allowed, cgroups.cpu_quota(), facts().threads or allowed)

    yield "python", packages.python
    yield "packages", packages.packages
    yield "torch", lambda: gpu.torch_fits(facts())
    yield "bf16", lambda: gpu.half_precision(facts(), cpu_flags())
    yield "gpu memory", lambda: gpu.gpu_memory(facts())
    yield "memory", lambda: machine.memory(machine.look_at_memory())
    yield "cpu", cpus
    yield "disk", partial(disk.disks, output_dir, offline)
    yield "shared memory", lambda: machine.shared_memory(facts().usable)
    yield "open files", machine.open_files
    yield "processes", machine.local_ports
    yield "hub", partial(network.hub_and_token, offline)
    yield "extras", lambda: packages.extras(probes.answer, facts().present)
    yield "layers", packages.compiled_layers
    yield "encoding", machine.encoding
    yield "clock", machine.clock


class _Running:
    """A check: one of those `APART` begins at once on a thread of its own, which is left behind where it hangs."""

    def __init__(self, name: str, check: Check, debug: bool) -> None:
        self.name, self.check, self.debug = name, check, debug
        self._found: list[Finding] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True) if name in APART else None
        if self._thread is not None:
            self._thread.start()

    def findings(self) -> list[Finding]:
        """What came of it."""
        if self._thread is None:
            self._run()
        else:
            self._thread.join(LIMIT_SECONDS)
        return self._found if self._found is not None else [self._failed(f"it took over {LIMIT_SECONDS:.0f} s")]

    def _run(self) -> None:
        try:
            found = self.check()
            self._found = [found] if isinstance(found, Finding) else found
        except Exception as error:  # whatever is wrong with the machine, the other checks have their say
            if self.debug:
                traceback.print_exc(file=sys.stderr)
            self._found = [self._failed(one_line(f"{type(error).__name__}: {error}".rstrip(": ")))]

    def _failed(self, why: str) -> Finding:
        return warn(self.name, f"could not be checked: {why}", "tool doctor --debug says more")
