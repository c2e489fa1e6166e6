"""Padded batches of texts: tokens kept flat in memory, batches of about equal length."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tasks.buckets import epoch_plan, heaviest_first
from tasks.glue.texts import Texts

# Texts given to the tokenizer at once; bounds what its own results take.
CHUNK = 4096


def random_texts(tokenizer: Any, count: int, seed: int = 0, longest: int = 64) -> list[str]:
    """Texts of random words and pieces of a vocabulary, a few to `longest` of them."""
    draw = np.random.default_rng(seed)
    drawn = (draw.integers(0, len(tokenizer), int(draw.integers(4, max(5, longest)))) for _ in range(count))
    return [str(tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in drawn]


class TextBatches:
    """The batches of one split.

    Args:
        texts: the split.
        tokenizer: of the model.
        max_length: longer texts are cut to so many tokens, of pairs the longer one first.
    """

    def __init__(self, texts: Texts, tokenizer: Any, *, max_length: int) -> None:
        self.label = texts.label
        self.pad = int(tokenizer.pad_token_id or 0)
        self.names = [name for name in tokenizer.model_input_names if name in ("input_ids", "token_type_ids")]
        flat: dict[str, list[np.ndarray]] = {name: [] for name in self.names}
        lengths: list[int] = []
        for start in range(0, len(texts), CHUNK):
            part = slice(start, start + CHUNK)
            second = None if texts.second is None else texts.second[part]
            found = tokenizer(
                texts.first[part],
                second,
                truncation=True,
                max_length=max_length,
                return_attention_mask=False,
                return_token_type_ids="token_type_ids" in self.names,
            )
            lengths += [len(row) for row in found["input_ids"]]
            for name in self.names:
                flat[name].append(np.fromiter((at for row in found[name] for at in row), dtype=np.int32))
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.flat = {name: np.concatenate(parts) for name, parts in flat.items()}

    def __len__(self) -> int:
        return len(self.lengths)

    def plan(self, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        """An epoch's batches: each text once; alike in length within a batch; order by seed."""
        return epoch_plan((self.lengths,), batch_size, seed, epoch)

    def in_order(self, batch_size: int) -> list[np.ndarray]:
        """Batches for evaluation, by length, the longest first."""
        return heaviest_first((self.lengths,), batch_size)

    def heaviest(self, batch_size: int) -> np.ndarray:
        """The longest texts: the batch that takes the most memory."""
        return np.argsort(-self.lengths, kind="stable")[:batch_size]

    def feeds(self, numbers: np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """int64 [b, l] of each input that the tokenizer gives, and the attention mask.

        Args:
            length: pad to so many tokens instead of to the longest text of the batch.
        """
        lengths = self.lengths[numbers]
        place = np.arange(length or int(lengths.max()))[None]
        inside = place < lengths[:, None]
        source = np.where(inside, self.offsets[numbers][:, None] + place, 0)
        batch = {}
        for name in self.names:
            filler = self.pad if name == "input_ids" else 0
            batch[name] = np.where(inside, self.flat[name][source], filler).astype(np.int64)
        return {**batch, "attention_mask": inside.astype(np.int64)}

    def collate(self, numbers: np.ndarray, epoch: int = 0) -> dict[str, Any]:
        """CPU tensors of a batch: `feeds`, and `labels` (int64 classes or float32 scores, [b]; float32
        0 and 1, [b, labels], where a text may have several) where there are any.

        The mask is None where nothing is padded.
        """
        feeds = self.feeds(numbers)
        batch: dict[str, Any] = {name: torch.from_numpy(feeds[name]) for name in self.names}
        mask = feeds["attention_mask"]
        batch["attention_mask"] = None if mask.all() else torch.from_numpy(mask)
        if self.label is not None:
            labels = torch.from_numpy(np.ascontiguousarray(self.label[numbers]))
            batch["labels"] = labels if labels.dtype == torch.int64 else labels.float()
        return batch
