"""`tool predict controlnet`: conditions and prompts in, PNG files out that say what they were drawn with."""

from __future__ import annotations

import dataclasses
import importlib.metadata as metadata
import itertools
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from recipes.controlnet import opening, provenance
from recipes.controlnet.config import Predict
from recipes.terminal.progress import Progress, print_line
from tasks.buckets import alike
from tasks.controlnet import caption_lengths
from tasks.controlnet.cache.encoding import CHUNK, CUT
from tasks.controlnet.condition_pixels import AUTO, parse_range
from tasks.controlnet.drawing.generation import fit, frame_for
from tasks.controlnet.drawing.png import read_facts, write_png
from tasks.controlnet.models import pretrained
from tasks.controlnet.pairs import condition_files
from tasks.deep_images import is_deep
from tasks.errors import ConfigError, DataError, data_errors
from tasks.files import disk_errors
from tasks.images import FileImages
from tasks.readers.paths import read_text
from tasks.words import counted

VERSIONS = ("modeltool", "torch", "diffusers", "transformers")


@dataclass
class Order:
    """One picture to be drawn.

    Attributes:
        image: the condition's path; `condition`: what it is in the size that is drawn.
        number: of the pictures for this condition and prompt.
    """

    image: str
    condition: Image.Image
    prompt: str
    number: int
    seed: int


def predict(config: Predict) -> dict[str, Any]:
    """Draws; returns a list of what was drawn, each with its condition, prompt, seed and file."""
    opening.quiet()
    check_inputs(config)
    pairs = read_inputs(config)
    model, was = opening.choose(config)
    config = dataclasses.replace(config, **provenance.settings(config, model, was))
    orders = as_orders(config, pairs)
    output = Path(config.output).expanduser()
    with disk_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    nets = opening.open_nets(config, model, was)
    print_line(
        f"controlnet · {model} on {nets.base.name} · {counted(len(orders), 'picture')} of "
        f"{counted(len(pairs), 'condition')} · {config.scheduler}, {config.steps} steps, guidance {config.guidance:g}"
    )
    cut = caption_lengths.cut_by(
        pretrained.load_tokenizer(nets.base), list(dict.fromkeys(prompt for _, prompt in pairs))
    )
    if line := caption_lengths.line(cut, config.long_captions == CHUNK, "prompts"):
        print_line(f"prompts   {line}")
    predictions = draw(config, nets, orders, output)
    return {"predictions": predictions, "text": "\n".join(_line(entry) for entry in predictions)}


def check_inputs(config: Predict) -> None:
    """A condition and a prompt must be given.

    Raises:
        ConfigError: says what is missing or doesn't fit.
    """
    if not config.inputs and not (config.image and config.prompt):
        raise ConfigError(
            'give a condition and a prompt: tool predict controlnet --image edges.png --prompt "a red teapot"'
        )
    if len(config.prompt) not in (0, 1, len(config.image)):
        raise ConfigError(
            f"--prompt: {len(config.prompt)} for {counted(len(config.image), 'image')}; give one for all, or one for each"
        )
    opening.check_resolution(config.resolution)
    if config.image and not config.prompt:
        raise ConfigError('--image: give its prompt too: --prompt "a red teapot"')


def read_inputs(config: Predict) -> list[tuple[str, str]]:
    """(condition's path, prompt) pairs, of the flags and of JSON lines files.

    Raises:
        ConfigError: an input that isn't a JSON lines file.
        DataError: a line without condition or prompt, with file and row; or conditions that are no pictures, all of them.
    """
    prompts = config.prompt * (len(config.image) if len(config.prompt) == 1 else 1)
    pairs = list(zip(config.image, prompts, strict=True))
    for text in config.inputs:
        pairs += _json_lines(Path(text).expanduser())
    pairs = [(str(Path(image).expanduser()), prompt) for image, prompt in pairs]
    paths = list(dict.fromkeys(image for image, _ in pairs))
    bad = FileImages(paths).problems(range(len(paths)), decode=True)
    if bad:
        raise data_errors([f"{paths[at]}: {reason}" for at, reason in bad.items()], len(bad))
    return pairs


def _json_lines(path: Path) -> list[tuple[str, str]]:
    if not path.is_file() or path.suffix.lower() not in (".jsonl", ".json"):
        what = "there is no such file" if not path.exists() else "is no JSON lines file"
        raise ConfigError(f"{path}: {what}; a condition is given by --image, its prompt by --prompt")
    pairs = []
    for row, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            image, prompt = entry["conditioning_image"], entry["prompt"]
        except (json.JSONDecodeError, KeyError, TypeError):
            image = prompt = None
        if not isinstance(image, str) or not isinstance(prompt, str):
            raise DataError(f'{path}, row {row}: needs {{"conditioning_image": "path", "prompt": "text"}}')
        where = Path(image).expanduser()
        pairs.append((str(where if where.is_absolute() or where.exists() else path.parent / where), prompt))
    if not pairs:
        raise DataError(f"{path}: no rows")
    return pairs


