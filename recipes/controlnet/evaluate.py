"""`tool eval controlnet`: conditioning gain of a trained net, and the agreement of the pictures that it draws."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from recipes.controlnet import opening, provenance
from recipes.controlnet.config import Eval
from recipes.controlnet.grids import write_grid
from recipes.controlnet.opening import Opened
from recipes.controlnet.report import gain_text
from recipes.controlnet.step import Frozen
from recipes.data_sets import data_options
from recipes.process.memory import release
from recipes.runs.summary import verdict_lines
from recipes.scoring.seen_data import SeenData
from recipes.terminal.progress import Progress, print_line
from recipes.terminal.tables import table
from recipes.work import Evaluator
from tasks.controlnet import caption_lengths, training_record
from tasks.controlnet.batches import PairBatches, Shapes
from tasks.controlnet.cache.encoding import CHUNK, CUT, tokenize
from tasks.controlnet.data import Options, load_splits
from tasks.controlnet.drawing.generation import picture_seed
from tasks.controlnet.drawing.png import write_png
from tasks.controlnet.models import pretrained
from tasks.controlnet.models.diffusion import Diffusion
from tasks.controlnet.pairs import Pairs, Splits
from tasks.controlnet.score import agreement, gain
from tasks.controlnet.score.verdict import judge
from tasks.errors import OutOfMemory, is_out_of_memory
from tasks.files import disk_errors
from tasks.readers.leaks import without_leaks
from tasks.seen import FILE, Seen
from tasks.words import counted

DEFAULT_RESOLUTION = 512


def evaluate(config: Eval) -> dict[str, Any]:
    """Measures a net; returns the figures and the text to print."""
    opening.quiet()
    opening.check_resolution(config.resolution)
    model, was = opening.choose(config)
    config = replace(config, **provenance.settings(config, model, was))
    splits = read_data(config, was)
    assert splits.evaluation is not None
    record = provenance.record(model, config.token)
    if config.output:
        with disk_errors(Path(config.output)):
            Path(config.output).expanduser().mkdir(parents=True, exist_ok=True)
    nets = opening.open_nets(config, model, was)
    print_line(f"controlnet · {model} on {nets.base.name} · {splits.description}")
    for line in splits.skipped:
        print_line(f"skipped   {line}")
    for label, lines in (("leak", splits.leaks), ("blank", splits.blank), ("note", splits.notes)):
        for line in lines:
            print_line(f"{label:<10}{line}")
    cut = caption_lengths.of_splits([splits.evaluation], pretrained.load_tokenizer(nets.base))
    if line := caption_lengths.line(cut, config.long_captions == CHUNK):
        print_line(f"captions  {line}")
    pairs, seen, whole = unseen_pairs(config, splits.evaluation, record)
    if line := seen_line(record, seen, whole):
        print_line(line)
    batches = as_batches(config, nets, pairs)
    figures = {"model": model, "base": nets.base.name, "data": splits.description, **measure(config, nets, batches)}
    figures["verdict"] = judge(figures).as_dict()
    figures |= seen_figures(seen, figures.pop("per_pair"))
    drawn = draw_and_compare(config, nets, batches, str(config.data or was.get("data") or ""))
    if drawn is not None:
        figures["agreement"] = drawn
    figures["text"] = text_of(figures)
    return figures


def unseen_pairs(config: Eval, pairs: Pairs, record: Seen | None) -> tuple[Pairs, np.ndarray | None, int]:
    """The pairs to measure; bool [n], which of them training saw (None: not known); how many it saw as a whole.

    Raises:
        DataError: with --drop-leaks, training saw all of them.
    """
    seen, whole = training_record.seen_pairs(record, pairs)
    if seen is None or not (config.drop_leaks and seen.any()):
        return pairs, seen, whole
    what = "pictures or conditions"
    rest, line = without_leaks(pairs, seen, drop=True, units="pairs", what=what, name=pairs.source)
    print_line(f"leaks     {pairs.source}: {line}")
    return rest, np.zeros(len(rest), bool), 0


def seen_line(record: Seen | None, seen: np.ndarray | None, whole: int) -> str:
    """What training saw of the pairs, in words; empty where it saw none.

    Args:
        seen, whole: as `unseen_pairs` gives them.
    """
    line = SeenData(seen, "pairs (by picture or condition)").line()
    line += f"; {whole:,} of them as a whole, with their captions" if whole else ""
    if record is None or training_record.INCOMPLETE not in record.kinds:
        return line
    start = f"it began from a ControlNet that has no record of its training data ({FILE})"
    return f"seen      not known: {start}" if seen is None else f"{line}; there may be more, for {start}"


def seen_figures(seen: np.ndarray | None, per_pair: dict[str, list[float]]) -> dict[str, Any]:
    """How many of the pairs training saw, and, where it saw some, the gain of the others alone."""
    if seen is None:
        return {"seen": None}
    count = int(seen.sum())
    facts: dict[str, Any] = {"seen": {"count": count, "of": len(seen), "unit": "pairs"}}
    if 0 < count < len(seen):
        facts["unseen"] = gain.over_pairs(per_pair, ~seen)
    return facts


def read_data(config: Eval, was: dict[str, Any]) -> Splits:
    """The evaluation split: of the data given, else the very one that the run was measured on."""
    same = bool(was) and config.data in (None, was.get("data"))
    options = data_options(Options, config, was if same else None)
    # The seed given is that of the pictures; the hold-out's is the run's.
    seed = int(was.get("seed") or 0) if same else 0
    need = ("train", "evaluation") if same else ("evaluation",)
    return load_splits(replace(options, seed=seed, resolution=resolution_of(config, was)), need)


def resolution_of(config: Eval, was: dict[str, Any]) -> int:
    """The one given, else that of the run."""
    return int(config.resolution or was.get("resolution") or DEFAULT_RESOLUTION)


def as_batches(config: Eval, nets: Opened, pairs: Pairs) -> PairBatches:
    """The pairs framed as in training, encoded when they are measured; noise and timesteps are those of the run's evaluations."""
    base, was = nets.base, nets.config
    timesteps = len(pretrained.load_scheduler(base).alphas_cumprod)
    shapes = Shapes(
        resolution_of(config, was),
        bool(was.get("aspect_buckets")),
        factor=base.vae_scale_factor,
        channels=base.latent_channels,
    )
    to_ids = functools.partial(tokenize, pretrained.load_tokenizer(base), long_captions=config.long_captions or CUT)
    return PairBatches(pairs, shapes, int(was.get("seed") or 0), timesteps, tokenize=to_ids)


