"""Data that the `datasets` library opens here: Parquet and Arrow files by split, and folders that save_to_disk wrote.

It finds, groups and opens; what the rows are is each task's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.readers.paths import by_split, canonical, files_below
from tasks.readers.problems import Problems
from tasks.readers.remote import reading
from tasks.readers.source import WHOLE, Source, Split

ENDINGS = (".parquet", ".arrow")


@dataclass(frozen=True)
class Part:
    """One split of such data.

    Attributes:
        open: gives the `datasets.Dataset`. Files that are one split of several are opened by it alone, so that a split
            that no one reads costs nothing.
        source: how to name the split in messages.
        folder: where its first file lies.
    """

    open: Callable[[], Any]
    source: str
    folder: Path


def recognise(path: Path, cache_dir: str | None, read: Callable[[Part, Problems], Split]) -> Source[Split] | None:
    """A save_to_disk folder, a Parquet or Arrow file, or a folder with such files in it or two levels below.

    Args:
        read: gives a split when it is asked for.

    Returns:
        None where it is nothing of the kind.

    Raises:
        DataError: it is, and can't be read.
    """

    def source(format: str, splits: dict[str, Part]) -> Source[Split]:
        return Source(format, path.resolve().name, {name: partial(read, part) for name, part in splits.items()})

    if path.is_dir() and is_saved(path):
        return source("dataset saved by `datasets`", _of_saved(path))
    files = [path] if path.is_file() else list(files_below(path, 2))
    for ending in ENDINGS:
        chosen = [file for file in files if file.suffix.lower() == ending]
        if chosen:
            return source(f"{ending[1:].capitalize()} dataset", _of_files(path, chosen, cache_dir))
    return None


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by save_to_disk."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def saved(folder: Path) -> dict[str, Any]:
    """The datasets in such a folder by their own names, one without a name as `WHOLE`.

    Raises:
        DataError: the library can't read it.
    """
    from datasets import DatasetDict, load_from_disk

    with reading(folder):
        loaded = load_from_disk(str(folder))
    return dict(loaded) if isinstance(loaded, DatasetDict) else {WHOLE: loaded}


def _of_saved(path: Path) -> dict[str, Part]:
    splits = {canonical(name): dataset for name, dataset in saved(path).items()}
    if list(splits) == [WHOLE]:
        return _parted(path, splits[WHOLE], path)
    return {name: Part(partial(splits.__getitem__, name), _called(path, name), path) for name in splits}


def _of_files(path: Path, files: list[Path], cache_dir: str | None) -> dict[str, Part]:
    """Files grouped by the split that their names speak of; without any, they are one whole."""
    groups = by_split(path, files)
    if list(groups) == [WHOLE]:
        return _parted(path, _open(files, cache_dir), files[0].parent)
    return {
        name: Part(partial(_open, members, cache_dir), _called(path, name), members[0].parent)
        for name, members in groups.items()
    }


def _open(files: list[Path], cache_dir: str | None) -> Any:
    """Files of one kind as one dataset, mapped."""
    from datasets import Dataset, concatenate_datasets, load_dataset

    names = [str(file) for file in files]
    with reading(files[0]):
        if files[0].suffix.lower() == ".arrow":
            return concatenate_datasets([Dataset.from_file(name) for name in names])
        return load_dataset("parquet", data_files=names, split="train", cache_dir=cache_dir)


def _parted(path: Path, whole: Any, folder: Path) -> dict[str, Part]:
    """A dataset without named splits, parted by its `split` column where it has one."""
    if "split" not in whole.column_names or not len(whole):
        return {WHOLE: Part(lambda: whole, _called(path, WHOLE), folder)}
    names = np.array([canonical(str(name)) for name in whole.select_columns(["split"])["split"]])

    def part(name: str) -> Any:
        return whole.select(np.flatnonzero(names == name), keep_in_memory=True)

    found = dict.fromkeys(names.tolist())
    return {name: Part(partial(part, name), _called(path, name), folder) for name in found}


def _called(path: Path, split: str) -> str:
    return str(path) if split == WHOLE or path.is_file() else f"{path} ({split})"


def picture_kind(feature: Any) -> str:
    """How a column holds pictures: "image" (an Image feature or its struct), "bytes", "path", or "" for not at all."""
    if type(feature).__name__ == "Image" or (isinstance(feature, dict) and "bytes" in feature):
        return "image"
    kind = getattr(feature, "dtype", "")
    return "bytes" if kind in ("binary", "large_binary") else "path" if kind in ("string", "large_string") else ""


def undecoded(dataset: Any, column: str) -> Any:
    """The one column, memory-mapped, its pictures as they are stored."""
    if type(dataset.features[column]).__name__ == "Image":
        from datasets import Image

        dataset = dataset.cast_column(column, Image(decode=False))
    return dataset.select_columns([column])
