"""A dataset on the Hub, or from the local cache where the Hub can't be reached."""

from __future__ import annotations

from typing import Any

from tasks.controlnet.readers.hub import read
from tasks.controlnet.readers.source import Load, Options, Source
from tasks.readers.paths import canonical
from tasks.readers.remote import ask, explained, online, split_names


def recognise(data: str, options: Options) -> Source:
    """The splits of a Hub dataset; their data are fetched when a split is read.

    Args:
        data: OWNER/NAME, or OWNER/NAME:CONFIG where it has several configurations.

    Raises:
        ToolError: no network, and not in the cache either.
        DataError: there is no such dataset, or it needs a loading script.
    """
    data, _, config = data.partition(":")
    info = ask(data, options.revision, options.token)
    if info is None:
        cached = _fetch(data, config, None, info, options)

        def kept(name: str) -> Load:
            return lambda problems: read(cached[name], f"{data} ({name})", None, options, problems)

        return Source("Hub dataset, from the cache", data, {canonical(name): kept(name) for name in cached})
    names = split_names(data, config, info, options.revision, options.token)

    def load(name: str) -> Load:
        return lambda problems: read(
            _fetch(data, config, name, info, options), f"{data} ({name})", None, options, problems
        )

    return Source("Hub dataset", data, {canonical(name): load(name) for name in names})


def _fetch(data: str, config: str, split: str | None, info: Any, options: Options) -> Any:
    """One split, or all of them, by the library; from its cache alone where the Hub wasn't reached."""
    from datasets import load_dataset

    with online(info is not None), explained(data, info):
        return load_dataset(
            data,
            config or None,
            split=split,
            revision=options.revision,
            token=options.token,
            cache_dir=options.cache_dir,
        )
