"""Lists of pairs in a file: metadata.jsonl, fill50k's prompt.json, and any CSV, TSV, JSON or JSON lines with paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.controlnet.captions import WRONG, column_captions
from tasks.controlnet.readers.columns import IMAGE, NAME_IT_OR_FOLDER, Layout, layout, looks_like
from tasks.controlnet.readers.paths import (
    CONDITION_FOLDERS,
    Named,
    Places,
    condition_places,
    folder_among,
    picture_places,
)
from tasks.controlnet.readers.rows import ENDINGS, rows_of
from tasks.controlnet.readers.source import WHOLE, Load, Options, Read, Source, read_of
from tasks.errors import DataError
from tasks.images import FileImages
from tasks.readers.paths import canonical, listing, one_a_split, split_of
from tasks.readers.problems import Problems

LISTS = ("metadata.jsonl", "metadata.csv", "prompt.json", "prompt.jsonl", "metadata.json")
FORMATS = {"metadata": "folder with metadata", "prompt": "fill50k layout"}
_NO_CAPTION = "has no caption (--caption-column none trains without any)"


def recognise_folder(path: Path, options: Options) -> Source | None:
    """A folder with a list of a known name in it, or in its subfolders named after splits, or both."""
    if path.is_file():
        return None
    below = {split_of(entry.name): _list_in(Path(entry.path)) for entry in listing(path) if entry.is_dir()}
    lists = {name: file for name, file in below.items() if name is not None and file is not None}
    own = _list_in(path)
    if own is not None and not lists:
        return _one(own, path, FORMATS[own.stem], options)
    if own is not None:
        lists = {"train": own, **lists}
    if not lists:
        return None
    first = next(iter(lists.values()))
    splits = {name: _load(file, options) for name, file in lists.items()}
    return Source(FORMATS[first.stem], path.resolve().name, splits)


def recognise(path: Path, options: Options) -> Source | None:
    """One file of rows, or a folder of such files: one a split by their names, or a single one."""
    if path.is_file():
        return _one(path, path, _kind(path), options) if path.suffix.lower() in ENDINGS else None
    files = [Path(entry.path) for entry in listing(path) if entry.is_file() and not entry.name.startswith(".")]
    files = [file for file in files if file.suffix.lower() in ENDINGS and file.stem != "captions"]
    files = [file for file in files if _has_columns(file, options)]
    named = one_a_split(path, files)
    if named:
        splits = {name: _load(file, options) for name, file in named.items()}
        return Source(_kind(files[0]), path.resolve().name, splits)
    if len(files) > 1:
        some = ", ".join(str(file) for file in files[:3])
        raise DataError(f"{len(files)} lists of pairs and no split in their names ({some}); give one of them as --data")
    return _one(files[0], path, _kind(files[0]), options) if files else None


def _kind(file: Path) -> str:
    ending = file.suffix.lower()
    return f"{'JSON lines' if ending in ('.jsonl', '.ndjson') else ending[1:].upper()} with paths"


def _list_in(folder: Path) -> Path | None:
    return next((folder / name for name in LISTS if (folder / name).is_file()), None)


def _has_columns(file: Path, options: Options) -> bool:
    try:
        first = next(rows_of(file, Problems(skip=True)), None)
    except DataError:
        return False
    return first is not None and looks_like(first[1], options)


def _one(file: Path, path: Path, format: str, options: Options) -> Source:
    """One list: parted by its `split` column, or by folders named after splits that all its pictures are in."""
    name = path.resolve().name
    found = [_split(row, options) for _, row in rows_of(file, Problems(skip=True))]
    if found and all(found):
        return Source(format, name, {split: _load(file, options, split) for split in dict.fromkeys(found) if split})
    return Source(format, name, {WHOLE: _load(file, options)})


def _split(row: dict[str, Any], options: Options) -> str | None:
    if row.get("split"):
        return canonical(str(row["split"]))
    column = options.image_column or next((name for name in IMAGE if name in row), "")
    first = canonical(_path(row.get(column)).split("/", 1)[0])
    return first if first in ("train", "validation", "test") else None


def _load(file: Path, options: Options, split: str | None = None) -> Load:
    return lambda problems: _read(file, options, problems, split)


def _read(file: Path, options: Options, problems: Problems, split: str | None) -> Read:
    found = rows_of(file, problems)
    rows = [row for row in found if split is None or _split(row[1], options) == split]
    if not rows:
        problems.raise_if_any()
        raise DataError(f"{file}: no rows; each needs a picture, its condition and a caption")
    folder = options.conditioning_dir or folder_among(file.parent, CONDITION_FOLDERS)
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    roles = layout(names, options, str(file), by_name=folder is not None, hint=NAME_IT_OR_FOLDER)
    images = picture_places(file.parent, options.image_root)
    if roles.condition is None:
        assert folder is not None
        conditions = _by_name(Named(folder), roles)
    else:
        places = condition_places(file.parent, options.image_root, options.conditioning_dir)
        conditions = _by_cell(places, roles.condition)
    return _collect(file, rows, roles, images, conditions, problems)


Find = Callable[[dict[str, Any]], tuple[str, str]]


def _by_cell(places: Places, column: str) -> Find:
    """Finds a row's condition by its cell: (path, "") or ("", what is wrong)."""

    def find(row: dict[str, Any]) -> tuple[str, str]:
        path = _path(row.get(column))
        return (places(path), "") if path else ("", "has no condition")

    return find


def _by_name(named: Named, roles: Layout) -> Find:
    """Finds a row's condition by the name of its picture."""

    def find(row: dict[str, Any]) -> tuple[str, str]:
        picture = _path(row.get(roles.image))
        path = named.find(picture)
        return (str(path), "") if path else ("", f"no condition in {named.folder} is named as {picture}")

    return find


def _path(cell: Any) -> str:
    """The path in a cell: text, or the {"path": ...} of a dataset written out as JSON."""
    if isinstance(cell, dict):
        cell = cell.get("path")
    return cell.strip() if isinstance(cell, str) else ""


def _collect(
    file: Path, rows: list[tuple[int, dict[str, Any]]], roles: Layout, images: Places, find: Find, problems: Problems
) -> Read:
    """The rows that name a picture, a condition and, where there are captions, a caption."""
    texts, unreadable = column_captions([row.get(roles.caption) if roles.caption else None for _, row in rows])
    captioned = any(texts)
    pictures, conditions, kept, numbers = [], [], [], []
    for at, ((number, row), text) in enumerate(zip(rows, texts, strict=True)):
        picture = _path(row.get(roles.image))
        condition, wrong = find(row) if picture else ("", "")
        where = f"{file}, row {number}"
        if not picture:
            problems.add(where, "has no picture", "no picture")
        elif wrong:
            problems.add(where, wrong, "no condition")
        elif at in unreadable:
            problems.add(where, unreadable[at], WRONG)
        elif captioned and not text:
            problems.add(where, _NO_CAPTION, "no caption")
        else:
            pictures.append(images(picture))
            conditions.append(condition)
            kept.append(text)
            numbers.append(number)
    return read_of(FileImages(pictures), FileImages(conditions), kept, str(file), numbers, captioned)
