"""Datasets of the `datasets` library: a Hub id, or local Parquet, Arrow and save_to_disk folders. Pictures stay
encoded and mapped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasks.controlnet.readers.columns import captions, layout
from tasks.controlnet.readers.paths import Places, condition_places, picture_places
from tasks.controlnet.readers.source import WHOLE, Load, Options, Read, Source, read_of
from tasks.errors import DataError
from tasks.images import EncodedImages, FileImages, ImageStore
from tasks.readers.paths import canonical, files_below, split_of
from tasks.readers.problems import Problems
from tasks.readers.remote import reading


def recognise(path: Path, options: Options) -> Source | None:
    """A save_to_disk folder, a Parquet or Arrow file, or a folder with such files in it or two levels below."""
    if path.is_dir() and ((path / "dataset_dict.json").exists() or (path / "state.json").exists()):
        return _saved(path, options)
    files = [path] if path.is_file() else list(files_below(path, 2))
    for ending in (".parquet", ".arrow"):
        chosen = [file for file in files if file.suffix.lower() == ending]
        if chosen:
            return _shards(path, chosen, ending[1:], options)
    return None


def _saved(path: Path, options: Options) -> Source:
    from datasets import DatasetDict, load_from_disk

    with reading(path):
        saved = load_from_disk(str(path))
    splits = (
        {canonical(name): part for name, part in saved.items()} if isinstance(saved, DatasetDict) else {WHOLE: saved}
    )
    return _source("dataset saved by `datasets`", path, splits, options)


def _shards(path: Path, files: list[Path], kind: str, options: Options) -> Source:
    """Files grouped by the split that their name, or else their folder's, speaks of; without any, they are one whole."""
    groups: dict[str, list[Path]] = {}
    for file in files:
        inside = file.parent != path and path.is_dir()
        name = split_of(file.stem) or (split_of(file.parent.name) if inside else None) or WHOLE
        groups.setdefault(name, []).append(file)
    if len(groups) > 1:
        groups.pop(WHOLE, None)
    splits = {name: _open(members, kind, options) for name, members in groups.items()}
    folders = {name: members[0].parent for name, members in groups.items()}
    return _source(f"{kind.capitalize()} dataset", path, splits, options, folders)


def _open(files: list[Path], kind: str, options: Options) -> Any:
    from datasets import Dataset, concatenate_datasets, load_dataset

    with reading(files[0]):
        if kind == "arrow":
            return concatenate_datasets([Dataset.from_file(str(file)) for file in files])
        names = [str(file) for file in files]
        return load_dataset("parquet", data_files=names, split="train", cache_dir=options.cache_dir)


def _source(
    format: str, path: Path, splits: dict[str, Any], options: Options, folders: dict[str, Path] | None = None
) -> Source:
    """Splits of opened datasets; a single one without a name is parted by its `split` column where it has one.

    Args:
        folders: where each split's relative paths start; `path` without.
    """
    bases = folders or {}
    if list(splits) == [WHOLE] and "split" in splits[WHOLE].column_names:
        whole = splits[WHOLE]
        names = np.array([canonical(str(name)) for name in whole.select_columns(["split"])["split"]])
        bases = dict.fromkeys(names.tolist(), bases.get(WHOLE, path))
        splits = {
            str(name): whole.select(np.flatnonzero(names == name), keep_in_memory=True)
            for name in dict.fromkeys(names.tolist())
        }

    def load(name: str) -> Load:
        called = str(path) if name == WHOLE or path.is_file() else f"{path} ({name})"
        return lambda problems: read(splits[name], called, bases.get(name, path), options, problems)

    return Source(format, path.resolve().name, {name: load(name) for name in splits})


