"""Makes what both sides of the ControlNet benchmark start from: photos with their edges, a Stable Diffusion, a ControlNet.

    python -m benchmarks.controlnet_inputs --size mid --source FOLDER --rows 34 --output FOLDER

The output holds data/ (images/, conditioning_images/, metadata.jsonl, as datasets' imagefolder reads them), model/ and
controlnet/. The networks have random weights from the seed; the ControlNet's zero convolutions have small ones, so that gradients
reach all of it from the first step on.

`mid` is Stable Diffusion 2.1 with its widths times 0.3, at 256 instead of 512 pixels. Counted by torch's FLOP counter over a
training step, VAE and text encoder take 34 % of it, as they do of Stable Diffusion 2.1's (34 %) and 1.5's (33 %) at 512 pixels.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 0


@dataclass(frozen=True)
class Sizes:
    """What the networks are made of; everything that isn't named is as in Stable Diffusion 2.1."""

    pixels: int
    unet: tuple[int, ...]
    heads: tuple[int, ...]
    vae: tuple[int, ...]
    vae_groups: int
    text: int
    text_layers: int
    text_heads: int
    condition: tuple[int, ...]


SIZES = {
    # For tests: nothing about it is like the real one.
    "small": Sizes(64, (32, 32), (2, 2), (8, 8, 8, 8), 4, 16, 1, 2, (4, 4, 4, 8)),
    "mid": Sizes(256, (96, 192, 384, 384), (3, 6, 12, 12), (38, 76, 152, 152), 19, 256, 8, 4, (5, 10, 29, 77)),
    "full": Sizes(512, (320, 640, 1280, 1280), (5, 10, 20, 20), (128, 256, 512, 512), 32, 1024, 23, 16, (16, 32, 96, 256)),
}  # fmt: skip


def networks(sizes: Sizes) -> dict[str, Any]:
    """vae, unet, text_encoder and controlnet, on the device that torch is set to make tensors on."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    depth, last = len(sizes.unet) - 1, sizes.unet
    unet = UNet2DConditionModel(
        sample_size=sizes.pixels // 8,
        block_out_channels=last,
        down_block_types=("CrossAttnDownBlock2D",) * depth + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * depth,
        cross_attention_dim=sizes.text,
        attention_head_dim=sizes.heads,
        use_linear_projection=True,
    )
    vae = AutoencoderKL(
        block_out_channels=sizes.vae,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=sizes.vae_groups,
        sample_size=sizes.pixels,
    )
    text = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=sizes.text,
        intermediate_size=4 * sizes.text,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text_heads,
    )
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=sizes.condition)
    return {"vae": vae, "unet": unet, "text_encoder": CLIPTextModel(text), "controlnet": controlnet}


def save_networks(sizes: Sizes, words: list[str], folder: Path) -> None:
    """model/ and controlnet/."""
    import torch

    from tasks.controlnet.tiny import pipeline

    torch.manual_seed(SEED)
    made = networks(sizes)
    controlnet = made.pop("controlnet")
    with torch.no_grad():
        for parameter in controlnet.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.01)
    tokenizer = pipeline.build_tokenizer(words, 77)
    made["text_encoder"].config.update(
        {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    )  # fmt: skip
    pipeline.Parts(tokenizer=tokenizer, scheduler=pipeline.build_scheduler(), **made).save(folder / "model")
    controlnet.save_pretrained(folder / "controlnet")


def save_data(source: Path, rows: int, folder: Path) -> list[str]:
    """The first photos, one of each subject after the other, with Canny's edges; gives the captions."""
    from PIL import Image

    from tasks.controlnet import conditions

    lines = [json.loads(line) for line in (source / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    written, captions = [], []
    for name in ("images", "conditioning_images"):
        (folder / name).mkdir(parents=True)
    for number, line in enumerate(sorted(lines, key=lambda one: one["file_name"][-6:])[:rows]):
        image = Image.open(source / line["file_name"]).convert("RGB")
        files = {
            "file_name": f"images/{number:04}.png",
            "conditioning_image_file_name": f"conditioning_images/{number:04}.png",
        }
        image.save(folder / files["file_name"], compress_level=1)
        conditions.make("canny", image).save(folder / files["conditioning_image_file_name"], compress_level=1)
        captions.append(f"a photo of a {line['class']}")
        written.append(json.dumps({**files, "text": captions[-1]}))
    (folder / "metadata.jsonl").write_text("\n".join(written) + "\n", encoding="utf-8")
    return captions


def share(sizes: Sizes) -> dict[str, float]:
    """Operations of the script's step for one picture, in GFLOP, and the share of VAE and text encoder; nothing is computed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        made = networks(sizes)
        latents, steps = torch.empty(1, 4, sizes.pixels // 8, sizes.pixels // 8), torch.empty(1, dtype=torch.long)
        hidden, picture = torch.empty(1, 77, sizes.text), torch.empty(1, 3, sizes.pixels, sizes.pixels)
        ids = torch.empty(1, 77, dtype=torch.long)
    for name in ("vae", "unet", "text_encoder"):
        made[name].requires_grad_(False)

    def step() -> None:
        down, mid = made["controlnet"](latents, steps, hidden, picture, return_dict=False)
        extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        made["unet"](latents, steps, hidden, **extra).sample.sum().backward()

    found = {}
    for name, run in (
        ("vae", lambda: made["vae"].encode(picture)),
        ("text_encoder", lambda: made["text_encoder"](ids)),
        ("step", step),
    ):
        with FlopCounterMode(display=False) as counter:
            run()
        found[name] = counter.get_total_flops() / 1e9
    encoders = found["vae"] + found["text_encoder"]
    return {**found, "share": encoders / (encoders + found["step"])}


def main() -> None:
    """Writes the folder, and what a step takes beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    captions = save_data(options.source, options.rows, options.output / "data")
    words = [word for caption in captions for word in caption.split()]
    save_networks(SIZES[options.size], words, options.output)
    counted = {name: share(SIZES[name]) for name in {options.size: 0, "full": 0}}
    (options.output / "operations.json").write_text(json.dumps(counted), encoding="utf-8")


if __name__ == "__main__":
    main()
