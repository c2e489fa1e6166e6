"""`tool backtest`."""

from __future__ import annotations

from typing import Any

from cli.console import present
from cli.recipe import recipe_command
from cli.train import interruptible
from recipes.registry import get


def build(name: str, help: str) -> Any:
    """The command: the recipe is always forecasting."""
    recipe = get("forecast")

    def run(config: Any) -> None:
        with interruptible():
            outcome = recipe.part("backtest")(config)
        present(outcome)

    return recipe_command(name, help, "backtest", recipe.part("Backtest"), run)
