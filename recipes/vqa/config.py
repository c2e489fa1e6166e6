"""The options of each verb of the VQA recipe."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from recipes.config import filled
from recipes.options import DATA, EVALUATION, GENERATION, HUB, INPUT, MACHINE, MODEL, OPTIMIZATION, OUTPUT, TrainOptions
from tasks.errors import ConfigError

AUGMENTATIONS = ("hflip", "vflip", "shift", "randaugment", "none")
SCORES = ("official", "exact", "any", "anls", "weights")
SCORE_HELP = (
    "What a question scores: official VQA accuracy, exact (the most frequent answer), any (one of its answers), anls (DocVQA's), "
    "or the given weights."
)
MODEL_HELP = "Hub id, local folder, run folder, or `tiny` (random weights, under a million parameters)."
DATA_HELP = "Hub id, a file or folder (VQA v2 JSON, Parquet, CSV, JSON lines, easy-VQA), or `sample`."


@dataclasses.dataclass
class DataOptions:
    """Where questions and images come from; shared by all verbs of the recipe."""

    data: str = DATA.option("sample", DATA_HELP)
    image_root: str | None = DATA.option(None, "Folder that relative image paths start from.")
    max_samples: int | None = DATA.option(
        None, "Take this many training questions, drawn by seed.", minimum=1, shown_default="all"
    )
    max_eval_samples: int | None = DATA.option(
        None, "Take this many evaluation questions, drawn by seed.", minimum=1, shown_default="all"
    )
    image_column: str | None = DATA.option(None, "Column with the image, where it isn't recognised.")
    question_column: str | None = DATA.option(None, "Column with the question.")
    answer_column: str | None = DATA.option(None, "Column with the answer or answers.")
    data_revision: str | None = DATA.option(None, "Branch, tag or commit of a Hub data set.")
    skip_bad: bool = DATA.option(False, "Leave out broken rows and images, and say how many.")


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

    model: str = MODEL.option("dandelin/vilt-b32-mlm", MODEL_HELP)
    train_split: str | None = DATA.option(None, "Split to train on.", shown_default="train")
    eval_split: str | None = DATA.option(
        None, "Split to evaluate on.", shown_default="validation, val or test, else a hold-out"
    )
    eval_fraction: float = DATA.option(
        0.1, "Share of the images held out where there is no such split.", above=0, maximum=0.9
    )
    min_answer_frequency: int | None = DATA.option(
        None,
        "Answers given to fewer questions are left out of the vocabulary.",
        minimum=1,
        shown_default="9 as in ViLT, less for small sets",
    )
    max_answers: int | None = DATA.option(None, "At most so many answers, the most frequent.", minimum=2)
    label_answers: str = DATA.option(
        "heaviest",
        "Answers that can become labels: each question's most frequent or heaviest one, as in ViLT, or all.",
        choices=("heaviest", "all"),
    )
    drop_leaks: bool = DATA.option(False, "Leave out evaluation questions on pictures that the training split has too.")
    max_question_length: int = DATA.option(40, "Longer questions are cut to so many word pieces.", minimum=4)
    augment: list[str] = DATA.option(
        [],
        f"Changes to training images: {', '.join(AUGMENTATIONS)}. Flips spare questions that name a side.",
        choices=AUGMENTATIONS,
    )
    image_cache_mb: int = DATA.setting(1024, "Memory for resized images, as bytes, a process.", minimum=0)
    head_learning_rate_factor: float | None = OPTIMIZATION.option(
        None, "The classifier's learning rate over the rest's.", above=0
    )
    score: str | None = EVALUATION.option(None, SCORE_HELP, choices=SCORES, shown_default="by the data")
    metric_for_best: str = EVALUATION.option(
        "accuracy", "The evaluation figure by which the best model is kept.", choices=("accuracy", "loss")
    )
    dropout: float | None = OPTIMIZATION.option(
        None, "Dropout in the encoder.", minimum=0, maximum=0.9, shown_default="the model's"
    )
    adam_beta2: float = OPTIMIZATION.option(0.98, "AdamW's beta 2.", minimum=0, maximum=0.99999)

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        lines = super().problems()
        if "none" in self.augment and len(self.augment) > 1:
            lines.append("--augment: none excludes the others")
        return lines


def with_defaults(config: Train) -> Train:
    """The config with every open option filled in for its model, so that config.yaml says all of it."""
    return filled(config, TINY if config.model == "tiny" else FINE_TUNING)


@dataclasses.dataclass
class UseOptions:
    """Which model is used, and how; shared by the verbs that use a trained or generative one."""

    model: str | None = MODEL.option(None, MODEL_HELP, shown_default="the newest finished vqa run")
    revision: str | None = HUB.option(None, "Branch, tag or commit of the Hub model.")
    token: str | None = HUB.option(None, "Hub token; better in HF_TOKEN.", secret=True)
    batch_size: int = MACHINE.option(64, "Questions a forward pass.", minimum=1)
    cpu: bool = MACHINE.option(False, "Use the CPU even where there is a GPU.")
    threads: int | None = MACHINE.option(None, "CPU threads.", minimum=1, shown_default="all cores")
    num_beams: int = GENERATION.option(5, "Beams, for a generative model.", minimum=1)
    max_new_tokens: int = GENERATION.option(10, "Longest answer, for a generative model.", minimum=1)
    prompt: str | None = GENERATION.option(
        None, "Prompt with {question} in it, for a generative model.", shown_default="by model family"
    )
    output_dir: str = OUTPUT.option("runs", "Where run folders are looked for.")

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        if self.prompt is not None and "{question}" not in self.prompt:
            return ["--prompt: must hold {question}"]
        return []


@dataclasses.dataclass
class Eval(UseOptions, DataOptions):
    """`tool eval vqa`."""

    data: str | None = DATA.option(None, DATA_HELP, shown_default="what the run was trained on")  # type: ignore[assignment]
    eval_split: str | None = DATA.option(None, "Split to evaluate on.", shown_default="as in training")
    drop_leaks: bool = DATA.option(False, "Leave out questions on pictures that the model was trained on.")
    score: str | None = EVALUATION.option(
        None, SCORE_HELP, choices=SCORES, shown_default="as in training, else by the data"
    )
    mixed_precision: str = MACHINE.option("no", "Compute in half precision.", choices=("no", "fp16", "bf16"))
    output: str | None = OUTPUT.option(None, "Write the predictions here in the official result format.")


@dataclasses.dataclass
class Predict(UseOptions):
    """`tool predict vqa IMAGE QUESTION...`."""

    inputs: list[str] = INPUT.option(
        [], "An image, a folder of images or a JSON lines file with image and question; then the questions."
    )
    top_k: int = OUTPUT.option(5, "Answers to give for each question, at most as many as there are.", minimum=1)
    output: str | None = OUTPUT.option(None, "Write JSON lines here instead of stdout.")
    skip_bad: bool = INPUT.option(False, "Leave out broken images, and say how many.")


@dataclasses.dataclass
class Data(DataOptions):
    """`tool data inspect vqa`."""

    model: str = MODEL.option("tiny", "Whose tokenizer counts the questions that a model would cut.")
    train_split: str | None = DATA.option(None, "Split to look at as training data.")
    eval_split: str | None = DATA.option(None, "Split to look at as evaluation data.")
    token: str | None = HUB.option(None, "Hub token; better in HF_TOKEN.", secret=True)
    seed: int = DATA.option(0, "Seed of the sample.", minimum=0)


@dataclasses.dataclass
class Sample:
    """`tool data sample vqa`."""

    output: str = OUTPUT.option("vqa-sample", "Folder to write.")
    seed: int = DATA.option(0, "Seed of the sample.", minimum=0)


def require_inputs(config: Predict) -> None:
    """At least an input must be given.

    Raises:
        ConfigError: with an example.
    """
    if not config.inputs:
        raise ConfigError('give an image and a question: tool predict vqa photo.jpg "What colour is it?"')
