"""Names of splits and files, and whether a --data is a path at all."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path

from tasks.errors import DataError

_ALIASES = {
    alias: name
    for name, aliases in (
        ("train", ("train", "training")),
        ("validation", ("val", "valid", "validation", "dev", "development", "eval", "evaluation")),
        ("test", ("test", "testing")),
        ("test-dev", ("test-dev", "testdev")),
        ("test-std", ("test-std",)),
    )
    for alias in aliases
}
# The name of the one split of data that know none.
WHOLE = "all"
# OWNER/NAME, OWNER/NAME:CONFIG or, of old, NAME.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*(/[A-Za-z0-9][\w.\-]*(:[\w.\-]+)?)?")
_FILES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".zip")
_WORD = re.compile(r"test[-_]?(?:dev|std)|[a-z]+")


def canonical(name: str) -> str:
    """A split's name as we call it: `val`, `valid` and `dev` are `validation`; a name of the user's own stays."""
    return _ALIASES.get(name.strip().lower(), name.strip())


def first_of(names: Collection[str], wanted: Iterable[str]) -> str | None:
    """The first of the wanted names that is there."""
    return next((name for name in wanted if name in names), None)


def split_of(name: str) -> str | None:
    """The split that a file or folder name speaks of ("v2_OpenEnded_mscoco_val2014_questions" -> "validation"), or
    None.
    """
    word = split_word(name)
    return None if word is None else _ALIASES[word.replace("_", "-")]


def split_beside(path: Path, file: Path, word: Callable[[str], str | None] = split_of) -> str | None:
    """The split that the name of a file in the data `path` speaks of, or else that of a folder of its own below it.

    Args:
        word: what a name says.
    """
    inside = file.parent != path and path.is_dir()
    return word(file.stem) or (word(file.parent.name) if inside else None)


def split_word(name: str) -> str | None:
    """The word by which a name speaks of a split ("reviews-dev.csv" -> "dev"), or None."""
    words = _WORD.findall(name.lower())
    return next((word for word in words if word.replace("_", "-") in _ALIASES), None)


def by_split(path: Path, files: Iterable[Path], word: Callable[[str], str | None] = split_of) -> dict[str, list[Path]]:
    """The files of the data `path` by the split that their names speak of.

    Those without one are left out where others have one; where none has, they are one whole.
    """
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(split_beside(path, file, word) or WHOLE, []).append(file)
    if len(groups) > 1:
        groups.pop(WHOLE, None)
    return groups


def one_a_split(path: Path, files: Iterable[Path]) -> dict[str, Path]:
    """The file of each split that the files' names speak of, in their order.

    Raises:
        DataError: two of them are one split.
    """
    chosen: dict[str, Path] = {}
    for file in files:
        name = split_beside(path, file)
        if name is not None and name in chosen:
            raise DataError(f"{path}: both {chosen[name]} and {file} are the split {name}; give one of them as --data")
        if name is not None:
            chosen[name] = file
    return chosen


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
            f"can't read the folder {folder}: {why(error)}; mend its permissions or give another --data"
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
        raise DataError(f"can't read {path}: {why(error)}") from error


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


def why(error: OSError) -> str:
    """The system's reason, as part of a sentence."""
    return (error.strerror or type(error).__name__).lower()


def exists(path: Path) -> bool:
    """Whether something is there. A loop of links or a file in a folder's place is an error, not an absence."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DataError(f"can't read {path}: {why(error)}; mend it or give another --data") from error
    return True


def is_path(data: str) -> bool:
    """Whether a string that names nothing here was meant as a path: then the Hub isn't asked."""
    first = data.split("/", 1)[0]
    return (
        data.startswith(("/", ".", "~"))
        or data.endswith(("/", *_FILES))
        or _HUB_ID.fullmatch(data) is None
        or ("/" in data and os.path.isdir(first))
    )


def check_is_remote(data: str, *known: str, noun: str = "dataset") -> None:
    """Whether a --data that names nothing here can be one on the Hub.

    Args:
        known: words that have a meaning as --data.

    Raises:
        DataError: it was meant as a path, or is much like the name of something that is here.
    """
    if is_path(data):
        raise missing_path(data)
    here = sorted(name for name in os.listdir(".") if not name.startswith("."))
    near = difflib.get_close_matches(data, [*known, *here], 1, 0.75)
    if "/" not in data and near:
        raise DataError(f"no file or folder {data}; did you mean {near[0]}? (for a Hub {noun} give OWNER/NAME)")


def holdings(path: Path, files: Iterable[Path]) -> str:
    """What a folder has in it, for an error: "it holds a.txt, b.txt"."""
    names = [str(file.relative_to(path)) for file in islice(files, 3)]
    return f"it holds {', '.join(names)}" if names else "it is empty"
