"""The options of each verb: they become flags, YAML keys and help texts. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from recipes.config import option
from recipes.options import TrainOptions


@dataclass
class Train(TrainOptions):
    """`tool train tabular`: the shared options, and this recipe's own."""

    data: str = option("sample", "CSV file of numbers with a column `label`, or `sample`.", panel="Data")
    hidden: int = option(32, "Width of the hidden layer.", panel="Model", minimum=1)
    dropout: float = option(0.1, "Dropout after the hidden layer.", panel="Model", minimum=0, maximum=0.9)
    epochs: int | None = option(5, "Passes over the training data.", panel="Optimization", minimum=1)
    batch_size: int | str | None = option(32, "Rows an optimizer step.", panel="Optimization", minimum=1)
    learning_rate: float | None = option(0.01, "Peak learning rate.", panel="Optimization", above=0)
    optimizer: str | None = option("adamw", "The optimizer.", panel="Optimization", choices=("adamw",))
    eval_batch_size: int | None = option(256, "Rows a forward pass in evaluation.", panel="Evaluation", minimum=1)


@dataclass
class Eval:
    """`tool eval tabular`."""

    model: str | None = option(None, "Run folder.", shown_default="the newest finished tabular run")
    data: str = option("sample", "CSV file of numbers with a column `label`, or `sample`.")
    output_dir: str = option("runs", "Where run folders are looked for.")


@dataclass
class Predict:
    """`tool predict tabular 0.1,-2.3`."""

    inputs: list[str] = option([], "Rows: numbers with commas between them.", commas=False)
    model: str | None = option(None, "Run folder.", shown_default="the newest finished tabular run")
    output_dir: str = option("runs", "Where run folders are looked for.")


@dataclass
class Sample:
    """`tool data sample tabular`."""

    output: str = option("tabular-sample.csv", "File to write.")
    seed: int = option(0, "Seed of the sample.", minimum=0)
