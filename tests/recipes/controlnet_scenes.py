"""Nets, held-out pairs and a validator as a ControlNet run has them, small, for tests of what it draws and leaves behind."""

import contextlib
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from untrained import random_base

from recipes.controlnet.config import Train, with_defaults
from recipes.controlnet.validation import Validator, scenes
from recipes.work import Evaluator
from tasks.controlnet.batches import PairBatches, Shapes
from tasks.controlnet.cache.encoding import tokenize
from tasks.controlnet.models import pretrained
from tasks.controlnet.pairs import Pairs
from tasks.images import FileImages

CPU = torch.device("cpu")
PROMPT = "burly wood circle with orange background"


def make_nets(folder):
    """An untrained Stable Diffusion and its ControlNet."""
    base = pretrained.open_base(str(random_base(folder / "base")))
    unet, vae = pretrained.load_unet(base), pretrained.load_vae(base)
    vae.decoder.conv_out.weight.data *= 20  # untrained it makes all but grey
    return SimpleNamespace(
        base=base,
        frozen=SimpleNamespace(unet=unet, vae=vae, text_encoder=pretrained.load_text_encoder(base)),
        controlnet=pretrained.new_controlnet(base, unet),
        tokenizer=pretrained.load_tokenizer(base),
    )


def make_batches(nets, folder):
    """Six held-out pairs of 32 px; the condition of pair i is of the grey 10 * i."""
    paths = {kind: [str(folder / f"{kind}{i}.png") for i in range(6)] for kind in ("image", "condition")}
    for i in range(6):
        Image.new("RGB", (40, 32), (200, 10 * i, 0)).save(paths["image"][i])
        Image.new("RGB", (40, 32), (10 * i,) * 3).save(paths["condition"][i])
    captions = [[f"{PROMPT} {i}", "another"] for i in range(5)] + [[]]
    pairs = Pairs(FileImages(paths["image"]), FileImages(paths["condition"]), captions, np.arange(6), "six")
    return PairBatches(pairs, Shapes(32), seed=0, tokenize=lambda texts: tokenize(nets.tokenizer, texts))


def config_of(**given):
    options = {"model": "tiny", "resolution": 32, "validation_inference_steps": 2, "num_validation_images": 2, **given}
    return with_defaults(Train(**options))


def evaluator(check=lambda: None, step=500, **given):
    options = {"rank": 0, "world": 1, "device": CPU, "batch_size": 8, "gather": lambda items: items, **given}
    return Evaluator(check=check, autocast=contextlib.nullcontext, step=step, **options)


def validator(config, nets, batches, run):
    made = Validator(config, run, nets.base, scenes(config, batches), CPU)
    made.prepare(nets.frozen, batches)
    return made


def pixels(image):
    return np.asarray(image.convert("RGB"))
