"""Makes what both sides of the quantization benchmark start from: a model of DistilBERT's size and SST-2's texts.

    python -m benchmarks.quantize_inputs --data FOLDER --vocabulary FILE --size full --output FOLDER

The output holds model/, dev.json (rows of text and label) and calibration.json (1,000 texts of the training split).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

SEED = 0
CALIBRATION = 1000
LENGTH = 128
# Texts by which the head is set.
FITTED = 64


def read_rows(path: Path) -> list[tuple[str, int]]:
    """Texts and labels of one of GLUE's files for SST-2."""
    # Lines end where GLUE ends them; a text may hold other characters that Python takes for the end of a line.
    lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")[1:]
    return [(text, int(label)) for text, _, label in (line.rpartition("\t") for line in lines)]


def save_model(texts: list[str], vocabulary: Path, size: str, folder: Path) -> None:
    """Random weights of the seed, the head scaled and shifted so that answers fall to both classes."""
    import torch
    import transformers

    torch.manual_seed(SEED)
    small: dict[str, Any] = {"n_layers": 2, "n_heads": 2, "dim": 64, "hidden_dim": 128} if size == "tiny" else {}
    config = transformers.DistilBertConfig(num_labels=2, **small)
    model = transformers.DistilBertForSequenceClassification(config).eval()
    tokenizer = transformers.BertTokenizer(vocab=str(vocabulary), do_lower_case=True, model_max_length=512)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.no_grad():
        # Opposite logits, so that what a rounding error does to an answer is what it does to a logit.
        model.classifier.weight[1] = -model.classifier.weight[0]
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        spread, middle = logits.std(dim=0), logits.mean(dim=0)
        # Of random features alone every text would get the same answer, and all answers would agree by necessity.
        model.classifier.weight /= spread[:, None]
        model.classifier.bias.copy_((model.classifier.bias - middle) / spread)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--size", choices=("full", "tiny"), required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    train, dev = (read_rows(options.data / f"{name}.tsv") for name in ("train", "dev"))
    options.output.mkdir(parents=True, exist_ok=True)
    chosen = np.random.default_rng(SEED).permutation(len(train))[:CALIBRATION]
    texts = [train[row][0] for row in chosen]
    for name, rows in (("dev", dev), ("calibration", texts)):
        (options.output / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    save_model(texts[:FITTED], options.vocabulary, options.size, options.output / "model")


if __name__ == "__main__":
    main()
