"""The training forward of transformers' time-series models by whatever computes it fastest, and Informer's sampling kernel.

The model code calls this and knows no more. The forward is that of the compiled C (`simd`), of PyTorch's operators
(`pytorch`), or transformers' own; all three give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tasks.forecast.fast.pytorch import forward as pytorch
from tasks.forecast.fast.pytorch.layers import averaging as averaging
from tasks.forecast.fast.simd import forward as simd
from tasks.forecast.fast.simd import native
from tasks.forecast.fast.simd.informer import newest as newest
from tasks.forecast.fast.simd.informer import newest_applies as newest_applies

Batch = dict[str, Tensor]
Forward = Callable[[Any, Batch], tuple[tuple[Tensor, ...], Tensor, Tensor]]

KINDS = ("time_series_transformer", "informer", "autoformer")
_INPUTS = (
    "past_values",
    "past_time_features",
    "past_observed_mask",
    "static_categorical_features",
    "static_real_features",
    "future_values",
    "future_time_features",
)


def parameters(model: Any, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """The distribution's parameters for each future step, [b, H] or [b, H, dims] each, and the windows' loc and scale."""
    return _fastest(model)(model, batch)


def layers_of(model: Any) -> str:
    """Whose layers train the model where it lies: "transformers", "PyTorch" or "compiled, 16 lanes"; "" for other kinds."""
    if model.config.model_type not in KINDS:
        return ""
    fastest = _fastest(model)
    if fastest is simd.parameters:
        return f"compiled, {native.lanes()} lanes"
    return "PyTorch" if fastest is pytorch.parameters else "transformers"


def _fastest(model: Any) -> Forward:
    # Set by `tasks.forecast.self_checks` where a fast forward gives other numbers than the library's.
    if getattr(model, "library_trains", False):
        return library_parameters
    return next(iter(candidates(model).values()), library_parameters)


def candidates(model: Any) -> dict[str, Forward]:
    """The fast forwards that take the model, by what to call them; with torch.compile the second may take the first one's place."""
    if not pytorch.applies(model):
        return {}
    compiled = {"the compiled fast path": simd.parameters} if simd.applies(model) else {}
    return compiled | {"PyTorch's fast path": pytorch.parameters}


def library_parameters(model: Any, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """What `parameters` gives, by transformers' own forward."""
    outputs = model.model(**{name: batch[name] for name in _INPUTS if name in batch}, use_cache=False)
    hidden = outputs.last_hidden_state
    if model.config.model_type == "autoformer":
        hidden = hidden + outputs.trend
    return model.output_params(hidden), outputs.loc, outputs.scale
