"""The peer of the forecasting benchmark: GluonTS's transformations and loader, transformers' forward and generate, a metric an entry.

As the Hugging Face posts "Probabilistic Time Series Forecasting with Transformers" and "Yes, Transformers are Effective for Time
Series Forecasting (+ Autoformer)" have it, written anew for gluonts 0.17 and transformers 5. docs/benchmarks.md lists what was
repaired. Sources: huggingface/blog, time-series-transformers.md and autoformer.md; huggingface/evaluate, metrics/mase, metrics/smape.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import pandas as pd
import torch
import transformers
from accelerate import Accelerator
from gluonts.dataset.common import ListDataset
from gluonts.dataset.field_names import FieldName
from gluonts.dataset.loader import as_stacked_batches
from gluonts.itertools import Cached, Cyclic
from gluonts.time_feature import time_features_from_frequency_str
from gluonts.transform import (
    AddAgeFeature,
    AddObservedValuesIndicator,
    AddTimeFeatures,
    AsNumpyArray,
    Chain,
    ExpectedNumInstanceSampler,
    InstanceSplitter,
    RemoveFields,
    RenameFields,
    TestSplitSampler,
    VstackFeatures,
)
from sklearn.metrics import mean_absolute_error

from benchmarks.forecast_run import Clock, Run, serve
from benchmarks.forecast_sets import BATCH, TEST_BATCH, Set, spread_over

SHUFFLE = 1024
INPUTS = (
    "past_time_features", "past_values", "past_observed_mask", "future_time_features", "static_categorical_features",
)  # fmt: skip
TARGETS = ("future_values", "future_observed_mask")
CLASSES = {
    "transformer": transformers.TimeSeriesTransformerForPrediction,
    "informer": transformers.InformerForPrediction,
    "autoformer": transformers.AutoformerForPrediction,
}
Entry = dict[str, Any]
# Periods of business days, one for each window; gluonts knows nothing else.
warnings.filterwarnings("ignore", category=FutureWarning)


def read(one: Set, file: Path) -> tuple[list[Entry], list[Entry]]:
    """Training entries, and test entries window by window, each with its last `horizon` values still to be forecast."""
    names, starts, values = series(one, file)
    train, test = [], []
    for window in range(one.windows):
        for number, (name, start, whole) in enumerate(zip(names, starts, values, strict=True)):
            first = int(one.share * len(whole)) + 1 if one.share else len(whole) - one.windows * one.horizon
            entry = {FieldName.ITEM_ID: name, FieldName.START: start, FieldName.FEAT_STATIC_CAT: [number]}
            if not window:
                train.append({**entry, FieldName.TARGET: whole[:first]})
            test.append({**entry, FieldName.TARGET: whole[: first + (window + 1) * one.horizon]})
    return train, test


def series(one: Set, file: Path) -> tuple[list[str], list[pd.Period], list[np.ndarray]]:
    """Names, first periods and values, float64."""
    if one.share:
        table = pd.read_csv(file, header=None)
        start = pd.Period(one.start, freq=one.freq)
        return [str(name) for name in table], [start] * table.shape[1], [table[name].to_numpy() for name in table]
    table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, parse_dates=[one.columns[1]])
    item, stamp, value = one.columns
    groups = list(table.groupby(item, sort=False))
    starts = [pd.Period(group[stamp].iloc[0], freq=one.freq) for _, group in groups]
    return [str(name) for name, _ in groups], starts, [group[value].to_numpy(np.float64) for _, group in groups]


def as_dataset(entries: list[Entry], one: Set, cut: int = 0) -> ListDataset:
    """GluonTS's data set of the entries, their last `cut` values left off."""
    if cut:
        entries = [{**entry, FieldName.TARGET: entry[FieldName.TARGET][:-cut]} for entry in entries]
    return ListDataset(entries, freq=one.freq)


def transformation(freq: str, config: Any) -> Chain:
    """From a data set's entry to the fields that the models take."""
    return Chain(
        [
            RemoveFields(field_names=[FieldName.FEAT_STATIC_REAL, FieldName.FEAT_DYNAMIC_REAL]),
            AsNumpyArray(field=FieldName.FEAT_STATIC_CAT, expected_ndim=1, dtype=int),
            AsNumpyArray(field=FieldName.TARGET, expected_ndim=1),
            AddObservedValuesIndicator(target_field=FieldName.TARGET, output_field=FieldName.OBSERVED_VALUES),
            AddTimeFeatures(
                start_field=FieldName.START,
                target_field=FieldName.TARGET,
                output_field=FieldName.FEAT_TIME,
                time_features=time_features_from_frequency_str(freq),
                pred_length=config.prediction_length,
            ),
            AddAgeFeature(
                target_field=FieldName.TARGET,
                output_field=FieldName.FEAT_AGE,
                pred_length=config.prediction_length,
                log_scale=True,
            ),
            VstackFeatures(output_field=FieldName.FEAT_TIME, input_fields=[FieldName.FEAT_TIME, FieldName.FEAT_AGE]),
            RenameFields(
                mapping={
                    FieldName.FEAT_STATIC_CAT: "static_categorical_features",
                    FieldName.FEAT_TIME: "time_features",
                    FieldName.TARGET: "values",
                    FieldName.OBSERVED_VALUES: "observed_mask",
                }
            ),
        ]
    )


def splitter(config: Any, sampler: Any) -> InstanceSplitter:
    """Cuts windows where the sampler says."""
    return InstanceSplitter(
        target_field="values",
        is_pad_field=FieldName.IS_PAD,
        start_field=FieldName.START,
        forecast_start_field=FieldName.FORECAST_START,
        instance_sampler=sampler,
        past_length=config.context_length + max(config.lags_sequence),
        future_length=config.prediction_length,
        time_series_fields=["time_features", "observed_mask"],
    )


