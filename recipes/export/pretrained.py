"""Loading what is to be exported: a classifier of texts or images, or a ViLT, with what prepares its input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from recipes.registry import get
from tasks.errors import ConfigError
from tasks.hub import loading
from tasks.weights import check_weights, holds_onnx, load_config, model_folder

IMAGES = "ForImageClassification"
# Architecture -> the recipe that loads it; others are glue's, but for classifiers of images, which no recipe trains.
RECIPE_OF = {"vilt": "vqa"}


def load(model: str, revision: str | None = None, token: str | None = None) -> tuple[Any, Any]:
    """(the classifier in float32 on the CPU, its tokenizer or processor; None where the folder has none).

    Raises:
        ConfigError: quantized or ONNX already, or without a classification head; says what it is.
        DataError: NaN in its weights.
    """
    folder = Path(model_folder(model))
    graphs = sorted(folder.glob("*.onnx")) if holds_onnx(folder) else [folder] if folder.suffix == ".onnx" else []
    if graphs and graphs[0].is_file():
        raise ConfigError(
            f"--model {model} is ONNX already ({graphs[0].name}); give the PyTorch model that it was made from, "
            f"or make it small: tool quantize --model {model} --data ..."
        )
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


def _image_classifier(model: str, revision: str | None, token: str | None) -> tuple[Any, Any]:
    folder, options = model_folder(model), {"revision": revision or "main", "token": token}
    without = Path(folder).is_dir() and not Path(folder, "preprocessor_config.json").is_file()
    with loading(model, "--model"):
        classifier = transformers.AutoModelForImageClassification.from_pretrained(
            folder, **options, use_safetensors=True, dtype=torch.float32
        )
        processor = None if without else transformers.AutoImageProcessor.from_pretrained(folder, **options)
    return check_weights(classifier, model), processor
