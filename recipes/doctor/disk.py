"""Free space and write permission where runs, temporary files and caches go; one finding a file system."""

from __future__ import annotations

import fcntl
import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from recipes.doctor.findings import Finding, ok, stop, warn
from recipes.terminal.progress import size
from tasks.errors import is_out_of_disk
from tasks.files import nearest_existing

WARN_BYTES = 5 * 10**9
TRIAL_BYTES = 1 << 20


@dataclass(frozen=True)
class Place:
    """A folder that a run writes to, and how to name another one."""

    use: str
    folder: Path
    elsewhere: str
    needed: bool = True  # False: runs can do without writing there
    locks: bool = False  # a file must be lockable there


@dataclass(frozen=True)
class Trial:
    """What came of writing to a place. `problem` is "" where it went well."""

    place: Place
    folder: Path  # the one that was tried
    problem: str = ""
    full: bool = False

    @property
    def device(self) -> int:
        """The filesystem."""
        return self.folder.stat().st_dev

    @property
    def mount(self) -> str:
        """Where the filesystem is mounted."""
        folder = self.folder
        while not os.path.ismount(folder):
            folder = folder.parent
        return str(folder)


def disks(output_dir: str, offline: bool) -> list[Finding]:
    """Tries each place and gathers them by filesystem."""
    trials = [attempt(place) for place in places(output_dir, offline)]
    devices = dict.fromkeys(trial.device for trial in trials)
    return [filesystem([trial for trial in trials if trial.device == device]) for device in devices]


def places(output_dir: str, offline: bool) -> list[Place]:
    """Where runs, temporary files and the libraries' caches go."""
    from huggingface_hub import constants

    home, offline = Path(constants.HF_HOME), offline or constants.HF_HUB_OFFLINE
    data = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    return [
        Place("runs", Path(output_dir), "--output-dir FOLDER", locks=True),
        Place("temporary files", temporary_folder(), "export TMPDIR=FOLDER"),
        # Without the Hub nothing is fetched, and a filled cache may well be read-only.
        Place("hub cache", Path(constants.HF_HUB_CACHE), "export HF_HOME=FOLDER", needed=not offline),
        Place("datasets cache", data, "export HF_HOME=FOLDER", needed=not offline),
    ]


def temporary_folder() -> Path:
    """What tempfile takes; where it finds none that can be written, the one that it would have taken."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path(os.environ.get("TMPDIR") or "/tmp")


def attempt(place: Place) -> Trial:
    """Writes and syncs a small file without a name, in the place or the nearest folder above it that is there."""
    folder = nearest_existing(place.folder)
    if not folder.is_dir():
        return Trial(place, folder, f"{folder} is a file, not a folder")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(os.urandom(TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
            if place.locks:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    return Trial(place, folder, f"{folder}: keeps no locks ({(error.strerror or str(error)).lower()})")
    except OSError as error:
        return Trial(place, folder, f"{folder}: {(error.strerror or str(error)).lower()}", is_out_of_disk(error))
    return Trial(place, folder)


def filesystem(trials: list[Trial]) -> Finding:
    """The finding over the places that lie on one filesystem."""
    room = os.statvfs(trials[0].folder)
    free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    # Some filesystems count no inodes, and say 0 of 0.
    return judge(trials, trials[0].mount, free, total, no_more_files=room.f_files > 0 and room.f_favail == 0)


def judge(trials: list[Trial], mount: str, free: int, total: int, no_more_files: bool = False) -> Finding:
    """Bytes. `no_more_files`: the filesystem has room, but no inode left."""
    name, uses = f"disk {mount}", ", ".join(trial.place.use for trial in trials)
    found = f"{size(free)} of {size(total)} free for {uses}"
    clear = f"free some (du -xh {shlex.quote(mount)} | sort -h | tail); or "
    failed = [trial for trial in trials if trial.problem]
    if no_more_files:
        verdict = stop if any(trial.place.needed for trial in trials) else warn
        return verdict(name, f"{found}; no inode left for a file", f"remove many small files; or {_elsewhere(trials)}")
    if failed:
        verdict = stop if any(trial.place.needed for trial in failed) else warn
        problems = "; ".join(dict.fromkeys(trial.problem for trial in failed))
        mend = (clear if any(trial.full for trial in failed) else "") + _elsewhere(failed)
        return verdict(name, f"{found}; can't write: {problems}", mend)
    return warn(name, found, clear + _elsewhere(trials)) if free < WARN_BYTES else ok(name, found)


def _elsewhere(trials: list[Trial]) -> str:
    return "choose another folder: " + ", ".join(dict.fromkeys(trial.place.elsewhere for trial in trials))
