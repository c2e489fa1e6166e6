"""`tool backtest`: models and baselines on rolling windows, saved in pieces so that an interrupted one resumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recipes.distributed.device import pick_device, silence
from recipes.forecast import outputs, refit, report, testing
from recipes.forecast.config import Backtest
from recipes.forecast.data import digest, notes
from recipes.forecast.forecasting import Piece, forecast, pieces
from recipes.forecast.networks import place
from recipes.forecast.setup import Setup, forecast_request, score, set_up
from recipes.forecast.testing import phase
from recipes.forecast.verdict import verdict_dict
from recipes.options import cost
from recipes.process.interrupts import Interrupts, settle
from recipes.report.html import write_report
from recipes.runs import find
from recipes.runs import folder as run_folder
from recipes.runs.summary import verdict_lines
from recipes.terminal.progress import Progress, duration, print_line
from tasks.errors import ConfigError
from tasks.files import remove_tree, writing
from tasks.forecast.score import summary
from tasks.forecast.score.summary import Forecasts

RECIPE = "backtest"
PIECES = "pieces"


def backtest(config: Backtest) -> dict[str, Any]:
    """Forecasts every window, scores, and writes a run folder; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    silence()
    with Interrupts() as interrupts:
        config, setup = set_up(config)
        run = pick_run(config)
        with run_folder.recording_the_end(run):
            check_data(setup, run)
            say_header(setup, run)
            forecasts = all_forecasts(config, setup, run, interrupts)
            return finish(config, setup, run, forecasts)


def pick_run(config: Backtest) -> run_folder.Run:
    """The unfinished run of the same command, else a new one."""
    found = None if config.fresh else find.find_unfinished(config.output_dir, RECIPE, config)
    if found is not None:
        print_line(f"resuming  {found.path}")
        return find.take_up(found, RECIPE, config)
    return run_folder.create(config.output_dir, RECIPE, config)


def check_data(setup: Setup, run: run_folder.Run) -> None:
    """Notes what the data are; one that goes on needs the data that it began with.

    Raises:
        ConfigError: they were changed since.
    """
    now = digest(setup.loaded.panel, setup.loaded.test)
    if run.status().get("data", now) != now:
        raise ConfigError(
            f"--data: {run.path} began with other data than is there now; give it back, or start anew with --fresh"
        )
    run.update(data=now)


def say_header(setup: Setup, run: run_folder.Run) -> None:
    """What is back-tested, and where it is kept."""
    names = ", ".join(model.name for model in setup.models)
    windows = int(setup.loaded.test.window.max()) + 1
    print_line(f"backtest  {names} · {setup.loaded.description}")
    print_line(
        f"windows   {len(setup.loaded.test):,} forecasts of {setup.horizon} steps, {windows} window{'s' if windows > 1 else ''} · "
        f"m {setup.m}"
    )
    for line in [*notes(setup.loaded), *(f"note      {line}" for line in setup.seen.notes)]:
        print_line(line)
    print_line(f"run       {run.path}       interrupted? run the same command again")


def all_forecasts(config: Backtest, setup: Setup, run: run_folder.Run, interrupts: Interrupts) -> dict[str, Forecasts]:
    """Every model's forecasts; each piece is written as it is done, and one that is there already is not made again."""
    if all(model.network is None for model in setup.models):
        return {}
    device = pick_device(config.cpu, config.threads)
    place(setup.models, device)
    folder = run.path / PIECES
    folder.mkdir(exist_ok=True)
    test, found = setup.loaded.test, []
    with phase(setup.seconds, "forecast"), Progress("back-test", len(test), unit="windows") as progress:
        for models, first, entries in refit.groups(config, setup, run, device, interrupts):
            asked = forecast_request(config, setup.loaded.panel, entries, setup.horizon, device)
            for part in pieces(asked):
                interrupts.check()
                path = folder / f"{first + part.start:09d}.npz"
                if not path.exists():
                    save_piece(path, forecast(models, asked, part))
                found.append(read_piece(path))
                progress.advance(part.stop - part.start)
                run.update(step=progress.done, total_steps=len(test))
    return {name: summary.concatenate([piece[name] for piece in found]) for name in found[0]}


