"""Recognises the format of --data, by its files and columns, and gives its splits."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from tasks.errors import DataError
from tasks.glue.named import HUB, TASKS, check_task, task_of
from tasks.glue.readers import arrow, official, tables
from tasks.glue.readers.source import WHOLE, Load, Options, Source
from tasks.readers.arrow import ENDINGS, is_saved
from tasks.readers.paths import (
    by_split,
    check_is_remote,
    exists,
    files_below,
    holdings,
    listing,
    split_beside,
    split_word,
)

FORMATS = "GLUE's tsv files, CSV, TSV, JSON lines, a JSON list, or Parquet or Arrow files"
_KINDS = {".jsonl": "JSON lines", ".ndjson": "JSON lines", ".parquet": "Parquet", ".arrow": "Arrow"}
_HUB_CONFIG = re.compile(r"([\w.\-]+/[\w.\-]+|glue):([\w.\-]+)")


def recognise(options: Options) -> Source:
    """What the data are: `sample`, a file or folder here, a GLUE task by name, or a data set on the Hub.

    Raises:
        ConfigError: no such task, or data of several tasks, and none is named.
        DataError: a path that is not there, can't be read, or holds no texts in a format known here.
        ToolError: a Hub id that can't be reached.
    """
    from tasks.glue.readers import remote

    if options.task is not None:
        options = replace(options, task=check_task(options.task))
    data = options.data or ("sample" if options.task is None else HUB)
    if data == "sample":
        from tasks.glue import sample

        return sample.source(options)
    path = Path(data).expanduser()
    if exists(path):
        return _local(path, options)
    task = task_of(data)
    if task is not None:
        return remote.recognise(HUB, replace(options, task=task))
    if _HUB_CONFIG.fullmatch(data) or data == "glue":
        return remote.recognise(data, options)
    check_is_remote(data, "sample", *TASKS, noun="data set")
    return remote.recognise(data, options)


def _local(path: Path, options: Options) -> Source:
    if path.is_dir():
        listing(path)
    source = official.recognise(path, options)
    if source is not None:
        return source
    if path.is_dir() and is_saved(path):
        name = path.resolve().name
        return Source("folder saved by `datasets`", name, arrow.saved_splits(path, options), task=options.task)
    if path.is_file() and path.suffix.lower() == ".txt":
        return Source("text, one a line", path.stem, {WHOLE: lambda problems: tables.read_lines(path)})
    files = [path] if path.is_file() else list(files_below(path, 2))
    for endings in ((".parquet",), (".arrow",), tables.ENDINGS):
        chosen = [file for file in files if file.suffix.lower() in endings]
        if chosen and (path.is_file() or _parted(path, chosen)):
            return _of_files(path, chosen, options)
    if path.is_file():
        raise DataError(f"{path}: not a format known here; give {FORMATS}")
    holds = holdings(path, files)
    if any(file.suffix.lower() in (*tables.ENDINGS, *ENDINGS) for file in files):
        raise DataError(f"{path}: {holds}, none called after a split (train, dev, test); give one file as --data")
    raise DataError(f"no texts found in the folder {path} ({holds}); give {FORMATS}")


def _matched(name: str) -> str | None:
    """The word for a split in a name; MNLI's two halves keep theirs."""
    word = split_word(name)
    half = next((half for half in ("mismatched", "matched") if half in name.lower()), None)
    return word if word is None or half is None else f"{word}_{half}"


def _parted(path: Path, files: list[Path]) -> bool:
    """Whether files in a folder are its data: called after splits, or just one."""
    return len(files) == 1 or any(split_beside(path, file, _matched) for file in files)


def _of_files(path: Path, files: list[Path], options: Options) -> Source:
    """Files grouped by the split in their names; those without one are left out where others have one."""
    groups = by_split(path, files, _matched) if path.is_dir() else {WHOLE: files}
    ending = files[0].suffix.lower()
    for name, group in groups.items():
        if len(group) > 1 and ending in tables.ENDINGS:
            some = ", ".join(str(file) for file in group[:3])
            raise DataError(f"{path}: several files for the split {name} ({some}); give one of them as --data")

    def load(name: str, group: list[Path]) -> Load:
        if ending in ENDINGS:
            source = str(group[0]) if len(group) == 1 else f"{path} ({name})"
            return lambda problems: arrow.read(group, source, options)
        return partial(tables.read, group[0], options)

    name = path.stem if path.is_file() else path.resolve().name
    splits = {split: load(split, group) for split, group in groups.items()}
    return Source(_KINDS.get(ending, ending[1:].upper()), options.task or name, splits, task=options.task)