def measure(config: Eval, nets: Opened, batches: PairBatches) -> dict[str, Any]:
    """Denoising loss and conditioning gain over all pairs.

    Raises:
        OutOfMemory: not even one pair fits.
    """
    diffusion = Diffusion.of(pretrained.load_scheduler(nets.base), nets.base.scaling_factor).to(nets.device)
    frozen = Frozen(
        nets.unet,
        diffusion,
        nets.device,
        pretrained.load_vae(nets.base).to(nets.device),
        pretrained.load_text_encoder(nets.base).to(nets.device),
    )
    size = config.batch_size
    while True:
        try:
            with Progress("evaluating", len(batches), unit="pairs") as progress, torch.inference_mode():
                evaluator = Evaluator.alone(nets.device, size, progress.advance, autocast=nets.autocast)
                return frozen.figures(nets.controlnet, batches, evaluator)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if size == 1:
            raise OutOfMemory("out of memory with one pair; lower --resolution, or try --mixed-precision bf16")
        size //= 2
        release(nets.device)
        print_line(f"memory    didn't fit: {counted(size, 'pair')} at once from here on")


def draw_and_compare(config: Eval, nets: Opened, batches: PairBatches, data: str) -> dict[str, Any] | None:
    """Draws under some of the conditions and compares; writes what was drawn where a folder was asked for.

    Returns:
        The agreement of what was drawn, beside that of the true pictures; None where nothing can be compared.
    """
    count = min(config.draw, len(batches))
    if not count:
        return None
    numbers = np.unique(np.linspace(0, len(batches) - 1, count).round().astype(int))
    shown = [batches.shown(number) for number in numbers.tolist()]
    conditions, truths, prompts = map(list, zip(*shown, strict=True))
    folder = Path(data) if data and Path(data).is_dir() else None
    stored = [batches.pairs.conditions.load(int(batches.pairs.rows[number])) for number in numbers]
    # Lines that were resized are no longer the thin ones by which their kind is known.
    kind = agreement.kind_of(stored, folder) if config.agreement == "auto" else config.agreement
    if kind is None:
        known = ", ".join(agreement.SCORES)
        print_line(f"agreement no way to make these conditions anew from a picture: they are none of {known}")
    comparable = kind not in (None, "none")
    if not comparable and not config.output:
        return None
    drawn = _drawn(config, nets, conditions, prompts)
    if config.output:
        _write(config, nets, Path(config.output).expanduser(), (conditions, drawn, truths), prompts)
    if not comparable:
        return None
    assert kind is not None
    built = agreement.built_with(folder) if folder is not None else None
    options = built[1] if built is not None and built[0] == kind else None
    figures = agreement.evaluate(kind, conditions, drawn, config.seed, options=options)
    best = agreement.evaluate(kind, conditions, truths, config.seed, options=options)
    return {**figures, "true_pictures": best["score"]}


