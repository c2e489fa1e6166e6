"""Several series of the same span as the dimensions of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tasks.errors import DataError
from tasks.forecast.readers.source import Read


def as_one(read: Read) -> Read:
    """The series of a univariate panel as one of many dimensions; static features, being a series' own, are left out.

    Raises:
        DataError: they don't begin and end together.
    """
    panel = read.panel
    if panel.dims > 1 or len(panel) == 1:
        return read
    starts, lengths = panel.starts, panel.lengths
    odd = np.flatnonzero((starts != starts[0]) | (lengths != lengths[0]))
    if len(odd):
        raise DataError(
            f"{read.source}: series {panel.item_ids[odd[0]]} does not begin and end with {panel.item_ids[0]}; only series of the same "
            "span make one multivariate series"
        )
    steps = int(lengths[0])
    covered = panel.covariates.shape[1] > 0
    one = replace(
        panel,
        values=np.ascontiguousarray(panel.values.reshape(len(panel), steps).T),
        offsets=np.array([0, steps], np.int64),
        starts=starts[:1],
        item_ids=[read.source.rsplit("/", 1)[-1].split(".")[0]],
        target_names=list(panel.item_ids),
        static_categories=np.zeros((0, 0), np.int64),
        category_names=[],
        static_reals=np.zeros((0, 0), np.float32),
        real_names=[],
        covariates=panel.covariates[: panel.covariate_offsets[1]] if covered else panel.covariates,
        covariate_offsets=panel.covariate_offsets[:2] if covered else panel.covariate_offsets,
    )
    split = read.split
    if split is not None:
        split = replace(split, train_ends=split.train_ends[:1], test=split.test.part(split.test.series == 0))
    return replace(read, panel=one, split=split, where=None)
