"""`tool train controlnet`: the recipe, what the loop trains, and the filling of the caches."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import reduce
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from recipes import training
from recipes.controlnet import artefacts, caching, presets, provenance
from recipes.controlnet.config import Train, with_defaults
from recipes.controlnet.on_demand import OnDemand
from recipes.controlnet.parts import Parts, prepare
from recipes.controlnet.report import gain_text
from recipes.controlnet.step import Frozen
from recipes.controlnet.validation import Validator, scenes
from recipes.distributed.accelerate_config import fsdp_config_of
from recipes.distributed.device import DTYPES
from recipes.loop.loop import Outcome
from recipes.process.memory import release
from recipes.terminal.progress import print_line, print_line_once
from recipes.work import Batch, Evaluator, Work
from tasks.controlnet import training_record
from tasks.controlnet.cache.encoded import pictures_of
from tasks.controlnet.cache.encoding import CHUNK
from tasks.controlnet.cache.store import cache_root
from tasks.controlnet.condition_pixels import range_text
from tasks.controlnet.drawing.generation import check_steps
from tasks.controlnet.memory_efficient import library_check
from tasks.controlnet.memory_efficient import prepare as memory_efficient
from tasks.controlnet.models import pretrained
from tasks.controlnet.models.pretrained import Base
from tasks.controlnet.pairs import Pairs
from tasks.errors import ConfigError
from tasks.seen import Seen
from tasks.words import counted

RECIPE = "controlnet"


def train(config: Train) -> dict[str, Any]:
    """Trains, evaluates and writes the run; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    config, lines = presets.apply(config)
    return training.train(ControlNetTraining(with_defaults(config), lines))


class ControlNetTraining(training.Recipe[Train, Parts]):
    """A ControlNet on a frozen Stable Diffusion, whose encoders run once and are cached."""

    name = RECIPE

    def __init__(self, config: Train, preset: list[str]) -> None:
        super().__init__(config)
        self.preset = preset

    def prepare(self) -> Parts:
        if self.config.long_captions == CHUNK and fsdp_config_of(self.config) is not None:
            # Prompts of unlike lengths go through apart, and shards must go through equally often in all processes.
            raise ConfigError("--long-captions chunk: not with a model in shards (--accelerate-config); take cut")
        parts = prepare(self.config)
        if parts.splits.condition_range is not None:
            # Kept with the run: a value is the same grey in other data.
            found = range_text(parts.splits.condition_range)
            self.config = dataclasses.replace(self.config, condition_range=found)
        return parts

    def header(self) -> list[str]:
        parts, shapes = self.parts, self.parts.train.shapes
        kind = "buckets of about" if shapes.buckets else "squares of"
        return [
            f"controlnet · {self.config.model} ({parts.base.prediction_type}) · {parts.splits.description}",
            *(f"memory    {line}" for line in [*self.preset, *([parts.fits] if parts.fits else [])]),
            f"pictures  {kind} {shapes.resolution} px · {counted(shapes.variants, 'view')} of each",
            *(f"skipped   {line}" for line in parts.splits.skipped),
            *(f"leaks     {line}" for line in parts.splits.leaks),
            *(f"blank     {line}" for line in parts.splits.blank),
            *([f"captions  {parts.long_captions}"] if parts.long_captions else []),
            *(f"note      {line}" for line in parts.splits.notes),
        ]

    def make_work(self) -> Work:
        """Fills the caches and loads the nets."""
        config, parts, accelerator = self.config, self.parts, self.session.accelerator
        require_base_of(self.session, config, parts.base)
        device, dtype = accelerator.device, DTYPES.get(accelerator.mixed_precision, torch.float32)
        frozen = parts.frozen = Frozen(None, parts.diffusion.to(device), device, snr_gamma=config.snr_gamma)
        validator = make_validator(config, parts, self.session)
        encode(config, parts, accelerator, dtype, validator.prompts)
        if not config.dry_run:
            parts.seen = seen_by(config, parts.train.pairs, accelerator)
        frozen.unet, parts.controlnet = load_nets(config, parts.base, dtype)
        frozen.unet.to(device)
        if config.compile:
            frozen.unet.compile()
        if accelerator.is_main_process:
            print_line(nets_line(config, parts))
        validator.prepare(frozen, parts.evaluation)
        parts.validator = validator
        release(device)
        return PairWork(config, parts, frozen, validator)

    def score(self, outcome: Outcome) -> str:
        return gain_text(outcome.metrics)

    def write(self, outcome: Outcome) -> dict[str, Any]:
        return artefacts.write(self.config, self.parts, self.session.run, outcome)

    def summary(self, outcome: Outcome, summary: dict[str, Any]) -> str:
        return artefacts.summary_text(self.session.run, outcome, summary)


