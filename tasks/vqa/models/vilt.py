"""ViLT for question answering with the library's weights and results, and a faster way to them.

Against `transformers.ViltForQuestionAnswering`: the patch embedding has no Python loop over the batch and no random order, one
image that several questions ask about is embedded once, attention goes through `scaled_dot_product_attention`, and the last
layer computes only the position that the classifier reads. Equal within 1e-5 (tests/tasks/vqa/test_vqa_model.py); before a run
`library_check` makes sure of it with the installed version of transformers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from transformers.models.vilt import modeling_vilt


class ViltLayer(modeling_vilt.ViltLayer):
    """The library's layer with a call of `encoder_layer`; gradient checkpointing and shards work on calls."""

    def forward(self, hidden: Tensor, mask: Tensor | None, only_first: bool) -> Tensor:
        """See `encoder_layer`."""
        return encoder_layer(self, hidden, mask, only_first)


class ViltForQuestionAnswering(transformers.ViltForQuestionAnswering):
    """Saved and loaded as transformers' class of this name; only `forward` differs.

    `forward` takes what the library's takes (`input_ids`, `attention_mask`, `token_type_ids`, `pixel_values`, `pixel_mask`,
    `labels`) and:

        image_index: int64 [batch], which image of `pixel_values` each question asks about; None: one image a question.

    Masks may be None where nothing is padded, which is faster. After `use_library(True)` it is the library's forward that runs.
    """

    library_forward = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.use_library(False)

    def use_library(self, library: bool) -> None:
        """Whether `forward` is transformers' own, in its layers too."""
        self.library_forward = library
        for layer in self.vilt.encoder.layer:
            layer.__class__ = modeling_vilt.ViltLayer if library else ViltLayer

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        pixel_mask: Tensor | None = None,
        image_index: Tensor | None = None,
        labels: Tensor | None = None,
        **unused: Any,
    ) -> transformers.modeling_outputs.SequenceClassifierOutput:
        """Logits float32 [batch, num_labels]; the loss, where labels are given, is the library's."""
        if self.library_forward:
            attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            pixel_mask = torch.ones_like(pixel_values[:, 0]) if pixel_mask is None else pixel_mask
            if image_index is not None:
                pixel_values, pixel_mask = pixel_values[image_index], pixel_mask[image_index]
            return super().forward(input_ids, attention_mask, token_type_ids, pixel_values, pixel_mask, labels=labels)
        hidden, mask = self._embed(input_ids, attention_mask, token_type_ids, pixel_values, pixel_mask, image_index)
        layers = list(self.vilt.encoder.layer)
        for number, layer in enumerate(layers):
            hidden = layer(hidden, mask, number == len(layers) - 1)
        logits = self.classifier(self.vilt.pooler(self.vilt.layernorm(hidden)))
        loss = None
        if labels is not None:
            loss = F.binary_cross_entropy_with_logits(logits, labels) * labels.shape[1]
        return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)

    def _embed(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        pixel_values: Tensor,
        pixel_mask: Tensor | None,
        image_index: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Embeddings [batch, text + 1 + patches, hidden] and the mask of what may be attended to, None for everything."""
        embeddings = self.vilt.embeddings
        kinds = embeddings.token_type_embeddings.weight
        text = embeddings.text_embeddings(input_ids=input_ids, token_type_ids=token_type_ids) + kinds[0]
        image, image_mask = visual_embed(embeddings, pixel_values, pixel_mask)
        image = image + kinds[1]
        if image_index is not None:
            image = image[image_index]
            image_mask = image_mask[image_index] if image_mask is not None else None
        hidden = torch.cat([text, image.to(text.dtype)], dim=1)
        if attention_mask is None and image_mask is None:
            return hidden, None
        batch = input_ids.shape[0]
        seen = torch.ones(batch, 1, dtype=torch.bool, device=hidden.device)
        text_mask = seen.expand(batch, text.shape[1]) if attention_mask is None else attention_mask.bool()
        rest = seen.expand(batch, image.shape[1]) if image_mask is None else image_mask
        return hidden, torch.cat([text_mask, rest], dim=1)[:, None, None, :]


def visual_embed(embeddings: Any, pixel_values: Tensor, pixel_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Patch embeddings with interpolated positions, the class token first.

    Args:
        embeddings: a `ViltEmbeddings`.
        pixel_values: float [images, channels, height, width], padded at the right and the bottom.
        pixel_mask: int [images, height, width], 1 where there is a pixel; None: everywhere.

    Returns:
        [images, 1 + patches, hidden], and bool [images, 1 + patches] or None where no patch is padding.
    """
    patches = embeddings.patch_embeddings(pixel_values)
    count, channels, rows, columns = patches.shape
    grid = embeddings.config.image_size // embeddings.config.patch_size
    table = embeddings.position_embeddings[0, 1:].view(grid, grid, channels)
    mask = None
    if pixel_mask is None:
        heights = widths = None
    else:
        mask = F.interpolate(pixel_mask[:, None].float(), size=(rows, columns))[:, 0].bool()
        heights, widths = mask[:, :, 0].sum(1), mask[:, 0, :].sum(1)
    vertical = interpolation(grid, rows, heights, table)
    horizontal = interpolation(grid, columns, widths, table)
    positions = torch.einsum("bhp,pqc,bwq->bhwc", vertical, table, horizontal).flatten(1, 2)
    tokens = patches.flatten(2).transpose(1, 2) + positions
    if mask is not None:
        tokens, mask = drop_padding(tokens, mask.flatten(1), int(embeddings.config.max_image_length))
        mask = F.pad(mask, (1, 0), value=True)
    first = (embeddings.cls_token + embeddings.position_embeddings[:, :1]).expand(count, -1, -1)
    return embeddings.dropout(torch.cat([first, tokens], dim=1)), mask


def interpolation(grid: int, size: int, lengths: Tensor | None, like: Tensor) -> Tensor:
    """Matrices that stretch `grid` positions over each length, bilinear with aligned corners.

    Args:
        lengths: int [images], how many of the `size` places each image fills; None: all of them.

    Returns:
        [images or 1, size, grid]; rows beyond an image's length are never used.
    """
    place = torch.arange(size, device=like.device, dtype=torch.float32)
    if lengths is None:
        at = place[None] * ((grid - 1) / max(1, size - 1) if size > 1 else 0.0)
    else:
        step = torch.where(
            lengths > 1, (grid - 1) / (lengths - 1).clamp(min=1), torch.zeros_like(lengths, dtype=torch.float32)
        )
        at = (place[None] * step[:, None]).clamp(max=grid - 1)
    nodes = torch.arange(grid, device=like.device, dtype=torch.float32)
    return (1 - (at[..., None] - nodes).abs()).clamp(min=0).to(like.dtype)


def drop_padding(tokens: Tensor, mask: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Moves the patches that exist to the front and cuts what no image needs.

    Args:
        tokens: [images, patches, hidden]; mask: bool [images, patches].
        longest: the config's `max_image_length`; above it, evenly spaced patches are kept (the library draws them at random).
    """
    counts = mask.sum(1)
    needed = int(counts.max())
    order = torch.argsort(mask.int(), dim=1, descending=True, stable=True)
    if 0 < longest < needed:
        spread = (torch.arange(longest, device=mask.device)[None] * counts[:, None].clamp(min=longest)) // longest
        order, needed = torch.gather(order, 1, spread), longest
    order = order[:, :needed]
    return torch.gather(tokens, 1, order[..., None].expand(-1, -1, tokens.shape[2])), torch.gather(mask, 1, order)


def encoder_layer(layer: Any, hidden: Tensor, mask: Tensor | None, only_first: bool) -> Tensor:
    """One `ViltLayer`; with `only_first` the result is that of the first position alone, [batch, 1, hidden]."""
    attention = layer.attention.attention
    normed = layer.layernorm_before(hidden)
    asking = normed[:, :1] if only_first else normed
    context = attend(
        attention.query(asking),
        attention.key(normed),
        attention.value(normed),
        mask,
        attention.num_attention_heads,
        attention.dropout.p if layer.training else 0.0,
    )
    hidden = layer.attention.output(context, hidden) + (hidden[:, :1] if only_first else hidden)
    result: Tensor = layer.output(layer.intermediate(layer.layernorm_after(hidden)), hidden)
    return result


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int, dropout: float) -> Tensor:
    """Attention over [batch, length, hidden]; the mask says which keys are seen."""
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    if query.device.type == "cpu" and query.dtype is torch.bfloat16:
        # The CPU's bfloat16 kernel has a backward pass eight times slower than that of float32.
        with torch.autocast("cpu", enabled=False):
            context = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), mask, dropout).to(
                query.dtype
            )
    else:
        context = F.scaled_dot_product_attention(query, key, value, mask, dropout)
    return context.transpose(1, 2).flatten(2)


def position_table(grid: int, hidden: int) -> Tensor:
    """Sines and cosines of the row and the column, [grid * grid, hidden]: a start from which places are told apart."""
    frequencies = torch.linspace(math.pi / grid / 2, math.pi, hidden // 4)
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    row, column = rows.flatten()[:, None] * frequencies, columns.flatten()[:, None] * frequencies
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], dim=1)
