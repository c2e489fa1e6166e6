"""A dataset on the Hub, or from the local cache where the Hub can't be reached."""

from __future__ import annotations

from typing import Any

from tasks.controlnet.readers.hub import read
from tasks.controlnet.readers.source import Load, Options, Source
from tasks.readers.paths import canonical
from tasks.readers.remote import ask, explained, online


def recognise(data: str, options: Options) -> Source:
    """The splits of a Hub dataset; their data are fetched when a split is read.

    Raises:
        ToolError: no network, and not in the cache either.
        DataError: there is no such dataset, or it needs a loading script.
    """
    info = ask(data, options.revision, options.token)
    if info is None:
        cached = _fetch(data, None, info, options)

        def kept(name: str) -> Load:
            return lambda problems: read(cached[name], f"{data} ({name})", None, options, problems)

        return Source("Hub dataset, from the cache", data, {canonical(name): kept(name) for name in cached})
    from datasets import get_dataset_split_names

    with explained(data, info):
        names = get_dataset_split_names(data, revision=options.revision, token=options.token)

    def load(name: str) -> Load:
        return lambda problems: read(_fetch(data, name, info, options), f"{data} ({name})", None, options, problems)

    return Source("Hub dataset", data, {canonical(name): load(name) for name in names})


def _fetch(data: str, split: str | None, info: Any, options: Options) -> Any:
    """One split, or all of them, by the library; from its cache alone where the Hub wasn't reached."""
    from datasets import load_dataset

    with online(info is not None), explained(data, info):
        return load_dataset(
            data, split=split, revision=options.revision, token=options.token, cache_dir=options.cache_dir
        )
