"""The limits that a container, a cluster or a shell sets on this process.

Control groups are read in version 1 and 2, also side by side.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
_NONE = 1 << 60  # version 1 writes a number near 2**63 for "no limit"


@dataclass(frozen=True)
class Limit:
    """Bytes."""

    limit: int
    used: int

    @property
    def room(self) -> int:
        """What may still be taken."""
        return max(0, self.limit - self.used)


def memory_limit(root: Path = ROOT, own: Path = OWN) -> Limit | None:
    """The tightest memory limit over this process. The page cache isn't counted as used: it gives way."""
    found = []
    for folder in _folders("memory", root, own):
        new = (folder / "memory.max").exists()
        limit = _number(folder / ("memory.max" if new else "memory.limit_in_bytes"))
        used = _number(folder / ("memory.current" if new else "memory.usage_in_bytes"))
        if limit is not None and limit < _NONE and used is not None:
            cache = _statistic(folder / "memory.stat", "inactive_file" if new else "total_inactive_file")
            found.append(Limit(limit, max(0, used - cache)))
    return min(found, key=lambda limit: limit.room, default=None)


def cpu_quota(root: Path = ROOT, own: Path = OWN) -> float | None:
    """How many CPUs' worth of time this process may take; None without a limit."""
    found = []
    for folder in _folders("cpu", root, own):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            quota = str(_number(folder / "cpu.cfs_quota_us"))
            period = str(_number(folder / "cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit() and int(quota) and int(period):  # not "max", "-1" or "None"
            found.append(int(quota) / int(period))
    return min(found, default=None)


def allowed_cpus() -> int:
    """How many processors this process may run on (taskset, cpusets)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cpus() -> int:
    """How many threads this process can have at work at once."""
    quota = cpu_quota()
    return max(1, allowed_cpus() if quota is None else min(allowed_cpus(), math.floor(quota)))


def address_space() -> int | None:
    """Bytes that the shell or the batch system lets each process map (`ulimit -v`); None without a limit."""
    import resource

    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _folders(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """The group's folder and those above it, as far as they can be seen from in here."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    bases = {root / controller: "/", root / "unified": "/", root: "/"}
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            bases[root] = bases[root / "unified"] = path
        elif controller in controllers.split(","):
            bases[root / controller] = bases[root / controllers] = path
    for base, path in bases.items():
        # In a container the path may be the host's, and only its root is to be seen.
        inner = base / path.lstrip("/")
        for folder in (inner, *inner.parents):
            if folder.is_dir():
                yield folder
            if folder == base:
                break


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _statistic(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
