"""The options of the verbs of the ControlNet recipe that work on a model."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from recipes.config import Panel, filled
from recipes.options import (
    AUTO,
    DATA,
    EVALUATION,
    GENERATION,
    HUB,
    INPUT,
    MACHINE,
    MODEL,
    OPTIMIZATION,
    OUTPUT,
    SCHEDULES,
    TrainOptions,
)

CACHE = Panel("Caches")
MODEL_HELP = "Stable Diffusion 1.x or 2.x in diffusers' form: Hub id, local folder, or `tiny` (made here in a minute)."
DATA_HELP = "Hub id, a folder (metadata.jsonl, parallel folders, fill50k's prompt.json), a file (JSON lines, CSV, Parquet) or `sample`."
RANGE_HELP = (
    "Values of conditions of more than 8 bits (16-bit PNG, float TIFF, NPY) that become black and white, as LOW,HIGH; auto: the "
    "data's least and greatest; file: each file's own."
)
LONG_CAPTIONS = ("cut", "chunk")
LONG_HELP = "Captions beyond the text encoder's tokens (77 of CLIP): cut; or chunk: encoded in pieces whose hidden states are joined."
AGREEMENTS = ("auto", "canny", "palette", "circles", "none")
SCHEDULERS = ("unipc", "ddim", "euler", "euler-ancestral", "dpm++", "pndm")
PRESETS = ("8gb", "12gb", "16gb", "24gb", "40gb")


@dataclasses.dataclass
class DataOptions:
    """Where pairs come from; shared by all verbs of the recipe."""

    data: str = DATA.option("sample", DATA_HELP)
    conditioning_dir: str | None = DATA.option(None, "Folder with the conditions, named as the images of --data.")
    image_root: str | None = DATA.option(None, "Folder that relative image paths start from.")
    image_column: str | None = DATA.option(None, "Column with the picture, where it isn't recognised.")
    conditioning_image_column: str | None = DATA.option(None, "Column with the condition.")
    caption_column: str | None = DATA.option(None, "Column with the caption or captions; none: train without.")
    max_samples: int | None = DATA.option(
        None, "Take this many training pairs, drawn by seed.", minimum=1, shown_default="all"
    )
    max_eval_samples: int | None = DATA.option(
        None, "Take this many evaluation pairs, drawn by seed.", minimum=2, shown_default="200"
    )
    data_revision: str | None = DATA.option(None, "Branch, tag or commit of a Hub data set.")
    skip_bad: bool = DATA.option(False, "Leave out broken pairs, and say how many.")
    skip_blank: bool = DATA.option(False, "Leave out pairs whose condition is blank or nearly so, and say how many.")
    drop_leaks: bool = DATA.option(
        False, "Leave out evaluation pairs whose picture or condition was trained on, and say how many."
    )
    condition_range: str = DATA.option("auto", RANGE_HELP)


# What an option left out becomes, by whether the model is the tiny one.
FULL: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 4,
    "learning_rate": 1e-5,
    "eval_batch_size": 4,
    "eval_steps": 500,
    "resolution": 512,
    "optimizer": "adamw",
    "max_eval_samples": 200,
    "num_validation_images": 4,
}
TINY: dict[str, Any] = {
    **FULL,
    "epochs": 4,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "eval_batch_size": 64,
    "eval_steps": None,
    "resolution": 64,
    "num_validation_images": 2,
}


def uneven(resolution: int | None) -> list[str]:
    """What is wrong with a resolution that the base's VAE and UNet can't halve as often as they do."""
    if resolution is None or resolution % 8 == 0:
        return []
    below = resolution // 8 * 8
    return [f"--resolution: {resolution} is not a multiple of 8; take {below} or {below + 8}"]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "after each epoch" if value is None else str(value)


@dataclasses.dataclass
class Train(TrainOptions, DataOptions):
    """`tool train controlnet`."""

    shown_defaults: ClassVar[dict[str, str]] = {
        name: _shown(value) if TINY[name] == value else f"{_shown(value)}; tiny: {_shown(TINY[name])}"
        for name, value in FULL.items()
    }

    model: str = MODEL.option("stable-diffusion-v1-5/stable-diffusion-v1-5", MODEL_HELP)
    controlnet: str | None = MODEL.option(
        None, "Start from this ControlNet (Hub id, folder or run) instead of the UNet's weights."
    )
    variant: str | None = MODEL.option(None, "Weight files of this variant, such as fp16.")

    train_split: str | None = DATA.option(None, "Split to train on.", shown_default="train")
    eval_split: str | None = DATA.option(
        None, "Split to evaluate on.", shown_default="validation, val or test, else a hold-out"
    )
    eval_fraction: float = DATA.option(
        0.1, "Share of the pairs held out where there is no such split.", above=0, maximum=0.9
    )
    resolution: int | None = DATA.option(
        None, "Shorter side in pixels, a multiple of 8 (as the base's UNet needs).", minimum=16
    )
    aspect_buckets: bool = DATA.option(
        False, "Keep each picture's shape, in batches of pictures alike, instead of cropping to a square."
    )
    crop: str = DATA.option("center", "Where a square is cut from.", choices=("center", "random"))
    crop_variants: int = DATA.option(
        4, "With --crop random: so many places a picture, each cached.", minimum=1, maximum=64
    )
    hflip: bool = DATA.option(False, "Mirror pictures and their conditions half of the time.")
    long_captions: str = DATA.option("cut", LONG_HELP, choices=LONG_CAPTIONS)
    empty_prompts: float = DATA.option(0.0, "Share of examples trained with the empty prompt.", minimum=0, maximum=1)

    cache: str = CACHE.setting(
        "disk",
        "Where VAE moments and text-encoder output are kept; none: computed in each step, as the script does.",
        choices=("disk", "ram", "none"),
    )
    cache_dir: str | None = CACHE.setting(
        None, "Folder of the caches, shared by runs.", shown_default="MODELTOOL_CACHE, else ~/.cache/modeltool"
    )

    lr_scheduler: str = OPTIMIZATION.option(
        "constant", "Schedule over optimizer steps, after the warm-up.", choices=SCHEDULES
    )
    warmup_ratio: float = OPTIMIZATION.option(
        0.0, "Share of the steps in which the learning rate rises from 0.", minimum=0, maximum=1
    )
    snr_gamma: float | None = OPTIMIZATION.option(None, "Min-SNR weighting with this gamma (5 in the paper).", above=0)
    scale_lr: bool = OPTIMIZATION.option(False, "Multiply the learning rate by the batch size.")
    memory: str | None = MACHINE.setting(
        None, "Settings for a card of this size; says what it sets, and what you give yourself stays.", choices=PRESETS
    )
    attention: str = MACHINE.setting("sdpa", "Attention kernels.", choices=("sdpa", "xformers"))
    channels_last: bool = MACHINE.setting(True, "Keep pictures with channels last in memory, which convolutions like.")

    validation_image: list[str] = EVALUATION.option(
        [], "Condition to draw at each evaluation; may be given again.", commas=False
    )
    validation_prompt: list[str] = EVALUATION.option(
        [],
        "Its prompt: as many as images, one for all, or several for one image.",
        commas=False,
        shown_default="with no image given, the first held-out pairs",
    )
    num_validation_images: int | None = EVALUATION.option(
        None, "Pictures drawn for each of them; 0: none are.", minimum=0, maximum=16
    )
    validation_scheduler: str = EVALUATION.option("unipc", "How they are drawn.", choices=SCHEDULERS)
    validation_inference_steps: int = EVALUATION.option(20, "In so many steps.", minimum=1)
    validation_guidance: float = EVALUATION.option(7.5, "Classifier-free guidance.", minimum=0)
    metric_for_best: str = EVALUATION.option(
        "loss",
        "The evaluation figure by which the best model is kept: denoising loss, or conditioning gain.",
        choices=("loss", "gain", "last"),
    )

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        images, prompts = len(self.validation_image), len(self.validation_prompt)
        fit = not images or not prompts or images == prompts or 1 in (images, prompts)
        checks = [
            (prompts and not images, "--validation-prompt: give the condition too: --validation-image FILE"),
            (images and not prompts, "--validation-image: give its prompt too: --validation-prompt TEXT"),
            (not fit, f"--validation-prompt: {prompts} for {images} images; give one for all, or one for each"),
            *((True, problem) for problem in uneven(self.resolution)),
            (self.aspect_buckets and self.crop == "random", "--aspect-buckets and --crop random exclude each other"),
            (self.scale_lr and self.batch_size == AUTO, "--scale-lr: needs a --batch-size in figures"),
            (self.optimizer == "muon", "--optimizer muon: not for convolutions; take adamw or adamw-8bit"),
        ]
        return [*super().problems(), *(problem for wrong, problem in checks if wrong)]


def with_defaults(config: Train) -> Train:
    """The config with every open option filled in for its model, so that config.yaml says all of it."""
    return filled(config, TINY if config.model == "tiny" else FULL)


@dataclasses.dataclass
class UseOptions:
    """Which net is used, and how."""

    model: str | None = MODEL.option(
        None, "Run folder, ControlNet folder or Hub id.", shown_default="the newest finished controlnet run"
    )
    base: str | None = MODEL.option(
        None, "The Stable Diffusion that it steers.", shown_default="the one it was trained on"
    )
    revision: str | None = HUB.option(None, "Branch, tag or commit of the base on the Hub.")
    variant: str | None = MODEL.option(None, "Weight files of this variant, such as fp16.")
    token: str | None = HUB.option(None, "Hub token; better in HF_TOKEN.", secret=True)
    scheduler: str = GENERATION.option("unipc", "Sampler.", choices=SCHEDULERS)
    steps: int = GENERATION.option(20, "Its steps.", minimum=1)
    guidance: float = GENERATION.option(7.5, "Classifier-free guidance; 1: none.", minimum=0)
    conditioning_scale: float = GENERATION.option(1.0, "How much the condition counts.", minimum=0)
    seed: int = GENERATION.option(0, "Seed of the pictures.", minimum=0)
    batch_size: int = MACHINE.option(4, "Pictures or pairs at once.", minimum=1)
    mixed_precision: str = MACHINE.option(
        "auto", "auto: bf16 on a GPU that has it, else float32.", choices=("auto", "no", "fp16", "bf16")
    )
    cpu: bool = MACHINE.option(False, "Use the CPU even where there is a GPU.")
    threads: int | None = MACHINE.option(None, "CPU threads.", minimum=1, shown_default="all cores")
    output_dir: str = OUTPUT.option("runs", "Where run folders are looked for.")


@dataclasses.dataclass
class Eval(UseOptions, DataOptions):
    """`tool eval controlnet`."""

    data: str | None = DATA.option(None, DATA_HELP, shown_default="what the run was trained on")  # type: ignore[assignment]
    eval_split: str | None = DATA.option(None, "Split to evaluate on.", shown_default="as in training")
    resolution: int | None = DATA.option(None, "Shorter side in pixels.", shown_default="as in training", minimum=16)
    condition_range: str | None = DATA.option(None, RANGE_HELP, shown_default="as in training")  # type: ignore[assignment]
    long_captions: str | None = DATA.option(None, LONG_HELP, shown_default="as in training", choices=LONG_CAPTIONS)
    agreement: str = EVALUATION.option(
        "auto",
        "Compare the condition with that recomputed from the picture drawn; auto: for the kinds it knows.",
        choices=AGREEMENTS,
    )
    draw: int = EVALUATION.option(16, "Pictures drawn for the agreement.", minimum=0)
    output: str | None = OUTPUT.option(None, "Write the drawn pictures into this folder.")


@dataclasses.dataclass
class Predict(UseOptions):
    """`tool predict controlnet --image C --prompt P`."""

    inputs: list[str] = INPUT.option([], "JSON lines files with conditioning_image and prompt, instead of the flags.")
    image: list[str] = INPUT.option([], "The condition; may be given again.", commas=False)
    prompt: list[str] = INPUT.option([], "Its prompt: as many as images, or one for all.", commas=False)
    negative_prompt: str | None = GENERATION.option(None, "What is not wanted.")
    condition_range: str | None = GENERATION.option(None, RANGE_HELP, shown_default="as in training")
    long_captions: str | None = GENERATION.option(
        None, LONG_HELP, shown_default="as in training", choices=LONG_CAPTIONS
    )
    n: int = GENERATION.option(1, "Pictures for each.", minimum=1)
    resolution: int | None = GENERATION.option(
        None, "Shorter side in pixels.", shown_default="the condition's, in steps of 8", minimum=16
    )
    output: str = OUTPUT.option("pictures", "Folder for the PNG files.")


@dataclasses.dataclass
class Data(DataOptions):
    """`tool data inspect controlnet`."""

    model: str | None = MODEL.option(
        None,
        "Base whose tokenizer counts the captions' tokens.",
        shown_default="counted in words, of one token or more",
    )
    train_split: str | None = DATA.option(None, "Split to look at as training data.")
    eval_split: str | None = DATA.option(None, "Split to look at as evaluation data.")
    resolution: int | None = DATA.option(None, "Say what is smaller than this.", minimum=16)
    token: str | None = HUB.option(None, "Hub token; better in HF_TOKEN.", secret=True)
    seed: int = DATA.option(0, "Seed of the sample.", minimum=0)


@dataclasses.dataclass
class Sample:
    """`tool data sample controlnet`."""

    output: str = OUTPUT.option("controlnet-sample", "Folder to write.")
    seed: int = DATA.option(0, "Seed of the sample.", minimum=0)
