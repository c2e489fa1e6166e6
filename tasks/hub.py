"""Reaching the Hugging Face Hub: what is an id, whether the network is there, and what went wrong, in one line.

Without a network the libraries retry each request for 23 seconds, and loading one processor makes a handful of them.
Everything here decides by the type of an exception and of its causes, never by its text.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from tasks.errors import (
    ConfigError,
    DataError,
    OutOfDisk,
    OutOfMemory,
    ToolError,
    is_out_of_disk,
    is_out_of_memory,
    one_line,
)

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_Error = TypeVar("_Error", bound=BaseException)

# A model's name may hold dots (Qwen2.5-VL), so only suffixes that mean a file count.
_FILE_NAME = re.compile(
    r"\.(jsonl?|[ct]sv|txt|parquet|arrow|ya?ml|zip|gz|tar|safetensors|bin|pt|onnx|jpe?g|png)$", re.IGNORECASE
)
_OFFLINE_WAYS = {
    "--model": "a local folder or `--model tiny` needs no network",
    "--data": "local files or `--data sample` need no network",
}
_CONNECT_SECONDS, _REPLY_SECONDS = 5.0, 120.0
_looked: dict[str, tuple[float, bool]] = {}


def endpoint() -> str:
    """The Hub's address: HF_ENDPOINT as it stands now, else the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_hub_id(text: str) -> bool:
    """Whether `text` is to be read as `name` or `namespace/name` on the Hub rather than as a path.

    What exists on the disk, starts with `.`, `/` or `~`, or ends like a file is a path.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if text.startswith((".", "/", "~")) or _FILE_NAME.search(text) or Path(text).exists():
        return False
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def is_cached(repo_id: str, repo_type: str = "model") -> bool:
    """Whether some snapshot of the repository lies in the local cache (whole or in part)."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    snapshots = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo_id, repo_type=repo_type), "snapshots")
    return snapshots.is_dir() and any(snapshots.iterdir())


def reachable(address: str | None = None, timeout: float = 3.0) -> bool:
    """Whether a connection to the Hub (or to the proxy in front of it) opens within `timeout` seconds.

    A name look-up knows no time limit of its own, so the attempt is made in a thread that may be left behind.
    """
    host, port = _first_hop(address or endpoint())
    opened = threading.Event()

    def attempt() -> None:
        try:
            socket.create_connection((host, port), timeout=timeout / 2).close()  # leaves time for a second address
            opened.set()
        except OSError:
            pass

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout)
    return opened.is_set()


def _lately_reachable(seconds: float = 30.0) -> bool:
    """`reachable()`, asked at most so often: a model is loaded in several pieces, and each look may take its time."""
    address, now = endpoint(), time.monotonic()
    if address not in _looked or now - _looked[address][0] > seconds:
        _looked[address] = (now, reachable(address))
    return _looked[address][1]


@contextmanager
def quick_network(online: bool | None = None) -> Iterator[bool]:
    """Within it the Hub's libraries give up on a dead network in seconds; yields whether the Hub is reachable.

    Where it isn't, they read their cache only, as with HF_HUB_OFFLINE=1. `online` spares the look when it is known.
    """
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def impatient_client() -> Any:  # an httpx client; which httpx is the library's affair
        client = default_client_factory()
        client.timeout = (_CONNECT_SECONDS, _REPLY_SECONDS, _REPLY_SECONDS, _REPLY_SECONDS)
        return client

    offline = constants.HF_HUB_OFFLINE
    online = not offline and (_lately_reachable() if online is None else online)
    set_client_factory(impatient_client)
    constants.HF_HUB_OFFLINE = not online
    try:
        yield online
    finally:
        constants.HF_HUB_OFFLINE = offline
        set_client_factory(default_client_factory)


@contextmanager
def loading(what: str, flag: str, repo_type: str = "model") -> Iterator[None]:
    """Around the loading of `what` (a Hub id or a path, as given by `flag`) by a library: quick, with one-line errors.

    Raises:
        ConfigError, DataError: `what` looks like a path, and nothing is there (DataError for --data).
        ToolError: anything that `load_error` knows to tell.
    """
    try:
        if not is_hub_id(what):
            if not Path(what).expanduser().exists():
                raise (DataError if flag == "--data" else ConfigError)(f"{flag} {what}: no such file or folder")
            yield
            return
        with quick_network() as online:
            if not online and not is_cached(what, repo_type):
                raise ConnectionError(f"no way to {endpoint()}")
            yield
    except ToolError:
        raise
    except _load_errors() as error:
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"{flag} {what}: memory is too small to load it; use a larger machine or a smaller model"
            ) from None
        raise load_error(error, what, flag) from error


