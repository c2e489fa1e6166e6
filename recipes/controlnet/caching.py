"""Filling the latent and prompt caches before training, shared by all processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from recipes.controlnet.encoding import Plan, share, threads
from recipes.distributed.collectives import any_of
from recipes.process import memory
from recipes.terminal.progress import print_line, size
from tasks.buckets import alike
from tasks.controlnet.cache import keys
from tasks.controlnet.cache.encoded import Encodings, Picture, digest
from tasks.controlnet.cache.encoding import CHUNK, CUT, encode_pixels, encode_prompts, pieces, tokenize
from tasks.controlnet.cache.store import Cache, Entry
from tasks.controlnet.geometry import pixels
from tasks.controlnet.models import pretrained
from tasks.controlnet.models.pretrained import Base
from tasks.errors import OutOfDisk, OutOfMemory
from tasks.files import free_bytes
from tasks.words import counted

PROMPTS_AT_ONCE = 32
VAE, TEXT = "VAE", "text encoder"


def fill(
    folder: Path | None,
    base: Base,
    pictures: Sequence[Picture],
    captions: Sequence[str],
    accelerator: Accelerator,
    *,
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    long_captions: str = CUT,
) -> Encodings:
    """Encodes what the caches lack; to be called by all processes alike.

    What is encoded together depends on the order of `pictures` alone, so that a run that was killed here goes on to the same values;
    what was encoded when an exception ends it is kept.

    Args:
        folder: of the caches; None: in RAM, in each process.
        captions: every prompt that may come up.
        long_captions: whether those beyond the encoder's length are cut.
        batch_size: pictures at once; where memory runs out, fewer.
        dtype: of the encoders.

    Raises:
        OutOfDisk, OutOfMemory: counted before anything is encoded, with the sum.
    """
    digests = None if folder is None else folder / "digests"
    vae, text = keys.vae_key(base, dtype, digests), keys.text_key(base, dtype, digests)
    places = (None, None) if folder is None else (folder / "moments" / vae, folder / "prompts" / text)
    found = Encodings(Cache(places[0]), Cache(places[1]), vae, text)
    _learn_contents(found, pictures, accelerator)
    prompts_plan = _prompts_plan(found, base, captions, dtype, long_captions)
    plans = [_pictures_plan(found, base, pictures, batch_size, dtype), prompts_plan]
    lines = [line for plan in plans for line in _verified(plan, accelerator)]
    if accelerator.is_main_process:
        lines += [line for plan in plans for line in plan.changed()]
        lines.append(f"{' · '.join(map(_reused, plans))} · {'RAM' if folder is None else folder}")
        for line in lines:
            print_line(f"cache     {line}")
    _require_room(folder, plans, accelerator)
    for plan in plans:
        while any_of(accelerator, bool(plan.todo()))[0]:
            plan.run(accelerator)
            accelerator.wait_for_everyone()
            plan.cache.refresh()
    return found


def _pictures_plan(
    found: Encodings, base: Base, pictures: Sequence[Picture], batch_size: int, dtype: torch.dtype
) -> Plan:
    inputs = {found.picture_key(picture): picture for picture in pictures}

    def load(batch: list[Picture]) -> torch.Tensor:
        seen = [pixels(picture.pairs.images.load(picture.row), picture.view) for picture in batch]
        return torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2)

    def encode(vae: Any, device: torch.device, batch: torch.Tensor) -> list[Entry]:
        mean, std = (moment.cpu() for moment in encode_pixels(vae, batch))
        return [{"mean": mean[row], "std": std[row]} for row in range(len(mean))]

    def size_of(key: str) -> int:
        frame, factor = inputs[key].view.frame, base.vae_scale_factor
        return 2 * 4 * base.latent_channels * (frame.height // factor) * (frame.width // factor)

    return Plan(
        VAE,
        "picture",
        found.pictures,
        base,
        dtype,
        alike(inputs, lambda key: inputs[key].view.frame, batch_size),
        inputs,
        lambda: pretrained.load_vae(base, dtype).to(memory_format=torch.channels_last),
        load,
        encode,
        size_of,
    )


def _prompts_plan(
    found: Encodings, base: Base, captions: Sequence[str], dtype: torch.dtype, long_captions: str
) -> Plan:
    tokenizer = pretrained.load_tokenizer(base)
    counts = dict.fromkeys(captions, 1)
    if long_captions == CHUNK:
        counts = dict(zip(captions, pieces(tokenizer, list(captions)), strict=True))
        found.chunked = frozenset(caption for caption, count in counts.items() if count > 1)
    inputs = {found.prompt_key(caption): caption for caption in captions}

    def encode(text_encoder: Any, device: torch.device, ids: torch.Tensor) -> list[Entry]:
        hidden = encode_prompts(text_encoder, ids).cpu()
        return [{"hidden": hidden[row]} for row in range(len(hidden))]

    return Plan(
        TEXT,
        "caption",
        found.prompts,
        base,
        dtype,
        alike(inputs, lambda key: counts[inputs[key]], PROMPTS_AT_ONCE),
        inputs,
        lambda: pretrained.load_text_encoder(base, dtype),
        lambda batch: tokenize(tokenizer, batch, long_captions),
        encode,
        lambda key: counts[inputs[key]] * base.text_length * base.hidden_size * dtype.itemsize,
    )


def _learn_contents(encodings: Encodings, pictures: Sequence[Picture], accelerator: Accelerator) -> None:
    """Digests of all pictures' files, each made by one process."""
    files = list(dict.fromkeys((picture.pairs.images, picture.row) for picture in pictures))
    rank, world = accelerator.process_index, accelerator.num_processes
    with ThreadPoolExecutor(threads(accelerator)) as pool:
        digests = list(pool.map(digest, files[rank::world]))
    shared = gather_object([digests]) if world > 1 else [digests]
    encodings.contents = {file: shared[number % world][number // world] for number, file in enumerate(files)}


def _verified(plan: Plan, accelerator: Accelerator) -> list[str]:
    """Lines on damaged shards, which are missing then on all processes."""
    if plan.cache.folder is None:
        return []
    if accelerator.is_local_main_process:
        plan.cache.clean()
    lines = plan.cache.verify(plan.inputs, share(accelerator, plan.cache.folder))
    shared = gather_object(lines) if accelerator.num_processes > 1 else lines
    accelerator.wait_for_everyone()
    plan.cache.refresh()
    return list(dict.fromkeys(shared))


def _reused(plan: Plan) -> str:
    missing, total = len(plan.missing()), len(plan.inputs)
    nouns = counted(total, plan.noun)
    return f"{total - missing:,} of {nouns} reused" if missing < total else f"{nouns} to encode"


def _require_room(folder: Path | None, plans: list[Plan], accelerator: Accelerator) -> None:
    needed = sum(plan.sizes(key) for plan in plans for key in plan.missing())
    if folder is None:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        free = memory.room(torch.device("cpu"), local)
        if any_of(accelerator, needed > free)[0]:
            raise OutOfMemory(
                f"--cache ram takes {size(needed)} in each process, {size(free)} are free; take --cache disk or none"
            )
        return
    free = free_bytes(folder)
    if any_of(accelerator, needed > free)[0]:
        raise OutOfDisk(
            f"the caches take {size(needed)} more, {folder} has {size(free)} free; free some, or choose another --cache-dir, or "
            "--cache ram or none"
        )
