"""Opening a model of transformers with its image processor, for conditions and captions."""

from __future__ import annotations

from typing import Any

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
    import torch
    import transformers

    with loading(model, flag):
        config = transformers.AutoConfig.from_pretrained(model, token=token)
        known = getattr(kind, "_model_mapping", None)
        fits = type(config) in known if known is not None else config.model_type == kind.config_class.model_type
        if not fits:
            raise ConfigError(f"{flag} {model} is a {config.model_type}, which does no {what}; take a model that does")
        prepare = (processor or transformers.AutoImageProcessor).from_pretrained(model, token=token)
        network = kind.from_pretrained(model, token=token, use_safetensors=True, dtype=torch.float32)
    return prepare, check_weights(network, model).eval().to(device)
