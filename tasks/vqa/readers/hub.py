"""Datasets of the `datasets` library: a Hub id, or local Parquet, Arrow and save_to_disk folders. Images stay
encoded and mapped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tasks.cells import as_text
from tasks.errors import DataError
from tasks.images import EncodedImages, ImageStore
from tasks.readers import arrow
from tasks.readers.problems import Problems
from tasks.vqa.questions import Questions
from tasks.vqa.readers.columns import Layout, assemble, layout
from tasks.vqa.readers.source import Options, Source, grouped, index_paths

_PLAIN = ("question_id", "question_type", "answer_type", "image_id", "split")


def recognise(path: Path, options: Options) -> Source | None:
    """A save_to_disk folder, a Parquet or Arrow file, or a folder with such files in it or two levels below."""

    def split(part: arrow.Part, problems: Problems) -> Questions:
        return read(part.open(), part.source, path, options, problems)

    return arrow.recognise(path, options.cache_dir, split)


def read(dataset: Any, source: str, folder: Path | None, options: Options, problems: Problems) -> Questions:
    """One split of an opened `datasets.Dataset` as `Questions`.

    Args:
        source: how to name it in messages.
        folder: where it lies, for images given as relative paths; None for the Hub.
    """
    if not len(dataset):
        raise DataError(f"{source}: no rows")
    roles = layout(dataset.column_names, options, source)
    fields = (roles.image, roles.question, roles.answers, roles.label, roles.ids, roles.weights)
    wanted = {*fields, *_PLAIN} & set(dataset.column_names)
    wanted.discard(roles.image if arrow.picture_kind(dataset.features[roles.image]) != "path" else None)
    texts = dataset.select_columns(sorted(name for name in wanted if name)).with_format("arrow")[:]
    columns = {name: _values(texts.column(name), dataset.features[name]) for name in texts.column_names}
    image, images = _images(dataset, roles, columns, source, folder, options)
    ids = columns.get("image_id") if roles.image != "image_id" else None
    return assemble(
        columns=columns,
        roles=roles,
        image=image,
        images=images,
        source=source,
        rows=list(range(1, len(dataset) + 1)),
        problems=problems,
        notes=() if ids is None else id_notes(ids, image),
    )


def _values(column: Any, feature: Any) -> list[Any]:
    """An Arrow column as Python values; lists of {"answer": ...} as lists of strings, equal strings one object."""
    import pyarrow as pa

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.ChunkedArray):  # no chunk at all
        return []
    if hasattr(feature, "names") and pa.types.is_integer(column.type):  # ClassLabel
        return [None if value is None or value < 0 else feature.names[value] for value in column.to_pylist()]
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("answer") >= 0:  # a `Sequence` of old: a struct of lists
        return _values(column.field("answer"), None)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        values = column.values
        if pa.types.is_struct(values.type) and values.type.get_field_index("answer") >= 0:
            values = values.field("answer")
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            return _lists(column, values)
    return column.to_pylist()


def _lists(column: Any, values: Any) -> list[list[str] | None]:
    coded = values.dictionary_encode()
    words = [*coded.dictionary.to_pylist(), None]
    flat = [words[code] for code in coded.indices.fill_null(len(words) - 1).to_pylist()]
    starts, valid = column.offsets.to_pylist(), column.is_valid().to_pylist()
    return [flat[starts[i] : starts[i + 1]] if valid[i] else None for i in range(len(column))]


def _images(
    dataset: Any, roles: Layout, columns: dict[str, list[Any]], source: str, folder: Path | None, options: Options
) -> tuple[np.ndarray, ImageStore]:
    """(index of each row's image, the images), one image for all rows that show the same one."""
    kind = arrow.picture_kind(dataset.features[roles.image])
    base = (folder if folder is None or folder.is_dir() else folder.parent) or Path(".")
    if kind == "path":
        return index_paths(columns[roles.image], base, options.image_root)
    if not kind:
        raise DataError(
            f"{source}: the column {roles.image!r} holds neither images nor paths; name another with --image-column"
        )
    dataset = arrow.undecoded(dataset, roles.image)
    index, rows = grouped(list(_identities(dataset, roles.image)))
    root = Path(options.image_root).expanduser() if options.image_root else base
    return index, EncodedImages(dataset, roles.image, rows, source, str(root))


def id_notes(ids: list[Any], image: np.ndarray) -> tuple[str, ...]:
    """What to say of an image_id that names several pictures, and of pictures that stand under several.

    Args:
        image: int64 [n], the picture of each row by its content, -1 for none.
    """
    pairs: dict[tuple[str, int], int] = {}
    for row, (name, picture) in enumerate(zip(map(as_text, ids), image.tolist(), strict=True), 1):
        if name is not None and picture >= 0:
            pairs.setdefault((name, picture), row)
    notes = []
    for side, what, meaning in (
        (0, "image_id that name more than one picture", "each question keeps the picture of its own row"),
        (1, "pictures that stand under more than one image_id", "each counts as one picture"),
    ):
        rows: dict[str | int, list[int]] = {}
        for pair, row in pairs.items():
            rows.setdefault(pair[side], []).append(row)
        several = [each for each in rows.values() if len(each) > 1]
        if several:
            first, second = several[0][:2]
            notes.append(f"{len(several):,} {what}, such as in rows {first:,} and {second:,}: {meaning}")
    return tuple(notes)


def _identities(dataset: Any, column: str) -> Iterator[Any]:
    """What tells each row's picture from others: a hash of its bytes, or the path of one that is a path alone; None
    without image. An image_id is no such thing: some data give one to each row, some the same to different pictures.

    Only bytes of equal length are hashed: others differ anyway.
    """
    lengths = [length for batch in _batches(dataset, column) for length in _lengths(batch)]
    shared = Counter(lengths)
    row = 0
    for batch in _batches(dataset, column):
        blobs, paths = _parts(batch)
        for i in range(len(batch)):
            length = lengths[row]
            if length is None:
                yield None
            elif length == 0:
                yield paths[i].as_py()
            elif shared[length] == 1:
                yield length
            else:
                yield hashlib.blake2b(blobs[i].as_buffer(), digest_size=16).digest()
            row += 1


def _batches(dataset: Any, column: str) -> Iterator[Any]:
    for table in dataset.with_format("arrow").iter(batch_size=256):
        yield from table.column(column).chunks


def _parts(cells: Any) -> tuple[Any, Any]:
    """(bytes, paths) of a piece of an image column; plain bytes have no paths."""
    import pyarrow as pa

    blobs, paths = cells, pa.nulls(len(cells), pa.string())
    if pa.types.is_struct(cells.type):
        fields = dict(zip([field.name for field in cells.type], cells.flatten(), strict=True))
        blobs, paths = fields["bytes"], fields.get("path", paths)
    # A column that is empty throughout has a type of its own, without lengths.
    blobs = blobs.cast(pa.binary()) if pa.types.is_null(blobs.type) else blobs
    return blobs, paths.cast(pa.string()) if pa.types.is_null(paths.type) else paths


def _lengths(cells: Any) -> Iterator[int | None]:
    """Bytes of each image; 0 where it is a path alone, None where there is neither."""
    import pyarrow.compute as pc

    blobs, paths = _parts(cells)
    for size, path in zip(pc.binary_length(blobs).to_pylist(), pc.binary_length(paths).to_pylist(), strict=True):
        yield size if size else 0 if path else None
