"""Files of a finished ControlNet run: the model folder with its card and pictures, evaluation.json, scores and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from recipes.config import as_dict
from recipes.controlnet import provenance
from recipes.controlnet.config import Train
from recipes.controlnet.grids import Kept, read_kept
from recipes.controlnet.parts import Parts
from recipes.controlnet.report import gain_text, headline_of, percent, sections
from recipes.controlnet.validation import Scenes
from recipes.loop.loop import Outcome
from recipes.options import ON_CARD
from recipes.report.card import Card, known_environment, write_card
from recipes.report.content import Table
from recipes.report.outputs import write_outputs
from recipes.runs import scores
from recipes.runs import summary as run_summary
from recipes.runs.folder import Run
from recipes.runs.trackers import PICTURES, picture_name
from tasks.controlnet.cache.encoding import CHUNK
from tasks.controlnet.drawing.contact_sheet import grid
from tasks.controlnet.drawing.png import write_png
from tasks.controlnet.pairs import Pairs
from tasks.controlnet.score.verdict import judge
from tasks.files import defined, umask, write_json, write_text

TRAINING = (
    "model",
    "revision",
    "variant",
    "controlnet",
    "resolution",
    "aspect_buckets",
    "crop",
    "hflip",
    "empty_prompts",
    *ON_CARD,
    "snr_gamma",
    "ema_decay",
    "seed",
)
CARD_PICTURE, CARD_CONDITION = "pictures.png", "condition.png"
CARD_CELL = 256

USAGE = """import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, UniPCMultistepScheduler
from PIL import Image

folder = "."  # this folder, or the Hub id
controlnet = ControlNetModel.from_pretrained(folder)
pipeline = StableDiffusionControlNetPipeline.from_pretrained({base}, controlnet=controlnet, safety_checker=None)
pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
condition = Image.open({condition}).convert("RGB").resize(({width}, {height}))
generator = torch.Generator().manual_seed(0)
picture = pipeline({prompt}, condition, num_inference_steps=20, generator=generator).images[0]
picture.save("picture.png")
"""


def write(config: Train, parts: Parts, run: Run, outcome: Outcome) -> dict[str, Any]:
    """Writes everything and returns the run's summary, as `--json` prints it."""
    figures = {key: defined(value) for key, value in outcome.metrics.items() if key not in ("per_pair", "pictures")}
    figures["best_step"] = outcome.best_step
    verdict = judge(outcome.metrics).as_dict()
    write_json(run.path / "evaluation.json", {**figures, "verdict": verdict})
    scores.write(run.path, per_pair(config, parts.evaluation.pairs, outcome.metrics["per_pair"]))
    provenance.write(run.path, config, parts.seen)
    kept = grid_of(run, outcome)
    card = make_card(config, parts, run, outcome, kept)

    def save(folder: Path) -> None:
        parts.controlnet.save_pretrained(folder, safe_serialization=True)
        provenance.write(folder, config, parts.seen)
        write_card(folder, card)
        add_pictures(folder, kept, parts.validator.scenes if parts.validator is not None else None)
        for path in folder.iterdir():
            path.chmod(0o666 & ~umask())  # the library keeps weights to their owner

    summary = write_outputs(
        run,
        save,
        None,  # it is written already: the pictures go into it
        title=f"ControlNet · {config.model} on {config.data}",
        headline=headline_of(outcome.metrics),
        sections=sections(parts.evaluation.pairs, run, outcome.metrics, outcome.best_step),
        metrics={key: value for key, value in figures.items() if key != "by_band"},
    )
    return {**summary, "verdict": verdict, "pictures": str(kept.path) if kept else None}


def grid_of(run: Run, outcome: Outcome) -> Kept | None:
    """The grid of the step whose weights are kept, else of the last one; None where none was drawn."""
    grids = (read_kept(run.path / PICTURES / picture_name(step)) for step in (outcome.best_step, outcome.steps))
    return next((grid for grid in grids if grid is not None), None)


def per_pair(config: Train, pairs: Pairs, losses: dict[str, list[float]]) -> scores.Scores:
    """How much each pair's own condition lowers its loss, for comparing runs: as a share of the mean loss under another's, so
    that their mean is the gain."""
    own, shuffled = np.asarray(losses["own"]), np.asarray(losses["shuffled"])
    origin = f"sample {config.seed}" if config.data == "sample" else ""
    names = [Path(pairs.images.where(int(row))).name for row in pairs.rows]
    seen: dict[str, int] = {}
    ids = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        ids.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return scores.Scores(
        metric="gain",
        greater_is_better=True,
        data={
            "name": config.data,
            "revision": config.data_revision,
            "split": config.eval_split,
            "pairs": len(pairs),
        },
        ids=ids,
        scores=[float(score) for score in (shuffled - own) / shuffled.mean()],
        groups=[int(row) for row in pairs.rows],
        contents=[
            scores.digest(origin, name, captions, Path(pairs.conditions.where(int(row))).name)
            for name, captions, row in zip(names, pairs.captions, pairs.rows, strict=True)
        ],
    )


