"""Datasets of the `datasets` library: a Hub id, or local Parquet, Arrow and save_to_disk folders. Pictures stay
encoded and mapped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasks.controlnet.captions import WRONG, column_captions
from tasks.controlnet.readers.columns import layout
from tasks.controlnet.readers.paths import Places, condition_places, picture_places
from tasks.controlnet.readers.source import Options, Read, Source, read_of
from tasks.errors import DataError
from tasks.images import EncodedImages, FileImages, ImageStore
from tasks.readers import arrow
from tasks.readers.problems import Problems


def recognise(path: Path, options: Options) -> Source | None:
    """A save_to_disk folder, a Parquet or Arrow file, or a folder with such files in it or two levels below."""
    return arrow.recognise(
        path,
        options.cache_dir,
        lambda part, problems: read(part.open(), part.source, part.folder, options, problems),
    )


def read(dataset: Any, source: str, folder: Path | None, options: Options, problems: Problems) -> Read:
    """One split of an opened `datasets.Dataset`.

    Args:
        source: how to name it in messages.
        folder: where it lies, for pictures given as relative paths; None for the Hub.
    """
    if not len(dataset):
        raise DataError(f"{source}: no rows; each needs a picture, its condition and a caption")
    roles = layout(dataset.column_names, options, source)
    assert roles.condition is not None
    base = (folder if folder is None or folder.is_dir() else folder.parent) or Path(".")
    texts, unreadable = column_captions(_cells(dataset, roles.caption) if roles.caption else [None] * len(dataset))
    kinds = [_kind(dataset, column, source) for column in (roles.image, roles.condition)]
    wrong = [
        (f"has no {what}", f"no {what}", [not held for held in _there(dataset, column)])
        for what, column in (("picture", roles.image), ("condition", roles.condition))
    ]
    if any(texts):
        bare = "has no caption (--caption-column none trains without any)"
        wrong.append((bare, "no caption", [not text and i not in unreadable for i, text in enumerate(texts)]))
    for i, reason in unreadable.items():
        problems.add(f"{source}, row {i + 1}", reason, WRONG)
    good = [i for i in _sound(wrong, len(dataset), source, problems) if i not in unreadable]
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
    """How a column holds pictures, as `arrow.picture_kind` has it.

    Raises:
        DataError: it holds none.
    """
    kind = arrow.picture_kind(dataset.features[column])
    if kind:
        return kind
    raise DataError(
        f"{source}: the column {column!r} holds neither pictures nor paths; name others with --image-column and "
        "--conditioning-image-column"
    )


def _there(dataset: Any, column: str) -> list[bool]:
    """Whether each row has a picture, without reading any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def any_of(cells: Any) -> Any:
        if pa.types.is_null(cells.type):
            return pa.array([False] * len(cells))
        return pc.fill_null(pc.greater(pc.binary_length(cells), 0), False)

    found: list[bool] = []
    for table in arrow.undecoded(dataset, column).with_format("arrow").iter(batch_size=1024):
        for cells in table.column(column).chunks:
            parts = [cells]
            if pa.types.is_struct(cells.type):
                parts = [pc.struct_field(cells, field.name) for field in cells.type if field.name in ("bytes", "path")]
            held = [any_of(part).to_pylist() for part in parts]
            found.extend(any(row) for row in zip(*held, strict=True))
    return found


def _store(dataset: Any, column: str, kind: str, rows: np.ndarray, source: str, places: Places) -> ImageStore:
    if kind != "path":
        return EncodedImages(arrow.undecoded(dataset, column), column, rows, source, places)
    cells = _cells(dataset, column)
    return FileImages([places(cells[row]) for row in rows.tolist()])
