"""What training leaves beside a ControlNet: how it read conditions and captions, and digests of the pairs that it saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks import seen
from tasks.controlnet.models.snapshot import Snapshot
from tasks.errors import DataError
from tasks.files import write_json
from tasks.seen import Seen
from tasks.weights import model_folder

SETTINGS = "conditioning.json"
DEFAULTS = {"condition_range": "auto", "long_captions": "cut"}
# How runs read 16-bit conditions before they noted it.
BEFORE = {"condition_range": "0,65535"}


def write(folder: Path, config: Any, record: Seen | None) -> None:
    """Writes both into a run or model folder; the settings only where they aren't the defaults."""
    given = {name: getattr(config, name) for name, default in DEFAULTS.items() if getattr(config, name) != default}
    if given:
        write_json(folder / SETTINGS, given)
    if record is not None:
        seen.write(folder, record)


def settings(config: Any, model: str, was: Mapping[str, Any]) -> dict[str, Any]:
    """How conditions and captions are read: as the options say, else as in training, else by default.

    Args:
        was: the config of the run that the ControlNet belongs to, empty where it belongs to none.

    Raises:
        DataError: what was noted beside the model can't be read.
    """
    noted = BEFORE | dict(was) if was else _noted(model, config.token)
    return {name: getattr(config, name) or str(noted.get(name) or default) for name, default in DEFAULTS.items()}


def record(model: str, token: str | None, flag: str = "--model") -> Seen | None:
    """What the ControlNet was trained on; None where it has no record.

    Raises:
        DataError: the record is damaged.
    """
    return seen.read(_beside(model, token, seen.FILE, flag))


def _noted(model: str, token: str | None) -> dict[str, Any]:
    folder = _beside(model, token, SETTINGS)
    if folder is None:
        return {}
    try:
        noted = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / SETTINGS} can't be read ({error}); take another copy") from None
    return noted if isinstance(noted, dict) else {}


def _beside(model: str, token: str | None, name: str, flag: str = "--model") -> Path | None:
    """The folder that holds a file of a ControlNet; None where there is no such file."""
    snapshot = Snapshot.of(model_folder(model), None, token, flag)
    return snapshot.fetch([name]) if name in snapshot.files else None
