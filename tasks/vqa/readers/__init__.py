"""Recognises the format of --data, by its files and columns, and gives its splits."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import DataError
from tasks.readers import remote
from tasks.readers.paths import check_is_remote, exists, files_below, holdings, listing
from tasks.vqa.readers import easy, hub, official, tables
from tasks.vqa.readers.source import Options, Source

FORMATS = (
    "the official VQA JSON, a Parquet or Arrow dataset, CSV or JSON lines with image path, question and answers, "
    "or the easy-VQA folder"
)


def recognise(options: Options) -> Source:
    """What the data are: `sample`, a file or folder here, or a dataset on the Hub.

    Raises:
        DataError: a path that is not there, can't be read, or holds no questions in a format known here.
        ToolError: a Hub id that can't be reached.
    """
    data = options.data or "sample"
    if data == "sample":
        from tasks.vqa.sample import sample

        return sample.source(options)
    path = Path(data).expanduser()
    if exists(path):
        return _local(path, options)
    check_is_remote(data, "sample")
    return remote.recognise(options, hub.read)


def _local(path: Path, options: Options) -> Source:
    if path.is_dir():
        listing(path)
    for reader in (official, easy, hub, tables):
        source = reader.recognise(path, options)
        if source is not None:
            return source
    if path.is_file():
        raise DataError(f"{path}: not a format known here; give {FORMATS}")
    raise DataError(f"no questions found in the folder {path} ({holdings(path, files_below(path, 2))}); give {FORMATS}")
