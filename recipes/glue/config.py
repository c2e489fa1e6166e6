"""The options of each verb of the text classification recipe."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from recipes.config import filled
from recipes.options import DATA, EVALUATION, HUB, INPUT, MACHINE, MODEL, OPTIMIZATION, OUTPUT, TrainOptions
from tasks.errors import ConfigError

TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax")
METRICS = (
    "accuracy", "f1", "macro_f1", "matthews_correlation", "pearson", "spearman",
    "micro_f1", "exact_match", "micro_average_precision", "macro_average_precision",
)  # fmt: skip
HUB_GLUE = "nyu-mll/glue"
MODEL_HELP = "Hub id, local folder, run folder, or `tiny` (random weights, under two million parameters)."
USE_HELP = "Run folder, model folder (PyTorch or ONNX) or Hub id."
DATA_HELP = "GLUE's tsv folder, a CSV, JSON lines or Parquet file or folder, a GLUE task's name, a Hub id, or `sample`."
SEVERAL_HELP, SEVERAL_DEFAULT = "A text may have several labels, or none.", "where the labels are lists"
MAX_LENGTH = 128


@dataclasses.dataclass
class ColumnOptions:
    """Which columns hold what; shared by all verbs that read files."""

    text_column: str | None = DATA.option(None, "Column with the text, or the first of a pair.")
    text_pair_column: str | None = DATA.option(None, "Column with the second text of a pair.")


@dataclasses.dataclass
class DataOptions(ColumnOptions):
    """Where labelled texts come from; shared by training, evaluation and inspection."""

    data: str | None = DATA.option(None, DATA_HELP, shown_default="sample, or with --task the Hub's GLUE")
    task: str | None = DATA.option(
        None,
        "Which GLUE task the data are: its columns, labels and official metrics.",
        choices=TASKS,
        shown_default="recognised",
    )
    label_column: str | None = DATA.option(None, "Column with the label: a class, or a number.")
    label_separator: str | None = DATA.option(
        None, "A text may have several labels, with this between them (';' or '|', say)."
    )
    label_columns: list[str] = DATA.option(
        [], "A text may have several labels, each a column of 0 and 1: their names, or patterns ('is_*')."
    )
    labels: list[str] = DATA.option([], "The classes in the order of their numbers.")
    regression: bool | None = DATA.option(
        None, "The label is a number to predict, not a class.", shown_default="by the labels"
    )
    max_samples: int | None = DATA.option(
        None, "Take this many training texts, drawn by seed.", minimum=1, shown_default="all"
    )
    max_eval_samples: int | None = DATA.option(
        None, "Take this many evaluation texts, drawn by seed.", minimum=1, shown_default="all"
    )
    data_revision: str | None = DATA.option(None, "Branch, tag or commit of a Hub data set.")
    skip_bad: bool = DATA.option(False, "Leave out broken rows, and say how many.")
    drop_leaks: bool = DATA.option(False, "Leave out evaluation texts that are in the training data too.")

    def source(self) -> str:
        """The data asked for, or what takes their place."""
        return self.data or (HUB_GLUE if self.task else "sample")

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        flags = {"--label-separator": self.label_separator, "--label-columns": self.label_columns}
        several = [flag for flag, value in flags.items() if value]
        lines = ["--labels: a regression has none"] if self.regression and self.labels else []
        if self.regression and several:
            lines.append(f"{several[0]}: a regression has no labels")
        if self.label_columns and (self.label_column or self.label_separator):
            other = "--label-column" if self.label_column else "--label-separator"
            lines.append(f"--label-columns: each holds 0 and 1; leave {other} out")
        if several and getattr(self, "multi_label", None) is False:
            lines.append(f"{several[0]}: is for several labels a text; leave --no-multi-label out")
        if self.regression and getattr(self, "multi_label", None):
            lines.append("--multi-label: a regression has no labels")
        return lines


@dataclasses.dataclass
class TrainedDataOptions(DataOptions):
    """The same for what is done with a trained model, whose run knows its data."""

    data: str | None = DATA.option(None, DATA_HELP, shown_default="what the run was trained on")


# BERT's own fine-tuning settings (Devlin et al. 2019), and those of a small model that starts from nothing.
FINE_TUNING: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 2e-5,
    "eval_batch_size": 64,
    "optimizer": "adamw",
    "dropout": None,
}
TINY: dict[str, Any] = {
    "epochs": 5,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "eval_batch_size": 256,
    "optimizer": "adamw",
    "dropout": 0.1,
}


@dataclasses.dataclass
class Train(TrainOptions, DataOptions):
    """`tool train glue`."""

    shown_defaults: ClassVar[dict[str, str]] = {
        name: f"{'the model' if value is None else value}; tiny: {TINY[name]}" for name, value in FINE_TUNING.items()
    }

    model: str = MODEL.option("google-bert/bert-base-uncased", MODEL_HELP)
    train_split: str | None = DATA.option(None, "Split to train on.", shown_default="train")
    eval_split: str | None = DATA.option(
        None, "Split to evaluate on.", shown_default="validation, dev or test, else a hold-out"
    )
    eval_fraction: float = DATA.option(
        0.1, "Share of the rows held out where there is no such split.", above=0, maximum=0.9
    )
    multi_label: bool | None = DATA.option(None, SEVERAL_HELP, shown_default=SEVERAL_DEFAULT)
    threshold_fraction: float = DATA.option(
        0.1,
        "Of several labels: share of the training texts that is held out to choose each label's threshold; 0: all are 0.5.",
        minimum=0,
        maximum=0.5,
    )
    max_length: int = DATA.option(MAX_LENGTH, "Longer texts are cut to so many tokens.", minimum=4, maximum=100_000)
    metric_for_best: str | None = EVALUATION.option(
        None,
        "The evaluation figure by which the best model is kept.",
        choices=(*METRICS, "loss"),
        shown_default="the task's first",
    )
    dropout: float | None = OPTIMIZATION.option(None, "Dropout in the encoder.", minimum=0, maximum=0.9)
    layer_decay: float = OPTIMIZATION.option(
        1.0,
        "Each layer learns at this share of the rate of the one above it, down to the embeddings (0.9, say).",
        above=0,
        maximum=1,
    )
    r_drop: float = OPTIMIZATION.option(
        0.0,
        "Each text is read under two draws of dropout, whose answers are drawn together with this weight (1, say); twice the time.",
        minimum=0,
    )

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        lines = [*TrainOptions.problems(self), *DataOptions.problems(self)]
        if self.r_drop and self.dropout == 0:
            lines.append("--r-drop: compares two draws of dropout; --dropout 0 leaves nothing to compare")
        return lines


def with_defaults(config: Train) -> Train:
    """The config with every open option filled in for its model, so that config.yaml says all of it."""
    config = dataclasses.replace(config, data=config.source())
    return filled(config, TINY if config.model == "tiny" else FINE_TUNING)


@dataclasses.dataclass
class UseOptions:
    """Which model is used, and how; shared by the verbs that use a trained one."""

    model: str | None = MODEL.option(None, USE_HELP, shown_default="the newest finished glue run")
    revision: str | None = HUB.option(None, "Branch, tag or commit of the Hub model.")
    token: str | None = HUB.option(None, "Hub token; better in HF_TOKEN.", secret=True)
    batch_size: int = MACHINE.option(32, "Texts a forward pass.", minimum=1)
    max_length: int | None = DATA.option(
        None,
        "Longer texts are cut to so many tokens.",
        minimum=4,
        shown_default="as in training, else the model's limit",
    )
    threshold: float | None = DATA.option(
        None,
        "Of several labels: the probability from which on a text has each.",
        minimum=0,
        maximum=1,
        shown_default="the model's own, else 0.5",
    )
    cpu: bool = MACHINE.option(False, "Use the CPU even where there is a GPU.")
    threads: int | None = MACHINE.option(None, "CPU threads.", minimum=1, shown_default="all cores")
    output_dir: str = OUTPUT.option("runs", "Where run folders are looked for.")


@dataclasses.dataclass
class Eval(UseOptions, TrainedDataOptions):
    """`tool eval glue`."""

    eval_split: str | None = DATA.option(None, "Split to evaluate on.", shown_default="as in training")
    eval_batch_size: int | None = EVALUATION.option(
        None,
        "Texts a batch, where answers are scored.",
        minimum=1,
        shown_default="1 for int8 with dynamic ranges, whose answers hang on the batch; else --batch-size",
    )
    mixed_precision: str = MACHINE.option("no", "Compute in half precision.", choices=("no", "fp16", "bf16"))
    output: str | None = OUTPUT.option(None, "Write the answers here: .jsonl, .csv or .tsv.")


@dataclasses.dataclass
class Predict(UseOptions, ColumnOptions):
    """`tool predict glue TEXT...`."""

    inputs: list[str] = INPUT.option(
        [], "Texts, or files with a column of texts (CSV, JSON lines, Parquet, GLUE's test.tsv)."
    )
    pairs: bool = INPUT.option(False, "The texts are pairs: a first, its second, a first, its second.")
    task: str | None = INPUT.option(None, "Which GLUE task a file is of.", choices=TASKS)
    top_k: int | None = OUTPUT.option(
        None,
        "Labels to give for each text, best first.",
        minimum=1,
        shown_default="1; of several labels those above their thresholds",
    )
    output: str | None = OUTPUT.option(
        None, "Write here instead of stdout: .jsonl, .csv, or .tsv as GLUE's server takes it."
    )
    skip_bad: bool = INPUT.option(False, "Leave out broken rows, and say how many.")


@dataclasses.dataclass
class Data(DataOptions):
    """`tool data inspect glue`."""

    train_split: str | None = DATA.option(None, "Split to look at as training data.")
    eval_split: str | None = DATA.option(None, "Split to look at as evaluation data.")
    multi_label: bool | None = DATA.option(None, SEVERAL_HELP, shown_default=SEVERAL_DEFAULT)
    model: str | None = MODEL.option(None, "Model whose tokenizer counts what is cut.")
    revision: str | None = HUB.option(None, "Branch, tag or commit of the Hub model.")
    max_length: int = DATA.option(MAX_LENGTH, "Longer texts are cut to so many tokens.", minimum=4, maximum=100_000)
    token: str | None = HUB.option(None, "Hub token; better in HF_TOKEN.", secret=True)
    seed: int = DATA.option(0, "Seed of the sample.", minimum=0)


@dataclasses.dataclass
class Sample:
    """`tool data sample glue`."""

    output: str = OUTPUT.option("glue-sample", "Folder to write.")
    seed: int = DATA.option(0, "Seed of the sample.", minimum=0)


def require_inputs(config: Predict) -> None:
    """At least an input must be given, and pairs must be whole.

    Raises:
        ConfigError: with an example.
    """
    if not config.inputs:
        raise ConfigError('give a text or a file: tool predict glue "a gripping film"')
    if config.pairs and len(config.inputs) % 2:
        raise ConfigError(f"--pairs: {len(config.inputs)} texts are not pairs; give a second text for each first")
