"""A dataset on the Hub: long tables, and records with list columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tasks.errors import ConfigError, DataError
from tasks.forecast.readers import long, records
from tasks.forecast.readers.source import Options, Read
from tasks.hub import loading
from tasks.readers.remote import online

_BATCH = 100_000


def read_id(options: Options) -> Read:
    """One split of the dataset: the one named, else `train`, else the first.

    Raises:
        ConfigError: it has no such split.
        DataError: its columns are neither a long table nor records.
        ToolError: it can't be reached or loaded.
    """
    from datasets import get_dataset_split_names, load_dataset
    from huggingface_hub import constants

    data = options.data
    with loading(data, "--data", "dataset"), online(not constants.HF_HUB_OFFLINE):
        names = get_dataset_split_names(data, revision=options.revision, token=options.token)
        if options.split is not None and options.split not in names:
            raise ConfigError(f"--split {options.split}: {data} has only {', '.join(names)}")
        split = options.split or ("train" if "train" in names else names[0])
        dataset = load_dataset(data, split=split, revision=options.revision, token=options.token)
    return read_dataset(dataset, options, f"{data} ({split})")


def read_dataset(dataset: Any, options: Options, source: str) -> Read:
    """A loaded dataset, read in Arrow batches."""
    names = list(dataset.column_names)
    target = (options.target_columns or ["target"])[0]
    kind = dataset.features.arrow_schema.field(target).type if target in names else None
    listed = kind is not None and (pa.types.is_nested(kind) or str(_first(dataset, target)).lstrip().startswith("["))
    if listed:
        return records.from_batches(_batches(dataset, names, 1_000), options, source, "Hub records")
    if not long.looks_like(names, options):
        raise DataError(
            f"{source}: columns {', '.join(names[:12])} are neither a long table (item_id, timestamp, target; name them with "
            "--item-column, --timestamp-column, --target-columns) nor records with a target list"
        )
    columns = long.columns_of(names, options, source)
    batches = _batches(dataset, columns.all, _BATCH)
    return long.read(batches, columns, options, source, len(dataset), first_row=1, format="Hub dataset")


def _first(dataset: Any, name: str) -> Any:
    return dataset[0][name] if len(dataset) else None


def _batches(dataset: Any, names: list[str], size: int) -> Iterator[pa.RecordBatch]:
    arrow = dataset.select_columns(list(dict.fromkeys(names))).with_format("arrow")
    for table in arrow.iter(batch_size=size):
        yield from table.combine_chunks().to_batches()
