"""`tool data inspect forecast` and `tool data sample forecast`."""

from __future__ import annotations

from typing import Any

from recipes.config import options_of
from recipes.data_sets import inspected, written
from recipes.forecast.config import Data, Sample, Train, with_defaults
from recipes.forecast.data import open_data


def inspect(config: Data) -> dict[str, Any]:
    """What a data set holds, and what is wrong with it."""
    from tasks.forecast.inspection import inspect as look

    def prepare() -> None:
        from recipes.forecast.parts import prepare as prepare_run

        prepare_run(with_defaults(Train(**{info.name: getattr(config, info.name) for info in options_of(Data)})))

    return inspected(look(open_data(config, prediction_length=config.prediction_length)), prepare)


def sample(config: Sample) -> dict[str, Any]:
    """Writes the sample data as one long CSV file."""
    from tasks.forecast.sample import write_sample

    return written("forecast", write_sample, config.output, config.seed)
