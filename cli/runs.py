"""`tool runs list|show|push`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from cli.console import DebugFlag, JsonFlag, result, say
from cli.lazy import LazyCommand, command, group

Folder = Annotated[str, typer.Option("--output-dir", help="Where run folders are.")]
Name = Annotated[str, typer.Argument(help="A run folder, or its name under the output folder.", metavar="RUN")]
Json = Annotated[bool, JsonFlag]
Debug = Annotated[bool, DebugFlag]


def build(name: str, help: str) -> Any:
    """The verbs on runs."""
    verbs: dict[str, tuple[Callable[..., Any], str]] = {
        "list": (list_runs, "All runs, oldest first."),
        "show": (show, "One run: its state, options and figures."),
        "push": (push, "Upload a finished run's model to the Hub."),
    }

    def lazy(verb: str) -> LazyCommand:
        function, text = verbs[verb]
        return LazyCommand(verb, text, lambda: command(function, verb, text))

    return group(name, help, {verb: lazy(verb) for verb in verbs})


def list_runs(output_dir: Folder = "runs", json_output: Json = False, debug: Debug = False) -> None:
    """A table of runs."""
    from recipes import runs
    from recipes.progress import duration
    from recipes.tables import table

    found = [(run, run.status()) for run in runs.runs_in(output_dir)]
    rows = [
        [
            run.path.name,
            status.get("recipe", ""),
            status.get("state", ""),
            f"{status.get('step', 0)}/{status.get('total_steps', '?')}",
            duration(status.get("seconds", 0)),
            status.get("score", ""),
        ]
        for run, status in found
    ]
    if not rows:
        say(f"no runs under {output_dir}/ yet; one is made by: tool train vqa --model tiny --data sample")
    result(
        {"runs": [{"path": str(run.path), **status} for run, status in found]},
        table(["run", "recipe", "state", "step", "time", "score"], rows) if rows else "",
    )


def show(run: Name, output_dir: Folder = "runs", json_output: Json = False, debug: Debug = False) -> None:
    """A run's status and config."""
    import yaml

    found = _find(run, output_dir)
    status, config = found.status(), found.config()
    text = yaml.safe_dump({"status": status, "config": config}, sort_keys=False, allow_unicode=True)
    result(
        {"path": str(found.path), "status": status, "config": config, "environment": found.environment()}, text.rstrip()
    )


def push(
    run: Name,
    to: Annotated[str, typer.Option("--to", help="Hub id, as user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to, made if it isn't there.")] = None,
    token: Annotated[str | None, typer.Option(help="Hub token; better in HF_TOKEN.")] = None,
    output_dir: Folder = "runs",
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Uploads model/ with its card; may be repeated."""
    from recipes import hub
    from tasks.errors import ToolError

    found = _find(run, output_dir)
    if not found.model.is_dir():
        raise ToolError(
            f"{found.path} has no model/ yet (it is {found.status().get('state')}); finish it by running its command again"
        )
    url = hub.push(found.model, to, private=private, token=token, revision=revision, run=found.path)
    found.update(pushed=url)
    result({"url": url}, url)


def _find(run: str, output_dir: str) -> Any:
    from pathlib import Path

    from recipes import runs
    from recipes.config import nearest
    from tasks.errors import ConfigError

    for path in (Path(run), Path(output_dir) / run):
        if (path / "status.json").is_file():
            return runs.open_run(path)
    known = [found.path.name for found in runs.runs_in(output_dir)]
    raise ConfigError(f"there is no run {run!r}{nearest(run, known) if known else f' under {output_dir}/'}")
