"""The options of each verb of the forecasting recipe."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from recipes.config import Panel, filled
from recipes.forecast.defaults import DEFAULTS, PUBLISHED, shown
from recipes.options import DATA, HUB, INPUT, MACHINE, MODEL, OPTIMIZATION, OUTPUT, TrainOptions

FORECAST = Panel("Forecast")
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

    data: str = DATA.option("sample", DATA_HELP)
    data_file: str | None = DATA.option(None, "Local file of a named data set, where there is no network.")
    format: str | None = DATA.option(
        None, "How to read the data, where it isn't recognised.", choices=("wide", "long", "gluonts", "matrix", "m4")
    )
    freq: str | None = DATA.option(
        None, "Frequency as pandas writes it: h, D, B, W, MS, 15min.", shown_default="inferred"
    )
    start: str | None = DATA.option(None, "First time stamp, for data that have none.")
    time_zone: str | None = DATA.option(
        None,
        "Time zone of the data and of forecasts, as Europe/Berlin; stamps with another are turned into it.",
        shown_default="the data's own",
    )
    item_column: str | None = DATA.option(None, "Column with the series' name.")
    timestamp_column: str | None = DATA.option(None, "Column with the time stamp.")
    target_columns: list[str] = DATA.option(
        [], "Columns to forecast; several make multivariate series, or, in a wide file, the series."
    )
    category_columns: list[str] = DATA.option([], "Columns with static categories.")
    real_columns: list[str] = DATA.option([], "Columns with static numbers.")
    covariate_columns: list[str] = DATA.option([], "Columns whose future is known beforehand.")
    multivariate: bool = DATA.option(False, "The columns of a wide file are dimensions of one series.")
    windows: int | None = DATA.option(
        None, "Test windows at the end of each series.", minimum=1, shown_default="the data set's own, else 1"
    )
    stride: int | None = DATA.option(
        None, "Steps from one test window to the next.", minimum=1, shown_default="the horizon"
    )
    max_series: int | None = DATA.option(None, "Take this many series, drawn by seed.", minimum=1, shown_default="all")
    data_revision: str | None = DATA.option(None, "Branch, tag or commit of a Hub data set.")
    skip_bad: bool = DATA.option(False, "Leave out series that can't be used, and say how many.")
    drop_leaks: bool = DATA.option(False, "Leave out test windows whose values are in the training data too.")


@dataclasses.dataclass
class Train(TrainOptions, DataOptions):
    """`tool train forecast`."""

    shown_defaults: ClassVar[dict[str, str]] = {name: shown(name) for name in PUBLISHED}

    model: str = MODEL.option("transformer", MODEL_HELP)
    prediction_length: int | None = FORECAST.option(
        None, "Steps to forecast.", minimum=1, shown_default="the data set's own, else a season"
    )
    context_length: int | None = FORECAST.option(
        None, "Steps that the model looks back at.", minimum=1, shown_default="2 x prediction length"
    )
    lags: list[str] = FORECAST.option(
        [], "Lagged values as inputs, in steps back.", shown_default="gluonts' for the frequency"
    )
    distribution: str | None = FORECAST.option(
        None,
        "What the model predicts at each step; quantiles and point are dlinear's and nbeats'.",
        choices=DISTRIBUTIONS,
    )
    scaling: str | None = FORECAST.option(
        None,
        "How each window is scaled; seasonal, by its seasonal differences, is dlinear's and nbeats'.",
        choices=("std", "mean", "none", "seasonal"),
    )
    calendar_features: bool = FORECAST.option(
        True, "dlinear, nbeats: time of day, weekday and the like as inputs; patchtst has none, the others always."
    )
    item_embedding: bool | None = FORECAST.option(
        None, "An embedding for each series, where there are no static categories."
    )
    embedding_dimension: int = FORECAST.option(2, "Width of each category's embedding.", minimum=1)
    d_model: int | None = MODEL.option(
        None,
        "Width of the transformer models, of nbeats' layers, and of dlinear's network of the time step.",
        minimum=2,
    )
    encoder_layers: int | None = MODEL.option(None, "Layers of the encoder.", minimum=1)
    decoder_layers: int | None = MODEL.option(None, "Layers of the decoder.", minimum=1)
    ffn_dim: int | None = MODEL.option(None, "Width between a layer's two linear maps.", minimum=1)
    heads: int = MODEL.option(2, "Attention heads.", minimum=1)
    dropout: float | None = OPTIMIZATION.option(None, "Dropout; dlinear has none.", minimum=0, maximum=0.9)
    layerdrop: float = OPTIMIZATION.option(
        0.1, "How often a whole layer is left out in training.", minimum=0, maximum=0.9
    )
    attention: str = MODEL.option("prob", "Informer's attention.", choices=("prob", "full"))
    kernel_size: int = MODEL.option(25, "Steps of autoformer's and dlinear's moving average; odd.", minimum=1)
    label_length: int = MODEL.option(10, "Steps of the context that autoformer's decoder begins with.", minimum=1)
    anchor: str | None = MODEL.option(
        None,
        "Where dlinear and nbeats begin: at the context's mean, its last value, or its last season.",
        choices=("mean", "last", "season"),
    )
    blocks: int | None = MODEL.option(None, "nbeats: blocks.", minimum=1, shown_default="3")
    block_layers: int | None = MODEL.option(None, "nbeats: layers of a block.", minimum=1, shown_default="2")
    individual: bool = MODEL.option(False, "dlinear: a map of its own for each target dimension.")
    patch_length: int | None = MODEL.option(
        None, "patchtst: steps of a patch.", minimum=1, shown_default="a sixth of the context, at most 16"
    )
    batches_per_epoch: int | None = OPTIMIZATION.option(None, "Batches that count as an epoch.", minimum=1)
    weight_decay: float = OPTIMIZATION.option(0.1, "Decoupled weight decay; none on biases and LayerNorm.", minimum=0)
    adam_beta2: float = OPTIMIZATION.option(0.95, "AdamW's beta 2.", minimum=0, maximum=0.99999)
    lr_scheduler: str | None = OPTIMIZATION.option(  # type: ignore[assignment]
        None,
        "Schedule over optimizer steps, after the warm-up.",
        choices=("linear", "cosine", "polynomial", "constant"),
    )
    warmup_ratio: float = OPTIMIZATION.option(
        0.0, "Share of the steps in which the learning rate rises from 0.", minimum=0, maximum=1
    )
    mixed_precision: str = OPTIMIZATION.option(
        "no", "Compute in half precision.", choices=("auto", "no", "fp16", "bf16")
    )
    validation_windows: int = DATA.option(
        1, "Windows before the test that choose the best weights; 0: the last weights stay.", minimum=0
    )
    max_eval_series: int = DATA.option(
        2000, "At most so many series in the validation while training, evenly spread.", minimum=1
    )
    num_parallel_samples: int = FORECAST.option(100, "Sample paths a forecast in the closing back-test.", minimum=1)
    periodicity: int | None = FORECAST.option(
        None, "m of MASE and of the seasonal naive.", minimum=1, shown_default="by frequency"
    )
    first_window: int = DATA.option(0, "Train up to this test window, to test on it and the later ones.", minimum=0)

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        found = super().problems()
        bad = [lag for lag in self.lags if not lag.isdigit() or int(lag) < 1]
        if bad:
            found.append(f"--lags: {', '.join(bad)}: must be whole numbers from 1 on")
        if self.distribution in ("quantiles", "point") and self.model in (*ARCHITECTURES[:3], "tiny"):
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
    return filled(config, DEFAULTS.get(config.model, PUBLISHED))


@dataclasses.dataclass
class UseOptions:
    """Which models are used, and how; shared by the verbs that use a trained one."""

    model: list[str] = MODEL.option(
        [],
        f"Run folder, local folder, Hub id, or {', '.join(BASELINES)}; given several times: each, and their ensemble.",
        shown_default="the newest finished forecast run",
    )
    ensemble: str = MODEL.option(
        "mean",
        "How several models' forecasts are joined: quantile by quantile, or all samples together.",
        choices=("mean", "pool", "none"),
    )
    revision: str | None = HUB.option(None, "Branch, tag or commit of the Hub model.")
    token: str | None = HUB.setting(None, "Hub token; better in HF_TOKEN.", secret=True)
    num_parallel_samples: int = FORECAST.option(100, "Sample paths a forecast.", minimum=1)
    batch_size: int = MACHINE.option(128, "Windows at once.", minimum=1)
    seed: int = FORECAST.option(0, "Seeds the sample paths.", minimum=0)
    cpu: bool = MACHINE.option(False, "Use the CPU even where there is a GPU.")
    threads: int | None = MACHINE.option(None, "CPU threads.", minimum=1, shown_default="all cores")
    output_dir: str = OUTPUT.setting("runs", "Where run folders are looked for, and made.")


@dataclasses.dataclass
class SeriesOptions(UseOptions, DataOptions):
    """What the verbs share that use a trained model on series."""

    data: str | None = DATA.option(None, DATA_HELP, shown_default="what the run was trained on")  # type: ignore[assignment]
    data_seed: int | None = DATA.option(None, DATA_SEED, minimum=0, shown_default="the run's, else 0")
    horizon: int | None = FORECAST.option(
        None, "Steps to forecast, at most the model's.", minimum=1, shown_default="the model's"
    )


@dataclasses.dataclass
class Score(SeriesOptions):
    """What the verbs share that forecast a past of which the truth is known."""

    periodicity: int | None = FORECAST.option(
        None, "m of MASE and of the seasonal naive.", minimum=1, shown_default="by frequency"
    )
    include_seen: bool = DATA.option(
        False, "Score windows that a model was trained on or chosen by too, apart and marked."
    )


@dataclasses.dataclass
class Backtest(Score):
    """`tool backtest`."""

    refit: str = FORECAST.option(
        "never", "Train anew before every so many windows, on all that was known then: never, or a number."
    )
    save_samples: bool = OUTPUT.option(False, "Write the sample paths too.")
    fresh: bool = OUTPUT.setting(False, "Start anew even where the same command left an unfinished one.")
    price_per_hour: float | None = OUTPUT.setting(None, "What the machine costs an hour.", minimum=0)

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        if self.refit != "never" and not (self.refit.isdigit() and int(self.refit) > 0):
            return [f"--refit: {self.refit!r} must be never or a number of windows"]
        return []


@dataclasses.dataclass
class Eval(Score):
    """`tool eval forecast`."""

    output: str | None = OUTPUT.option(None, "Write the scores here as JSON too.")


@dataclasses.dataclass
class Predict(SeriesOptions):
    """`tool predict forecast`."""

    inputs: list[str] = INPUT.option([], "The data to forecast, as --data.")
    output: str | None = OUTPUT.option(
        None, "Write the forecasts here: .parquet, .csv or .jsonl.", shown_default="a table on stdout"
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

    prediction_length: int | None = FORECAST.option(
        None, "Steps to forecast.", minimum=1, shown_default="the data set's own, else a season"
    )
    token: str | None = HUB.option(None, "Hub token; better in HF_TOKEN.", secret=True)
    seed: int = DATA.option(0, "Seed of the sample and of --max-series.", minimum=0)


@dataclasses.dataclass
class Sample:
    """`tool data sample forecast`."""

    output: str = OUTPUT.option("forecast-sample", "Folder to write.")
    seed: int = DATA.option(0, "Seed of the sample.", minimum=0)
