"""Making forecasting models, loading them, and what they need."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from tasks.errors import ConfigError
from tasks.forecast.models.modeling_dlinear import DLinearForPrediction
from tasks.forecast.models.modeling_nbeats import NBeatsForPrediction
from tasks.forecast.models.spec import OWN, Spec
from tasks.hub import loading
from tasks.weights import check_weights, model_folder

_CLASSES: dict[str, Any] = {
    "transformer": transformers.TimeSeriesTransformerForPrediction,
    "informer": transformers.InformerForPrediction,
    "autoformer": transformers.AutoformerForPrediction,
    "dlinear": DLinearForPrediction,
    "nbeats": NBeatsForPrediction,
    "patchtst": transformers.PatchTSTForPrediction,
}
CONFIGS: dict[str, Any] = {kind: model.config_class for kind, model in _CLASSES.items()}
# Models by the `model_type` of their config.
CLASSES: dict[str, Any] = {CONFIGS[kind].model_type: model for kind, model in _CLASSES.items()}


def _same(names: str) -> dict[str, str]:
    return {name: name for name in names.split()}


_SERIES = _same("input_size num_static_real_features cardinality embedding_dimension") | {
    "distribution": "distribution_output"
}
_ENCODER_DECODER = {
    **_SERIES,
    **_same("encoder_layers decoder_layers d_model"),
    "heads": "encoder_attention_heads decoder_attention_heads",
    "ffn_dim": "encoder_ffn_dim decoder_ffn_dim",
    "layerdrop": "encoder_layerdrop decoder_layerdrop",
    "dropout": "dropout attention_dropout activation_dropout",
    "lags": "lags_sequence",
}
_OWN = {**_SERIES, **_same("calendar anchor season"), "d_model": "hidden_size", "quantiles": "quantile_levels"}
# What a kind's config calls a field of Spec; where these are several settings, it is read back from the first.
_NAMES: dict[str, dict[str, str]] = {
    "transformer": _ENCODER_DECODER,
    "informer": _ENCODER_DECODER | {"attention": "attention_type", "distil": "distil"},
    "autoformer": _ENCODER_DECODER | {"label_length": "label_length", "kernel_size": "moving_average"},
    "dlinear": _OWN | _same("kernel_size individual"),
    "nbeats": _OWN | _same("block_layers dropout") | {"blocks": "num_blocks"},
    "patchtst": {
        **_same("d_model ffn_dim patch_length patch_stride"),
        "input_size": "num_input_channels",
        "encoder_layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "dropout": "ff_dropout attention_dropout head_dropout",
    },
}
_NAMES = {kind: _same("prediction_length context_length") | names for kind, names in _NAMES.items()}
KIND = {config.model_type: kind for kind, config in CONFIGS.items()}

# transformers' auto classes open our own models here by these classes, and elsewhere by the code that is saved beside the weights.
for _kind in OWN:
    transformers.AutoConfig.register(_kind, CONFIGS[_kind], exist_ok=True)
    transformers.AutoModel.register(CONFIGS[_kind], CLASSES[_kind], exist_ok=True)
    CONFIGS[_kind].register_for_auto_class()
    CLASSES[_kind].register_for_auto_class("AutoModel")


def build(spec: Spec, seed: int) -> transformers.PreTrainedModel:
    """An untrained model, float32, on the CPU, in training mode; the same weights for the same seed.

    Torch's own generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = CONFIGS[spec.kind](**_settings(spec))
        model: transformers.PreTrainedModel = CLASSES[config.model_type](config)
    return model.to(torch.float32).train()


def _settings(spec: Spec) -> dict[str, Any]:
    """The spec under the names of its kind's config."""
    settings = {name: getattr(spec, field) for field, names in _NAMES[spec.kind].items() for name in names.split()}
    settings = {name: list(value) or None if isinstance(value, tuple) else value for name, value in settings.items()}
    settings["scaling"] = False if spec.scaling == "none" and spec.kind not in OWN else spec.scaling
    if spec.kind == "patchtst":
        point = spec.distribution == "point"
        settings |= {
            "loss": "mse" if point else "nll",
            "distribution_output": "student_t" if point else spec.distribution,
        }
        # Pooled over patches, the head could not tell the newest patch from the oldest.
        return settings | {"pooling_type": None}
    if spec.kind in OWN and spec.distribution != "quantiles":
        settings["quantile_levels"] = None
    categories = len(spec.cardinality)
    return settings | {"num_time_features": spec.num_time_features, "num_static_categorical_features": categories}


def load(model: str, revision: str | None = None, token: str | None = None) -> transformers.PreTrainedModel:
    """A forecaster from a folder, a run folder (its model/) or the Hub, float32, on the CPU, in evaluation mode.

    Raises:
        ConfigError: it is no forecasting model, or nothing is there.
        DataError: NaN in its weights.
        ToolError: the Hub can't be reached, or refuses it.
    """
    folder = model_folder(model)
    known = {"revision": revision or "main", "token": token}
    with loading(folder, "--model"):
        # Otherwise transformers asks on the terminal whether to run an unknown kind's code.
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, **known)
    if config.model_type not in CLASSES:
        raise ConfigError(
            f"--model {model} is a {config.model_type} and no forecaster; forecasting takes {', '.join(CLASSES)} "
            f"models: train one with tool train forecast, or give its folder"
        )
    if config.model_type in OWN and hasattr(config, "start"):
        raise ConfigError(f"--model {model}: saved before --anchor stood apart from the weights; train it again")
    with loading(folder, "--model"):
        loaded: transformers.PreTrainedModel = CLASSES[config.model_type].from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, **known
        )
    for key, tensor in loaded.named_parameters():
        if ".embed_positions." in key:  # fixed sines; transformers 5 forgets that when it loads them
            tensor.requires_grad_(False)
    check_weights(loaded, model)
    return loaded.eval()


def spec_of(model: transformers.PreTrainedModel) -> Spec:
    """What the model was made from, read from its config."""
    config = model.config
    kind = KIND[config.model_type]
    values = {field: getattr(config, names.split()[0]) for field, names in _NAMES[kind].items()}
    # transformers writes True for mean scaling, and None or False for none.
    values["scaling"] = "mean" if config.scaling is True else config.scaling or "none"
    if kind == "patchtst":
        values["distribution"] = "point" if config.loss == "mse" else config.distribution_output
    else:
        values["num_time_features"] = config.num_time_features + getattr(config, "num_dynamic_real_features", 0)
        if not config.num_static_categorical_features:
            values |= {"cardinality": (), "embedding_dimension": ()}
    return Spec(kind=kind, **{field: value for field, value in values.items() if value is not None})


def past_length(model: transformers.PreTrainedModel) -> int:
    """Steps before a window's origin that the model takes: its context and its longest lag."""
    return spec_of(model).past_length
