"""What the files and words of a quantization need of the place where its trials were made."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from recipes.quantizable import Quantizable
from recipes.quantize.config import Quantize
from recipes.quantize.measure import Measured
from recipes.quantize.trials import Trial


class QuantizationContext(Protocol):
    """A place with a float model, whose figures are `reference`, and trials of it."""

    config: Quantize
    subject: Quantizable
    reference: Measured

    @property
    def usage(self) -> str:
        """How the written folder is run, for its README; {example} stands for a text."""

    def write_model(self, trial: Trial, folder: Path) -> None:
        """Writes a trial's model into a folder."""

    def tidy(self) -> None:
        """Drops what was kept for the search."""
