"""Loading of Stable Diffusion 1 and 2, part by part, and of ControlNets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tasks.controlnet.models import families
from tasks.controlnet.models.snapshot import STEMS, Snapshot
from tasks.deferred import SCIPY, deferred
from tasks.errors import ConfigError
from tasks.hub import loading
from tasks.weights import check_weights, model_folder

# The embedding of the condition halves its size once a channel count after the first: to an eighth, as the VAE does.
EMBEDDING_CHANNELS = (16, 32, 96, 256)
_TOKENIZERS = (("tokenizer/tokenizer.json",), ("tokenizer/vocab.json", "tokenizer/merges.txt"))


@dataclass(frozen=True)
class Base:
    """A Stable Diffusion on the disk, and what its configs say.

    Attributes:
        name: as the user gave it.
        folder: in diffusers' form.
        prediction_type: `epsilon` or `v_prediction`.
        vae_scale_factor: pixels a latent, each way.
        scaling_factor: what latents are multiplied by for the UNet.
        text_length: tokens a prompt.
        hidden_size: values a token, as the UNet's cross attention takes them.
        variants: component -> the variant of its weight files, None for the plain ones.
    """

    name: str
    folder: Path
    prediction_type: str
    vae_scale_factor: int
    latent_channels: int
    scaling_factor: float
    text_length: int
    hidden_size: int
    scheduler_config: dict[str, Any]
    unet_config: dict[str, Any]
    variants: dict[str, str | None]

    def files(self, component: str) -> list[Path]:
        """Config and weight files of a component, or all of it where it has no weights; sorted."""
        inside = sorted(
            path.relative_to(self.folder).as_posix() for path in self.folder.glob(f"{component}/*") if path.is_file()
        )
        snapshot = Snapshot(self.name, "--model", None, None, self.folder, inside)
        weights = snapshot.weights(component, self.variants[component]) if component in STEMS else snapshot.files
        names = {*weights, *(name for name in snapshot.files if name.endswith("config.json"))}
        return [self.folder / name for name in sorted(names)]


def find_base(
    model: str,
    revision: str | None = None,
    token: str | None = None,
    variant: str | None = None,
    seed: int = 0,
    *,
    cache_dir: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Base:
    """The base that `--model` names, with its files fetched and its configs looked at; `tiny` is made, once a seed.

    Args:
        cache_dir: where `tiny` is kept.
        say: told what goes on while `tiny` is made.

    Raises:
        ConfigError: it isn't Stable Diffusion 1 or 2: says what it is; or a part is missing.
        ToolError: the Hub doesn't give it.
    """
    if model == "tiny":
        from tasks.controlnet.tiny import training

        return replace(open_base(str(training.made(seed, cache_dir=cache_dir, say=say))), name="tiny")
    return open_base(model, revision, token, variant)


def open_base(
    model: str,
    revision: str | None = None,
    token: str | None = None,
    variant: str | None = None,
) -> Base:
    """As `find_base`, for a folder or a Hub id."""
    path = Path(model).expanduser()
    if path.suffix in (".safetensors", ".ckpt", ".pt", ".bin") and path.is_file():
        raise ConfigError(f"--model {model}: one file in the original form; {families.conversion(model)}")
    snapshot = Snapshot.of(model_folder(model), revision, token)
    if "model_index.json" not in snapshot.files:
        config = snapshot.json("config.json") if "config.json" in snapshot.files else None
        raise ConfigError(f"--model {model} {families.without_pipeline(config, snapshot.files)}")
    index = snapshot.json("model_index.json")
    _refuse(model, families.family(index))
    if families.missing(index):
        raise ConfigError(f"--model {model}: has no {', '.join(families.missing(index))}; {families.WANTED}")
    unet = snapshot.json("unet/config.json")
    _refuse(model, families.another_kind(index, unet))
    weights = {component: snapshot.weights(component, variant) for component in STEMS}
    variants = {component: variant if _has(files, variant) else None for component, files in weights.items()}
    if variant not in variants.values():
        raise ConfigError(f"--model {model}: has no weights of --variant {variant}; leave it out")
    configs = {name: snapshot.json(f"{name}/config.json") for name in ("vae", "text_encoder")}
    scheduler = snapshot.json("scheduler/scheduler_config.json")
    if not any(all(name in snapshot.files for name in names) for names in _TOKENIZERS):
        snapshot.require("tokenizer/merges.txt" if "tokenizer/vocab.json" in snapshot.files else "tokenizer/vocab.json")
    folder = snapshot.fetch(
        [
            "model_index.json",
            "*/config.json",
            "scheduler/*.json",
            "tokenizer/*.json",
            "tokenizer/*.txt",
            *(name for files in weights.values() for name in files),
        ]
    )
    return _described(model, folder, unet, configs, scheduler, variants)


def load_unet(base: Base, dtype: torch.dtype = torch.float32) -> Any:
    """Its `UNet2DConditionModel`.

    Raises:
        DataError: NaN in the weights, or weights that don't fit the config.
    """
    return _load(base, "unet", diffusers.UNet2DConditionModel, torch_dtype=dtype)


def load_vae(base: Base, dtype: torch.dtype = torch.float32) -> Any:
    """Its `AutoencoderKL`; errors as `load_unet`."""
    return _load(base, "vae", diffusers.AutoencoderKL, torch_dtype=dtype)


def load_text_encoder(base: Base, dtype: torch.dtype = torch.float32) -> Any:
    """Its `CLIPTextModel`; errors as `load_unet`."""
    return _load(base, "text_encoder", transformers.CLIPTextModel, dtype=dtype)


def load_tokenizer(base: Base) -> Any:
    """Its `CLIPTokenizer`."""
    with loading(str(base.folder), "--model"):
        return transformers.CLIPTokenizer.from_pretrained(base.folder, subfolder="tokenizer")


def tokenizer_of(model: str, token: str | None = None) -> Any:
    """The tokenizer that `--model` names, with nothing else of it fetched or made.

    Raises:
        ConfigError: it has none.
    """
    if model == "tiny":
        from tasks.controlnet.tiny import training

        return training.build_tokenizer()
    folder = model_folder(model)
    with loading(model, "--model"):
        return transformers.CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", token=token)


def load_scheduler(base: Base) -> Any:
    """The training noise schedule: a `DDPMScheduler` with the base's betas and prediction type."""
    with deferred(*SCIPY):  # diffusers looks at all its schedulers to read one's config
        return diffusers.DDPMScheduler.from_config(base.scheduler_config)


