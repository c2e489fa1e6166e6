"""`tool runs list|show|compare|report|push|prune`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import result
from cli.lazy import LazyCommand, command, group
from recipes.config import nearest
from recipes.report import overview
from recipes.runs import find
from recipes.runs import folder as run_folder
from recipes.runs import prune as pruning
from recipes.runs import push as hub
from recipes.runs.folder import Run
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError, ToolError
from tasks.files import folder_bytes

if TYPE_CHECKING:
    from recipes.report.compare import Comparison

Folder = Annotated[str, typer.Option("--output-dir", help="Where run folders are.")]
Name = Annotated[str, typer.Argument(help="A run folder, or its name under the output folder.", metavar="RUN")]
Names = Annotated[list[str], typer.Argument(help="Run folders, or their names under the output folder.", metavar="RUN")]


def build(name: str, help: str) -> Any:
    """The verbs on runs."""
    verbs: dict[str, tuple[Callable[..., Any], str]] = {
        "list": (list_runs, "All runs, oldest first."),
        "show": (show, "One run: its state, figures, cost and options."),
        "compare": (compare, "Runs side by side: options, figures, and which differences are more than chance."),
        "report": (report, "Write a run's report.html where it has none, or one page on several runs."),
        "push": (push, "Upload a finished run's model to the Hub."),
        "prune": (prune, "Free disk: checkpoints of finished runs, leftovers, whole runs."),
    }
    commands = {
        verb: LazyCommand(verb, text, functools.partial(command, function, verb, text))
        for verb, (function, text) in verbs.items()
    }
    return group(name, help, commands)


def list_runs(output_dir: Folder = "runs") -> None:
    """A table of runs."""
    found = [(run, overview.as_of_now(run, run.status())) for run in _all_runs(output_dir)]
    if not found:
        print_line(f"no runs under {output_dir}/ yet; one is made by: tool train vqa --model tiny --data sample")
    shown = [{"path": str(run.path), **status, "state": run_folder.state(run, status)} for run, status in found]
    result({"runs": shown}, overview.list_text(found) if found else "")


def show(run: Name, output_dir: Folder = "runs") -> None:
    """A run's figures, estimate and config."""
    found = _find(run, output_dir)
    status, config, on_disk = found.status(), found.config(), folder_bytes(found.path)
    result(
        {
            "path": str(found.path),
            "state": run_folder.state(found, status),
            "disk_bytes": on_disk,
            "status": status,
            "config": config,
            "environment": found.environment(),
        },
        overview.show_text(found, overview.as_of_now(found, status), config, on_disk),
    )


def compare(
    runs: Names,
    output: Annotated[str | None, typer.Option(help="Also write one page with curves here.", metavar="FILE")] = None,
    output_dir: Folder = "runs",
) -> None:
    """Tables on stdout; the first run is what the others are held against."""
    from recipes.report import compare as comparing
    from recipes.report import comparison

    found = comparing.compare(_find_several(runs, output_dir, "compare", at_least=2))
    value = comparing.as_dict(found)
    if output:
        value["report"] = str(_write_page(found, output))
    result(value, comparison.text(found))


def report(
    runs: Names,
    output: Annotated[
        str | None, typer.Option(help="Where to write; left out: in the run, or compare.html.", metavar="FILE")
    ] = None,
    output_dir: Folder = "runs",
) -> None:
    """One run's report, or one page on several."""
    from recipes.report import single
    from recipes.report.compare import compare

    found = _find_several(runs, output_dir, "report", at_least=1)
    if len(found) > 1:
        path, written = _write_page(compare(found), output or str(Path(output_dir) / "compare.html")), True
    else:
        path, written = single.write(found[0], Path(output) if output else None)
        if not written:
            print_line(f"{found[0].path.name} is finished and has its report; to have it elsewhere: --output FILE")
    result({"report": str(path), "written": written}, str(path))


def push(
    run: Name,
    to: Annotated[str, typer.Option("--to", help="Hub id, as user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to, made if it isn't there.")] = None,
    token: Annotated[str | None, typer.Option(help="Hub token; better in HF_TOKEN.")] = None,
    output_dir: Folder = "runs",
) -> None:
    """Uploads model/ with its card; may be repeated."""
    found = _find(run, output_dir)
    if not found.model.is_dir():
        raise ToolError(
            f"{found.path} has no model/ yet (it is {found.status().get('state')}); finish it by running its command again"
        )
    url = hub.push(found.model, to, private=private, token=token, revision=revision, run=found.path)
    found.update(pushed=url)
    result({"url": url}, url)


def prune(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Only these; left out: all.", metavar="RUN", show_default=False),
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Only runs that wrote nothing for so many days.", metavar="DAYS")
    ] = None,
    unfinished: Annotated[
        bool,
        typer.Option(
            "--unfinished", help="Also whole runs that failed or were stopped: they can't be gone on with then."
        ),
    ] = False,
    whole: Annotated[
        bool, typer.Option("--runs", help="Whole finished runs, with their models; needs RUN or --older-than.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it they are only listed.")] = False,
    output_dir: Folder = "runs",
) -> None:
    """Lists what can go, and removes it with --yes."""
    if whole and not runs and older_than is None:
        raise ConfigError("--runs removes whole finished runs; name them, or give --older-than DAYS")
    chosen = _find_several(runs, output_dir, "prune") if runs else _all_runs(output_dir)
    found = pruning.plan(chosen, older_than=older_than, unfinished=unfinished, whole=whole)
    if not runs:
        found.items += pruning.stray(Path(output_dir))
    if yes:
        found = pruning.remove(found)
    result(pruning.as_dict(found, removed=yes), pruning.text(found, removed=yes))
    if found.items and not yes:
        print_line("nothing was removed; add --yes to remove it")


def _write_page(compared: Comparison, output: str) -> Path:
    from recipes.report import comparison

    path = comparison.write_page(compared, Path(output))
    print_line(f"report  {path}")
    return path


def _all_runs(output_dir: str) -> list[Run]:
    """All runs but those whose removal was cut short."""
    return [run for run in find.runs_in(output_dir) if not pruning.is_stray(run.path)]


def _find_several(names: list[str], output_dir: str, verb: str, at_least: int = 1) -> list[Run]:
    """The runs of these names, in their order.

    Raises:
        ConfigError: an unknown name, one given twice, too few.
    """
    found = [_find(name, output_dir) for name in names]
    places = [run.path.resolve() for run in found]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise ConfigError(f"{found[number].path.name} is named twice; name each run once")
    if len(found) < at_least:
        raise ConfigError(f"`tool runs {verb}` needs {at_least} runs or more; see `tool runs list`")
    return found


def _find(run: str, output_dir: str) -> Run:
    for path in (Path(run), Path(output_dir) / run):
        if (path / "status.json").is_file():
            return find.open_run(path if path.name.strip(".") else path.absolute().resolve())
    known = [found.path.name for found in _all_runs(output_dir)]
    raise ConfigError(f"there is no run {run!r}{nearest(run, known) if known else f' under {output_dir}/'}")