class PairWork(Work):
    """A ControlNet, over batches of encoded pairs."""

    unit = "pairs"

    def __init__(self, config: Train, parts: Parts, frozen: Frozen, validator: Validator) -> None:
        super().__init__(
            parts.controlnet,
            config,
            examples=len(parts.train),
            eval_examples=len(parts.evaluation),
            metric=None if config.metric_for_best == "last" else config.metric_for_best,
            data=digest(parts.train.pairs, parts.evaluation.pairs),
        )
        self.config, self.parts, self.frozen, self.validator = config, parts, frozen, validator
        self.greater_is_better = config.metric_for_best == "gain"

    def plan(self, batch_size: int, epoch: int) -> list[np.ndarray]:
        return self.parts.train.plan(batch_size, epoch)

    def collate(self, numbers: np.ndarray, epoch: int) -> Batch:
        return self.parts.train.collate(numbers, epoch)

    def heaviest(self, batch_size: int) -> np.ndarray:
        return self.parts.train.heaviest(batch_size)

    def training_step(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        each = self.frozen.loss(model, batch)
        return each.float().sum(), len(each)

    def evaluate(self, model: torch.nn.Module, evaluator: Evaluator) -> dict[str, Any]:
        """Denoising loss and conditioning gain on the held-out pairs; between two steps of a run also the pictures."""
        metrics = self.frozen.figures(model, self.parts.evaluation, evaluator)
        if count := self.parts.splits.shared:
            metrics["seen"] = {"count": count, "of": len(self.parts.evaluation), "unit": "pairs"}
        if evaluator.step is not None:
            metrics["pictures"] = self.validator.draw(model, evaluator)
        return metrics

    def parameter_groups(self, model: torch.nn.Module) -> list[dict[str, Any]]:
        """Weight decay on matrices and kernels, none on biases and norms."""
        config = self.config
        assert config.learning_rate is not None
        rate = config.learning_rate * (int(config.batch_size or 1) if config.scale_lr else 1)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return [
            {"params": [one for one in trained if one.ndim > 1], "lr": rate, "weight_decay": config.weight_decay},
            {"params": [one for one in trained if one.ndim <= 1], "lr": rate, "weight_decay": 0.0},
        ]

    def describe(self, metrics: dict[str, Any]) -> str:
        return f"loss {metrics['loss']:.4f} · {gain_text(metrics)}"

    def fsdp_layers(self, model: Any) -> list[torch.nn.Module]:
        return [*model.down_blocks, model.mid_block]

    def evaluation_seconds(self, model: torch.nn.Module) -> float:
        return self.validator.seconds(model)

    def closing_seconds(self, model: torch.nn.Module) -> float:
        # Of a dry run: what filling the caches will take.
        encoded = self.parts.train.encoded
        return encoded.seconds() if isinstance(encoded, OnDemand) else 0.0


def make_validator(config: Train, parts: Parts, session: training.Session) -> Validator:
    """What draws between steps; before any net is loaded.

    Raises:
        DataError: as `scenes`.
        ConfigError: more steps than the base has.
    """
    accelerator = session.accelerator
    given = scenes(config, parts.evaluation)
    if len(given):
        check_steps(parts.base, config.validation_inference_steps, "--validation-inference-steps")
    world = accelerator.num_processes
    return Validator(config, session.run.path, parts.base, given, accelerator.device, accelerator.autocast, world)


def require_base_of(session: training.Session, config: Train, base: Base) -> None:
    """
    Raises:
        ConfigError: the run began on a `tiny` of other versions of the libraries, which is another model.
    """
    if config.model != "tiny" or config.dry_run:
        return
    began, now = session.run.status().get("base"), base.folder.name
    if began is None and session.accelerator.is_main_process:
        session.run.update(base=now)
    if began not in (None, now):
        raise ConfigError(
            f"--model tiny: {session.run.path} began on {began}, here it is {now}; go on with those versions, or start anew with "
            "--fresh"
        )


def encode(config: Train, parts: Parts, accelerator: Accelerator, dtype: torch.dtype, prompts: list[str]) -> None:
    """Sets up where batches, and the validation's prompts, take moments and hidden states from."""
    assert parts.frozen is not None
    base = parts.base
    captions = list(dict.fromkeys([*parts.train.prompts(), *parts.evaluation.prompts(), *prompts]))
    if config.cache == "none" or config.dry_run:
        vae = pretrained.load_vae(base, dtype).to(accelerator.device)
        text = pretrained.load_text_encoder(base, dtype).to(accelerator.device)
        if config.cache == "none":
            parts.frozen.vae, parts.frozen.text_encoder = vae, text
        else:
            views = len(parts.train) * parts.train.shapes.variants + len(parts.evaluation)
            encoded = OnDemand(vae, text, pretrained.load_tokenizer(base), views, len(captions), config.long_captions)
            parts.train.encoded = parts.evaluation.encoded = encoded
        return
    parts.train.encoded = parts.evaluation.encoded = caching.fill(
        None if config.cache == "ram" else cache_root(config.cache_dir) / RECIPE,
        base,
        [*pictures_of(parts.train), *pictures_of(parts.evaluation)],
        captions,
        accelerator,
        batch_size=int(config.eval_batch_size or 1),
        dtype=dtype,
        long_captions=config.long_captions,
    )


def seen_by(config: Train, pairs: Pairs, accelerator: Accelerator) -> Seen:
    """Digests of the pairs, each made by one process, and of those that the ControlNet was trained on before."""
    rank, world = accelerator.process_index, accelerator.num_processes
    own = training_record.digests(pairs.take(np.arange(rank, len(pairs), world)))
    shared = gather_object([own]) if world > 1 else [own]
    seen = reduce(Seen.joined, map(Seen, shared), Seen())
    if not config.controlnet:
        return seen
    before = provenance.record(config.controlnet, config.token, "--controlnet")
    seen = seen.joined(before)
    return training_record.incomplete(seen) if before is None else seen


def load_nets(config: Train, base: Base, dtype: torch.dtype) -> tuple[Any, Any]:
    """The frozen UNet and the ControlNet to be trained, as the options have them."""
    unet = pretrained.load_unet(base, dtype)
    if config.controlnet:
        controlnet = pretrained.load_controlnet(config.controlnet, config.token, base)
    else:
        controlnet = pretrained.new_controlnet(base, unet, config.seed)
    memory_efficient.prepare(
        unet,
        controlnet,
        gradient_checkpointing=config.gradient_checkpointing,
        attention=config.attention,
        channels_last=config.channels_last,
    )
    if sentence := library_check.keep_if_equal(unet, controlnet, gradient_checkpointing=config.gradient_checkpointing):
        print_line_once(f"layers    {sentence}")
    return unet, controlnet


def digest(*splits: Pairs) -> str:
    """What a run goes on with must be the same pairs: names and captions in their order."""
    found = hashlib.sha256()
    for pairs in splits:
        for row, captions in zip(pairs.rows, pairs.captions, strict=True):
            name = pairs.images.where(int(row)).replace("\\", "/").rsplit("/", 1)[-1]
            found.update(repr((name, captions)).encode())
    return found.hexdigest()[:32]


def nets_line(config: Train, parts: Parts) -> str:
    """How large what is trained is beside what isn't."""
    assert parts.frozen is not None
    own, frozen = (sum(one.numel() for one in net.parameters()) for net in (parts.controlnet, parts.frozen.unet))
    start = f"from {config.controlnet}" if config.controlnet else "from the UNet's weights"
    return f"nets      ControlNet of {own / 1e6:.1f} M parameters, {start}; UNet of {frozen / 1e6:.1f} M, frozen"