def make_card(config: Train, parts: Parts, run: Run, outcome: Outcome, kept: Kept | None) -> Card:
    """The model card's content."""
    given = as_dict(config)
    metrics, shared = outcome.metrics, parts.splits.shared
    base = (
        f"`{config.model}`" if config.model != "tiny" else "a tiny Stable Diffusion that modeltool makes from its seed"
    )
    name = config.model.rstrip("/").rsplit("/", 1)[-1]
    bands = [
        [band, 100 * part["gain"], 100 * part["low"], 100 * part["high"]] for band, part in metrics["by_band"].items()
    ]
    return Card(
        name=f"ControlNet for {name}, trained on {Path(config.data).name}",
        summary=(
            f"A ControlNet that steers {base.replace('`', '')} by a condition picture. Trained on "
            f"{parts.splits.description}.\n\nConditioning gain: how much lower the denoising loss of held-out pairs is with "
            "their own condition than with another pair's. A net that ignores its condition gains nothing."
        ),
        pipeline_tag="image-to-image",
        headline=headline_of(metrics),
        metric="conditioning_gain",
        usage=usage(config, parts, kept),
        base_model=config.model,
        dataset_id=config.data,
        dataset_name=Path(config.data).name,
        library_name="diffusers",
        tags=["stable-diffusion", "stable-diffusion-diffusers", "controlnet", "diffusers"],
        further={"denoising loss": metrics["loss"], "denoising loss, shuffled conditions": metrics["shuffled"]},
        tables=[Table("By timestep", ["timesteps", "gain %", "95 % from", "to"], bands)],
        data={
            "data": config.data,
            "training pairs": len(parts.train.pairs),
            "evaluation pairs": len(parts.evaluation.pairs),
            "held out of the training pairs": parts.splits.held_out,
            **({"evaluation pairs with a picture or condition of training": shared} if shared else {}),
            **({"long captions": "in pieces"} if config.long_captions == CHUNK else {}),
            **({"black and white of the conditions": config.condition_range} if parts.splits.condition_range else {}),
        },
        training={key: given[key] for key in TRAINING if given.get(key) is not None},
        limits=[
            "It works with the base model named above; others of its family may fit, and none was tried.",
            "Measured on the evaluation pairs named above, and on nothing else: other conditions and other captions were "
            "not tried.",
            "The conditioning gain says that the condition counts, not that the pictures are good.",
        ],
        environment=known_environment(run.environment()),
    )


def usage(config: Train, parts: Parts, kept: Kept | None) -> str:
    """Code that draws one picture, with the card's own condition where it has one."""
    size = (config.resolution or 512, config.resolution or 512)
    if kept is not None and parts.validator is not None and len(parts.validator.scenes):
        size = parts.validator.scenes.conditions[0].size
    base = str(parts.base.folder) if config.model == "tiny" else config.model
    values = {"base": base, "condition": CARD_CONDITION, "prompt": kept.prompts[0] if kept else "a prompt"}
    literals = {name: json.dumps(text, ensure_ascii=False) for name, text in values.items()}
    return USAGE.format(**literals, width=size[0], height=size[1])


def add_pictures(folder: Path, kept: Kept | None, given: Scenes | None) -> None:
    """Puts the pictures of a grid beside the card, and shows them in it."""
    if kept is None:
        return
    if given:
        write_png(folder / CARD_CONDITION, given.conditions[0], {})
    columns = max(len(row) for row in kept.rows)
    titles = ["condition", *(f"drawn {number + 1}" for number in range(columns - 1 - kept.truths))]
    sheet, _ = grid(kept.rows, titles + (["true picture"] if kept.truths else []), kept.prompts, cell=CARD_CELL)
    write_png(folder / CARD_PICTURE, sheet, {"step": kept.step})
    card = folder / "README.md"
    words = f"Drawn at step {kept.step:,} of the training: the condition, the pictures"
    words += " and, at the right, the true picture." if kept.truths else "."
    before, use, after = card.read_text(encoding="utf-8").partition("\n## Use\n")
    shown = f"\n## Pictures\n\n{words}\n\n![Conditions and what was drawn under them]({CARD_PICTURE})\n"
    write_text(card, before + shown + use + after)


def summary_text(run: Run, outcome: Outcome, summary: dict[str, Any]) -> str:
    """The result on stdout: gain, losses and gain by timestep, time against the estimate, and where things are."""
    metrics = outcome.metrics
    bands = " · ".join(f"{band} {percent(part['gain'])} %" for band, part in metrics["by_band"].items())
    lines = [
        f"loss      {metrics['loss']:.4f} with its own condition · {metrics['shuffled']:.4f} with another pair's · "
        f"{metrics['none']:.4f} of the base alone",
        f"gain      by timestep: {bands}",
        *([f"pictures  {summary['pictures']}"] if summary.get("pictures") else []),
    ]
    following = f'tool predict controlnet --model {run.path} --image condition.png --prompt "a prompt"'
    return run_summary.text(run, summary, gain_text(metrics), following, lines)