def new_controlnet(base: Base, unet: Any, seed: int = 0) -> Any:
    """A `ControlNetModel` in float32 that starts as the UNet's encoder and adds nothing yet.

    Its embedding of the condition is drawn from the seed, and has a halving for each of the base's VAE.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return diffusers.ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=embedding_channels(base.vae_scale_factor)
        ).float()


def embedding_channels(factor: int) -> tuple[int, ...]:
    """Channel counts of the embedding of the condition for a VAE of this factor: the usual ones at 8."""
    halvings = factor.bit_length() - 1
    widest = EMBEDDING_CHANNELS[-1]
    return (*EMBEDDING_CHANNELS, *[widest] * halvings)[: halvings + 1]


def load_controlnet(
    model: str, token: str | None = None, base: Base | None = None, *, flag: str = "--controlnet"
) -> Any:
    """A trained `ControlNetModel` in float32 from the Hub, a folder or a run, checked against the base where one is given.

    Raises:
        ConfigError: it isn't a ControlNet, or not one for this base: says what doesn't fit.
        DataError: NaN in its weights.
    """
    snapshot = Snapshot.of(model_folder(model), None, token, flag)
    if "model_index.json" in snapshot.files:
        raise ConfigError(
            f"{flag} {model} is a whole pipeline, not a ControlNet; give the folder of a ControlNet, or a run"
        )
    config = snapshot.json("config.json")
    if config.get("_class_name") != "ControlNetModel":
        kind = config.get("_class_name") or ", ".join(config.get("architectures") or ["something else"])
        raise ConfigError(f"{flag} {model} is no ControlNet but {kind}")
    found = misfits(config, base) if base is not None else []
    if found and base is not None:
        raise ConfigError(
            f"{flag} {model} doesn't fit {base.name}: {'; '.join(found)}; take the base that it was made for"
        )
    folder = snapshot.fetch(["config.json", *snapshot.weights("", None)])
    with loading(model, flag):
        return check_weights(
            diffusers.ControlNetModel.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True),
            model,
            flag,
        )


def misfits(config: dict[str, Any], base: Base) -> list[str]:
    """Where a ControlNet's config is not for the base, in words."""
    if config.get("addition_embed_type") == "text_time":
        return ["it steers Stable Diffusion XL"]
    names = {
        "cross_attention_dim": "values a token",
        "in_channels": "latent channels",
        "block_out_channels": "channels a block",
        "down_block_types": "blocks",
        "layers_per_block": "layers a block",
        "attention_head_dim": "attention heads",
    }
    found = []
    for key, told in names.items():
        own, wanted = config.get(key), base.unet_config.get(key)
        if own is not None and wanted is not None and own != wanted:
            found.append(f"{told} {own}, not {wanted} ({key})")
    shrinks = 2 ** (len(config.get("conditioning_embedding_out_channels") or EMBEDDING_CHANNELS) - 1)
    if shrinks != base.vae_scale_factor:
        found.append(f"it takes a condition to 1/{shrinks}, the base's VAE a picture to 1/{base.vae_scale_factor}")
    return found


