"""Do both sides of the VQA benchmark compute the same? Prints one JSON object.

    python -m benchmarks.vqa_checks --inputs FOLDER [--trained FOLDER...]

- forward: the loss of the same first 32 training questions under the same weights, by the guide's way and by the tool's.
- held_out: the loss of each trained model over the held-out questions, both by transformers' own class and processor.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import DefaultDataCollator, ViltForQuestionAnswering, ViltProcessor

from benchmarks import vqa_peer

SAME_QUESTIONS = 32
BATCH = 32


def our_parts(inputs: Path, batch_size: int) -> tuple[Any, Any]:
    """What `tool train vqa` makes of these inputs: its parts, and what its loop is given."""
    from recipes.vqa.config import Train, with_defaults
    from recipes.vqa.train import make_work, prepare

    config = with_defaults(
        Train(
            model=str(inputs / "model"), data=str(inputs / "data"), batch_size=batch_size, augment=["none"],
            min_answer_frequency=1, optimizer="adamw", mixed_precision="no", learning_rate=1e-4,
        )
    )  # fmt: skip
    parts = prepare(config)
    return parts, make_work(config, parts)


def guide_batches(inputs: Path, batch_size: int, batches: int = 1) -> list[dict[str, Any]]:
    """The first batches in the order of the file, as the guide's collator gives them."""
    dataset, label2id = vqa_peer.read(str(inputs / "data" / "train.jsonl"))
    dataset = dataset.select(range(min(len(dataset), batch_size * batches)))
    processor = ViltProcessor.from_pretrained(inputs / "model")
    preprocess = vqa_peer.preprocessor(processor, len(label2id))
    rows = list(dataset.map(preprocess, batched=True, remove_columns=dataset.column_names))
    collate = DefaultDataCollator()
    return [collate(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]


def forward(inputs: Path) -> dict[str, float]:
    """The loss by both ways, in eval mode."""
    (batch,) = guide_batches(inputs, SAME_QUESTIONS)
    count = len(batch["labels"])
    parts, work = our_parts(inputs, count)
    with torch.inference_mode():
        guide = ViltForQuestionAnswering.from_pretrained(inputs / "model").eval()(**batch).loss
        ours = work.loss(parts.model.eval(), work.collate(np.arange(count), 0)).mean()
    return {"questions": count, "guide": float(guide), "tool": float(ours)}


def held_out(folder: Path, rows: list[dict[str, Any]]) -> float:
    """The mean loss of a saved model over the rows, each with its own image."""
    model = ViltForQuestionAnswering.from_pretrained(folder).eval()
    processor = ViltProcessor.from_pretrained(folder)
    numbers = model.config.label2id
    total = 0.0
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        images = [Image.open(row["image_id"]) for row in part]
        inputs = processor(
            images, [row["question"] for row in part], padding=True, truncation=True, return_tensors="pt"
        )
        labels = torch.zeros(len(part), len(numbers))
        for at, row in enumerate(part):
            for answer, weight in zip(row["label"]["ids"], row["label"]["weights"], strict=True):
                labels[at, numbers[answer]] = weight
        with torch.inference_mode():
            total += float(model(**inputs, labels=labels).loss) * len(part)
    return total / len(rows)


def main() -> None:
    """Prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--trained", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    lines = (options.inputs / "data" / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = {"forward": forward(options.inputs), "held_out": [held_out(folder, rows) for folder in options.trained]}
    options.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
