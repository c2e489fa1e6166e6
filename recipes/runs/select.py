"""Model selection of a command: the model asked for, or that of the newest finished run."""

from __future__ import annotations

from pathlib import Path

from recipes.runs import find
from recipes.runs import folder as run_folder
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError


def choose_model(model: str | None, output_dir: str, fitting: tuple[str, ...]) -> tuple[str, run_folder.Run | None]:
    """The model, and the run it belongs to, if it does; a run that was chosen for the user is said.

    Args:
        fitting: the recipes whose runs will do.

    Raises:
        ConfigError: none given and there is none.
    """
    if model is None:
        run = find.newest_finished(output_dir, fitting)
        print_line(f"newest {run.status()['recipe']} run: {run.path}")
        return str(run.path), run
    run = run_folder.Run(Path(model))
    return model, run if (run.path / "status.json").is_file() else None


def output_folder(output: str | None, run: run_folder.Run | None, model: str, suffix: str, facts: str) -> Path:
    """Where what is made of a model goes: as asked, in its run's folder, or here under the model's name.

    Args:
        facts: a file by which a folder of an earlier call is known, which may be replaced.

    Raises:
        ConfigError: a folder with something else in it.
    """
    if not output:
        return run.path / f"model-{suffix}" if run is not None else Path(f"{Path(model).name}-{suffix}")
    folder = Path(output)
    if folder.exists() and not (folder.is_dir() and ((folder / facts).exists() or not any(folder.iterdir()))):
        raise ConfigError(f"--output: {folder} holds something else; give a new folder")
    return folder
