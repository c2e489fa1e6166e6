"""Loading ViLT for question answering from the Hub, a folder or a run, for training or for use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from tasks.errors import ConfigError
from tasks.hub import loading
from tasks.vqa.models.vilt import ViltForQuestionAnswering
from tasks.weights import check_weights, label_maps, load_config, model_folder

HINT = "a local folder, a run folder, or --model tiny"


def model_type(model: str, revision: str | None, token: str | None) -> str:
    """The architecture that a model's config names, such as `vilt` or `blip-2`."""
    return str(load_config(model, revision, token).model_type)


def load_processor(model: str, revision: str | None = None, token: str | None = None) -> Any:
    """The model's `ViltProcessor`."""
    model = model_folder(model)
    with loading(model, "--model"):
        return transformers.ViltProcessor.from_pretrained(model, revision=revision or "main", token=token)


def load(model: str, revision: str | None = None, token: str | None = None) -> ViltForQuestionAnswering:
    """A model that answers already, with its own answers.

    Raises:
        ConfigError: it has no answers (a pre-trained model that was never fine-tuned).
        DataError: NaN in its weights.
    """
    folder = model_folder(model)
    loaded = _from_pretrained(folder, revision, token)
    if not has_answers(loaded.config):
        raise ConfigError(
            f"--model {model} has no answers of its own yet; fine-tune it first: tool train vqa --model {model} --data ..."
        )
    return check_weights(loaded, model)


def load_for_training(
    model: str, answers: list[str], revision: str | None = None, token: str | None = None
) -> tuple[ViltForQuestionAnswering, int]:
    """A model with a head for `answers`.

    What the model has learnt of an answer that it knows already is kept.

    Returns:
        The model and how many of the answers it knew.
    """
    folder = model_folder(model)
    labels, config = label_maps(answers), load_config(model, revision, token)
    if config.model_type != "vilt":
        raise ConfigError(
            f"--model {model} is a {config.model_type}; `tool train vqa` fine-tunes ViLT (dandelin/vilt-b32-mlm, {HINT}); "
            f"a generative model is measured without training: tool eval vqa --model {model}"
        )
    if not has_answers(config):
        return check_weights(_from_pretrained(folder, revision, token, **labels), model), 0
    known = _from_pretrained(folder, revision, token)
    old = {answer: number for number, answer in known.config.id2label.items()}
    rows = torch.tensor([[new, old[answer]] for new, answer in enumerate(answers) if answer in old]).reshape(-1, 2)
    last = known.classifier[-1]
    head = torch.nn.Linear(last.in_features, len(answers))
    with torch.no_grad():
        head.weight.normal_(std=known.config.initializer_range)
        head.bias.zero_()
        head.weight[rows[:, 0]], head.bias[rows[:, 0]] = last.weight[rows[:, 1]], last.bias[rows[:, 1]]
    known.classifier[-1] = head
    known.config.id2label, known.config.label2id = labels["id2label"], labels["label2id"]
    known.num_labels = len(answers)
    return check_weights(known, model), len(rows)


def has_answers(config: Any) -> bool:
    """Whether the label map holds answers and not transformers' place holders."""
    return not all(str(label).startswith("LABEL_") for label in config.id2label.values())


def _from_pretrained(folder: str, revision: str | None, token: str | None, **extra: Any) -> ViltForQuestionAnswering:
    with loading(folder, "--model"):
        loaded: ViltForQuestionAnswering = ViltForQuestionAnswering.from_pretrained(
            folder, revision=revision or "main", token=token, use_safetensors=True, dtype=torch.float32, **extra
        )
    return loaded


def save(model: Any, processor: Any, folder: Path) -> None:
    """What `from_pretrained` of model, processor and tokenizer loads."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
