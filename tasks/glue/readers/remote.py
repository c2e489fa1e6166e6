"""A data set on the Hub, or from the local cache where the Hub can't be reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tasks.errors import ConfigError
from tasks.glue.named import HUB, TASKS
from tasks.glue.readers.arrow import read_dataset
from tasks.glue.readers.source import Load, Options, Source
from tasks.readers.remote import opened

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
    reached, openers = opened(data, config, options)

    def load(name: str, part: Callable[[], Any]) -> Load:
        return lambda problems: read_dataset(part(), f"{data} ({name})", options)

    format = "Hub data set" if reached else "Hub data set, from the cache"
    hidden = frozenset(name for name in openers if task is not None and name.startswith("test"))
    splits = {name: load(name, part) for name, part in openers.items()}
    return Source(format, task or data.split("/")[-1], splits, hidden, task)
