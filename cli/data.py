"""`tool data inspect|sample|build RECIPE`."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from typing import Any

from cli.console import present
from cli.lazy import LazyCommand, group
from cli.recipe import recipe_group
from cli.train import interruptible
from tasks.errors import DataError

VERBS = {
    "inspect": "Say what a data set holds and what is wrong with it.",
    "sample": "Write the sample data set into a folder.",
    "build": "Make a data set for training from what you have.",
}


def present_inspection(outcome: dict[str, Any]) -> None:
    """What was found; then the end that training on such data would have.

    Raises:
        DataError: training would refuse them.
    """
    refused = outcome.get("refused")  # another package's recipe may not say
    present(outcome)
    if refused:
        raise DataError(refused)


def build(name: str, help: str) -> Any:
    """The verbs on data, each with one command a recipe that has it."""
    commands = {}
    for verb, text in VERBS.items():
        around = interruptible if verb == "build" else nullcontext  # a build takes its time, and goes on after a signal
        shown = present_inspection if verb == "inspect" else present
        command = functools.partial(recipe_group, verb, text, f"data {verb}", shown, around=around)
        commands[verb] = LazyCommand(verb, text, command)
    return group(name, help, commands)