def _drawn(config: Eval, nets: Opened, conditions: list[Image.Image], prompts: list[str]) -> list[Image.Image]:
    """A picture for each condition."""
    *states, empty = nets.hidden([*prompts, ""], config.long_captions or CUT)
    painter = nets.painter(config)
    found: list[Image.Image] = []
    with Progress("drawing", len(conditions) * config.steps, unit="steps") as progress:
        for start in range(0, len(conditions), config.batch_size):
            part = slice(start, start + config.batch_size)
            found += opening.paint(
                painter,
                conditions[part],
                states[part],
                empty[None],
                config,
                seeds=[picture_seed(config.seed, number, 0) for number in range(len(conditions))[part]],
                done=progress.advance,
            )
    return found


def _write(
    config: Eval,
    nets: Opened,
    output: Path,
    pictures: tuple[list[Image.Image], list[Image.Image], list[Image.Image]],
    prompts: list[str],
) -> None:
    facts = {
        "seed": config.seed,
        "steps": config.steps,
        "scheduler": config.scheduler,
        "guidance": f"{config.guidance:g}",
        "conditioning_scale": f"{config.conditioning_scale:g}",
        "model": nets.name,
        "base": nets.base.name,
    }
    for number, (condition, drawn, _) in enumerate(zip(*pictures, strict=True), start=1):
        write_png(output / f"{number:04d}.png", drawn, {"prompt": prompts[number - 1], **facts})
        write_png(output / f"{number:04d}-condition.png", condition, {})
    rows: list[list[Image.Image | None]] = [list(row) for row in zip(*pictures, strict=True)]
    write_grid(output / "grid.png", rows, prompts, facts, truths=True)
    print_line(f"pictures  {output / 'grid.png'}")


def text_of(figures: dict[str, Any]) -> str:
    """The figures to read."""
    rows = [
        [band, *(round(part[key], 4) for key in ("own", "shuffled", "none")), *_percent(part, "gain", "low", "high")]
        for band, part in figures["by_band"].items()
    ]
    total = [round(figures[key], 4) for key in ("loss", "shuffled", "none")]
    rows.append(["all", *total, *_percent(figures, "gain", "gain_low", "gain_high")])
    against = _percent(figures, "gain_none", "gain_none_low", "gain_none_high")
    lines = [
        gain_text(figures),
        *([f"of the unseen pairs alone: {gain_text(figures['unseen'])}"] if "unseen" in figures else []),
        f"against the base alone {against[0]} % ({against[1]} to {against[2]})",
        *verdict_lines(figures["verdict"]),
        "",
        table(["timesteps", "loss", "shuffled", "base alone", "gain %", "low", "high"], rows),
    ]
    if "agreement" in figures:
        lines += ["", agreement_text(figures["agreement"])]
    return "\n".join(lines)


def agreement_text(found: dict[str, Any]) -> str:
    """'agreement (circles) 61.0 % (52.1 to 70.3, n 16) · shuffled 14.2 · true pictures 97.9'."""
    value, low, high = _percent(found, "score", "low", "high")
    shuffled = f" · shuffled conditions {100 * found['baseline']:.1f}" if found["baseline"] is not None else ""
    return (
        f"agreement ({found['kind']}) {value} % ({low} to {high}, n {found['n']:,}){shuffled} · true pictures "
        f"{100 * found['true_pictures']:.1f}"
    )


def _percent(values: dict[str, Any], *keys: str) -> list[float]:
    return [round(100 * values[key], 1) for key in keys]
