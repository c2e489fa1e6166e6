"""A data set on the Hub, or from the local cache where the Hub can't be reached."""

from __future__ import annotations

from typing import Any

from tasks.errors import ConfigError
from tasks.glue.named import HUB, TASKS
from tasks.glue.readers.arrow import read_dataset
from tasks.glue.readers.source import Load, Options, Source
from tasks.readers.remote import ask, explained, online, split_names

# Other ids under which GLUE is known.
_GLUE = (HUB, "glue", "SetFit/glue")


def recognise(data: str, options: Options) -> Source:
    """The splits of a Hub data set; their data are fetched when a split is read.

    Args:
        data: OWNER/NAME, or OWNER/NAME:CONFIG where it has several configurations.

    Raises:
        ConfigError: the data set has several configurations and none is named.
        ToolError: no network, and not in the cache either.
        DataError: there is no such data set, or it needs a loading script.
    """
    data, _, config = data.partition(":")
    task = options.task if data in _GLUE else None
    if data in _GLUE[:2]:
        data, config = HUB, config or options.task or ""
        if config not in TASKS:
            raise ConfigError(
                f"--data {data} holds GLUE's {len(TASKS)} tasks; say which with --task ({', '.join(TASKS)})"
            )
        task = config
    info = ask(data, options.revision, options.token)
    if info is None:
        found = _fetch(data, config or None, None, info, options)
        splits = {name: _kept(found[name], f"{data} ({name})", options) for name in found}
        return _source("Hub data set, from the cache", data, splits, task)
    names = split_names(data, config, info, options.revision, options.token)

    def load(name: str) -> Load:
        return lambda problems: read_dataset(
            _fetch(data, config or None, name, info, options), f"{data} ({name})", options
        )

    return _source("Hub data set", data, {name: load(name) for name in names}, task)


def _kept(dataset: Any, source: str, options: Options) -> Load:
    return lambda problems: read_dataset(dataset, source, options)


def _source(format: str, data: str, splits: dict[str, Load], task: str | None) -> Source:
    name = task or data.split("/")[-1]
    hidden = frozenset(split for split in splits if task is not None and split.startswith("test"))
    return Source(format, name, splits, hidden, task)


def _fetch(data: str, config: str | None, split: str | None, info: Any, options: Options) -> Any:
    """One split, or all of them, by the library; from its cache alone where the Hub wasn't reached."""
    from datasets import load_dataset

    with online(info is not None), explained(data, info):
        return load_dataset(
            data, config, split=split, revision=options.revision, token=options.token, cache_dir=options.cache_dir
        )
