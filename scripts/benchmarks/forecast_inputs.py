"""Makes what both sides of the forecasting benchmark start from: untrained models and samples to score.

python -m benchmarks.forecast_inputs --set exchange_rate --file FILE --kinds informer ... --output FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gluonts.dataset.field_names import FieldName
from gluonts.time_feature import get_lags_for_frequency, time_features_from_frequency_str

from benchmarks import forecast_peer
from benchmarks.forecast_sets import KINDS, SAMPLES, Set, by_name

CONFIGS: dict[str, Any] = {
    "transformer": transformers.TimeSeriesTransformerConfig,
    "informer": transformers.InformerConfig,
    "autoformer": transformers.AutoformerConfig,
}


def config(one: Set, kind: str, series: int) -> Any:
    """The posts' model: a context of two horizons, lags by the frequency, an embedding of two numbers a series."""
    return CONFIGS[kind](
        prediction_length=one.horizon,
        context_length=one.context,
        lags_sequence=[int(lag) for lag in get_lags_for_frequency(one.freq)],
        num_time_features=len(time_features_from_frequency_str(one.freq)) + 1,
        num_static_categorical_features=1,
        cardinality=[series],
        embedding_dimension=[2],
        encoder_layers=2,
        decoder_layers=2,
        d_model=16,
        scaling="std",
        num_parallel_samples=SAMPLES,
    )


def naive_samples(one: Set, entries: list[dict[str, Any]]) -> np.ndarray:
    """The seasonal naive of every test entry with noise of a tenth of its spread, float32 [entries, samples, horizon]."""
    random, found = np.random.default_rng(0), []
    for entry in entries:
        known = entry[FieldName.TARGET][: -one.horizon]
        repeated = np.resize(known[-one.season :], one.horizon)
        found.append(repeated + random.normal(0, 0.1 * known.std() + 1e-6, (SAMPLES, one.horizon)))
    return np.stack(found).astype(np.float32)


def main() -> None:
    """Writes model-KIND/ and samples.npy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    one = by_name(options.set)
    train, test = forecast_peer.read(one, options.file)
    options.output.mkdir(parents=True, exist_ok=True)
    for kind in options.kinds:
        torch.manual_seed(0)
        model = forecast_peer.CLASSES[kind](config(one, kind, len(train)))
        model.save_pretrained(options.output / f"model-{kind}")
    np.save(options.output / "samples.npy", naive_samples(one, test))


if __name__ == "__main__":
    main()
