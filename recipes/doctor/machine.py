"""Memory, processors, limits of the shell or the container, ports, the clock. Verdicts over plain figures."""

from __future__ import annotations

import math
import os
import socket
import sys
import time
from dataclasses import dataclass

from recipes.doctor.findings import Finding, ok, stop, warn
from recipes.process import cgroups
from recipes.terminal.progress import size
from tasks.words import counted

GB = 10**9
MEMORY_STOP, MEMORY_WARN = int(0.7 * GB), 2 * GB  # the libraries alone take the first
ADDRESSES_STOP = GB
FILES_STOP, FILES_WARN, FILES_GOOD = 256, 1024, 4096
SHARED_STOP, SHARED_WARN = 64 << 20, 1 << 30  # 64 MiB is what docker gives


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    total: int
    available: int
    container: cgroups.Limit | None = None
    addresses: int | None = None  # the limit of `ulimit -v` on each process


def look_at_memory() -> Memory:
    """This machine's, this container's and this shell's."""
    import psutil

    machine = psutil.virtual_memory()
    return Memory(machine.total, machine.available, cgroups.memory_limit(), cgroups.address_space())


def memory(facts: Memory) -> Finding:
    """What the machine, the container and the shell leave."""
    room, found = facts.available, f"{size(facts.available)} of {size(facts.total)} available"
    mend = "end other programs (top, then M), or take a machine with more memory"
    if facts.container is not None and facts.container.room < room:
        room = facts.container.room
        found = f"{size(room)} left of the container's limit of {size(facts.container.limit)}; {found} on the machine"
        mend = "give the container more: docker run --memory=16g (Kubernetes: resources.limits.memory, Slurm: --mem)"
    if room < MEMORY_STOP:
        return stop("memory", found, mend)
    if facts.addresses is not None and facts.addresses < room:
        # Libraries reserve far more addresses than they use, a GPU's driver more than there is memory.
        verdict = stop if facts.addresses < ADDRESSES_STOP else warn
        return verdict("memory", f"each process is limited to {size(facts.addresses)}; {found}", "ulimit -v unlimited")
    return warn("memory", found, mend) if room < MEMORY_WARN else ok("memory", found)


def cpus(cores: int, allowed: int, quota: float | None, threads: int) -> Finding:
    """Threads against the processors that this process may use.

    Args:
        cores: those of the machine.
        allowed: those that this process may run on (taskset, cpusets).
        quota: how many CPUs' worth of time the container gives; None without a limit.
        threads: how many torch computes with.
    """
    usable = min(allowed, quota) if quota is not None else allowed
    found = f"{counted(cores, 'core')}, torch computes with {counted(threads, 'thread')}"
    if usable < cores:
        found = f"{cores} cores, {usable:g} of them for this process; torch computes with {counted(threads, 'thread')}"
    if threads <= math.ceil(usable):
        return ok("cpu", found)
    count = max(1, math.floor(usable))
    return warn(
        "cpu", f"{found}, which then wait for each other", f"export OMP_NUM_THREADS={count} (or --threads {count})"
    )


def open_files() -> Finding:
    """This shell's limit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinity = resource.RLIM_INFINITY
    return file_limit(*(None if limit == infinity else limit for limit in (soft, hard)))


def file_limit(soft: int | None, hard: int | None) -> Finding:
    """None: no limit. Loader workers and memory-mapped data hold many files at once."""
    if soft is None or soft >= FILES_WARN:
        return ok("open files", "no limit" if soft is None else f"{soft:,} at once")
    if hard is None or hard >= FILES_GOOD:
        mend = f"ulimit -n {FILES_GOOD}"
    else:
        raised = f"ulimit -n {hard}, the most that the hard limit lets; " if hard > soft else ""
        mend = f"{raised}docker run --ulimit nofile=65536, or `* hard nofile 65536` in /etc/security/limits.conf"
    return (stop if soft < FILES_STOP else warn)("open files", f"only {soft:,} at once", mend)


def shared_memory(gpu: bool, path: str = "/dev/shm") -> Finding:
    """What loader workers pass their batches through."""
    if not os.path.isdir(path):
        return ok("shared memory", f"no {path} on this system")
    room = os.statvfs(path)
    return shared_room(room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize, gpu)


def shared_room(total: int, free: int, gpu: bool) -> Finding:
    """Bytes. On a GPU four loader workers are the default: without room their first batches end in a bus error."""
    found = f"{size(free)} of {size(total)} free in /dev/shm"
    if free >= SHARED_WARN:
        return ok("shared memory", found)
    if not gpu:
        return ok("shared memory", f"{found}; enough as long as --num-workers is 0, the default without a GPU")
    mend = "docker run --shm-size=8g (or mount -o remount,size=8g /dev/shm); without that: --num-workers 0"
    return (stop if free <= SHARED_STOP else warn)("shared memory", found, mend)


def local_ports(host: str = "127.0.0.1") -> Finding:
    """Whether processes of this machine reach each other."""
    try:
        with socket.socket() as listener:
            listener.settimeout(3)
            listener.bind((host, 0))
            listener.listen()
            socket.create_connection(listener.getsockname(), timeout=3).close()
    except OSError as error:
        return warn(
            "processes",
            f"no connection over {host} ({error.strerror or error}): --num-processes above 1 can't work",
            "sudo ip link set lo up; or let the firewall, or the sandbox, allow local connections",
        )
    return ok("processes", f"{host} connects, as --num-processes needs")


def encoding(name: str | None = None) -> Finding:
    """How file names and text are read where nothing says otherwise."""
    name = (name or sys.getfilesystemencoding()).lower()
    if name in {"utf-8", "utf8"}:
        return ok("encoding", name)
    found = f"{name}, not utf-8: file names and text with other letters fail"
    return warn("encoding", found, "export PYTHONUTF8=1")


def clock(now: float | None = None) -> Finding:
    """A clock far in the past makes every certificate look invalid."""
    at = time.gmtime(time.time() if now is None else now)
    found = time.strftime("%Y-%m-%d %H:%M UTC", at)
    if at.tm_year < 2024:
        return warn("clock", f"{found}: secure connections fail", "sudo timedatectl set-ntp true, or sudo date -s ...")
    return ok("clock", found)
