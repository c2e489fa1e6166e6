"""What a long table's batches are turned into before they are gathered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.forecast.readers.stamps import Stamps


@dataclass(frozen=True)
class Columns:
    """Which column is what."""

    item: str
    time: str
    targets: list[str]
    categories: list[str]
    reals: list[str]
    covariates: list[str]

    @property
    def all(self) -> list[str]:
        return [self.item, self.time, *self.targets, *self.categories, *self.reals, *self.covariates]


@dataclass(frozen=True)
class Block:
    """One batch as arrays: ids by number into `ids`, time stamps or step numbers, values [rows, dims]."""

    ids: list[str]
    series: np.ndarray
    stamps: Stamps
    values: np.ndarray
    categories: list[tuple[list[str], np.ndarray]]
    reals: np.ndarray
    covariates: np.ndarray
