"""Checks of model folders that all recipes share: where weights lie, and that they are finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.errors import ConfigError, DataError
from tasks.hub import loading


def model_folder(model: str) -> str:
    """`model`, or the model/ inside it where it is a run folder.

    Raises:
        ConfigError: a run without a model yet.
    """
    inside = Path(model).expanduser() / "model"
    if (Path(model).expanduser() / "status.json").is_file():
        if not inside.is_dir():
            raise ConfigError(f"--model {model}: that run has no model/ yet; finish it by running its command again")
        return str(inside)
    return str(Path(model).expanduser()) if Path(model).expanduser().is_dir() else model


def load_config(model: str, revision: str | None = None, token: str | None = None) -> Any:
    """The model's config of transformers."""
    import transformers

    with loading(model, "--model"):
        return transformers.AutoConfig.from_pretrained(model_folder(model), revision=revision or "main", token=token)


def label_maps(labels: list[str]) -> dict[str, Any]:
    """The classes as a config of transformers has them."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}


def holds_onnx(folder: str | Path) -> bool:
    """Whether a folder here holds an ONNX model and no PyTorch one."""
    path = Path(folder)
    return path.is_dir() and any(path.glob("*.onnx")) and not any(path.glob("*.safetensors"))


def check_weights(model: Any, name: str, flag: str = "--model") -> Any:
    """Refuses weights that hold NaN or infinity.

    Raises:
        DataError: naming the first such tensor.
    """
    for key, tensor in model.named_parameters():
        if not bool(tensor.isfinite().all()):
            raise DataError(
                f"{flag} {name}: the weights {key} hold NaN or infinite values; take another copy, or a checkpoint from before "
                f"the run diverged"
            )
    return model
