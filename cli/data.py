"""`tool data inspect|sample|build RECIPE`."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from typing import Any

from cli.console import present
from cli.lazy import LazyCommand, group
from cli.recipe import recipe_group
from cli.train import interruptible

VERBS = {
    "inspect": "Say what a data set holds and what is wrong with it.",
    "sample": "Write the sample data set into a folder.",
    "build": "Make a data set for training from what you have.",
}


def build(name: str, help: str) -> Any:
    """The verbs on data, each with one command a recipe that has it."""
    commands = {}
    for verb, text in VERBS.items():
        around = interruptible if verb == "build" else nullcontext  # a build takes its time, and goes on after a signal
        command = functools.partial(recipe_group, verb, text, f"data {verb}", present, around=around)
        commands[verb] = LazyCommand(verb, text, command)
    return group(name, help, commands)