def read(dataset: Any, source: str, folder: Path | None, options: Options, problems: Problems) -> Read:
    """One split of an opened `datasets.Dataset`.

    Args:
        source: how to name it in messages.
        folder: where it lies, for pictures given as relative paths; None for the Hub.
    """
    if not len(dataset):
        raise DataError(f"{source}: no rows; each needs a picture, its condition and a caption")
    roles = layout(dataset.column_names, options.columns, source)
    assert roles.condition is not None
    base = (folder if folder is None or folder.is_dir() else folder.parent) or Path(".")
    texts = (
        [captions(cell) for cell in _cells(dataset, roles.caption)]
        if roles.caption
        else [[] for _ in range(len(dataset))]
    )
    kinds = [_kind(dataset, column, source) for column in (roles.image, roles.condition)]
    wrong = [
        (f"has no {what}", f"no {what}", [not held for held in _there(dataset, column)])
        for what, column in (("picture", roles.image), ("condition", roles.condition))
    ]
    if any(texts):
        bare = "has no caption (--caption-column none trains without any)"
        wrong.append((bare, "no caption", [not text for text in texts]))
    good = _sound(wrong, len(dataset), source, problems)
    rows = np.array(good, np.int64)
    places = picture_places(base, options.image_root)
    images = _store(dataset, roles.image, kinds[0], rows, source, places)
    places = condition_places(base, options.image_root, options.conditioning_dir)
    conditions = _store(dataset, roles.condition, kinds[1], rows, source, places)
    return read_of(images, conditions, [texts[i] for i in good], source, [i + 1 for i in good], any(texts))


def _sound(wrong: list[tuple[str, str, list[bool]]], count: int, source: str, problems: Problems) -> list[int]:
    """Rows with nothing wrong; the first thing wrong with each other is reported."""
    good = []
    for i in range(count):
        found = next(((what, kind) for what, kind, rows in wrong if rows[i]), None)
        if found is None:
            good.append(i)
        else:
            problems.add(f"{source}, row {i + 1}", *found)
    return good


def _cells(dataset: Any, column: str) -> list[Any]:
    cells = dataset.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    names = getattr(dataset.features[column], "names", None)  # ClassLabel
    if not names:
        return list(cells)
    return [None if cell is None or cell < 0 else names[cell] for cell in cells]


def _kind(dataset: Any, column: str, source: str) -> str:
    """How a column holds pictures: "image" (an Image feature or its struct), "bytes" or "path".

    Raises:
        DataError: it holds none.
    """
    feature = dataset.features[column]
    if type(feature).__name__ == "Image" or (isinstance(feature, dict) and "bytes" in feature):
        return "image"
    kind = getattr(feature, "dtype", "")
    if kind in ("binary", "large_binary"):
        return "bytes"
    if kind in ("string", "large_string"):
        return "path"
    raise DataError(
        f"{source}: the column {column!r} holds neither pictures nor paths; name others with --image-column and "
        "--conditioning-image-column"
    )


def _undecoded(dataset: Any, column: str) -> Any:
    """The one column, memory-mapped, its pictures as they are stored."""
    if type(dataset.features[column]).__name__ == "Image":
        from datasets import Image

        dataset = dataset.cast_column(column, Image(decode=False))
    return dataset.select_columns([column])


def _there(dataset: Any, column: str) -> list[bool]:
    """Whether each row has a picture, without reading any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def any_of(cells: Any) -> Any:
        if pa.types.is_null(cells.type):
            return pa.array([False] * len(cells))
        return pc.fill_null(pc.greater(pc.binary_length(cells), 0), False)

    found: list[bool] = []
    for table in _undecoded(dataset, column).with_format("arrow").iter(batch_size=1024):
        for cells in table.column(column).chunks:
            parts = [cells]
            if pa.types.is_struct(cells.type):
                parts = [pc.struct_field(cells, field.name) for field in cells.type if field.name in ("bytes", "path")]
            held = [any_of(part).to_pylist() for part in parts]
            found.extend(any(row) for row in zip(*held, strict=True))
    return found


def _store(dataset: Any, column: str, kind: str, rows: np.ndarray, source: str, places: Places) -> ImageStore:
    if kind != "path":
        return EncodedImages(_undecoded(dataset, column), column, rows, source, places)
    cells = _cells(dataset, column)
    return FileImages([places(cells[row]) for row in rows.tolist()])
