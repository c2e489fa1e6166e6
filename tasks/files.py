"""Atomic file writing: aside, synced, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tasks.errors import OutOfDisk, ToolError, is_out_of_disk

# What files and folders are called while they are written or removed; one that is still there was left by a killed process.
LEFTOVER = re.compile(r"\..+\.(part|old)")
PIECE = 16 << 20


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a full disk or a forbidden path into the error family, naming the path."""
    try:
        yield
    except OSError as error:
        if is_out_of_disk(error):
            raise OutOfDisk(
                f"no space left on the disk while writing {path}; free some or choose another --output-dir"
            ) from error
        forbidden = (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError)
        if isinstance(error, forbidden) or error.errno == errno.EROFS:
            raise ToolError(
                f"can't write {path}: {error.strerror}; choose another folder or mend its permissions"
            ) from error
        raise


@contextmanager
def writing(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path`; on a clean exit it is synced and takes the place of `path`.

    Raises:
        OutOfDisk: the disk is full; nothing is left behind and an older `path` is untouched.
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        encoding = None if "b" in mode else "utf-8"
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, mode, encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~umask())
            os.replace(name, path)
        except BaseException:
            if os.path.exists(name):
                os.unlink(name)
            raise


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with writing(path) as file:
        file.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """Writes one JSON document, indented, keys in the order given; a figure that is undefined (NaN, infinite) as null."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(defined(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def defined(value: Any) -> Any:
    """The value as plain numbers, texts, lists and dicts: an array as a list, None for a figure that is NaN or infinite, which
    JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: defined(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [defined(item) for item in value]
    if hasattr(value, "tolist"):
        return defined(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_folder(path: str | Path, fill: Callable[[Path], None]) -> None:
    """Makes a folder aside by `fill(folder)`, syncs every file in it, and renames it to `path`.

    An existing `path` is replaced; it goes only after the new folder is whole.
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            os.chmod(aside, 0o777 & ~umask())
            fill(aside)
            sync_tree(aside)
            _swap(aside, path)
        except BaseException:
            remove_tree(aside)
            raise


def sync_tree(folder: Path) -> None:
    """fsync of every file and folder below `folder`."""
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(os.path.join(root, name))
        _sync(root)


def sha256(path: str | Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    # Large ones: between two of them this thread waits for the interpreter, which a training in another one gives up seldom.
    piece = memoryview(bytearray(min(PIECE, os.path.getsize(path) or 1)))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(piece):
            digest.update(piece[:count])
    return digest.hexdigest()


def folder_bytes(folder: Path) -> int:
    """Bytes on the disk below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size
    return total


def free_bytes(path: str | Path) -> int:
    """Bytes free where `path` is or would be made."""
    return shutil.disk_usage(nearest_existing(Path(path))).free


def nearest_existing(path: Path) -> Path:
    """The path itself, else the lowest folder above it that is there and may be looked into."""
    path = path.absolute()
    while not os.path.exists(path) and path != path.parent:  # also false where one may not look
        path = path.parent
    return path


def remove_tree(path: Path) -> None:
    """Removes a folder if it is there."""
    shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left half-written in a folder (not below it); nobody may be writing there."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if LEFTOVER.fullmatch(path.name) and path.is_dir():
            remove_tree(path)
        elif LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _swap(aside: Path, path: Path) -> None:
    if path.exists() and _exchange(aside, path):
        remove_tree(aside)
    elif path.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
        os.rename(path, old / "was")
        os.rename(aside, path)
        remove_tree(old)
    else:
        os.rename(aside, path)
    _sync(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step where the system can (Linux's renameat2), so that `other` is there at every moment."""
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_fdcwd, rename_exchange = -100, 2
    done = renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange)
    return bool(done == 0)


def _sync(path: str | Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def umask() -> int:
    """This process's, which says who may read what it writes."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
