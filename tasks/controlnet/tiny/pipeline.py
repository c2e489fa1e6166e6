"""`--model tiny`: a small Stable Diffusion made from configs, untrained."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

from tasks.files import umask

TEXT_LENGTH = 32
START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass
class Parts:
    """The components of a Stable Diffusion."""

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any

    def save(self, folder: Path) -> None:
        """Writes them in diffusers' form, for `DiffusionPipeline.from_pretrained`."""
        index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__}
        for name, part in vars(self).items():
            library = "transformers" if name in ("text_encoder", "tokenizer") else "diffusers"
            index[name] = [library, type(part).__name__]
            part.save_pretrained(folder / name)
        # Besides tokenizer.json, which older versions of transformers don't read.
        self.tokenizer.backend_tokenizer.model.save(str(folder / "tokenizer"))
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        for path in folder.rglob("*"):
            path.chmod((0o777 if path.is_dir() else 0o666) & ~umask())  # the libraries keep weights to their owner


def build_tokenizer(words: Iterable[str], length: int = TEXT_LENGTH) -> Any:
    """A `CLIPTokenizer` with a token for each of these words; others fall apart into their bytes."""
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: dict[tuple[str, str], None] = {}
    for word in sorted(set(words)):
        left, rest = word[0], [*word[1:-1], f"{word[-1]}</w>"]
        for letter in rest if len(word) > 1 else []:
            merges[left, letter] = None
            left += letter
            pieces.append(left)
    names = dict.fromkeys([*pieces, START, END])
    return transformers.CLIPTokenizer(
        vocab={name: number for number, name in enumerate(names)}, merges=list(merges), model_max_length=length
    )


def build_text_encoder(tokenizer: Any, hidden: int, layers: int) -> Any:
    """A `CLIPTextModel` for the tokenizer, of random weights by which words are told apart."""
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = transformers.CLIPTextModel(config).eval()
    with torch.no_grad():
        # The library's 0.02 is meant to be trained: left as it is, words drown in what the layers add.
        model.embeddings.token_embedding.weight.normal_()
        model.embeddings.position_embedding.weight.normal_()
    return model


def build_vae(channels: tuple[int, ...], groups: int) -> Any:
    """An `AutoencoderKL` that halves the size between each two channel counts."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=groups,
        sample_size=64,
        mid_block_add_attention=False,
    )


def build_unet(channels: tuple[int, ...], hidden: int, groups: int, *, fine_attention: bool = True) -> Any:
    """A `UNet2DConditionModel` of one layer a block.

    Args:
        hidden: values a token of the prompt.
        fine_attention: attention in all blocks but the coarsest, as Stable Diffusion has it; else in the coarsest alone, which
            takes a third less time.
    """
    attends = [fine_attention] * (len(channels) - 1) + [not fine_attention]
    return diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attends)),
        cross_attention_dim=hidden,
        attention_head_dim=2,
        norm_num_groups=groups,
    )


def build_scheduler(prediction_type: str = "epsilon") -> Any:
    """Stable Diffusion's noise schedule."""
    return diffusers.DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type=prediction_type,
        clip_sample=False,
        steps_offset=1,
    )
