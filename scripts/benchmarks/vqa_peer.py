"""The peer of the VQA benchmark: ViLT fine-tuned as transformers' guide to visual question answering does it.

Pixels and masks of every question are stored through `Dataset.map`, questions are padded to the tokenizer's longest, and the
plain Trainer trains. Repaired only so far that it runs on transformers 5 and datasets 5, gives the same result each time, and
trains with what the other side is given; docs/benchmarks.md lists each repair. Source: huggingface/transformers,
docs/source/en/tasks/visual_question_answering.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from PIL import Image
from transformers import (
    DefaultDataCollator,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViltForQuestionAnswering,
    ViltProcessor,
)

UNUSED = ["question_type", "question_id", "answer_type"]


class Clock(TrainerCallback):
    """Notes when each step ended, before anything that the Trainer does after it."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.ends.append(time.time())


def read(file: str) -> tuple[Dataset, dict[str, int]]:
    """The questions with numbers for answers, flattened, and the number of each answer."""
    dataset = load_dataset("json", data_files=file, split="train").remove_columns(UNUSED)
    answers = itertools.chain(*(label["ids"] for label in dataset["label"]))
    # Repair: sorted. The order of a set of strings is another one in each process.
    label2id = {answer: number for number, answer in enumerate(sorted(set(answers)))}

    def replace_ids(row: dict[str, Any]) -> dict[str, Any]:
        row["label"]["ids"] = [label2id[answer] for answer in row["label"]["ids"]]
        return row

    return dataset.map(replace_ids).flatten(), label2id


def preprocessor(processor: Any, labels: int) -> Callable[[dict[str, Any]], Any]:
    """What `Dataset.map` calls for each thousand questions."""

    def preprocess(rows: dict[str, Any]) -> Any:
        images = [Image.open(path) for path in rows["image_id"]]
        # Repair: no squeeze of the result; there is no axis of one, but in a batch of one row.
        encoding = processor(images, rows["question"], padding="max_length", truncation=True, return_tensors="pt")
        targets = []
        for ids, weights in zip(rows["label.ids"], rows["label.weights"], strict=True):
            target = torch.zeros(labels)
            for number, weight in zip(ids, weights, strict=True):
                target[number] = weight
            targets.append(target)
        encoding["labels"] = targets
        return encoding

    return preprocess


def make_trainer(data: str, folder: str, **arguments: Any) -> Trainer:
    """The Trainer over the processed questions; `arguments` go to its TrainingArguments.

    Args:
        data: JSON lines of question, image_id (a path), label.ids and label.weights.
        folder: model and processor.
    """
    dataset, label2id = read(data)
    processor = ViltProcessor.from_pretrained(folder)
    # Repair: only columns that are still there can be removed.
    processed = dataset.map(preprocessor(processor, len(label2id)), batched=True, remove_columns=dataset.column_names)
    model = ViltForQuestionAnswering.from_pretrained(
        folder,
        num_labels=len(label2id),
        id2label={number: answer for answer, number in label2id.items()},
        label2id=label2id,
    )
    return Trainer(
        model=model,
        args=TrainingArguments(
            num_train_epochs=1,
            save_strategy="no",
            remove_unused_columns=False,
            use_cpu=True,
            report_to="none",
            **arguments,
        ),
        data_collator=DefaultDataCollator(),
        train_dataset=processed,
        processing_class=processor,
    )


def losses_of(trainer: Trainer) -> list[float]:
    """The training losses that it has logged."""
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def main() -> None:
    """Trains and writes times, losses and the model."""
    options = parse()
    trainer = make_trainer(
        options.data,
        options.model,
        output_dir=options.output,
        per_device_train_batch_size=options.batch_size,
        logging_steps=options.logging_steps,
        learning_rate=options.learning_rate,
    )
    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    report = {
        "ends": clock.ends,
        "questions": len(trainer.train_dataset),
        "epoch": trainer.state.epoch,
        "losses": losses_of(trainer),
    }
    Path(options.report).write_text(json.dumps(report), encoding="utf-8")
    trainer.save_model(options.output)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--model", "--output", "--report"):
        parser.add_argument(name, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--logging-steps", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
