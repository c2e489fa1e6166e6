"""The components of a forecasting run (panel, model, windows) and their preparation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recipes.forecast.config import ARCHITECTURES, Train
from recipes.forecast.data import (
    check_for_training,
    check_inputs,
    cut,
    for_model,
    open_data,
    with_item_category,
)
from recipes.forecast.facts import Facts
from recipes.forecast.networks import Opened, open_network
from tasks.forecast.calendar import lags_for, seasonality_of, time_features
from tasks.forecast.data import Loaded
from tasks.forecast.models import Spec, build, losses, spec_of
from tasks.forecast.origins import Origins, validation_entries
from tasks.forecast.panel import Entries
from tasks.forecast.score.training_record import TrainingRecord, joined, training_record
from tasks.forecast.windows import Batch

# Options that a model's Spec has under the same names; one that is left out is the Spec's default.
SHAPE = (
    *(
        "distribution",
        "scaling",
        "anchor",
        "encoder_layers",
        "decoder_layers",
        "d_model",
        "heads",
        "ffn_dim",
        "dropout",
    ),
    *("layerdrop", "attention", "kernel_size", "individual", "patch_length", "blocks", "block_layers"),
)


class Trained(nn.Module):
    """A forecasting model whose call gives losses, so that gradients are exchanged however the loss is computed."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> torch.Tensor:
        """Losses float32 [b] of windows as `tasks.forecast.windows` cuts them."""
        found = losses(self.network, batch)
        if self.training and torch.distributed.is_initialized():
            # Each process leaves out other layers at random; all must exchange all gradients, if only zeros.
            found = found + 0.0 * torch.stack([parameter.sum() for parameter in self.parameters()]).sum()
        return found

    def gradient_checkpointing_enable(self, **settings: Any) -> None:
        """As the network's own."""
        self.network.gradient_checkpointing_enable(**settings)

    def save(self, folder: Path) -> None:
        """As `from_pretrained` loads the network."""
        self.network.save_pretrained(folder)


@dataclass
class Parts:
    """Everything that a forecasting run is made of; `base` is the trained model that it begins with."""

    loaded: Loaded
    facts: Facts
    spec: Spec
    model: Trained
    origins: Origins
    validation: Entries
    test: Entries
    base: Opened | None = None

    def training_record(self) -> TrainingRecord:
        """What training and the choice of the best weights see; of the model that it begins with too."""
        seen = self.origins.seen()
        ends = seen.copy()
        np.maximum.at(ends, self.validation.series, self.validation.origin + self.spec.prediction_length)
        record = training_record(self.loaded.panel, ends, ends - seen)
        return record if self.base is None else joined(self.base.record, record)


def prepare(config: Train) -> Parts:
    """Reads and checks the data, builds the model, and lays out which windows train, choose and test."""
    opened = (
        None if config.model in (*ARCHITECTURES, "tiny") else open_network(config.model, config.revision, config.token)
    )
    facts, given = (opened.facts, spec_of(opened.network)) if opened else (None, None)
    horizon = given.prediction_length if given else config.prediction_length
    loaded = open_data(config, prediction_length=horizon, facts=facts)
    if facts is not None:
        loaded = for_model(loaded, facts)
    elif config.item_embedding and not loaded.panel.category_names:
        loaded = dataclasses.replace(loaded, panel=with_item_category(loaded.panel))
    facts = facts or make_facts(config, loaded)
    test = cut(loaded.test, config.first_window)
    length = given.prediction_length if given else loaded.prediction_length
    ends, held_out = train_ends(loaded, test, config.first_window), config.validation_windows * length
    spec = given or make_spec(config, loaded, int(ends.max()) - held_out)
    check_inputs(spec, loaded, config.model)
    network = opened.network if opened else build(spec, config.seed)
    usable = check_for_training(
        loaded, ends - held_out, spec, lags=[int(lag) for lag in config.lags], skip=config.skip_bad
    )
    return Parts(
        loaded,
        facts,
        spec,
        Trained(network),
        Origins(ends - held_out, context_length=spec.context_length, prediction_length=length),
        validation_entries(
            np.where(usable, ends, 0),
            prediction_length=length,
            windows=config.validation_windows,
            most=config.max_eval_series,
        ),
        test,
        opened,
    )


def train_ends(loaded: Loaded, test: Entries, first_window: int) -> np.ndarray:
    """How many steps of each series are known before the first test window, int64 [series]."""
    if not first_window:
        return loaded.train_ends
    ends = loaded.train_ends.copy()
    now = test.part(test.window == 0)
    ends[now.series] = now.origin
    return ends


def make_facts(config: Train, loaded: Loaded) -> Facts:
    """What the model folder will say of the data."""
    panel = loaded.panel
    items = [panel.item_ids] if config.item_embedding else None
    return Facts(
        freq=panel.calendar.freq,
        prediction_length=loaded.prediction_length,
        periodicity=config.periodicity or seasonality_of(panel.calendar.freq),
        target_names=panel.target_names,
        category_names=panel.category_names,
        item_embedding=items is not None and panel.category_names == items,
        real_names=panel.real_names,
        covariate_names=panel.covariate_names,
        time_zone=panel.calendar.zone,
    )


def make_spec(config: Train, loaded: Loaded, longest: int) -> Spec:
    """The model's shape, by the filled-in options and the data; of the frequency's own lags those that the longest series can give."""
    panel, length = loaded.panel, loaded.prediction_length
    season = config.periodicity or seasonality_of(panel.calendar.freq)
    context = config.context_length or 2 * max(length, season if config.scaling == "seasonal" else 1)
    lags = [lag for lag in lags_for(panel.calendar.freq) if lag <= longest - context - length] or [1]
    cardinality = [len(names) for names in panel.category_names]
    return Spec(
        kind="transformer" if config.model == "tiny" else config.model,
        prediction_length=length,
        context_length=context,
        lags=tuple(int(lag) for lag in config.lags) or tuple(lags),
        num_time_features=len(time_features(panel.calendar.freq)) + 1 + len(panel.covariate_names),
        cardinality=tuple(cardinality),
        embedding_dimension=tuple(config.embedding_dimension for _ in cardinality),
        num_static_real_features=len(panel.real_names),
        input_size=panel.dims,
        season=season,
        label_length=min(config.label_length, context),
        calendar=config.calendar_features,
        **{name: value for name in SHAPE if (value := getattr(config, name)) is not None},
    )
