"""Recognises the format of --data, by its files and columns, and gives its splits."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from tasks.errors import DataError
from tasks.vqa.readers import easy, hub, official, tables
from tasks.vqa.readers.paths import files_below, listing, missing_path
from tasks.vqa.readers.source import Options, Source

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*(/[A-Za-z0-9][\w.\-]*)?")
_FILES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".zip")
FORMATS = (
    "the official VQA JSON, a Parquet or Arrow dataset, CSV or JSON lines with image path, question and answers, "
    "or the easy-VQA folder"
)


def recognise(data: str, options: Options) -> Source:
    """What `data` is: `sample`, a file or folder here, or a dataset on the Hub.

    Raises:
        DataError: a path that is not there, can't be read, or holds no questions in a format known here.
        ToolError: a Hub id that can't be reached.
    """
    if data == "sample":
        from tasks.vqa import sample

        return sample.source(options)
    path = Path(data).expanduser()
    if _exists(path):
        return _local(path, options)
    if _is_path(data):
        raise missing_path(data)
    if "/" not in data and difflib.get_close_matches(data, ["sample", *_names_here()], 1, 0.75):
        near = difflib.get_close_matches(data, ["sample", *_names_here()], 1, 0.75)[0]
        raise DataError(f"no file or folder {data}; did you mean {near}? (for a Hub dataset give OWNER/NAME)")
    from tasks.vqa.readers import remote

    return remote.recognise(data, options)


def _exists(path: Path) -> bool:
    """Whether something is there. A loop of links or a file in a folder's place is an error, not an absence."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise DataError(f"can't read {path}: {why}; mend it or give another --data") from error
    return True


def _is_path(data: str) -> bool:
    """Whether a string that names nothing here was meant as a path: then the Hub isn't asked."""
    first = data.split("/", 1)[0]
    return (
        data.startswith(("/", ".", "~"))
        or data.endswith(("/", *_FILES))
        or _HUB_ID.fullmatch(data) is None
        or ("/" in data and os.path.isdir(first))
    )


def _names_here() -> list[str]:
    return sorted(name for name in os.listdir(".") if not name.startswith("."))


def _local(path: Path, options: Options) -> Source:
    if path.is_dir():
        listing(path)
    for reader in (official, easy, hub, tables):
        source = reader.recognise(path, options)
        if source is not None:
            return source
    if path.is_file():
        raise DataError(f"{path}: not a format known here; give {FORMATS}")
    names = [str(file.relative_to(path)) for _, file in zip(range(3), files_below(path, 2), strict=False)]
    holds = f"it holds {', '.join(names)}" if names else "it is empty"
    raise DataError(f"no questions found in the folder {path} ({holds}); give {FORMATS}")
