"""`tool eval [RECIPE] --model RUN`, and `tool eval --metric M --predictions P --references R`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console import DebugFlag, JsonFlag, result
from cli.recipe import recipe_commands
from tasks.errors import ConfigError


def build(name: str, help: str) -> Any:
    """A group of one command a recipe, which scores files when called without one."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.callback(
        invoke_without_command=True,
        help=f"{help}\n\nWith a recipe: a model on data. With --metric: a file of predictions.",
    )
    def root(
        ctx: typer.Context,
        metric: Annotated[str | None, typer.Option(help="Metric by name, with --predictions and --references.")] = None,
        predictions: Annotated[
            Path | None, typer.Option(help="JSON, JSON lines, CSV, Parquet, npy or text file.")
        ] = None,
        references: Annotated[Path | None, typer.Option(help="The same for what is right.")] = None,
        model: Annotated[str | None, typer.Option(help="Run folder whose recipe is to be used.")] = None,
        data: Annotated[str | None, typer.Option(help="Data to evaluate that run on.")] = None,
        output: Annotated[Path | None, typer.Option(help="Write the scores here as JSON too.")] = None,
        json_output: Annotated[bool, JsonFlag] = False,
        debug: Annotated[bool, DebugFlag] = False,
    ) -> None:
        if ctx.invoked_subcommand is not None:
            given = {
                "--metric": metric,
                "--predictions": predictions,
                "--references": references,
                "--model": model,
                "--data": data,
                "--output": output,
            }
            misplaced = [flag for flag, value in given.items() if value is not None]
            if misplaced:
                raise ConfigError(f"{', '.join(misplaced)}: give it after {ctx.invoked_subcommand}")
        elif metric is not None:
            score(metric, predictions, references, output)
        else:
            by_run(model, data)

    group: Any = typer.main.get_command(app)
    group.commands = dict(recipe_commands("Eval", "evaluate", present))
    return group


def score(metric: str, predictions: Path | None, references: Path | None, output: Path | None) -> None:
    """Scores a file against a file."""
    from recipes.score import score_files
    from recipes.tables import table
    from tasks.files import write_json

    missing = [flag for flag, value in (("--predictions", predictions), ("--references", references)) if value is None]
    if missing or predictions is None or references is None:
        raise ConfigError(f"--metric {metric} needs {' and '.join(missing)}")
    scores = score_files(metric, predictions, references, {})
    if output is not None:
        write_json(output, scores)
    rows = [[key, value] for key, value in scores.items() if not isinstance(value, (dict, list))]
    for key, value in scores.items():
        if isinstance(value, dict):
            rows += [[f"{key} · {name}", item] for name, item in value.items() if not isinstance(item, (dict, list))]
    result(scores, table(["", metric], rows))


def by_run(model: str | None, data: str | None) -> None:
    """Evaluates a run by the recipe it was made with."""
    from recipes import registry, runs

    fitting = tuple(name for name, recipe in registry.recipes().items() if recipe.has("evaluate"))
    run = runs.open_run(model) if model else runs.newest_finished("runs", fitting)
    recipe = registry.get(str(run.status().get("recipe")))
    config = recipe.part("Eval")(**{"model": str(run.path), **({"data": data} if data else {})})
    present(recipe.part("evaluate")(config))


def present(outcome: dict[str, Any]) -> None:
    """The scores, to read or as JSON."""
    text = outcome.pop("text")
    result(outcome, text)