def as_orders(config: Predict, pairs: list[tuple[str, str]]) -> list[Order]:
    """The pictures in order of the inputs; picture k has the seed given plus k, whatever else is drawn."""
    loaded: dict[str, Image.Image] = {}
    orders, value_range = [], parse_range(config.condition_range or AUTO)
    for image, prompt in pairs:
        if image not in loaded:
            store = condition_files([image], value_range)
            whole = store.load(0)
            if is_deep(store.header(0).mode):
                how = "its own range of values" if value_range is None else f"{config.condition_range} as black,white"
                print_line(f"note      {image}: of more than 8 bits, read with {how}; --condition-range sets it")
            loaded[image] = fit(whole, frame_for(whole.size, config.resolution))
        orders += [Order(image, loaded[image], prompt, k, config.seed + k) for k in range(config.n)]
    return orders


def draw(config: Predict, nets: opening.Opened, orders: list[Order], output: Path) -> list[dict[str, Any]]:
    """Draws in batches of one size and writes each picture as soon as it is there."""
    prompts = list(dict.fromkeys(order.prompt for order in orders))
    *states, negative = nets.hidden([*prompts, config.negative_prompt or ""], config.long_captions or CUT)
    painter = nets.painter(config)
    predictions: dict[int, dict[str, Any]] = {}
    taken: set[Path] = set()
    with Progress("drawing", len(orders) * config.steps, unit="steps") as progress:
        for batch in alike(range(len(orders)), lambda at: orders[at].condition.size, config.batch_size):
            chosen = [orders[at] for at in batch]
            drawn = opening.paint(
                painter,
                [order.condition for order in chosen],
                [states[prompts.index(order.prompt)] for order in chosen],
                negative[None],
                config,
                seeds=[order.seed for order in chosen],
                done=progress.advance,
            )
            for at, order, picture in zip(batch, chosen, drawn, strict=True):
                facts = facts_of(config, nets, order)
                path = _free_path(output, f"{Path(order.image).stem}-{config.seed}-{order.number}", facts, taken)
                write_png(path, picture, facts)
                predictions[at] = {
                    "picture": str(path),
                    "conditioning_image": order.image,
                    "prompt": order.prompt,
                    "seed": order.seed,
                    "width": picture.width,
                    "height": picture.height,
                }
    return [predictions[at] for at in range(len(orders))]


def facts_of(config: Predict, nets: opening.Opened, order: Order) -> dict[str, Any]:
    """What a picture was drawn with; `command` draws it again."""
    drawn = {
        "prompt": order.prompt,
        "negative_prompt": config.negative_prompt,
        "seed": order.seed,
        "steps": config.steps,
        "scheduler": config.scheduler,
        "guidance": f"{config.guidance:g}",
        "conditioning_scale": f"{config.conditioning_scale:g}",
    }
    options = {
        "model": nets.name,
        "base": config.base,
        "revision": config.revision,
        "variant": config.variant,
        "image": order.image,
        **drawn,
        "resolution": config.resolution,
        "mixed_precision": config.mixed_precision,
        **{name: given for name, default in provenance.DEFAULTS.items() if (given := getattr(config, name)) != default},
    }
    flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None]
    width, height = order.condition.size
    return {
        **drawn,
        "conditioning_image": order.image,
        "resolution": f"{width}x{height}",
        "model": nets.name,
        "base": nets.base.name,
        "precision": str(nets.dtype).removeprefix("torch."),
        "versions": " ".join(f"{name} {metadata.version(name)}" for name in VERSIONS),
        "command": shlex.join(["tool", "predict", "controlnet", *itertools.chain(*flags)]),
    }


def _free_path(output: Path, stem: str, facts: dict[str, Any], taken: set[Path]) -> Path:
    """STEM.png, or STEM-2.png and so on where that is taken or another picture; one that is there is replaced by the same
    picture only."""
    for number in itertools.count(1):
        path = output / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
        if path not in taken and (not path.exists() or read_facts(path).get("command") == facts["command"]):
            break
    taken.add(path)
    return path


def _line(entry: dict[str, Any]) -> str:
    return f"{entry['picture']}  {entry['conditioning_image']}  {entry['prompt']} (seed {entry['seed']})"
