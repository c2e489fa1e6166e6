"""Recognition of a model folder by its configs: Stable Diffusion 1 or 2, or what else it is."""

from __future__ import annotations

from typing import Any

WANTED = "a ControlNet is trained here for Stable Diffusion 1.x and 2.x in diffusers' form"
COMPONENTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
PREDICTIONS = ("epsilon", "v_prediction")

# How the pipelines of other families begin.
_FAMILIES = {
    "StableDiffusionXL": "Stable Diffusion XL",
    "StableDiffusion3": "Stable Diffusion 3",
    "StableCascade": "Stable Cascade",
    "StableVideoDiffusion": "Stable Video Diffusion",
    "Flux": "FLUX",
    "PixArt": "PixArt",
    "Kandinsky": "Kandinsky",
    "IF": "DeepFloyd IF",
    "LatentConsistency": "a latent consistency model",
    "QwenImage": "Qwen-Image",
    "Sana": "Sana",
    "AltDiffusion": "AltDiffusion",
    "AnimateDiff": "AnimateDiff",
}
_BY_CHANNELS = {
    9: "a model for inpainting",
    8: "a model for editing by instruction (InstructPix2Pix)",
    7: "an upscaler",
    5: "a model guided by depth",
}


def family(index: dict[str, Any]) -> str | None:
    """The family that a model_index.json names, where it is none of Stable Diffusion 1 and 2."""
    name = str(index.get("_class_name", ""))
    return next((title for beginning, title in _FAMILIES.items() if name.startswith(beginning)), None)


def missing(index: dict[str, Any]) -> list[str]:
    """The components that a model_index.json should name and doesn't."""
    return [name for name in COMPONENTS if not (index.get(name) or [None])[0]]


def another_kind(index: dict[str, Any], unet: dict[str, Any]) -> str | None:
    """What a pipeline with a UNet is, where it isn't plain text-to-image Stable Diffusion 1 or 2."""
    if unet.get("_class_name") != "UNet2DConditionModel":
        return f"a model with a {unet.get('_class_name')}"
    if unet.get("addition_embed_type") == "text_time":
        return "Stable Diffusion XL"
    if unet.get("in_channels", 4) != 4:
        channels = unet["in_channels"]
        return f"{_BY_CHANNELS.get(channels, 'another kind of model')}: its UNet takes {channels} channels, not 4"
    if unet.get("time_cond_proj_dim"):
        return "a latent consistency model"
    for name in ("addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim_type"):
        if unet.get(name):
            return f"another kind of model: its UNet takes more than a prompt ({name} {unet[name]})"
    for name, wanted in {"text_encoder": "CLIPTextModel", "vae": "AutoencoderKL"}.items():
        if index[name][1] != wanted:
            return f"another kind of model: its {name} is a {index[name][1]}, not a {wanted}"
    return None


def without_pipeline(config: dict[str, Any] | None, files: list[str]) -> str:
    """What a folder without model_index.json is, and what to do; from its config.json, if it has one, and its file names."""
    kind = str((config or {}).get("_class_name", ""))
    if kind == "ControlNetModel":
        return "is a ControlNet; give it to --controlnet, and to --model the Stable Diffusion that it steers"
    if kind:
        return f"is a part of a model ({kind}); give the folder that holds model_index.json"
    if config is not None:
        names = config.get("architectures") or [config.get("model_type", "no name")]
        return f"is a model of transformers ({', '.join(map(str, names))}), not a Stable Diffusion; {WANTED}"
    single = [name for name in files if name.endswith((".safetensors", ".ckpt")) and "/" not in name]
    if single:
        return f"holds no model_index.json, but {single[0]} in the original form; {conversion(single[0])}"
    return f"holds no model_index.json, so no Stable Diffusion; {WANTED}"


def conversion(file: str) -> str:
    """How one file of the original form becomes a folder of diffusers."""
    return (
        'convert it: python -c "from diffusers import StableDiffusionPipeline as P; '
        f"P.from_single_file('{file}').save_pretrained('base')\", then --model base"
    )
