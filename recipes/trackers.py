"""Trackers besides metrics.jsonl: none unless asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError


class Trackers:
    """Weights & Biases and TensorBoard behind one `log`. A resumed run goes on as the same tracker run."""

    def __init__(self, names: list[str], run: Path, project: str, config: dict[str, Any]) -> None:
        self._wandb: Any = None
        self._board: Any = None
        if "wandb" in names:
            wandb = _load("wandb", "wandb")
            settings = wandb.Settings(silent=True, console="off")
            self._wandb = wandb.init(
                project=project,
                id=run.name,
                name=run.name,
                dir=str(run),
                config=config,
                resume="allow",
                settings=settings,
            )
        if "tensorboard" in names:
            board = _load("torch.utils.tensorboard", "tensorboard")
            self._board = board.SummaryWriter(str(run / "tensorboard"))

    def log(self, line: dict[str, Any]) -> None:
        """One metrics line; numbers only."""
        step, kind = int(line["step"]), str(line["kind"])
        values = {
            f"{kind}/{key}": value for key, value in line.items() if isinstance(value, (int, float)) and key != "step"
        }
        if self._wandb is not None:
            self._wandb.log(values, step=step)
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)

    def close(self) -> None:
        """Flushes and ends."""
        if self._wandb is not None:
            self._wandb.finish()
        if self._board is not None:
            self._board.close()


def check(names: list[str]) -> None:
    """Fails before any work where a tracker's package is missing."""
    for name in names:
        _load("torch.utils.tensorboard" if name == "tensorboard" else name, name)


def _load(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(f"--tracker {extra} needs its package: pip install 'modeltool[{extra}]'") from None
