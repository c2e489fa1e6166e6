"""Makes what both sides of the VQA benchmark start from: questions in the guide's layout, and a model folder.

    python -m benchmarks.vqa_inputs --size tiny --source FOLDER --rows 9600 --output FOLDER

The output holds train.jsonl, validation.jsonl (rows of question, image_id as a path, label.ids, label.weights) and model/.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from tasks.files import write_text
from tasks.vqa.questions import Questions

SEED = 0
# As in the tokenizer of dandelin/vilt-b32-mlm.
TEXT_LENGTH = 40
Row = dict[str, Any]


def from_split(questions: Questions, rows: int) -> list[Row]:
    """The first `rows` questions on images drawn by seed, each image with all its questions, as in a whole epoch."""
    from tasks.vqa.vocabulary import build_vocabulary, targets

    place = np.random.default_rng(SEED).permutation(int(questions.image.max()) + 1)
    chosen = questions.take(np.argsort(place[questions.image], kind="stable")[:rows])
    vocabulary = build_vocabulary(chosen, min_frequency=1)
    labels = targets(chosen, vocabulary)
    found: list[Row] = []
    for number in range(len(chosen)):
        part = slice(labels.offsets[number], labels.offsets[number + 1])
        found.append(
            {
                "question": chosen.question[number],
                "question_type": chosen.question_type[number],
                "question_id": number + 1,
                "image_id": str(Path(chosen.images.where(int(chosen.image[number]))).resolve()),
                "answer_type": chosen.answer_type[number],
                "label": {
                    "ids": [vocabulary.answers[label] for label in labels.ids[part]],
                    "weights": [round(float(score), 4) for score in labels.scores[part]],
                },
            }
        )
    return found


def from_photos(folder: Path) -> list[Row]:
    """Four questions, of four to twelve words, on each photo of a folder with a metadata.jsonl that names what is in it."""
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    photos = [json.loads(line) for line in lines]
    classes = sorted({photo["class"] for photo in photos})
    found: list[Row] = []
    for number, photo in enumerate(photos):
        kind = photo["class"]
        other = classes[(classes.index(kind) + 1 + number % (len(classes) - 1)) % len(classes)]
        asked = (
            ("What is in the picture?", kind),
            (f"Is there a {kind} in the photo?", "yes"),
            (f"Is this a {other}?", "no"),
            ("What kind of thing is seen in the middle of this photo?", kind),
        )
        for question, answer in asked:
            found.append(
                {
                    "question": question,
                    "question_type": " ".join(question.split()[:2]).lower(),
                    "question_id": len(found) + 1,
                    "image_id": str((folder / photo["file_name"]).resolve()),
                    "answer_type": "yes/no" if answer in ("yes", "no") else "other",
                    "label": {"ids": [answer], "weights": [1.0]},
                }
            )
    return [found[at] for at in np.random.default_rng(SEED).permutation(len(found))]


def read_rows(source: Path, rows: int, held_out: int) -> tuple[list[Row], list[Row]]:
    """(training rows, held-out rows) with no answer among the second that the first lack."""
    if (source / "metadata.jsonl").is_file():
        found = from_photos(source)
        train, rest = found[:rows], found[rows:]
    else:
        from tasks.vqa.data import Options, load_splits

        splits = load_splits(Options(str(source)), check_images=False)
        assert splits.train is not None
        assert splits.evaluation is not None
        train, rest = from_split(splits.train, rows), from_split(splits.evaluation, len(splits.evaluation))
    answers = {answer for row in train for answer in row["label"]["ids"]}
    return train, [row for row in rest if set(row["label"]["ids"]) <= answers][:held_out]


def save_model(size: str, train: list[Row], vocabulary: Path, folder: Path) -> None:
    """Random weights from the seed, with the answers in the order in which the guide's side numbers them."""
    from tasks.vqa import tiny
    from tasks.vqa.models import pretrained

    answers = sorted({answer for row in train for answer in row["label"]["ids"]})
    questions = [row["question"] for row in train]
    tokenizer = tiny.build_tokenizer(questions)
    if size == "tiny":
        processor = tiny.build_processor(tokenizer)
        model = tiny.build_model(tokenizer, answers, SEED)
    else:
        model, processor = base(tokenizer, vocabulary, answers)
    pretrained.save(model, processor, folder)


def base(tokenizer: Any, vocabulary: Path, answers: list[str]) -> tuple[Any, Any]:
    """A model of the size of ViLT-B/32 and its processor; `tokenizer` where there is no word-piece vocabulary at hand."""
    import torch
    import transformers
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    if vocabulary.is_file():
        tokenizer = transformers.BertTokenizer(vocab=str(vocabulary), do_lower_case=True, model_max_length=TEXT_LENGTH)
    processor = transformers.ViltProcessor(image_processor=ViltImageProcessorPil(), tokenizer=tokenizer)
    labels = {"id2label": dict(enumerate(answers)), "label2id": {answer: at for at, answer in enumerate(answers)}}
    torch.manual_seed(SEED)
    # The defaults are those of ViLT-B/32; as in its checkpoint no dropout.
    return transformers.ViltForQuestionAnswering(transformers.ViltConfig(**labels)), processor


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "b32"), required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--held-out", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    train, held_out = read_rows(options.source, options.rows, options.held_out)
    for name, rows in (("train", train), ("validation", held_out)):
        write_text(options.output / "data" / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    save_model(options.size, train, options.vocabulary, options.output / "model")


if __name__ == "__main__":
    main()
