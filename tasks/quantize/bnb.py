"""bitsandbytes' formats of torch models: int8 with outliers in 16 bits, and nf4, 4 bits in blocks."""

from __future__ import annotations

from typing import Any

import torch

from tasks.errors import ConfigError
from tasks.hub import loading
from tasks.weights import model_folder

_OPTIONS: dict[str, dict[str, Any]] = {
    "bnb-int8": {"load_in_8bit": True},
    "bnb-nf4": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": torch.bfloat16,
    },
}
KINDS = tuple(_OPTIONS)


def quantized_model(
    model: str,
    kind: str,
    *,
    excluded: tuple[str, ...] = (),
    device: str,
    revision: str | None = None,
    token: str | None = None,
) -> Any:
    """A torch model with its linear layers in a format of bitsandbytes, the head in its own precision.

    Args:
        model: a Hub id, a folder or a run.
        kind: one of `KINDS`.
        excluded: paths of modules that keep their precision ("bert.pooler"), besides the head, which always does.
        device: "cuda" or "cpu".

    Raises:
        ConfigError: an unknown kind, bitsandbytes is missing, no GPU for a format that needs one, or quantized already.
    """
    import transformers

    require(kind, device)
    folder = model_folder(model)
    with loading(folder, "--model"):
        config = transformers.AutoConfig.from_pretrained(folder, revision=revision or "main", token=token)
    if getattr(config, "quantization_config", None):
        raise ConfigError(f"--model {model} is quantized already; give the float model")
    skipped = [*excluded, *head_names(config)]
    with loading(folder, "--model"):
        loaded = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder,
            revision=revision or "main",
            token=token,
            quantization_config=transformers.BitsAndBytesConfig(**_OPTIONS[kind], llm_int8_skip_modules=skipped),
            device_map={"": device},
            dtype=torch.bfloat16 if device == "cpu" else torch.float16,
        )
    if not quantized_layers(loaded):
        raise ConfigError(f"--model {model}: {kind} quantized nothing; it has no linear layers besides its head")
    return loaded.eval()


def quantized_layers(loaded: Any) -> int:
    """How many linear layers bitsandbytes holds."""
    import bitsandbytes

    kinds = (bitsandbytes.nn.Linear8bitLt, bitsandbytes.nn.Linear4bit)
    return sum(isinstance(module, kinds) for module in loaded.modules())


def require(kind: str, device: str) -> None:
    """Refuses what can't run here.

    Raises:
        ConfigError: naming what to do.
    """
    if kind not in KINDS:
        raise ConfigError(f"--approach {kind}: one of {', '.join(KINDS)}")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--approach {kind} needs bitsandbytes; install it with: pip install 'modeltool[bnb]'"
        ) from error
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"--approach {kind}: no CUDA device here; run it on a GPU machine, or take --approach dynamic, which is made for CPUs"
        )


def head_names(config: Any) -> list[str]:
    """Modules of the model outside its encoder: head, pooler's projection and the like."""
    import accelerate
    import transformers

    with accelerate.init_empty_weights():
        empty = transformers.AutoModelForSequenceClassification.from_config(config)
    base = empty.base_model_prefix
    return [name for name, _ in empty.named_children() if name != base]
