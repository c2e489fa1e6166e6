"""Parquet and Arrow files, and folders written by the `datasets` library's save_to_disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import DataError
from tasks.glue.readers.columns import Layout, layout
from tasks.glue.readers.source import WHOLE, Load, Options, Raw
from tasks.readers.arrow import saved

if TYPE_CHECKING:
    import pyarrow as pa


def saved_splits(folder: Path, options: Options) -> dict[str, Load]:
    """The splits of a save_to_disk folder.

    Raises:
        DataError: the library can't read it.
    """

    def load(name: str, dataset: Any) -> Load:
        source = str(folder) if name == WHOLE else f"{folder} ({name})"
        return lambda problems: read_dataset(dataset, source, options)

    return {name: load(name, dataset) for name, dataset in saved(folder).items()}


def read_dataset(dataset: Any, source: str, options: Options) -> Raw:
    """One split of an opened `datasets.Dataset`."""
    roles = layout(dataset.column_names, options, source)
    table = dataset.select_columns(roles.used).with_format("arrow")[:]
    kind = dataset.features.get(roles.label)
    for inner in (kind, getattr(kind, "feature", None), kind[0] if isinstance(kind, list) else None):
        names = getattr(inner, "names", None)
        if names is not None:
            break
    return _raw(table, roles, names, source, dataset.column_names)


def read(files: Sequence[Path], source: str, options: Options) -> Raw:
    """Files of one split, in order, as one.

    Raises:
        DataError: a file is broken or of other columns than the first.
    """
    import pyarrow as pa

    opened = [_table(file, options) for file in files]
    columns = opened[0][0]
    try:
        table = pa.concat_tables([table for _, table in opened], promote_options="permissive")
    except (pa.ArrowException, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{source}: its files have columns of different kinds ({reason})") from error
    roles = layout(columns, options, source)
    return _raw(table, roles, _class_names(opened[0][1].schema, roles.label), source, columns)


def _table(file: Path, options: Options) -> tuple[list[str], pa.Table]:
    """(names of all columns, those in use in memory)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parquet = file.suffix.lower() == ".parquet"
    try:
        reader = pq.ParquetFile(file) if parquet else _open_arrow(file)
        names = list(reader.schema_arrow.names if parquet else reader.schema.names)
        used = layout(names, options, str(file)).used
        return names, reader.read(columns=used) if parquet else reader.read_all().select(used)
    except (pa.ArrowException, OSError) as error:
        kind = "Parquet" if parquet else "Arrow"
        what = "the file is empty" if file.stat().st_size == 0 else f"not a {kind} file, or broken"
        raise DataError(f"{file}: {what}") from error


def _open_arrow(file: Path) -> Any:
    """A reader of an Arrow file, in the form of a stream (as `datasets` writes it) or of a file."""
    import pyarrow as pa

    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source)


def _class_names(schema: pa.Schema, label: str | None) -> list[str] | None:
    """Names of the label's classes, where `datasets` wrote them into the file."""
    try:
        feature = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"][label]
        inner = feature[0] if isinstance(feature, list) else feature.get("feature", feature)  # lists of classes
        names = inner["names"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _raw(table: pa.Table, roles: Layout, classes: list[str] | None, source: str, columns: Sequence[str]) -> Raw:
    rows = range(1, len(table) + 1)
    return replace(roles.raw(lambda name: table.column(name).to_pylist(), source, rows, columns), names=classes)
