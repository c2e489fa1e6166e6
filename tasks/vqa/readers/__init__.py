"""Recognises the format of --data, by its files and columns, and gives its splits."""

from __future__ import annotations

import difflib
from pathlib import Path

from tasks.errors import DataError
from tasks.readers.paths import exists, files_below, is_path, listing, missing_path, names_here
from tasks.vqa.readers import easy, hub, official, tables
from tasks.vqa.readers.source import Options, Source

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
    if exists(path):
        return _local(path, options)
    if is_path(data):
        raise missing_path(data)
    if "/" not in data and difflib.get_close_matches(data, ["sample", *names_here()], 1, 0.75):
        near = difflib.get_close_matches(data, ["sample", *names_here()], 1, 0.75)[0]
        raise DataError(f"no file or folder {data}; did you mean {near}? (for a Hub dataset give OWNER/NAME)")
    from tasks.vqa.readers import remote

    return remote.recognise(data, options)


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
