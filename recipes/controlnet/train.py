"""`tool train controlnet`: pairs, base, caches, the net, the loop, and what a run leaves behind."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import torch
from accelerate import Accelerator

from recipes import training
from recipes.controlnet import artefacts, caching, presets
from recipes.controlnet.config import Train, with_defaults
from recipes.controlnet.on_demand import OnDemand
from recipes.controlnet.parts import Parts, prepare
from recipes.controlnet.report import gain_text
from recipes.controlnet.step import Frozen
from recipes.controlnet.validation import Validator
from recipes.loop.loop import Outcome
from recipes.process.memory import release
from recipes.session import Session, close
from recipes.terminal.progress import print_line, print_line_once
from recipes.work import Evaluator, Work
from tasks.controlnet.batches import Encoded
from tasks.controlnet.cache.encoded import pictures_of
from tasks.controlnet.cache.store import cache_root
from tasks.controlnet.memory_efficient import library_check
from tasks.controlnet.memory_efficient import prepare as memory_efficient
from tasks.controlnet.models import pretrained
from tasks.controlnet.models.pretrained import Base
from tasks.controlnet.pairs import Pairs
from tasks.errors import ConfigError
from tasks.words import counted

RECIPE = "controlnet"
PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}


def train(config: Train) -> dict[str, Any]:
    """Trains, evaluates and writes the run; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    config, lines = presets.apply(config)
    config = with_defaults(config)
    stages = training.Stages(RECIPE, prepare, functools.partial(say_header, lines), make_work, finish)
    return training.train(stages, config)


def make_work(config: Train, parts: Parts, session: Session) -> Work:
    """Fills the caches, loads the nets, and says what the loop needs to know of this task."""
    require_base_of(session, config, parts.base)
    accelerator = session.accelerator
    device, dtype = accelerator.device, PRECISIONS.get(accelerator.mixed_precision, torch.float32)
    frozen = parts.frozen = Frozen(None, parts.diffusion.to(device), device, snr_gamma=config.snr_gamma)
    validator = Validator.of(config, parts, session)
    encode(config, parts, accelerator, dtype, validator.prompts)
    frozen.unet, parts.controlnet = load_nets(config, parts.base, dtype)
    frozen.unet.to(device)
    if config.compile:
        frozen.unet.compile()
    say_nets(config, parts, session)
    validator.prepare(parts)
    parts.validator = validator
    release(device)
    return Work(
        model=parts.controlnet,
        plan=parts.train.plan,
        collate=parts.train.collate,
        loss=frozen.loss,
        evaluate=functools.partial(evaluate, parts),
        metric=None if config.metric_for_best == "last" else config.metric_for_best,
        greater_is_better=config.metric_for_best == "gain",
        parameter_groups=functools.partial(parameter_groups, config),
        heaviest=parts.train.heaviest,
        examples=len(parts.train),
        data=digest(parts.train_pairs, parts.eval_pairs),
        unit="pairs",
        eval_examples=len(parts.evaluation),
        evaluating=validator.seconds,
        closing=lambda model: encoded.seconds() if isinstance(encoded := parts.train.encoded, OnDemand) else 0.0,
        describe=describe,
        layers=layers,
    )


def require_base_of(session: Session, config: Train, base: Base) -> None:
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


def layers(controlnet: Any) -> list[torch.nn.Module]:
    """Those that a model in shards may gather by themselves."""
    return [*controlnet.down_blocks, controlnet.mid_block]


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
            found: Encoded = OnDemand(vae, text, pretrained.load_tokenizer(base), views, len(captions))
            parts.train.encoded = parts.evaluation.encoded = found
        return
    found = caching.fill(
        None if config.cache == "ram" else cache_root(config.cache_dir) / RECIPE,
        base,
        [*pictures_of(parts.train), *pictures_of(parts.evaluation)],
        captions,
        accelerator,
        batch_size=int(config.eval_batch_size or 1),
        dtype=dtype,
    )
    parts.train.encoded = parts.evaluation.encoded = found


