"""The options of each verb of the VQA recipe."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from recipes.config import option
from recipes.options import EVALUATION, HUB, MACHINE, MODEL, OPTIMIZATION, OUTPUT, TrainOptions
from tasks.errors import ConfigError

DATA = "Data"
AUGMENTATIONS = ("hflip", "vflip", "shift", "randaugment", "none")
MODEL_HELP = "Hub id, local folder, run folder, or `tiny` (random weights, under a million parameters)."
DATA_HELP = "Hub id, a file or folder (VQA v2 JSON, Parquet, CSV, JSON lines, easy-VQA), or `sample`."


@dataclasses.dataclass
class DataOptions:
    """Where questions and images come from; shared by all verbs of the recipe."""

    data: str = option("sample", DATA_HELP, panel=DATA)
    image_root: str | None = option(None, "Folder that relative image paths start from.", panel=DATA)
    max_samples: int | None = option(
        None, "Take this many training questions, drawn by seed.", panel=DATA, minimum=1, shown_default="all"
    )
    max_eval_samples: int | None = option(
        None, "Take this many evaluation questions, drawn by seed.", panel=DATA, minimum=1, shown_default="all"
    )
    image_column: str | None = option(None, "Column with the image, where it isn't recognised.", panel=DATA)
    question_column: str | None = option(None, "Column with the question.", panel=DATA)
    answer_column: str | None = option(None, "Column with the answer or answers.", panel=DATA)
    data_revision: str | None = option(None, "Branch, tag or commit of a Hub data set.", panel=DATA)
    skip_bad: bool = option(False, "Leave out broken rows and images, and say how many.", panel=DATA)


# What an option left out becomes, by whether the model starts from nothing.
FINE_TUNING: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 256,
    "learning_rate": 1e-4,
    "eval_batch_size": 64,
    "augment": ["none"],
    "optimizer": "adamw",
    "head_learning_rate_factor": 10.0,
}
TINY: dict[str, Any] = {
    "epochs": 6,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "eval_batch_size": 256,
    "augment": ["hflip", "shift"],
    "optimizer": "muon",
    "head_learning_rate_factor": 1.0,
}


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


@dataclasses.dataclass
class Train(TrainOptions, DataOptions):
    """`tool train vqa`."""

    shown_defaults: ClassVar[dict[str, str]] = {
        name: f"{_shown(value)}; tiny: {_shown(TINY[name])}" for name, value in FINE_TUNING.items()
    }

    model: str = option("dandelin/vilt-b32-mlm", MODEL_HELP, panel=MODEL)
    train_split: str | None = option(None, "Split to train on.", panel=DATA, shown_default="train")
    eval_split: str | None = option(
        None, "Split to evaluate on.", panel=DATA, shown_default="validation, val or test, else a hold-out"
    )
    eval_fraction: float = option(
        0.1, "Share of the images held out where there is no such split.", panel=DATA, above=0, maximum=0.9
    )
    min_answer_frequency: int | None = option(
        None,
        "Answers given to fewer questions are left out of the vocabulary.",
        panel=DATA,
        minimum=1,
        shown_default="9 as in ViLT, less for small sets",
    )
    max_answers: int | None = option(None, "At most so many answers, the most frequent.", panel=DATA, minimum=2)
    max_question_length: int = option(40, "Longer questions are cut to so many word pieces.", panel=DATA, minimum=4)
    augment: list[str] = option(
        [],
        f"Changes to training images: {', '.join(AUGMENTATIONS)}. Flips spare questions that name a side.",
        panel=DATA,
        choices=AUGMENTATIONS,
    )
    image_cache_mb: int = option(
        1024, "Memory for resized images, as bytes, a process.", panel=DATA, minimum=0, affects_result=False
    )
    head_learning_rate_factor: float | None = option(
        None,
        "The classifier's learning rate over the rest's.",
        panel=OPTIMIZATION,
        above=0,
    )
    metric_for_best: str = option(
        "accuracy",
        "The evaluation figure by which the best model is kept.",
        panel=EVALUATION,
        choices=("accuracy", "loss"),
    )
    dropout: float | None = option(
        None, "Dropout in the encoder.", panel=OPTIMIZATION, minimum=0, maximum=0.9, shown_default="the model's"
    )
    adam_beta2: float = option(0.98, "AdamW's beta 2.", panel=OPTIMIZATION, minimum=0, maximum=0.99999)

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        found = super().problems()
        if "none" in self.augment and len(self.augment) > 1:
            found.append("--augment: none excludes the others")
        return found


def with_defaults(config: Train) -> Train:
    """The config with every open option filled in for its model, so that config.yaml says all of it."""
    defaults = TINY if config.model == "tiny" else FINE_TUNING
    open_options: dict[str, Any] = {
        name: value for name, value in defaults.items() if getattr(config, name) in (None, [])
    }
    return dataclasses.replace(config, **open_options)


@dataclasses.dataclass
class UseOptions:
    """Which model is used, and how; shared by the verbs that use a trained or generative one."""

    model: str | None = option(None, MODEL_HELP, panel=MODEL, shown_default="the newest finished vqa run")
    revision: str | None = option(None, "Branch, tag or commit of the Hub model.", panel=HUB)
    token: str | None = option(None, "Hub token; better in HF_TOKEN.", panel=HUB, secret=True)
    batch_size: int = option(64, "Questions a forward pass.", panel=MACHINE, minimum=1)
    cpu: bool = option(False, "Use the CPU even where there is a GPU.", panel=MACHINE)
    threads: int | None = option(None, "CPU threads.", panel=MACHINE, minimum=1, shown_default="all cores")
    num_beams: int = option(5, "Beams, for a generative model.", panel="Generation", minimum=1)
    max_new_tokens: int = option(10, "Longest answer, for a generative model.", panel="Generation", minimum=1)
    prompt: str | None = option(
        None,
        "Prompt with {question} in it, for a generative model.",
        panel="Generation",
        shown_default="by model family",
    )
    output_dir: str = option("runs", "Where run folders are looked for.", panel=OUTPUT)

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        if self.prompt is not None and "{question}" not in self.prompt:
            return ["--prompt: must hold {question}"]
        return []


@dataclasses.dataclass
class Eval(UseOptions, DataOptions):
    """`tool eval vqa`."""

    data: str | None = option(None, DATA_HELP, panel=DATA, shown_default="what the run was trained on")  # type: ignore[assignment]
    eval_split: str | None = option(None, "Split to evaluate on.", panel=DATA, shown_default="as in training")
    mixed_precision: str = option("no", "Compute in half precision.", panel=MACHINE, choices=("no", "fp16", "bf16"))
    output: str | None = option(None, "Write the predictions here in the official result format.", panel=OUTPUT)


@dataclasses.dataclass
class Predict(UseOptions):
    """`tool predict vqa IMAGE QUESTION...`."""

    inputs: list[str] = option(
        [],
        "An image, a folder of images or a JSON lines file with image and question; then the questions.",
        panel="Input",
    )
    top_k: int = option(5, "Answers to give for each question, at most as many as there are.", panel=OUTPUT, minimum=1)
    output: str | None = option(None, "Write JSON lines here instead of stdout.", panel=OUTPUT)
    skip_bad: bool = option(False, "Leave out broken images, and say how many.", panel="Input")


@dataclasses.dataclass
class Data(DataOptions):
    """`tool data inspect vqa`."""

    train_split: str | None = option(None, "Split to look at as training data.", panel=DATA)
    eval_split: str | None = option(None, "Split to look at as evaluation data.", panel=DATA)
    token: str | None = option(None, "Hub token; better in HF_TOKEN.", panel=HUB, secret=True)
    seed: int = option(0, "Seed of the sample.", panel=DATA, minimum=0)


@dataclasses.dataclass
class Sample:
    """`tool data sample vqa`."""

    output: str = option("vqa-sample", "Folder to write.", panel=OUTPUT)
    seed: int = option(0, "Seed of the sample.", panel=DATA, minimum=0)


def require_inputs(config: Predict) -> None:
    """At least an input must be given.

    Raises:
        ConfigError: with an example.
    """
    if not config.inputs:
        raise ConfigError('give an image and a question: tool predict vqa photo.jpg "What colour is it?"')