def _described(
    name: str,
    folder: Path,
    unet: dict[str, Any],
    configs: dict[str, dict[str, Any]],
    scheduler: dict[str, Any],
    variants: dict[str, str | None],
) -> Base:
    vae, text = configs["vae"], configs["text_encoder"]
    text = text.get("text_config", text) if "hidden_size" not in text else text
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in families.PREDICTIONS or "Flow" in str(scheduler.get("_class_name")):
        kind = prediction if prediction not in families.PREDICTIONS else scheduler["_class_name"]
        raise ConfigError(
            f"--model {name}: its scheduler predicts by {kind}; {families.WANTED} (epsilon or v_prediction)"
        )
    if text["hidden_size"] != unet["cross_attention_dim"]:
        raise ConfigError(
            f"--model {name}: its text encoder gives {text['hidden_size']} values a token and its UNet takes "
            f"{unet['cross_attention_dim']}; parts of different models"
        )
    return Base(
        name=name,
        folder=folder,
        prediction_type=prediction,
        vae_scale_factor=2 ** (len(vae["block_out_channels"]) - 1),
        latent_channels=vae.get("latent_channels", 4),
        scaling_factor=vae.get("scaling_factor", 0.18215),
        text_length=text.get("max_position_embeddings", 77),
        hidden_size=text["hidden_size"],
        scheduler_config=scheduler,
        unet_config=unet,
        variants=variants,
    )


def _load(base: Base, component: str, kind: Any, **options: Any) -> Any:
    with loading(str(base.folder), "--model"):
        loaded = kind.from_pretrained(
            base.folder, subfolder=component, variant=base.variants[component], use_safetensors=True, **options
        )
    return check_weights(loaded, f"{base.name} ({component})").eval().requires_grad_(False)


def _refuse(model: str, told: str | None) -> None:
    if told is not None:
        raise ConfigError(f"--model {model} is {told}; {families.WANTED}")


def _has(files: list[str], variant: str | None) -> bool:
    return variant is not None and any(f".{variant}" in name for name in files)
