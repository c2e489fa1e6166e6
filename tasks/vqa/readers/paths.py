"""Names of splits and files: what a file is called, which split that makes it, and where an image path leads."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import DataError

_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "development": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
    "test-dev": "test-dev",
    "testdev": "test-dev",
    "test-std": "test-std",
}
_WORD = re.compile(r"test[-_]?(?:dev|std)|[a-z]+")


def canonical(name: str) -> str:
    """A split's name as we call it: `val`, `valid` and `dev` are `validation`; a name of the user's own stays."""
    return _ALIASES.get(name.strip().lower(), name.strip())


def split_of(name: str) -> str | None:
    """The split that a file or folder name speaks of ("v2_OpenEnded_mscoco_val2014_questions" -> "validation"), or
    None.
    """
    words = _WORD.findall(name.lower())
    found = [_ALIASES[word.replace("_", "-")] for word in words if word.replace("_", "-") in _ALIASES]
    return found[0] if found else None


def listing(folder: str | Path) -> list[os.DirEntry[str]]:
    """Entries of a folder by name.

    Raises:
        DataError: it can't be listed; the message says why.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"can't read the folder {folder}: {_why(error)}; mend its permissions or give another --data"
        ) from error


def files_below(folder: str | Path, depth: int) -> Iterator[Path]:
    """Files in a folder and, `depth` levels down, in its subfolders, by name; hidden ones are passed over."""
    folders = []
    for entry in listing(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            folders.append(entry.path)
        else:
            yield Path(entry.path)
    for path in folders if depth else []:
        yield from files_below(path, depth - 1)


def read_text(path: str | Path) -> str:
    """A text file as UTF-8, with or without a byte order mark.

    Raises:
        DataError: it can't be read, or is of another encoding.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"can't read {path}: {_why(error)}") from error


def missing_path(data: str) -> DataError:
    """The error for a --data path that is not there, with the nearest name that is."""
    path = Path(data).expanduser()
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        path, parent = parent, parent.parent
    try:
        names = sorted(os.listdir(parent))
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, 1, 0.6)
    hint = f"; did you mean {parent / near[0]}?" if near else "; check --data"
    return DataError(f"no file or folder {data}{hint}")


class Resolver:
    """Turns the image paths of one file into real ones: as they are, beside the file, then under --image-root."""

    def __init__(self, folder: str | Path, image_root: str | None) -> None:
        self.roots = [str(folder)] + ([os.path.expanduser(image_root)] if image_root else [])

    def __call__(self, path: str) -> str:
        """The first place where `path` exists; where there is none, the first place looked at."""
        path = os.path.expanduser(path.strip())
        places = [os.path.normpath(os.path.join(root, path)) for root in self.roots]
        return next((place for place in places if os.path.exists(place)), places[0])


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
