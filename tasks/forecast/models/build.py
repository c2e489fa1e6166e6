"""Making forecasting models, loading them, and what they need."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from tasks.errors import ConfigError
from tasks.forecast.models.modeling_dlinear import DLinearConfig, DLinearForPrediction
from tasks.forecast.models.modeling_nbeats import NBeatsConfig, NBeatsForPrediction
from tasks.forecast.models.spec import OWN, Spec
from tasks.hub import loading
from tasks.weights import check_weights, model_folder

CLASSES: dict[str, Any] = {
    "time_series_transformer": transformers.TimeSeriesTransformerForPrediction,
    "informer": transformers.InformerForPrediction,
    "autoformer": transformers.AutoformerForPrediction,
    "dlinear": DLinearForPrediction,
    "nbeats": NBeatsForPrediction,
    "patchtst": transformers.PatchTSTForPrediction,
}
CONFIGS: dict[str, Any] = {
    "transformer": transformers.TimeSeriesTransformerConfig,
    "informer": transformers.InformerConfig,
    "autoformer": transformers.AutoformerConfig,
    "dlinear": DLinearConfig,
    "nbeats": NBeatsConfig,
    "patchtst": transformers.PatchTSTConfig,
}
# What Spec and the configs of our own models call the same.
_BOTH = {name: name for name in ("calendar", "anchor", "season")}
_OWN_NAMES: dict[str, dict[str, str]] = {
    "dlinear": _BOTH | {"kernel_size": "kernel_size", "individual": "individual"},
    "nbeats": _BOTH | {"blocks": "num_blocks", "block_layers": "block_layers", "dropout": "dropout"},
}
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
    scaling = False if spec.scaling == "none" else spec.scaling
    common: dict[str, Any] = {"prediction_length": spec.prediction_length, "context_length": spec.context_length}
    if spec.kind == "patchtst":
        return common | _patchtst(spec) | {"scaling": scaling}
    common |= {
        "input_size": spec.input_size,
        "num_time_features": spec.num_time_features,
        "num_static_real_features": spec.num_static_real_features,
        "num_static_categorical_features": len(spec.cardinality),
        "cardinality": list(spec.cardinality) or None,
        "embedding_dimension": list(spec.embedding_dimension) or None,
        "distribution_output": spec.distribution,
    }
    if spec.kind in OWN:
        quantiles = list(spec.quantiles) if spec.distribution == "quantiles" else None
        common |= {"quantile_levels": quantiles, "hidden_size": spec.d_model, "scaling": spec.scaling}
        return common | {theirs: getattr(spec, ours) for ours, theirs in _OWN_NAMES[spec.kind].items()}
    return common | _encoder_decoder(spec) | {"scaling": scaling}


def _encoder_decoder(spec: Spec) -> dict[str, Any]:
    both: dict[str, Any] = {"layers": spec.encoder_layers, "attention_heads": spec.heads, "ffn_dim": spec.ffn_dim}
    both["layerdrop"] = spec.layerdrop
    settings: dict[str, Any] = {f"encoder_{name}": value for name, value in both.items()}
    both["layers"] = spec.decoder_layers
    settings |= {f"decoder_{name}": value for name, value in both.items()}
    settings |= {f"{part}dropout": spec.dropout for part in ("", "attention_", "activation_")}
    settings |= {"d_model": spec.d_model, "lags_sequence": list(spec.lags)}
    if spec.kind == "informer":
        settings |= {"attention_type": spec.attention, "distil": spec.distil}
    if spec.kind == "autoformer":
        settings |= {"label_length": spec.label_length, "moving_average": spec.kernel_size}
    return settings


def _patchtst(spec: Spec) -> dict[str, Any]:
    point = spec.distribution == "point"
    return {
        "num_input_channels": spec.input_size,
        "loss": "mse" if point else "nll",
        "distribution_output": "student_t" if point else spec.distribution,
        "patch_length": spec.patch_length,
        "patch_stride": spec.patch_stride,
        "num_hidden_layers": spec.encoder_layers,
        "d_model": spec.d_model,
        "num_attention_heads": spec.heads,
        "ffn_dim": spec.ffn_dim,
        "attention_dropout": spec.dropout,
        "ff_dropout": spec.dropout,
        "head_dropout": spec.dropout,
        # Pooled over patches, the head could not tell the newest patch from the oldest.
        "pooling_type": None,
    }


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
    known: dict[str, Any] = {name: getattr(config, name) for name in ("prediction_length", "context_length")}
    known |= {"kind": kind, "scaling": _scaling(config.scaling), "d_model": 16}
    if kind == "patchtst":
        return Spec(**known | _spec_of_patchtst(config))
    categories = config.num_static_categorical_features
    known |= {
        "input_size": config.input_size,
        "num_time_features": config.num_time_features + getattr(config, "num_dynamic_real_features", 0),
        "num_static_real_features": config.num_static_real_features,
        "cardinality": tuple(config.cardinality) if categories else (),
        "embedding_dimension": tuple(config.embedding_dimension) if categories else (),
        "distribution": config.distribution_output,
    }
    if kind in OWN:
        levels = {"quantiles": tuple(config.quantile_levels)} if config.quantile_levels else {}
        known |= {"d_model": config.hidden_size}
        return Spec(**known | {ours: getattr(config, theirs) for ours, theirs in _OWN_NAMES[kind].items()} | levels)
    known |= {name: getattr(config, name) for name in ("encoder_layers", "decoder_layers", "d_model", "dropout")}
    known |= {"lags": tuple(config.lags_sequence), "heads": config.encoder_attention_heads}
    known |= {"ffn_dim": config.encoder_ffn_dim, "layerdrop": config.encoder_layerdrop}
    if kind == "informer":
        known |= {"attention": config.attention_type, "distil": config.distil}
    if kind == "autoformer":
        known |= {"label_length": config.label_length, "kernel_size": config.moving_average}
    return Spec(**known)


def _spec_of_patchtst(config: Any) -> dict[str, Any]:
    names = {"encoder_layers": "num_hidden_layers", "heads": "num_attention_heads", "input_size": "num_input_channels"}
    names |= {name: name for name in ("d_model", "ffn_dim", "patch_length", "patch_stride")} | {"dropout": "ff_dropout"}
    known = {name: getattr(config, theirs) for name, theirs in names.items()}
    return known | {"distribution": "point" if config.loss == "mse" else config.distribution_output}


def _scaling(value: Any) -> str:
    """transformers writes True for mean scaling, and None or False for none."""
    return "mean" if value is True else value or "none"


def past_length(model: transformers.PreTrainedModel) -> int:
    """Steps before a window's origin that the model takes: its context and its longest lag."""
    return spec_of(model).past_length


def needs(model: transformers.PreTrainedModel) -> tuple[str, ...]:
    """The names in a batch that the model reads, without the future values."""
    spec = spec_of(model)
    names = ["past_values", "past_observed_mask"]
    if not spec.takes_features:
        return tuple(names)
    names += ["past_time_features", "future_time_features"]
    names += ["static_categorical_features"] if spec.cardinality else []
    names += ["static_real_features"] if spec.num_static_real_features else []
    return tuple(names)
