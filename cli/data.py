"""`tool data inspect|sample RECIPE`."""

from __future__ import annotations

from typing import Any

from cli.console import result
from cli.lazy import LazyCommand, group
from cli.recipe import recipe_commands

INSPECT = "Say what a data set holds and what is wrong with it."
SAMPLE = "Write the sample data set into a folder."


def build(name: str, help: str) -> Any:
    """The verbs on data, each with one command a recipe."""
    verbs = {"inspect": (INSPECT, "Data", "inspect"), "sample": (SAMPLE, "Sample", "sample")}
    return group(
        name,
        help,
        {
            verb: LazyCommand(
                verb,
                text,
                lambda verb=verb, text=text, config=config, run=run: group(  # type: ignore[misc]
                    verb, text, recipe_commands(config, run, present)
                ),
            )
            for verb, (text, config, run) in verbs.items()
        },
    )


def present(outcome: dict[str, Any]) -> None:
    """What was found, to read or as JSON."""
    text = outcome.pop("text")
    result(outcome, text)
