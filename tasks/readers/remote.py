"""A data set on the Hub: reached within seconds or said to be out of reach, and then looked for in the local cache.

Errors of the `datasets` library, remote and local, become one line here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tasks.errors import ConfigError, DataError, ToolError
from tasks.readers.options import DataOptions
from tasks.readers.paths import canonical
from tasks.readers.problems import Problems
from tasks.readers.source import Source, Split

Options = TypeVar("Options", bound=DataOptions)
# Seconds that the Hub has to answer. A name server that never answers is not covered by the first.
TIMEOUT = 5.0
PATIENCE = 8.0


def ask(data: str, revision: str | None, token: str | None) -> Any:
    """What the Hub says of the dataset; None where the Hub can't be reached.

    One short question first: `load_dataset` would try again and again for half a minute.
    """
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return None
    answer: list[Any] = []

    def look() -> None:
        try:
            answer.append(HfApi().dataset_info(data, revision=revision, token=token, timeout=TIMEOUT))
        except Exception as error:
            answer.append(error)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    result = answer[0] if answer else None
    if isinstance(result, Exception):
        _refused(data, result)
        return None
    return result


def _refused(data: str, error: Exception) -> None:
    """Raises what an answer of the Hub means; returns where there was no answer at all."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    meanings = {
        HFValidationError: f"--data {data}: neither a file or folder here nor a name that the Hub can have",
        GatedRepoError: f"{data}: its owners want to be asked first; accept its terms on the Hub, then set HF_TOKEN",
        RevisionNotFoundError: f"{data}: the Hub has no such revision of it; check --revision",
        RepositoryNotFoundError: f"no dataset {data} on the Hub, nor a file or folder here; check the name, or set HF_TOKEN "
        "if it is private",
    }
    for kind, meaning in meanings.items():
        if isinstance(error, kind):
            raise DataError(meaning) from error
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, HfHubHTTPError) and status is not None and status < 500:
        raise ToolError(f"{data}: the Hub refused ({status}); check HF_TOKEN and try again") from error


@contextmanager
def online(reached: bool) -> Iterator[None]:
    """Without the Hub, lets the libraries look into their caches only, as HF_HUB_OFFLINE=1 would."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    if not reached:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextmanager
def explained(data: str, info: Any) -> Iterator[None]:
    """Turns what `datasets` raises into one line that says what to do."""
    try:
        yield
    except ToolError:
        raise
    except Exception as error:
        if info is None:
            raise ToolError(
                f"can't reach the Hub for the dataset {data}, and it is not in the local cache; give a local file "
                "or folder as --data, use --data sample, or fetch it once with a network and run with HF_HUB_OFFLINE=1"
            ) from error
        files = [file.rfilename for file in info.siblings or []]
        if f"{data.split('/')[-1]}.py" in files:
            raise DataError(
                f"{data}: needs a loading script ({data.split('/')[-1]}.py), which `datasets` no longer runs; "
                "use a Parquet copy of it, or download its files and give them as --data"
            ) from error
        detail = " ".join(str(error).split())
        raise DataError(f"{data}: can't be loaded from the Hub ({type(error).__name__}: {detail})") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Names the file in whatever `datasets` or Arrow raise on it, and keeps their progress bars off the terminal."""
    import datasets
    import pyarrow

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    except (
        pyarrow.ArrowException,
        datasets.exceptions.DatasetsError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:
        cause = error.__cause__ or error
        raise DataError(f"{path}: can't be read as a dataset ({' '.join(str(cause).split())})") from error
    finally:
        if shown:
            datasets.enable_progress_bars()


def recognise(options: Options, read: Callable[[Any, str, Path | None, Options, Problems], Split]) -> Source[Split]:
    """The splits of a Hub dataset, as we call them; their data are fetched when a split is read.

    Args:
        options: their `data` is OWNER/NAME, or OWNER/NAME:CONFIG where it has several configurations.
        read: gives a split, from a `datasets.Dataset`, how to name it in messages, and the folder where it lies (None).

    Raises:
        ConfigError, ToolError, DataError: as `opened`.
    """
    data, _, config = (options.data or "").partition(":")
    reached, openers = opened(data, config, options)

    def load(name: str, part: Callable[[], Any]) -> Callable[[Problems], Split]:
        return lambda problems: read(part(), f"{data} ({name})", None, options, problems)

    format = "Hub dataset" if reached else "Hub dataset, from the cache"
    return Source(format, data, {canonical(name): load(name, part) for name, part in openers.items()})


def opened(data: str, config: str, options: DataOptions) -> tuple[bool, dict[str, Callable[[], Any]]]:
    """The splits of a Hub data set, or of what the cache has of it where the Hub can't be reached.

    Args:
        config: the configuration, "" where none was named.

    Returns:
        (whether the Hub was reached, split by its own name -> function that fetches and opens its `datasets.Dataset`).

    Raises:
        ConfigError: it has several configurations and none was named.
        ToolError: no network, and not in the cache either.
        DataError: there is no such data set, or it needs a loading script.
    """
    from datasets import load_dataset

    revision, token, cache_dir = options.revision, options.token, options.cache_dir
    info = ask(data, revision, token)

    def fetch(split: str | None) -> Any:
        with online(info is not None), explained(data, info):
            return load_dataset(data, config or None, split=split, revision=revision, token=token, cache_dir=cache_dir)

    if info is None:
        cached = fetch(None)
        return False, {name: partial(cached.__getitem__, name) for name in cached}
    return True, {name: partial(fetch, name) for name in _split_names(data, config, info, revision, token)}


def _split_names(data: str, config: str, info: Any, revision: str | None, token: str | None) -> list[str]:
    from datasets import get_dataset_config_names, get_dataset_split_names

    with explained(data, info):
        configs = get_dataset_config_names(data, revision=revision, token=token)
        if not config and len(configs) > 1 and "default" not in configs:
            raise ConfigError(
                f"--data {data}: it has {len(configs)} configurations ({', '.join(configs[:12])}); "
                f"give one as {data}:{configs[0]}"
            )
        return list(get_dataset_split_names(data, config or None, revision=revision, token=token))
