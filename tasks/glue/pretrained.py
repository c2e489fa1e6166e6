"""Loading text classifiers from the Hub, a folder or a run, for training or for use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from tasks.errors import ConfigError
from tasks.glue.tiny import head
from tasks.hub import loading
from tasks.weights import check_weights, load_config, model_folder

HEAD = "ForSequenceClassification"
# Tokenizers of models without a limit say a number beyond all sense.
NO_LIMIT = 1_000_000


def load_tokenizer(model: str, revision: str | None = None, token: str | None = None) -> Any:
    """The model's tokenizer; one without a padding token pads with its end token, which the mask hides."""
    with loading(model, "--model"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            model_folder(model), revision=revision or "main", token=token
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load(model: str, revision: str | None = None, token: str | None = None) -> Any:
    """A model that classifies already, with its own labels.

    Raises:
        ConfigError: it has no classification head; says what it has.
        DataError: NaN in its weights.
    """
    config = load_config(model, revision, token)
    require_head(config, model)
    extra: dict[str, Any] = {}
    if is_quantized(config):  # it stays in its own numbers, where it is loaded
        extra = {"dtype": "auto", "device_map": {"": "cuda" if torch.cuda.is_available() else "cpu"}}
    return check_weights(_from_pretrained(model, revision, token, **extra), model)


def load_with_tokenizer(model: str, revision: str | None = None, token: str | None = None) -> tuple[Any, Any]:
    """As `load`, with the model's tokenizer; None where its folder has none."""
    classifier, folder = load(model, revision, token), Path(model_folder(model))
    if folder.is_dir() and not (folder / "tokenizer_config.json").is_file():
        return classifier, None
    return classifier, load_tokenizer(model, revision, token)


def is_quantized(config: Any) -> bool:
    """Whether the checkpoint holds weights in a format of bitsandbytes or its like."""
    return bool(getattr(config, "quantization_config", None))


def load_for_training(
    model: str,
    labels: list[str] | None,
    seed: int,
    revision: str | None = None,
    token: str | None = None,
    *,
    multi_label: bool = False,
) -> tuple[Any, str]:
    """A model with a head for `labels` (None: a regression), of which a text has one, or any number where `multi_label`.

    The head that a checkpoint has is kept where its labels are these, in any order; else a new one is drawn from the seed.

    Returns:
        The model, and what became of its head in words.
    """
    config = load_config(model, revision, token)
    known = list(config.id2label.values()) if has_head(config) else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if known is not None and labels is not None and sorted(map(str, known)) == sorted(labels):
            loaded = _from_pretrained(model, revision, token)
            reorder(loaded, labels, multi_label)
            note = "its head for these labels is kept"
        elif known is not None and labels is None and len(known) == 1:
            loaded, note = _from_pretrained(model, revision, token, **head(None)), "its regression head is kept"
        else:
            loaded = _from_pretrained(model, revision, token, ignore_mismatched_sizes=True, **head(labels, multi_label))
            if known is not None:
                _draw_head(loaded)
            note = "a new head" if known is None else f"a new head instead of its own for {', '.join(map(str, known))}"
    loaded.config.__dict__.pop("thresholds", None)  # they were chosen for other weights
    return check_weights(loaded, model), note


def has_head(config: Any) -> bool:
    """Whether the checkpoint was saved with a classification head."""
    return any(str(name).endswith(HEAD) for name in config.architectures or [])


def require_head(config: Any, model: str) -> None:
    """Refuses a checkpoint without a classification head, for which transformers would draw random weights.

    Raises:
        ConfigError: says what its head is.
    """
    if not has_head(config):
        architecture = ", ".join(config.architectures or []) or f"{config.model_type} without a word on its head"
        raise ConfigError(
            f"--model {model} has no classification head (it is a {architecture}); fine-tune it first: "
            f"tool train glue --model {model} --data ..."
        )


def reorder(model: Any, labels: list[str], multi_label: bool = False) -> None:
    """Puts the rows of the last layer, and the label map, into the order of `labels`."""
    known = [str(model.config.id2label[number]) for number in range(model.config.num_labels)]
    order = [known.index(label) for label in labels]
    last = last_linear(model)
    with torch.no_grad():
        last.weight.copy_(last.weight[order].clone())
        if last.bias is not None:
            last.bias.copy_(last.bias[order].clone())
    for name, value in head(labels, multi_label).items():
        setattr(model.config, name, value)


def last_linear(model: Any) -> torch.nn.Linear:
    """The layer that gives the logits."""
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    return [layer for layer in layers if layer.out_features == model.config.num_labels][-1]


def longest(config: Any, tokenizer: Any) -> int:
    """How many tokens the model can read at most."""
    limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", NO_LIMIT)]
    tokens = min(int(limit) for limit in limits if limit)
    # RoBERTa and its kin number positions from behind the padding's.
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer") and tokens == limits[1]:
        tokens -= int(config.pad_token_id or 0) + 1
    return min(tokens, NO_LIMIT)


def _draw_head(model: Any) -> None:
    last = last_linear(model)
    with torch.no_grad():
        last.weight.normal_(std=getattr(model.config, "initializer_range", 0.02))
        if last.bias is not None:
            last.bias.zero_()


def _from_pretrained(model: str, revision: str | None, token: str | None, **extra: Any) -> Any:
    with loading(model, "--model"):
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            model_folder(model),
            revision=revision or "main",
            token=token,
            use_safetensors=True,
            **{"dtype": torch.float32, **extra},
        )
