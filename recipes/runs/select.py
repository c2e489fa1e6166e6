"""Which model a command uses: the one asked for, or that of the newest finished run."""

from __future__ import annotations

from pathlib import Path

from recipes.runs import find
from recipes.runs import folder as run_folder
from recipes.terminal.progress import print_line


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
