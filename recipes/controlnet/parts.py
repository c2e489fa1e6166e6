"""The components of a ControlNet run (splits, base model, batches, nets) and their preparation."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from recipes.controlnet import presets, validation
from recipes.controlnet.config import Train
from recipes.controlnet.step import Frozen
from recipes.controlnet.validation import Validator
from recipes.data_sets import data_options
from recipes.terminal.progress import print_line_once
from tasks.controlnet import caption_lengths
from tasks.controlnet.batches import PairBatches, Shapes
from tasks.controlnet.cache.encoding import CHUNK, tokenize
from tasks.controlnet.data import Options, load_splits
from tasks.controlnet.models import pretrained
from tasks.controlnet.models.diffusion import Diffusion
from tasks.controlnet.models.pretrained import Base
from tasks.controlnet.pairs import Splits
from tasks.seen import Seen


@dataclass
class Parts:
    """Everything that a run of this recipe is made of; the nets come when the caches are filled."""

    splits: Splits
    base: Base
    diffusion: Diffusion
    train: PairBatches
    evaluation: PairBatches
    fits: str = ""
    long_captions: str = ""
    controlnet: Any = None
    frozen: Frozen | None = None
    validator: Validator | None = None
    seen: Seen | None = None


def prepare(config: Train) -> Parts:
    """Reads and checks the data, finds the base; nothing heavy is loaded yet."""
    if config.num_validation_images and config.validation_image:
        validation.from_files(config)  # what can't be drawn is said before anything else is done
    splits = load_splits(data_options(Options, config))
    assert splits.train is not None
    assert splits.evaluation is not None
    base = pretrained.find_base(
        config.model,
        config.revision,
        config.token,
        config.variant,
        config.seed,
        cache_dir=config.cache_dir,
        say=print_line_once,
    )
    fits = ""
    if config.memory:
        card = presets.card_bytes()
        needed = 0 if card is None else presets.estimate_bytes(config, base.unet_config)
        fits = presets.check(config.memory, needed, card)
    assert config.resolution is not None
    diffusion = Diffusion.of(pretrained.load_scheduler(base), base.scaling_factor)
    shapes = Shapes(
        config.resolution,
        config.aspect_buckets,
        config.crop_variants if config.crop == "random" else 1,
        config.hflip,
        base.vae_scale_factor,
        base.latent_channels,
    )
    tokenizer = pretrained.load_tokenizer(base)
    shared: dict[str, Any] = {
        "seed": config.seed,
        "timesteps": diffusion.timesteps,
        "tokenize": functools.partial(tokenize, tokenizer, long_captions=config.long_captions),
    }
    batches = PairBatches(splits.train, shapes, empty_prompts=config.empty_prompts, **shared)
    held_out = PairBatches(splits.evaluation, dataclasses.replace(shapes, places=1, flip=False), **shared)
    cut = caption_lengths.of_splits([splits.train, splits.evaluation], tokenizer)
    said = caption_lengths.line(cut, config.long_captions == CHUNK)
    return Parts(splits, base, diffusion, batches, held_out, fits, said)
