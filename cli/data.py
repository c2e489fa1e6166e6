"""`tool data inspect|sample|build RECIPE`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from cli.console import result
from cli.lazy import LazyCommand, group
from cli.recipe import recipe_commands

INSPECT = "Say what a data set holds and what is wrong with it."
SAMPLE = "Write the sample data set into a folder."
BUILD = "Make a data set for training from what you have."
# verb -> (help, config, function) among a recipe's parts.
VERBS = {
    "inspect": (INSPECT, "Data", "inspect"),
    "sample": (SAMPLE, "Sample", "sample"),
    "build": (BUILD, "Build", "build"),
}


def build(name: str, help: str) -> Any:
    """The verbs on data, each with one command a recipe that has it."""
    commands = {verb: LazyCommand(verb, text, functools.partial(_verb, verb)) for verb, (text, _, _) in VERBS.items()}
    return group(name, help, commands)


def _verb(verb: str) -> Any:
    from recipes.registry import recipes

    text, config, run = VERBS[verb]
    known = recipes()
    commands = recipe_commands(config, run, present, around=_around(verb))
    return group(verb, text, {name: one for name, one in commands.items() if known[name].has(config)})


def _around(verb: str) -> Callable[[], AbstractContextManager[Any]]:
    """A build takes its time, and goes on after a signal."""
    if verb != "build":
        return nullcontext
    from cli.train import interruptible

    return interruptible


def present(outcome: dict[str, Any]) -> None:
    """What was found, to read or as JSON."""
    text = outcome.pop("text")
    result(outcome, text)