def load_error(error: BaseException, what: str, flag: str) -> ToolError:
    """What a failed load means, in one line.

    Args:
        error: what transformers, huggingface_hub or datasets raised; its causes are looked at too.
        what: the id or path that was to be loaded.
        flag: the flag that named it, such as `--model`.
    """
    from huggingface_hub import constants, errors

    subject, page = f"{flag} {what}", f"{endpoint()}/{what}"
    answers: dict[type[Exception], str] = {
        errors.GatedRepoError: f"gated; ask for access at {page} and set HF_TOKEN (or `hf auth login`)",
        errors.RepositoryNotFoundError: "not on the Hub, or private; check the spelling, or set HF_TOKEN to see private ones",
        errors.RevisionNotFoundError: f"the Hub has it, but not that revision; see {page}/commits/main",
    }
    for kind, meaning in answers.items():
        if find(error, kind):
            return ToolError(f"{subject}: {meaning}")
    full = next((e for e in chain(error) if isinstance(e, OSError) and is_out_of_disk(e)), None)
    if full:
        return OutOfDisk(f"{subject}: no space left on the disk ({full.filename}); free some or set HF_HOME elsewhere")
    if constants.HF_HUB_OFFLINE and find(error, *_unreachable_types()):
        return ToolError(
            f"{subject}: not, or not whole, in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set; "
            f"unset it, or set HF_HOME to a filled cache; {_offline_way(flag)}"
        )
    if find(error, *_unreachable_types()) and not _refused(error):
        return ToolError(
            f"{subject}: can't reach the Hub ({endpoint()}), and it isn't whole in the cache; {_offline_way(flag)}, "
            "nor does a cache filled beforehand (HF_HUB_OFFLINE=1, HF_HOME says where it lies)"
        )
    return ToolError(f"{subject}: can't be loaded: {reason(error)}")


def reason(error: BaseException, secret: str | None = None) -> str:
    """A short clause for a failed exchange with the Hub or a failed load; `secret` never appears in it."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    answer = _refused(error)
    if answer:
        return _status_reason(answer, secret)
    if find(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, or there is no network"
    if find(error, *_unreachable_types()) and not isinstance(error, HfHubHTTPError):
        return f"no connection to the Hub ({endpoint()}), or it broke off"
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return f"{type(error).__name__}: {one_line(str(error), secret)}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what it came from: its causes and contexts, nearest first, each once."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop(0)
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting += [current.__cause__, current.__context__]


def find(error: BaseException, *types: type[_Error]) -> _Error | None:
    """The first in the error's chain that is of one of the types."""
    return next((e for e in chain(error) if isinstance(e, types)), None)


def _refused(error: BaseException) -> HfHubHTTPError | None:
    """The answer with which the Hub refused a request, if that is what happened (a missing optional file is not)."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    found = (e for e in chain(error) if isinstance(e, HfHubHTTPError) and not isinstance(e, EntryNotFoundError))
    return next(found, None)


def _status_reason(answer: HfHubHTTPError, secret: str | None) -> str:
    status = answer.response.status_code
    said = one_line(answer.server_message or "", secret, 160)
    clause = {
        401: "the Hub doesn't accept the token (401)",
        403: "the Hub forbids it: the token lacks that right (403)",
        404: "the Hub doesn't know that name (404)",
        429: "too many requests (429), wait a minute",
    }.get(status, f"the Hub has trouble of its own ({status})" if status >= 500 else f"the Hub refused it ({status})")
    return f"{clause}: {said}" if said else clause


def _unreachable_types() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    return (
        OfflineModeIsEnabled,
        LocalEntryNotFoundError,
        httpx.TransportError,
        ConnectionError,
        TimeoutError,
        socket.gaierror,
    )


def _load_errors() -> tuple[type[Exception], ...]:
    """What a load may raise without the program itself being wrong."""
    from huggingface_hub.utils import httpx
    from safetensors import SafetensorError

    types: tuple[type[Exception], ...] = (OSError, ValueError, ImportError, httpx.HTTPError, SafetensorError)
    if "datasets" in sys.modules:
        types += (sys.modules["datasets"].exceptions.DatasetsError,)
    return types


def _offline_way(flag: str) -> str:
    return _OFFLINE_WAYS.get(flag, "a local folder needs no network")


def _first_hop(address: str) -> tuple[str, int]:
    """Host and port that a request to `address` connects to: its own, or those of the proxy set for it."""
    parts = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and parts.hostname and not proxy_bypass(parts.hostname):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
