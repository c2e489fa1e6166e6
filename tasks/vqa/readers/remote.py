"""A dataset on the Hub, or from the local cache where the Hub can't be reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tasks.readers.paths import canonical
from tasks.readers.remote import opened
from tasks.vqa.readers.hub import read
from tasks.vqa.readers.source import Load, Options, Source


def recognise(data: str, options: Options) -> Source:
    """The splits of a Hub dataset; their data are fetched when a split is read.

    Args:
        data: OWNER/NAME, or OWNER/NAME:CONFIG where it has several configurations.

    Raises:
        ConfigError: it has several configurations and none is named.
        ToolError: no network, and not in the cache either.
        DataError: there is no such dataset, or it needs a loading script.
    """
    data, _, config = data.partition(":")
    reached, parts = opened(data, config, options.revision, options.token, options.cache_dir)

    def load(name: str, part: Callable[[], Any]) -> Load:
        return lambda problems: read(part(), f"{data} ({name})", None, options, problems)

    format = "Hub dataset" if reached else "Hub dataset, from the cache"
    return Source(format, data, {canonical(name): load(name, part) for name, part in parts.items()})