def load_nets(config: Train, base: Base, dtype: torch.dtype) -> tuple[Any, Any]:
    """The frozen UNet and the ControlNet to be trained, as the options have them."""
    unet = pretrained.load_unet(base, dtype)
    if config.controlnet:
        controlnet = pretrained.load_controlnet(config.controlnet, None, config.token, base)
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


def evaluate(parts: Parts, controlnet: torch.nn.Module, evaluator: Evaluator) -> dict[str, Any]:
    """Denoising loss and conditioning gain on the held-out pairs; between two steps of a run also the pictures."""
    assert parts.frozen is not None
    metrics = parts.frozen.figures(controlnet, parts.evaluation, evaluator)
    if evaluator.step is not None and parts.validator is not None:
        metrics["pictures"] = parts.validator.draw(controlnet, evaluator)
    return metrics


def parameter_groups(config: Train, controlnet: torch.nn.Module) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels, none on biases and norms."""
    assert config.learning_rate is not None
    rate = config.learning_rate * (int(config.batch_size or 1) if config.scale_lr else 1)
    trained = [parameter for parameter in controlnet.parameters() if parameter.requires_grad]
    return [
        {"params": [one for one in trained if one.ndim > 1], "lr": rate, "weight_decay": config.weight_decay},
        {"params": [one for one in trained if one.ndim <= 1], "lr": rate, "weight_decay": 0.0},
    ]


def digest(*splits: Pairs) -> str:
    """What a run goes on with must be the same pairs: names and captions in their order."""
    found = hashlib.sha256()
    for pairs in splits:
        for row, captions in zip(pairs.rows, pairs.captions, strict=True):
            name = pairs.images.where(int(row)).replace("\\", "/").rsplit("/", 1)[-1]
            found.update(repr((name, captions)).encode())
    return found.hexdigest()[:32]


def describe(metrics: dict[str, Any]) -> str:
    """An evaluation in a line."""
    return f"loss {metrics['loss']:.4f} · {gain_text(metrics)}"


def say_header(preset: list[str], config: Train, parts: Parts, session: Session) -> None:
    """The first lines of a run: what is trained on what."""
    if not session.accelerator.is_main_process:
        return
    print_line(f"controlnet · {config.model} ({parts.base.prediction_type}) · {parts.splits.description}")
    for line in [*preset, *([parts.fits] if parts.fits else [])]:
        print_line(f"memory    {line}")
    shapes = parts.train.shapes
    kind = "buckets of about" if shapes.buckets else "squares of"
    print_line(f"pictures  {kind} {shapes.resolution} px · {counted(shapes.variants, 'view')} of each")
    for line in parts.splits.skipped:
        print_line(f"skipped   {line}")
    for line in parts.splits.notes:
        print_line(f"note      {line}")


def say_nets(config: Train, parts: Parts, session: Session) -> None:
    """How large what is trained is beside what isn't."""
    assert parts.frozen is not None
    if session.accelerator.is_main_process:
        own, frozen = (sum(one.numel() for one in net.parameters()) for net in (parts.controlnet, parts.frozen.unet))
        start = f"from {config.controlnet}" if config.controlnet else "from the UNet's weights"
        print_line(
            f"nets      ControlNet of {own / 1e6:.1f} M parameters, {start}; UNet of {frozen / 1e6:.1f} M, frozen"
        )


def finish(config: Train, parts: Parts, session: Session, outcome: Outcome) -> dict[str, Any]:
    """Writes model, evaluation, card and report; uploads where asked; closes the run."""
    write = functools.partial(artefacts.write, config, parts, session.run, outcome)
    summary = close(config, session, outcome, write, gain_text(outcome.metrics))
    if summary:
        summary["text"] = artefacts.closing_text(parts, session.run, outcome, summary)
    return summary
