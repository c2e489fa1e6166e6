"""Export settings by architecture: inputs, dynamic axes, heads and hidden size."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch

from tasks.errors import ConfigError

TEXT = {0: "batch", 1: "sequence"}
TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Spec:
    """The inputs of a classifier and what its graph is made of.

    Attributes:
        inputs: names in the order of the graph.
        axes: the dynamic axes of each input, by name.
        heads, hidden: of the attention; 0 where the model has none.
        image: channels, height and width of `pixel_values`, as the config says them.
        patch: where height and width are dynamic, what they are multiples of in `example`; else 0.
    """

    inputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]
    model_type: str
    heads: int
    hidden: int
    longest: int
    vocabulary: int
    types: int
    padding: int
    image: tuple[int, int, int] | None = None
    patch: int = 0

    def example(self, batch: int, length: int, seed: int = 0) -> dict[str, torch.Tensor]:
        """Random inputs: texts of `length` tokens, all but the first with padding at the end, and images.

        Returns:
            int64 [batch, length] for texts, float32 [batch, channels, height, width] for images, in order.
        """
        draw = torch.Generator().manual_seed(seed)
        lengths = [max(1, length - row * max(1, length // (2 * batch))) for row in range(batch)]
        mask = torch.arange(length)[None] < torch.tensor(lengths)[:, None]
        ids = torch.randint(0, max(2, self.vocabulary), (batch, length), generator=draw)
        ids = torch.where(ids == self.padding, (ids + 1) % max(2, self.vocabulary), ids)
        made: dict[str, torch.Tensor] = {
            "input_ids": torch.where(mask, ids, self.padding),
            "attention_mask": mask.long(),
            "token_type_ids": torch.randint(0, max(1, self.types), (batch, length), generator=draw) * mask,
        }
        if self.image is not None:
            height, width = (
                (self.patch * (2 + length % 5), self.patch * (3 + length % 3)) if self.patch else self.image[1:]
            )
            made["pixel_values"] = torch.randn(batch, self.image[0], height, width, generator=draw)
        return {name: made[name] for name in self.inputs}

    def shapes(self) -> list[tuple[int, int]]:
        """(batch, length) to check the graph on: other ones than it was traced with."""
        if "input_ids" not in self.inputs:
            return [(1, 1), (2, 1), (5, 1)]
        longest = min(self.longest, 48)
        return [(1, min(5, longest)), (3, min(17, longest)), (2, longest)]


def spec_of(model: Any) -> Spec:
    """The spec of a transformers classifier of texts or images, or of a ViLT.

    Raises:
        ConfigError: a model of another kind (one with a decoder, or with inputs that we don't know how to make).
    """
    config = model.config
    _require_encoder(model)
    known = inspect.signature(model.forward).parameters
    names = [name for name in TEXT_INPUTS if name in known] if "input_ids" in known else []
    types = int(getattr(config, "type_vocab_size", 0) or 0)
    if "token_type_ids" in names and types < 2 and config.model_type != "vilt":
        names.remove("token_type_ids")
    axes: dict[str, dict[int, str]] = {name: dict(TEXT) for name in names}
    image, patch = None, 0
    if "pixel_values" in known:
        names.append("pixel_values")
        axes["pixel_values"] = {0: "batch"}
        height, width = [config.image_size] * 2 if isinstance(config.image_size, int) else config.image_size
        image = (int(config.num_channels), int(height), int(width))
        if config.model_type == "vilt":
            patch = int(config.patch_size)
            axes["pixel_values"] |= {2: "height", 3: "width"}
    if not names:
        raise ConfigError(
            f"a {config.model_type} takes {', '.join(list(known)[:3])}, neither input_ids nor pixel_values; "
            f"`tool export onnx` takes classifiers of texts or images"
        )
    heads, hidden = sizes(config)
    padding = getattr(config, "pad_token_id", None)
    positions = int(getattr(config, "max_position_embeddings", 512) or 512)
    offset = (padding or 0) + 1 if config.model_type in {"roberta", "xlm-roberta", "camembert", "mpnet"} else 0
    return Spec(
        inputs=tuple(names),
        axes=axes,
        model_type=str(config.model_type),
        heads=heads,
        hidden=hidden,
        longest=positions - offset,
        vocabulary=int(getattr(config, "vocab_size", 0) or 0),
        types=types or 1,
        padding=int(padding or 0),
        image=image,
        patch=patch,
    )


def _require_encoder(model: Any) -> None:
    config = model.config
    causal = next((module for module in model.modules() if getattr(module, "is_causal", False) is True), None)
    why = ""
    if getattr(config, "is_encoder_decoder", False):
        why = f"a {config.model_type} has a decoder"
    elif causal is not None:
        why = f"a {config.model_type} is a decoder ({type(causal).__name__} sees no later tokens)"
    elif getattr(config, "is_decoder", False):
        why = f"this {config.model_type} is set up as a decoder (is_decoder in its config.json)"
    if why:
        raise ConfigError(f"{why}; `tool export onnx` takes encoder classifiers")


def sizes(config: Any) -> tuple[int, int]:
    """(heads, hidden size) by Optimum's normalized configs, else by the config's usual names; 0 for what isn't said."""
    from optimum.utils.normalized_config import NormalizedConfigManager

    try:
        normalized = NormalizedConfigManager.get_normalized_config_class(config.model_type)(config)
        return int(normalized.num_attention_heads), int(normalized.hidden_size)
    except (KeyError, AttributeError):
        return int(getattr(config, "num_attention_heads", 0) or 0), int(getattr(config, "hidden_size", 0) or 0)
