"""Which evaluation texts a classifier's training saw, by content: case, spaces and the order of a pair apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from recipes.scoring.seen_data import SeenData, after, record_of
from recipes.terminal.progress import print_line
from tasks.glue import evaluation
from tasks.glue.data import Splits
from tasks.glue.holdout import keys_of, shared_texts
from tasks.glue.texts import Texts
from tasks.seen import Seen, content_digests

KIND = "texts"
# What a quantization keeps beside them: the texts of its ranges, and those that its trials were compared on.
CALIBRATION, CHOICE = "calibrated", "chosen"


def record(train: Texts) -> Seen:
    """What a run keeps of its training texts."""
    return Seen({KIND: content_digests(keys_of(train))})


def seen_texts(model: str, splits: Splits) -> dict[str, SeenData]:
    """For each evaluation split what training saw of it; of runs without a record, by the run's own training data."""
    known = record_of(model)

    def mask(texts: Texts) -> np.ndarray | None:
        if known is not None:
            return known.mask(KIND, content_digests(keys_of(texts)))
        return None if splits.train is None else shared_texts(splits.train, texts)

    return {name: SeenData(mask(texts), KIND) for name, texts in splits.evaluation.items()}


def together(seen: dict[str, SeenData]) -> SeenData:
    """Those of all splits as one."""
    masks = [part.mask for part in seen.values()]
    return SeenData(
        None if any(mask is None for mask in masks) else np.concatenate([m for m in masks if m is not None]), KIND
    )


def quantization_record(model: str, calibrated: Texts | None, chosen_by: list[Texts]) -> Seen:
    """What the training of `model` saw, as far as is known, and what its quantization was calibrated on and chosen by."""
    record = after(model, Seen())
    for kind, several in ((CALIBRATION, [calibrated]), (CHOICE, chosen_by)):
        for texts in several:
            if texts is not None:
                record = record.with_kind(kind, content_digests(keys_of(texts)))
    return record


def used_by_quantization(record: Seen | None, splits: Splits) -> dict[str, SeenData]:
    """Which of the evaluation's texts a quantization was calibrated on, and which chosen by, where it was at all."""
    digests = np.concatenate([content_digests(keys_of(texts)) for texts in splits.evaluation.values()])
    masks = {kind: None if record is None else record.mask(kind, digests) for kind in (CALIBRATION, CHOICE)}
    return {kind: SeenData(mask, KIND) for kind, mask in masks.items() if mask is not None}


def quantization_line(kind: str, part: SeenData) -> str:
    """That the figure is not one of unseen data, in words."""
    how = {CALIBRATION: "were calibrated on", CHOICE: "chose among the trials"}[kind]
    total = 0 if part.mask is None else len(part.mask)
    return f"{part.count:,} of {total:,} {KIND} {how}: the figure is not one of unseen data"


def without_seen(splits: Splits, seen: dict[str, SeenData]) -> Splits:
    """The splits for --drop-leaks.

    Raises:
        DataError: no text would be left, or it isn't known which were seen.
    """
    whole = together(seen)
    if whole.count:
        print_line(f"leaks     {whole.text()}; they are left out")
    kept = {name: texts.take(seen[name].left()) for name, texts in splits.evaluation.items()}
    return dataclasses.replace(splits, evaluation=kept)


def unseen_figures(
    splits: Splits, seen: dict[str, SeenData], logits: dict[str, np.ndarray]
) -> tuple[dict[str, Any] | None, str]:
    """The figures of the texts that training didn't see, where it saw others, as a dictionary by split and as a line."""
    figures, lines = {}, []
    for name, texts in splits.evaluation.items():
        rows = seen[name].unseen
        if rows is None:
            continue
        alone = dataclasses.replace(splits, evaluation={name: texts.take(rows)})
        figures[name] = evaluation.figures(splits, alone.evaluation[name], logits[name][rows])
        lines.append(f"unseen    {evaluation.describe(alone, figures[name], {})}")
    return figures or None, "\n".join(lines)
