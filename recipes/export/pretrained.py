"""Loading what is to be exported: a classifier of texts or images, or a ViLT, with what prepares its input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from recipes.registry import get
from tasks.errors import ConfigError
from tasks.hub import loading
from tasks.weights import check_weights, load_config, model_folder

IMAGES = "ForImageClassification"
# Architecture -> the recipe that loads it; others are glue's, but for classifiers of images, which no recipe trains.
RECIPE_OF = {"vilt": "vqa"}


def load(model: str, revision: str | None = None, token: str | None = None) -> tuple[Any, Any]:
    """(the classifier in float32 on the CPU, its tokenizer or processor; None where the folder has none).

    Raises:
        ConfigError: quantized or ONNX already, or without a classification head; says what it is.
        DataError: NaN in its weights.
    """
    folder = model_folder(model)
    refuse_onnx(model, folder)
    config = load_config(model, revision, token)
    quantized = getattr(config, "quantization_config", None)
    if quantized is not None:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise ConfigError(
            f"--model {model} is quantized already ({method}); give the model that it was made from, in float32"
        )
    recipe = RECIPE_OF.get(config.model_type)
    if recipe is None and any(str(name).endswith(IMAGES) for name in config.architectures or []):
        return _image_classifier(model, revision, token)
    loaded: tuple[Any, Any] = get(recipe or "glue").part("load_model")(model, revision, token)
    return loaded


def refuse_onnx(model: str, folder: str) -> None:
    """Refuses an ONNX file, and a folder with nothing but ONNX in it.

    Raises:
        ConfigError: saying which of the two.
    """
    path = Path(folder)
    inside = (
        sorted(path.glob("*.onnx")) if path.is_dir() else [path] if path.suffix == ".onnx" and path.is_file() else []
    )
    if inside and not (path.is_dir() and any(path.glob("*.safetensors"))):
        raise ConfigError(
            f"--model {model} is ONNX already ({inside[0].name}); give the PyTorch model that it was made from, "
            f"or make it small: tool quantize --model {model} --data ..."
        )


def _image_classifier(model: str, revision: str | None, token: str | None) -> tuple[Any, Any]:
    with loading(model, "--model"):
        loaded = transformers.AutoModelForImageClassification.from_pretrained(
            model_folder(model), revision=revision or "main", token=token, use_safetensors=True, dtype=torch.float32
        )
    folder = Path(model_folder(model))
    if folder.is_dir() and not (folder / "preprocessor_config.json").is_file():
        return check_weights(loaded, model), None
    with loading(model, "--model"):
        processor = transformers.AutoImageProcessor.from_pretrained(
            model_folder(model), revision=revision or "main", token=token
        )
    return check_weights(loaded, model), processor
