"""The options of each verb of the forecasting recipe."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from recipes.config import option
from recipes.forecast.defaults import DEFAULTS, PUBLISHED, shown
from recipes.options import HUB, MACHINE, MODEL, OPTIMIZATION, OUTPUT, TrainOptions

DATA = "Data"
FORECAST = "Forecast"
ARCHITECTURES = ("transformer", "informer", "autoformer", "dlinear", "nbeats", "patchtst")
OWN = ("dlinear", "nbeats")
DATA_SEED = "Seed of the sample and of --max-series, as training had it."
BASELINES = ("naive", "seasonal-naive")
DISTRIBUTIONS = ("student_t", "normal", "negative_binomial", "quantiles", "point")
NAMED = ("exchange_rate", "traffic", "electricity", "solar", "m4_hourly")
MODEL_HELP = (
    f"{', '.join(ARCHITECTURES)} or tiny (a small transformer), with random weights; or a run folder, local folder or Hub id. "
    "On M4 Hourly nbeats errs least by far, with --context-length 336."
)
DATA_HELP = (
    f"{', '.join(NAMED)}; a file or folder (wide or long CSV, Parquet, GluonTS JSON lines, matrix, M4's CSV pair); a Hub id; "
    f"or `sample`."
)


@dataclasses.dataclass
class DataOptions:
    """Where the series come from, and what of them is the test; shared by all verbs of the recipe."""

    data: str = option("sample", DATA_HELP, panel=DATA)
    data_file: str | None = option(None, "Local file of a named data set, where there is no network.", panel=DATA)
    format: str | None = option(
        None,
        "How to read the data, where it isn't recognised.",
        panel=DATA,
        choices=("wide", "long", "gluonts", "matrix", "m4"),
    )
    freq: str | None = option(
        None, "Frequency as pandas writes it: h, D, B, W, MS, 15min.", panel=DATA, shown_default="inferred"
    )
    start: str | None = option(None, "First time stamp, for data that have none.", panel=DATA)
    item_column: str | None = option(None, "Column with the series' name.", panel=DATA)
    timestamp_column: str | None = option(None, "Column with the time stamp.", panel=DATA)
    target_columns: list[str] = option(
        [], "Columns to forecast; several make multivariate series, or, in a wide file, the series.", panel=DATA
    )
    category_columns: list[str] = option([], "Columns with static categories.", panel=DATA)
    real_columns: list[str] = option([], "Columns with static numbers.", panel=DATA)
    covariate_columns: list[str] = option([], "Columns whose future is known beforehand.", panel=DATA)
    multivariate: bool = option(False, "The columns of a wide file are dimensions of one series.", panel=DATA)
    windows: int | None = option(
        None,
        "Test windows at the end of each series.",
        panel=DATA,
        minimum=1,
        shown_default="the data set's own, else 1",
    )
    stride: int | None = option(
        None, "Steps from one test window to the next.", panel=DATA, minimum=1, shown_default="the horizon"
    )
    max_series: int | None = option(
        None, "Take this many series, drawn by seed.", panel=DATA, minimum=1, shown_default="all"
    )
    data_revision: str | None = option(None, "Branch, tag or commit of a Hub data set.", panel=DATA)
    skip_bad: bool = option(False, "Leave out series that can't be used, and say how many.", panel=DATA)


@dataclasses.dataclass
class Train(TrainOptions, DataOptions):
    """`tool train forecast`."""

    shown_defaults: ClassVar[dict[str, str]] = {name: shown(name) for name in PUBLISHED}

    model: str = option("transformer", MODEL_HELP, panel=MODEL)
    prediction_length: int | None = option(
        None, "Steps to forecast.", panel=FORECAST, minimum=1, shown_default="the data set's own, else a season"
    )
    context_length: int | None = option(
        None, "Steps that the model looks back at.", panel=FORECAST, minimum=1, shown_default="2 x prediction length"
    )
    lags: list[str] = option(
        [], "Lagged values as inputs, in steps back.", panel=FORECAST, shown_default="gluonts' for the frequency"
    )
    distribution: str | None = option(
        None,
        "What the model predicts at each step; quantiles and point are dlinear's and nbeats'.",
        panel=FORECAST,
        choices=DISTRIBUTIONS,
    )
    scaling: str | None = option(
        None,
        "How each window is scaled; seasonal, by its seasonal differences, is dlinear's and nbeats'.",
        panel=FORECAST,
        choices=("std", "mean", "none", "seasonal"),
    )
    calendar_features: bool = option(
        True,
        "dlinear, nbeats: time of day, weekday and the like as inputs; patchtst has none, the others always.",
        panel=FORECAST,
    )
    item_embedding: bool | None = option(
        None, "An embedding for each series, where there are no static categories.", panel=FORECAST
    )
    embedding_dimension: int = option(2, "Width of each category's embedding.", panel=FORECAST, minimum=1)
    d_model: int | None = option(
        None,
        "Width of the transformer models, of nbeats' layers, and of dlinear's network of the time step.",
        panel=MODEL,
        minimum=2,
    )
    encoder_layers: int | None = option(None, "Layers of the encoder.", panel=MODEL, minimum=1)
    decoder_layers: int | None = option(None, "Layers of the decoder.", panel=MODEL, minimum=1)
    ffn_dim: int | None = option(None, "Width between a layer's two linear maps.", panel=MODEL, minimum=1)
    heads: int = option(2, "Attention heads.", panel=MODEL, minimum=1)
    dropout: float | None = option(None, "Dropout; dlinear has none.", panel=OPTIMIZATION, minimum=0, maximum=0.9)
    layerdrop: float = option(
        0.1, "How often a whole layer is left out in training.", panel=OPTIMIZATION, minimum=0, maximum=0.9
    )
    attention: str = option("prob", "Informer's attention.", panel=MODEL, choices=("prob", "full"))
    kernel_size: int = option(25, "Steps of autoformer's and dlinear's moving average; odd.", panel=MODEL, minimum=1)
    label_length: int = option(
        10, "Steps of the context that autoformer's decoder begins with.", panel=MODEL, minimum=1
    )
    anchor: str | None = option(
        None,
        "Where dlinear and nbeats begin: at the context's mean, its last value, or its last season.",
        panel=MODEL,
        choices=("mean", "last", "season"),
    )
    blocks: int | None = option(None, "nbeats: blocks.", panel=MODEL, minimum=1, shown_default="3")
    block_layers: int | None = option(None, "nbeats: layers of a block.", panel=MODEL, minimum=1, shown_default="2")
    individual: bool = option(False, "dlinear: a map of its own for each target dimension.", panel=MODEL)
    patch_length: int | None = option(
        None, "patchtst: steps of a patch.", panel=MODEL, minimum=1, shown_default="a sixth of the context, at most 16"
    )
    batches_per_epoch: int | None = option(None, "Batches that count as an epoch.", panel=OPTIMIZATION, minimum=1)
    weight_decay: float = option(
        0.1, "Decoupled weight decay; none on biases and LayerNorm.", panel=OPTIMIZATION, minimum=0
    )
    adam_beta2: float = option(0.95, "AdamW's beta 2.", panel=OPTIMIZATION, minimum=0, maximum=0.99999)
    lr_scheduler: str | None = option(  # type: ignore[assignment]
        None,
        "Schedule over optimizer steps, after the warm-up.",
        panel=OPTIMIZATION,
        choices=("linear", "cosine", "polynomial", "constant"),
    )
    warmup_ratio: float = option(
        0.0, "Share of the steps in which the learning rate rises from 0.", panel=OPTIMIZATION, minimum=0, maximum=1
    )
    mixed_precision: str = option(
        "no", "Compute in half precision.", panel=OPTIMIZATION, choices=("auto", "no", "fp16", "bf16")
    )
    validation_windows: int = option(
        1, "Windows before the test that choose the best weights; 0: the last weights stay.", panel=DATA, minimum=0
    )
    max_eval_series: int = option(
        2000, "At most so many series in the validation while training, evenly spread.", panel=DATA, minimum=1
    )
    num_parallel_samples: int = option(
        100, "Sample paths a forecast in the closing back-test.", panel=FORECAST, minimum=1
    )
    periodicity: int | None = option(
        None, "m of MASE and of the seasonal naive.", panel=FORECAST, minimum=1, shown_default="by frequency"
    )
    first_window: int = option(
        0, "Train up to this test window, to test on it and the later ones.", panel=DATA, minimum=0
    )

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        found = super().problems()
        bad = [lag for lag in self.lags if not lag.isdigit() or int(lag) < 1]
        if bad:
            found.append(f"--lags: {', '.join(bad)}: must be whole numbers from 1 on")
        if self.distribution in ("quantiles", "point") and self.model in (
            "transformer",
            "informer",
            "autoformer",
            "tiny",
        ):
            found.append(
                f"--distribution: {self.distribution} is for --model dlinear or nbeats; {self.model} predicts a distribution"
            )
        if self.distribution == "quantiles" and self.model == "patchtst":
            found.append("--distribution: patchtst has no quantiles; take point or a distribution")
        known = (*ARCHITECTURES, "tiny")
        if self.model in known and self.model not in OWN and self.anchor not in (None, "mean"):
            found.append(f"--anchor: {self.anchor} is for --model dlinear or nbeats; {self.model} begins at random")
        for flag, value in (("--blocks", self.blocks), ("--block-layers", self.block_layers)):
            if value is not None and self.model in known and self.model != "nbeats":
                found.append(f"{flag}: {self.model} has none; they are for --model nbeats")
        if self.model in BASELINES:
            found.append(f"--model: {self.model} has nothing to train; tool backtest --model {self.model}")
        return found


def with_defaults(config: Train) -> Train:
    """The config with every open option filled in for its model, so that config.yaml says all of it."""
    defaults = DEFAULTS.get(config.model, PUBLISHED)
    open_options: dict[str, Any] = {
        name: value for name, value in defaults.items() if getattr(config, name) in (None, [])
    }
    return dataclasses.replace(config, **open_options)


@dataclasses.dataclass
class UseOptions:
    """Which models are used, and how; shared by the verbs that use a trained one."""

    model: list[str] = option(
        [],
        f"Run folder, local folder, Hub id, or {', '.join(BASELINES)}; given several times: each, and their ensemble.",
        panel=MODEL,
        shown_default="the newest finished forecast run",
    )
    ensemble: str = option(
        "mean",
        "How several models' forecasts are joined: quantile by quantile, or all samples together.",
        panel=MODEL,
        choices=("mean", "pool", "none"),
    )
    revision: str | None = option(None, "Branch, tag or commit of the Hub model.", panel=HUB)
    token: str | None = option(None, "Hub token; better in HF_TOKEN.", panel=HUB, secret=True, affects_result=False)
    num_parallel_samples: int = option(100, "Sample paths a forecast.", panel=FORECAST, minimum=1)
    batch_size: int = option(128, "Windows at once.", panel=MACHINE, minimum=1)
    seed: int = option(0, "Seeds the sample paths.", panel=FORECAST, minimum=0)
    cpu: bool = option(False, "Use the CPU even where there is a GPU.", panel=MACHINE)
    threads: int | None = option(None, "CPU threads.", panel=MACHINE, minimum=1, shown_default="all cores")
    output_dir: str = option("runs", "Where run folders are looked for, and made.", panel=OUTPUT, affects_result=False)


@dataclasses.dataclass
class Score(UseOptions, DataOptions):
    """What the verbs share that forecast a past of which the truth is known."""

    data: str | None = option(None, DATA_HELP, panel=DATA, shown_default="what the run was trained on")  # type: ignore[assignment]
    data_seed: int | None = option(None, DATA_SEED, panel=DATA, minimum=0, shown_default="the run's, else 0")
    horizon: int | None = option(
        None, "Steps to forecast, at most the model's.", panel=FORECAST, minimum=1, shown_default="the model's"
    )
    periodicity: int | None = option(
        None, "m of MASE and of the seasonal naive.", panel=FORECAST, minimum=1, shown_default="by frequency"
    )


@dataclasses.dataclass
class Backtest(Score):
    """`tool backtest`."""

    refit: str = option(
        "never",
        "Train anew before every so many windows, on all that was known then: never, or a number.",
        panel=FORECAST,
    )
    save_samples: bool = option(False, "Write the sample paths too.", panel=OUTPUT)
    fresh: bool = option(
        False, "Start anew even where the same command left an unfinished one.", panel=OUTPUT, affects_result=False
    )
    price_per_hour: float | None = option(
        None, "What the machine costs an hour.", panel=OUTPUT, minimum=0, affects_result=False
    )

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        if self.refit != "never" and not (self.refit.isdigit() and int(self.refit) > 0):
            return [f"--refit: {self.refit!r} must be never or a number of windows"]
        return []


@dataclasses.dataclass
class Eval(Score):
    """`tool eval forecast`."""

    output: str | None = option(None, "Write the scores here as JSON too.", panel=OUTPUT)


@dataclasses.dataclass
class Predict(UseOptions, DataOptions):
    """`tool predict forecast`."""

    data: str | None = option(None, DATA_HELP, panel=DATA, shown_default="what the run was trained on")  # type: ignore[assignment]
    data_seed: int | None = option(None, DATA_SEED, panel=DATA, minimum=0, shown_default="the run's, else 0")
    inputs: list[str] = option([], "The data to forecast, as --data.", panel="Input")
    horizon: int | None = option(
        None, "Steps to forecast, at most the model's.", panel=FORECAST, minimum=1, shown_default="the model's"
    )
    output: str | None = option(
        None, "Write the forecasts here: .parquet, .csv or .jsonl.", panel=OUTPUT, shown_default="a table on stdout"
    )

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        if self.inputs and self.data is not None:
            return ["--data: the data were given already, before the flags"]
        if self.output and not self.output.endswith((".parquet", ".csv", ".jsonl")):
            return [f"--output: {self.output} must end in .parquet, .csv or .jsonl"]
        return []


@dataclasses.dataclass
class Data(DataOptions):
    """`tool data inspect forecast`."""

    prediction_length: int | None = option(
        None, "Steps to forecast.", panel=FORECAST, minimum=1, shown_default="the data set's own, else a season"
    )
    token: str | None = option(None, "Hub token; better in HF_TOKEN.", panel=HUB, secret=True)
    seed: int = option(0, "Seed of the sample and of --max-series.", panel=DATA, minimum=0)


@dataclasses.dataclass
class Sample:
    """`tool data sample forecast`."""

    output: str = option("forecast-sample", "Folder to write.", panel=OUTPUT)
    seed: int = option(0, "Seed of the sample.", panel=DATA, minimum=0)
