"""forecast.json: what a model folder records of its training data, so that the model can be used on other data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError, DataError
from tasks.files import write_json

FILE = "forecast.json"


@dataclass
class Facts:
    """The frequency and the columns that a model was trained with, in the order of its inputs."""

    freq: str
    prediction_length: int
    periodicity: int
    target_names: list[str] = field(default_factory=lambda: ["target"])
    category_names: list[list[str]] = field(default_factory=list)
    item_embedding: bool = False
    real_names: list[str] = field(default_factory=list)
    covariate_names: list[str] = field(default_factory=list)
    # Whose clocks the calendar's features are of; None: the data told no zone. Runs that don't say had UTC.
    time_zone: str | None = "UTC"

    def write(self, folder: Path) -> None:
        """Writes it into a model folder."""
        write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Facts | None:
        """What a model folder says; None where it was trained elsewhere.

        Raises:
            DataError: the file is damaged.
        """
        path = folder / FILE
        try:
            given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{item.name: given[item.name] for item in fields(cls) if item.name in given})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path} can't be read ({' '.join(str(error).split())}); train again") from None

    def check_fits(self, freq: str, dims: int, covariates: list[str], where: str) -> None:
        """Whether data can be given to the model.

        Raises:
            ConfigError: what differs.
        """
        if freq != self.freq:
            raise ConfigError(f"--data: {where} has the frequency {freq}; the model was trained on {self.freq}")
        if dims != len(self.target_names):
            raise ConfigError(
                f"--data: {where} has {dims} target columns; the model was trained on {len(self.target_names)}"
            )
        missing = [name for name in self.covariate_names if name not in covariates]
        if missing:
            raise ConfigError(
                f"--covariate-columns: the model needs {', '.join(missing)}; {where} gives {', '.join(covariates) or 'none'}"
            )
