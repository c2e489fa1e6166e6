"""`tool eval [RECIPE] --model RUN`, and `tool eval --metric M --predictions P --references R`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console import DebugFlag, JsonFlag, present, result
from cli.recipe import RecipeGroup
from recipes import registry
from recipes.config import resolve
from tasks.errors import ConfigError, printable


def build(name: str, help: str) -> Any:
    """A group of one command a recipe, which scores files when called without one."""
    app = typer.Typer(cls=RecipeGroup, rich_markup_mode=None, add_completion=False)

    @app.callback(
        invoke_without_command=True,
        help=f"{help}\n\nWith a recipe: a model on data. With --metric: a file of predictions.",
    )
    def root(
        ctx: typer.Context,
        metric: Annotated[
            list[str] | None,
            typer.Option(
                help="Metric by name, with --predictions and --references; several for forecasts: mase,smape,wql."
            ),
        ] = None,
        predictions: Annotated[
            Path | None, typer.Option(help="JSON, JSON lines, CSV, Parquet, npy or text file.")
        ] = None,
        references: Annotated[
            Path | None, typer.Option(help="The same for what is right; `sample` for forecasts of the sample.")
        ] = None,
        history: Annotated[
            Path | None, typer.Option(help="Values before the forecasts, for the scale of MASE and MSIS.")
        ] = None,
        periodicity: Annotated[int | None, typer.Option(help="The season m of that scale: 24 for hours.")] = None,
        freq: Annotated[str | None, typer.Option(help="Frequency of the time stamps, which tells m: h, D, B.")] = None,
        model_name: Annotated[
            str | None,
            typer.Option(help="Of a file of several models' forecasts, the one to score.", show_default="each"),
        ] = None,
        config_name: Annotated[
            str | None, typer.Option(help="Variant of a metric that has several: the task of glue, sst2 to stsb.")
        ] = None,
        model: Annotated[str | None, typer.Option(help="Run folder whose recipe is to be used.")] = None,
        data: Annotated[str | None, typer.Option(help="Data to evaluate that run on.")] = None,
        output: Annotated[Path | None, typer.Option(help="Write the scores here as JSON too.")] = None,
        json_output: Annotated[bool, JsonFlag] = False,
        debug: Annotated[bool, DebugFlag] = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("ctx", "json_output", "debug")}
        if ctx.invoked_subcommand is not None:
            misplaced = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
            if misplaced:
                raise ConfigError(f"{', '.join(misplaced)}: give it after {ctx.invoked_subcommand}")
        elif metric is not None:
            names = [name.strip() for each in metric for name in each.split(",") if name.strip()]
            options = {"history": history, "periodicity": periodicity, "freq": freq, "config_name": config_name}
            options["model_name"] = model_name
            score(names, predictions, references, output, options)
        else:
            by_run(model, data)

    group: Any = typer.main.get_command(app)
    return group.offer("eval", present)


def score(
    metrics: list[str], predictions: Path | None, references: Path | None, output: Path | None, options: dict[str, Any]
) -> None:
    """Scores a file against a file."""
    from recipes.scoring.files import score_files
    from recipes.scoring.forecasts import FIGURES, OWN
    from recipes.terminal.progress import print_line
    from recipes.terminal.tables import table
    from tasks.files import write_json

    name = ",".join(metrics)
    needed = [("--predictions", predictions)]
    if not set(metrics) <= set(FIGURES) or (predictions is not None and predictions.name not in OWN):
        needed.append(("--references", references))
    missing = [flag for flag, value in needed if value is None]
    if not metrics or missing or predictions is None:
        raise ConfigError(f"--metric {name} needs {' and '.join(missing) or 'a name'}")
    given = {key: value for key, value in options.items() if value is not None}
    if len(metrics) > 1 and not set(metrics) <= set(FIGURES):
        raise ConfigError(f"--metric {name}: several at once are for forecasts: {', '.join(FIGURES)}")
    only = [key for key in given if key != "config_name"]
    if only and metrics[0] not in FIGURES:
        raise ConfigError(f"{', '.join('--' + key for key in only)}: only for forecasts: {', '.join(FIGURES)}")
    scores = score_files(name, predictions, references, given)
    if output is not None:
        write_json(output, scores)
    for line in scores.get("notes", []):
        print_line(f"note      {printable(line)}")
    if "models" in scores:
        rows = [[name, *row] for name, found in scores["models"].items() for row in figure_rows(found)]
        result(scores, table(["model", "", "value", "low", "high"], rows))
        return
    if "intervals" in scores:
        result(scores, table(["", "value", "low", "high"], figure_rows(scores)))
        return
    rows = [[key, value] for key, value in scores.items() if not isinstance(value, (dict, list))]
    for key, value in scores.items():
        if isinstance(value, dict):
            rows += [[f"{key} · {part}", item] for part, item in value.items() if not isinstance(item, (dict, list))]
    result(scores, table(["", name], rows))


def figure_rows(scores: dict[str, Any]) -> list[list[Any]]:
    """A row a figure: name, value, low, high, to seven digits as text."""
    intervals = scores["intervals"]
    return [
        [key, *("" if one is None else f"{one:,.7g}" for one in (value, *intervals.get(key, [None, None])))]
        for key, value in scores.items()
        if key not in ("metric", "intervals", "confidence", "model", "seen", "notes")
    ]


def by_run(model: str | None, data: str | None) -> None:
    """Evaluates a run by the recipe it was made with."""
    from recipes.runs import find

    run = find.open_run(model) if model else find.newest_finished("runs", tuple(registry.offering("eval")))
    recipe = registry.get(str(run.status().get("recipe")))
    config = resolve(recipe.part("Eval"), {"model": str(run.path), "data": data})
    present(recipe.part("evaluate")(config))
