"""Do both sides of the VQA benchmark compute the same? Writes one JSON object.

    python -m benchmarks.vqa_checks --inputs FOLDER --batch-size 64 --learning-rate 1e-3 --output FILE [--trained FOLDER...]

- forward: the loss of the same first 32 training questions under the same weights, by the guide's way and by the tool's.
- same_order: the losses of the first training steps, by both, on the same questions in the same order.
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
SAME_STEPS = 6
BATCH = 32


def our_config(inputs: Path, batch_size: int, **more: Any) -> Any:
    """The options with which `tool train vqa` does what the guide's side does."""
    from recipes.vqa.config import Train

    chosen: dict[str, Any] = {
        "model": str(inputs / "model"),
        "data": str(inputs / "data"),
        "batch_size": batch_size,
        "epochs": 1,
        "min_answer_frequency": 1,
        "optimizer": "adamw",
        "weight_decay": 0.0,
        "warmup_ratio": 0.0,
        "adam_beta2": 0.999,
        "head_learning_rate_factor": 1.0,
        "augment": ["none"],
        "mixed_precision": "no",
        "checkpoint_minutes": 0.0,
        "log_steps": 1,
        "cpu": True,
    }
    return Train(**{**chosen, **more})


def our_parts(inputs: Path, batch_size: int) -> tuple[Any, Any]:
    """What `tool train vqa` makes of these inputs: its parts, and what its loop is given."""
    from recipes.vqa.config import with_defaults
    from recipes.vqa.parts import prepare
    from recipes.vqa.train import AnswerWork

    config = with_defaults(our_config(inputs, batch_size))
    parts = prepare(config)
    return parts, AnswerWork(config, parts)


def guide_batches(inputs: Path, batch_size: int, batches: int = 1) -> list[dict[str, Any]]:
    """The first batches in the order of the file, as the guide's collator gives them."""
    dataset, label2id = vqa_peer.read(str(inputs / "data" / "train.jsonl"))
    dataset = dataset.select(range(min(len(dataset), batch_size * batches)))
    processor = ViltProcessor.from_pretrained(inputs / "model")
    preprocess = vqa_peer.preprocessor(processor, len(label2id))
    rows = list(dataset.map(preprocess, batched=True, remove_columns=dataset.column_names))
    collate = DefaultDataCollator()
    return [collate(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]


def mean_loss(work: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Of a batch, as the tool's loop divides it."""
    total, weight = work.training_step(work.model, batch)
    return total / weight


def forward(inputs: Path) -> dict[str, float]:
    """The loss by both ways, in eval mode."""
    (batch,) = guide_batches(inputs, SAME_QUESTIONS)
    count = len(batch["labels"])
    parts, work = our_parts(inputs, count)
    with torch.inference_mode():
        guide = ViltForQuestionAnswering.from_pretrained(inputs / "model").eval()(**batch).loss
        parts.model.eval()
        ours = mean_loss(work, work.collate(np.arange(count), 0))
    return {"questions": count, "guide": float(guide), "tool": float(ours)}


def same_order(inputs: Path, batch_size: int, learning_rate: float, folder: Path) -> dict[str, list[float]]:
    """The loss of each of the first steps where both train on the file's questions in the file's order, each by its own loop."""
    from recipes.vqa.train import train
    from tasks.vqa.batches import VqaBatches

    rows = len((inputs / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines())
    steps = min(SAME_STEPS, rows // batch_size)
    trainer = vqa_peer.make_trainer(
        str(inputs / "data" / "train.jsonl"), str(inputs / "model"), output_dir=str(folder / "guide"), max_steps=steps,
        per_device_train_batch_size=batch_size, learning_rate=learning_rate, logging_steps=1, train_sampling_strategy="sequential",
    )  # fmt: skip
    trainer.train()

    def in_order(self: VqaBatches, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        return [np.arange(start, min(start + batch_size, len(self))) for start in range(0, len(self), batch_size)]

    VqaBatches.plan = in_order  # type: ignore[method-assign]
    train(our_config(inputs, batch_size, learning_rate=learning_rate, max_steps=steps, output_dir=str(folder / "tool")))
    (metrics,) = (folder / "tool").glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    ours = [line["loss"] for line in lines if line["kind"] == "train"]
    return {"guide": vqa_peer.losses_of(trainer), "tool": ours}


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
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--trained", type=Path, nargs="*", default=[])
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    lines = (options.inputs / "data" / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = {
        "forward": forward(options.inputs),
        "held_out": [held_out(folder, rows) for folder in options.trained],
        "same_order": same_order(options.inputs, options.batch_size, options.learning_rate, options.output.parent),
    }
    options.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
