"""The options of the verbs of the ControlNet recipe that work on a model."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from recipes.config import option
from recipes.options import AUTO, EVALUATION, HUB, MACHINE, MODEL, OPTIMIZATION, OUTPUT, SCHEDULES, TrainOptions
from tasks.errors import ConfigError
from tasks.words import counted

DATA, CACHE, GENERATION = "Data", "Caches", "Generation"
MODEL_HELP = "Stable Diffusion 1.x or 2.x in diffusers' form: Hub id, local folder, or `tiny` (made here in a minute)."
DATA_HELP = "Hub id, a folder (metadata.jsonl, parallel folders, fill50k's prompt.json), a file (JSON lines, CSV, Parquet) or `sample`."
AGREEMENTS = ("auto", "canny", "palette", "circles", "none")
SCHEDULERS = ("unipc", "ddim", "euler", "euler-ancestral", "dpm++", "pndm")
PRESETS = ("8gb", "12gb", "16gb", "24gb", "40gb")


@dataclasses.dataclass
class DataOptions:
    """Where pairs come from; shared by all verbs of the recipe."""

    data: str = option("sample", DATA_HELP, panel=DATA)
    conditioning_dir: str | None = option(
        None, "Folder with the conditions, named as the images of --data.", panel=DATA
    )
    image_root: str | None = option(None, "Folder that relative image paths start from.", panel=DATA)
    image_column: str | None = option(None, "Column with the picture, where it isn't recognised.", panel=DATA)
    conditioning_image_column: str | None = option(None, "Column with the condition.", panel=DATA)
    caption_column: str | None = option(None, "Column with the caption or captions; none: train without.", panel=DATA)
    max_samples: int | None = option(
        None, "Take this many training pairs, drawn by seed.", panel=DATA, minimum=1, shown_default="all"
    )
    max_eval_samples: int | None = option(
        None, "Take this many evaluation pairs, drawn by seed.", panel=DATA, minimum=2, shown_default="200"
    )
    data_revision: str | None = option(None, "Branch, tag or commit of a Hub data set.", panel=DATA)
    skip_bad: bool = option(False, "Leave out broken pairs, and say how many.", panel=DATA)


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

    model: str = option("stable-diffusion-v1-5/stable-diffusion-v1-5", MODEL_HELP, panel=MODEL)
    controlnet: str | None = option(
        None, "Start from this ControlNet (Hub id, folder or run) instead of the UNet's weights.", panel=MODEL
    )
    variant: str | None = option(None, "Weight files of this variant, such as fp16.", panel=MODEL)

    train_split: str | None = option(None, "Split to train on.", panel=DATA, shown_default="train")
    eval_split: str | None = option(
        None, "Split to evaluate on.", panel=DATA, shown_default="validation, val or test, else a hold-out"
    )
    eval_fraction: float = option(
        0.1, "Share of the pairs held out where there is no such split.", panel=DATA, above=0, maximum=0.9
    )
    resolution: int | None = option(
        None, "Shorter side in pixels, a multiple of 8 (as the base's UNet needs).", panel=DATA, minimum=16
    )
    aspect_buckets: bool = option(
        False, "Keep each picture's shape, in batches of pictures alike, instead of cropping to a square.", panel=DATA
    )
    crop: str = option("center", "Where a square is cut from.", panel=DATA, choices=("center", "random"))
    crop_variants: int = option(
        4, "With --crop random: so many places a picture, each cached.", panel=DATA, minimum=1, maximum=64
    )
    hflip: bool = option(False, "Mirror pictures and their conditions half of the time.", panel=DATA)
    empty_prompts: float = option(
        0.0, "Share of examples trained with the empty prompt.", panel=DATA, minimum=0, maximum=1
    )

    cache: str = option(
        "disk",
        "Where VAE moments and text-encoder output are kept; none: computed in each step, as the script does.",
        panel=CACHE,
        choices=("disk", "ram", "none"),
        affects_result=False,
    )
    cache_dir: str | None = option(
        None,
        "Folder of the caches, shared by runs.",
        panel=CACHE,
        shown_default="MODELTOOL_CACHE, else ~/.cache/modeltool",
        affects_result=False,
    )

    lr_scheduler: str = option(
        "constant", "Schedule over optimizer steps, after the warm-up.", panel=OPTIMIZATION, choices=SCHEDULES
    )
    warmup_ratio: float = option(
        0.0, "Share of the steps in which the learning rate rises from 0.", panel=OPTIMIZATION, minimum=0, maximum=1
    )
    snr_gamma: float | None = option(
        None, "Min-SNR weighting with this gamma (5 in the paper).", panel=OPTIMIZATION, above=0
    )
    scale_lr: bool = option(False, "Multiply the learning rate by the batch size.", panel=OPTIMIZATION)
    memory: str | None = option(
        None,
        "Settings for a card of this size; says what it sets, and what you give yourself stays.",
        panel=MACHINE,
        choices=PRESETS,
        affects_result=False,
    )
    attention: str = option(
        "sdpa", "Attention kernels.", panel=MACHINE, choices=("sdpa", "xformers"), affects_result=False
    )
    channels_last: bool = option(
        True,
        "Keep pictures with channels last in memory, which convolutions like.",
        panel=MACHINE,
        affects_result=False,
    )

    validation_image: list[str] = option(
        [], "Condition to draw at each evaluation; may be given again.", panel=EVALUATION, commas=False
    )
    validation_prompt: list[str] = option(
        [],
        "Its prompt: as many as images, one for all, or several for one image.",
        panel=EVALUATION,
        commas=False,
        shown_default="with no image given, the first held-out pairs",
    )
    num_validation_images: int | None = option(
        None, "Pictures drawn for each of them; 0: none are.", panel=EVALUATION, minimum=0, maximum=16
    )
    validation_scheduler: str = option("unipc", "How they are drawn.", panel=EVALUATION, choices=SCHEDULERS)
    validation_inference_steps: int = option(20, "In so many steps.", panel=EVALUATION, minimum=1)
    validation_guidance: float = option(7.5, "Classifier-free guidance.", panel=EVALUATION, minimum=0)
    metric_for_best: str = option(
        "loss",
        "The evaluation figure by which the best model is kept: denoising loss, or conditioning gain.",
        panel=EVALUATION,
        choices=("loss", "gain", "last"),
    )

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        found = super().problems()
        images, prompts = len(self.validation_image), len(self.validation_prompt)
        if prompts and not images:
            found.append("--validation-prompt: give the condition too: --validation-image FILE")
        if images and not prompts:
            found.append("--validation-image: give its prompt too: --validation-prompt TEXT")
        if images and prompts and images != prompts and 1 not in (images, prompts):
            found.append(f"--validation-prompt: {prompts} for {images} images; give one for all, or one for each")
        found += uneven(self.resolution)
        if self.aspect_buckets and self.crop == "random":
            found.append("--aspect-buckets and --crop random exclude each other")
        if self.scale_lr and self.batch_size == AUTO:
            found.append("--scale-lr: needs a --batch-size in figures")
        if self.optimizer == "muon":
            found.append("--optimizer muon: not for convolutions; take adamw or adamw-8bit")
        return found


def with_defaults(config: Train) -> Train:
    """The config with every open option filled in for its model, so that config.yaml says all of it."""
    defaults = TINY if config.model == "tiny" else FULL
    given = {name: value for name, value in defaults.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **given)


@dataclasses.dataclass
class UseOptions:
    """Which net is used, and how."""

    model: str | None = option(
        None,
        "Run folder, ControlNet folder or Hub id.",
        panel=MODEL,
        shown_default="the newest finished controlnet run",
    )
    base: str | None = option(
        None, "The Stable Diffusion that it steers.", panel=MODEL, shown_default="the one it was trained on"
    )
    revision: str | None = option(None, "Branch, tag or commit of the base on the Hub.", panel=HUB)
    variant: str | None = option(None, "Weight files of this variant, such as fp16.", panel=MODEL)
    token: str | None = option(None, "Hub token; better in HF_TOKEN.", panel=HUB, secret=True)
    scheduler: str = option("unipc", "Sampler.", panel=GENERATION, choices=SCHEDULERS)
    steps: int = option(20, "Its steps.", panel=GENERATION, minimum=1)
    guidance: float = option(7.5, "Classifier-free guidance; 1: none.", panel=GENERATION, minimum=0)
    conditioning_scale: float = option(1.0, "How much the condition counts.", panel=GENERATION, minimum=0)
    seed: int = option(0, "Seed of the pictures.", panel=GENERATION, minimum=0)
    batch_size: int = option(4, "Pictures or pairs at once.", panel=MACHINE, minimum=1)
    mixed_precision: str = option(
        "auto", "auto: bf16 on a GPU that has it, else float32.", panel=MACHINE, choices=("auto", "no", "fp16", "bf16")
    )
    cpu: bool = option(False, "Use the CPU even where there is a GPU.", panel=MACHINE)
    threads: int | None = option(None, "CPU threads.", panel=MACHINE, minimum=1, shown_default="all cores")
    output_dir: str = option("runs", "Where run folders are looked for.", panel=OUTPUT)


@dataclasses.dataclass
class Eval(UseOptions, DataOptions):
    """`tool eval controlnet`."""

    data: str | None = option(None, DATA_HELP, panel=DATA, shown_default="what the run was trained on")  # type: ignore[assignment]
    eval_split: str | None = option(None, "Split to evaluate on.", panel=DATA, shown_default="as in training")
    resolution: int | None = option(
        None, "Shorter side in pixels.", panel=DATA, shown_default="as in training", minimum=16
    )
    agreement: str = option(
        "auto",
        "Compare the condition with that recomputed from the picture drawn; auto: for the kinds it knows.",
        panel=EVALUATION,
        choices=AGREEMENTS,
    )
    draw: int = option(16, "Pictures drawn for the agreement.", panel=EVALUATION, minimum=0)
    output: str | None = option(None, "Write the drawn pictures into this folder.", panel=OUTPUT)


@dataclasses.dataclass
class Predict(UseOptions):
    """`tool predict controlnet --image C --prompt P`."""

    inputs: list[str] = option(
        [], "JSON lines files with conditioning_image and prompt, instead of the flags.", panel="Input"
    )
    image: list[str] = option([], "The condition; may be given again.", panel="Input", commas=False)
    prompt: list[str] = option([], "Its prompt: as many as images, or one for all.", panel="Input", commas=False)
    negative_prompt: str | None = option(None, "What is not wanted.", panel=GENERATION)
    n: int = option(1, "Pictures for each.", panel=GENERATION, minimum=1)
    resolution: int | None = option(
        None, "Shorter side in pixels.", panel=GENERATION, shown_default="the condition's, in steps of 8", minimum=16
    )
    output: str = option("pictures", "Folder for the PNG files.", panel=OUTPUT)


@dataclasses.dataclass
class Data(DataOptions):
    """`tool data inspect controlnet`."""

    train_split: str | None = option(None, "Split to look at as training data.", panel=DATA)
    eval_split: str | None = option(None, "Split to look at as evaluation data.", panel=DATA)
    resolution: int | None = option(None, "Say what is smaller than this.", panel=DATA, minimum=16)
    token: str | None = option(None, "Hub token; better in HF_TOKEN.", panel=HUB, secret=True)
    seed: int = option(0, "Seed of the sample.", panel=DATA, minimum=0)


@dataclasses.dataclass
class Sample:
    """`tool data sample controlnet`."""

    output: str = option("controlnet-sample", "Folder to write.", panel=OUTPUT)
    seed: int = option(0, "Seed of the sample.", panel=DATA, minimum=0)


def require_inputs(config: Predict) -> None:
    """A condition and a prompt must be given.

    Raises:
        ConfigError: with an example.
    """
    if not config.inputs and not (config.image and config.prompt):
        raise ConfigError(
            'give a condition and a prompt: tool predict controlnet --image edges.png --prompt "a red teapot"'
        )
    if len(config.prompt) not in (0, 1, len(config.image)):
        raise ConfigError(
            f"--prompt: {len(config.prompt)} for {counted(len(config.image), 'image')}; give one for all, or one for each"
        )
