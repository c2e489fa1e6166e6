"""Parquet and Arrow files, and folders written by the `datasets` library's save_to_disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import DataError
from tasks.glue.readers.columns import layout
from tasks.glue.readers.source import WHOLE, Load, Options, Raw
from tasks.readers.arrow import saved
from tasks.readers.problems import Problems

if TYPE_CHECKING:
    import pyarrow as pa


def saved_splits(folder: Path, options: Options) -> dict[str, Load]:
    """The splits of a save_to_disk folder.

    Raises:
        DataError: the library can't read it.
    """
    parts = saved(folder)

    def load(name: str) -> Load:
        source = str(folder) if name == WHOLE else f"{folder} ({name})"
        return lambda problems: read_dataset(parts[name], source, options)

    return {name: load(name) for name in parts}


def read_dataset(dataset: Any, source: str, options: Options) -> Raw:
    """One split of an opened `datasets.Dataset`."""
    found = layout(dataset.column_names, options, source)
    table = dataset.select_columns(found.used).with_format("arrow")[:]
    names = getattr(dataset.features.get(found.label), "names", None) if found.label else None
    return _raw(table, dataset.column_names, names, source, options)


def read(files: Sequence[Path], source: str, options: Options, problems: Problems) -> Raw:
    """Files of one split, in order, as one.

    Raises:
        DataError: a file is broken or of other columns than the first.
    """
    import pyarrow as pa

    tables = [_table(file, options) for file in files]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowException, TypeError) as error:
        raise DataError(f"{source}: its files have columns of different kinds ({_one_line(error)})") from error
    names = _class_names(tables[0].schema, options, source)
    return _raw(table, tables[0].column_names, names, source, options)


def columns(file: Path) -> list[str]:
    """Names of a file's columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix.lower() == ".parquet":
            return list(pq.read_schema(file).names)
        return list(_open_arrow(file).schema.names)
    except (pa.ArrowException, OSError) as error:
        raise _broken(file) from error


def _table(file: Path, options: Options) -> pa.Table:
    """The columns in use, in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = layout(columns(file), options, str(file))
    try:
        if file.suffix.lower() == ".parquet":
            return pq.read_table(file, columns=found.used)
        return _open_arrow(file).read_all().select(found.used)
    except (pa.ArrowException, OSError) as error:
        raise _broken(file) from error


def _open_arrow(file: Path) -> Any:
    """A reader of an Arrow file, in the form of a stream (as `datasets` writes it) or of a file."""
    import pyarrow as pa

    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source)


def _broken(file: Path) -> DataError:
    kind = "Parquet" if file.suffix.lower() == ".parquet" else "Arrow"
    return DataError(f"{file}: {'the file is empty' if file.stat().st_size == 0 else f'not a {kind} file, or broken'}")


def _class_names(schema: pa.Schema, options: Options, source: str) -> list[str] | None:
    """Names of the label's classes, where `datasets` wrote them into the file."""
    label = layout(schema.names, options, source).label
    try:
        said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = said["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _raw(table: pa.Table, names: Sequence[str], classes: list[str] | None, source: str, options: Options) -> Raw:
    found = layout(names, options, source)

    def values(name: str | None) -> list[Any] | None:
        return None if name is None else table.column(name).to_pylist()

    first = values(found.first)
    assert first is not None
    rows = range(1, len(first) + 1)
    return Raw(
        first, values(found.second), values(found.label), values(found.index), source, rows, found.label, classes, names
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