def save_piece(path: Path, piece: Piece) -> None:
    """One file of plain arrays, whole or not at all."""
    arrays: dict[str, np.ndarray] = {"names": np.asarray(list(piece.forecasts))}
    for number, (name, forecasts) in enumerate(piece.forecasts.items()):
        values = {**vars(forecasts), "samples": piece.samples.get(name)}
        arrays |= {f"{number}.{field}": np.asarray(value) for field, value in values.items() if value is not None}
    with writing(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_piece(path: Path) -> dict[str, Forecasts]:
    """The forecasts of a piece by model."""
    with np.load(path, allow_pickle=False) as arrays:
        forecasts = {}
        for number, name in enumerate(arrays["names"]):
            keys = {field: f"{number}.{field}" for field in Forecasts.__dataclass_fields__}
            # An array of no dimensions becomes the value that it holds.
            forecasts[str(name)] = Forecasts(**{field: arrays[key][()] for field, key in keys.items() if key in arrays})
        return forecasts


def read_samples(folder: Path, setup: Setup) -> Iterator[tuple[Any, list[bool | None], dict[str, np.ndarray]]]:
    """The sample paths of every piece, in order, with its entries and whether they were seen in training."""
    for path in sorted(folder.glob("*.npz")):
        first = int(path.stem)
        with np.load(path, allow_pickle=False) as arrays:
            names = [str(name) for name in arrays["names"]]
            samples = {
                name: arrays[f"{number}.samples"] for number, name in enumerate(names) if f"{number}.samples" in arrays
            }
            count = len(arrays["0.median"]) // setup.loaded.panel.dims
        part = slice(first, first + count)
        yield setup.loaded.test.part(part), setup.seen.marks(part), samples


def finish(config: Backtest, setup: Setup, run: run_folder.Run, forecasts: dict[str, Forecasts]) -> dict[str, Any]:
    """Scores, files, report; the run is finished when all are written."""
    tested = score(setup, forecasts)
    data = outputs.data_facts(setup.loaded, setup.loaded.test, setup.horizon, config.data_revision)
    outputs.write_all(run.path, tested, data)
    if config.save_samples:
        outputs.write_samples(run.path / "samples.parquet", setup.loaded.panel, read_samples(run.path / PIECES, setup))
    seconds = round(sum(tested.seconds.values()), 3)
    paid = cost(seconds, config.price_per_hour)
    verdict = verdict_dict(tested)
    line = verdict["line"] if verdict else None
    run.update(score=tested.headline(), verdict=line, seconds=seconds, phases=tested.seconds, **paid)
    write_report(
        run.path,
        state="finished",
        title=f"Back-test · {', '.join(tested.models)} on {setup.loaded.name}",
        headline=report.headline(tested),
        sections=report.sections(tested),
    )
    metrics = testing.overall(tested, tested.best)
    settle()
    run.update(state="finished", metrics=metrics)
    remove_tree(run.path / PIECES)
    phases = " · ".join(f"{name} {duration_fine(taken)}" for name, taken in tested.seconds.items())
    lines = [
        testing.score_table(tested),
        f"          {testing.counts_line(tested)}",
        f"done      {tested.best}: {tested.headline()} · {phases}",
        *verdict_lines(verdict),
        f"forecasts {run.path / outputs.FORECASTS}       report  {run.path / 'report.html'}",
    ]
    return {
        "run": str(run.path),
        **testing.figures(tested),
        "verdict": verdict,
        "phases": tested.seconds,
        "text": "\n".join(lines),
    }


def duration_fine(seconds: float) -> str:
    """Like `duration`, with tenths below a minute."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
