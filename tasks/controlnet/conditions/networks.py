"""Opening a model of transformers with its image processor, for conditions and captions."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from tasks.errors import ConfigError
from tasks.hub import loading
from tasks.weights import check_weights


def open_network(
    kind: Any, model: str, flag: str, what: str, token: str | None, device: str, processor: Any = None
) -> tuple[Any, Any]:
    """The processor, and the model in evaluation mode on the device, float32.

    Args:
        kind: the class of transformers that loads the model.
        flag: the flag that named it.
        what: what it must be able to do, for the message.
        processor: the class that loads its processor; None: AutoImageProcessor.

    Raises:
        ConfigError: a model of another sort.
        ToolError: it can't be loaded.
    """
    with loading(model, flag):
        config = transformers.AutoConfig.from_pretrained(model, token=token)
        if not fits(kind, config):
            raise ConfigError(f"{flag} {model} is a {config.model_type}, which does no {what}; take a model that does")
        prepare = (processor or transformers.AutoImageProcessor).from_pretrained(model, token=token)
        network = kind.from_pretrained(model, token=token, use_safetensors=True, dtype=torch.float32)
    return prepare, check_weights(network, model, flag).eval().to(device)


def fits(kind: Any, config: Any) -> bool:
    """Whether a model with this config can be loaded by `kind`, a class of transformers or one of its Auto classes."""
    mapping = getattr(kind, "_model_mapping", None)
    if mapping is None:
        return bool(config.model_type == kind.config_class.model_type)
    if type(config) not in mapping:
        return False
    # One architecture may do several things (DPT: depth and segmentation), and its weights one of them.
    classes = mapping[type(config)]
    names = {one.__name__ for one in (classes if isinstance(classes, tuple) else (classes,))}
    return not config.architectures or bool(names & set(config.architectures))
