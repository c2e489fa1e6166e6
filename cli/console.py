"""Where words go: the result to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer


class State:
    """What --json and --debug asked for; set while the command line is read."""

    json: bool = False
    debug: bool = False


def _set_json(value: bool) -> bool:
    State.json = State.json or value
    return value


def _set_debug(value: bool) -> bool:
    State.debug = State.debug or value
    return value


JsonFlag = typer.Option(
    "--json", help="Print the result as one JSON object.", callback=_set_json, is_eager=True, expose_value=False
)
DebugFlag = typer.Option(
    "--debug", help="Show the traceback of an error.", callback=_set_debug, is_eager=True, expose_value=False
)


def open_streams() -> None:
    """Makes stdout and stderr take all that is printed: where one is closed, or can't write a letter of it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def result(value: dict[str, Any], text: str) -> None:
    """The command's result on stdout: `text` to read, or `value` as JSON where --json was given."""
    if State.json:
        try:
            text = json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
        except ValueError:
            from tasks.files import defined

            text = json.dumps(defined(json.loads(json.dumps(value, default=_plain))), ensure_ascii=False)
        print(text, flush=True)
    elif text:
        print(text, flush=True)


def present(outcome: dict[str, Any]) -> None:
    """A result that holds its own `text`."""
    text = outcome.pop("text")
    result(outcome, text)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
