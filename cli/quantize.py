"""`tool quantize`."""

from __future__ import annotations

from typing import Any

from cli.console import result
from cli.recipe import recipe_command
from cli.train import interruptible
from tasks.errors import ToolError


def build(name: str, help: str) -> Any:
    """The command; its options are those of the config."""
    from recipes.quantize.config import Quantize

    def run(config: Any) -> None:
        with interruptible():
            from recipes.quantize.run import quantize

            outcome = quantize(config)
        text, refused = outcome.pop("text"), outcome.get("refused")
        result(outcome, text)
        if refused:
            raise ToolError(refused)

    return recipe_command(name, help, "quantize", Quantize, run)