def train_loader(config: Any, freq: str, data: Iterable[Entry], batches: int) -> Iterable[dict[str, torch.Tensor]]:
    """Random windows, through a shuffle buffer; the transformed series are kept."""
    stream = Cyclic(Cached(transformation(freq, config).apply(data, is_train=True))).stream()
    sampler = ExpectedNumInstanceSampler(num_instances=1.0, min_future=config.prediction_length)
    found: Iterable[dict[str, torch.Tensor]] = as_stacked_batches(
        splitter(config, sampler).apply(stream, is_train=True),
        batch_size=BATCH,
        shuffle_buffer_length=SHUFFLE,
        field_names=list(INPUTS + TARGETS),
        output_type=torch.tensor,
        num_batches_per_epoch=batches,
    )
    return found


def test_loader(config: Any, freq: str, data: Iterable[Entry]) -> Iterable[dict[str, torch.Tensor]]:
    """The window at the end of each entry."""
    windows = splitter(config, TestSplitSampler()).apply(
        transformation(freq, config).apply(data, is_train=False), is_train=False
    )
    found: Iterable[dict[str, torch.Tensor]] = as_stacked_batches(
        windows, batch_size=TEST_BATCH, output_type=torch.tensor, field_names=list(INPUTS)
    )
    return found


class Mase(evaluate.Metric):
    """What the `mase` script of `evaluate` computes: the scale is the naive's mean absolute error over all of `training`."""

    def _info(self) -> Any:
        return info("mase")

    def _compute(self, predictions: Any, references: Any, training: Any, periodicity: int = 1) -> dict[str, float]:
        scale = mean_absolute_error(training[periodicity:], training[:-periodicity])
        return {"mase": mean_absolute_error(references, predictions) / np.maximum(scale, np.finfo(np.float64).eps)}


class Smape(evaluate.Metric):
    """What the `smape` script of `evaluate` computes."""

    def _info(self) -> Any:
        return info("smape")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        predicted, wanted = np.asarray(predictions), np.asarray(references)
        least = np.finfo(np.float64).eps
        sizes = np.maximum(np.abs(wanted), least) + np.maximum(np.abs(predicted), least)
        return {"smape": float(np.average(2 * np.abs(predicted - wanted) / sizes))}


def info(name: str) -> Any:
    """Columns of float32, as the two scripts have them."""
    columns = {"predictions": datasets.Value("float"), "references": datasets.Value("float")}
    return evaluate.MetricInfo(
        description=name, citation="", inputs_description="", features=datasets.Features(columns)
    )


class Peer:
    """One run of this side."""

    def __init__(self, run: Run) -> None:
        self.run, self.set = run, run.set
        self.train_entries, self.test_entries = read(run.set, run.file)
        self.model = self.fresh()

    def fresh(self, **changes: Any) -> Any:
        """The model that both sides start from, with changes to its config."""
        return CLASSES[self.run.kind].from_pretrained(self.run.model, **changes)

    def train(self, steps: int, clock: Clock) -> list[float]:
        """As many steps, the losses of which are returned; `clock` notes the end of each."""
        loader = train_loader(self.model.config, self.set.freq, as_dataset(self.train_entries, self.set), steps)
        accelerator = Accelerator(cpu=True)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=1e-1)
        model, optimizer = accelerator.prepare(self.model, optimizer)
        model.train()
        losses = []
        for batch in itertools.islice(loader, steps):
            optimizer.zero_grad()
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            losses.append(loss.item())
            clock.tick()
        return losses

    def save(self, folder: Path) -> None:
        """The trained weights, for both sides' forecasts."""
        self.model.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Weights to forecast with."""
        self.model = CLASSES[self.run.kind].from_pretrained(folder)

    def sample(self, most: int) -> np.ndarray:
        """float32 [entries, samples, horizon] of at most so many test entries, evenly spread over them."""
        return self.forecast([self.test_entries[number] for number in spread_over(len(self.test_entries), most)])

    def forecast(self, entries: list[Entry]) -> np.ndarray:
        """Samples of these entries' last steps."""
        self.model.eval()
        loader = test_loader(self.model.config, self.set.freq, as_dataset(entries, self.set, cut=self.set.horizon))
        return np.vstack([self.model.generate(**batch).sequences.cpu().numpy() for batch in loader])

    def score(self, samples: np.ndarray) -> dict[str, Any]:
        """The time of both metrics of all entries' medians, as they are called, and of what they compute alone."""
        medians = np.median(samples, 1)
        next(self._scores(medians, Mase().compute, Smape().compute))  # one entry first, untimed
        began = time.perf_counter()
        found = list(self._scores(medians, Mase().compute, Smape().compute))
        called = time.perf_counter()
        # The same arithmetic in float64, past evaluate's tables of float32.
        exact = list(self._scores(medians, Mase()._compute, Smape()._compute))
        ended = time.perf_counter()
        return {
            "seconds": called - began,
            "alone_seconds": ended - called,
            "mase_as_called": float(np.mean([mase for mase, _ in found])),
            "mase": float(np.mean([mase for mase, _ in exact])),
            "smape": float(np.mean([smape for _, smape in exact])),
        }

    def _scores(self, medians: np.ndarray, of_mase: Any, of_smape: Any) -> Iterator[tuple[float, float]]:
        horizon, season = self.set.horizon, self.set.season
        for entry, median in zip(self.test_entries, medians, strict=True):
            known, wanted = entry[FieldName.TARGET][:-horizon], entry[FieldName.TARGET][-horizon:]
            mase = of_mase(predictions=median, references=wanted, training=known, periodicity=season)["mase"]
            yield mase, of_smape(predictions=median, references=wanted)["smape"]


if __name__ == "__main__":
    serve(Peer)
