"""Defaults of the training options by model."""

from __future__ import annotations

from typing import Any

# What an option left out becomes: the settings of the published examples, and smaller ones for `tiny`.
PUBLISHED: dict[str, Any] = {
    "epochs": 50,
    "batches_per_epoch": 100,
    "batch_size": 128,
    "learning_rate": 6e-4,
    "eval_batch_size": 512,
    "optimizer": "adamw",
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "ffn_dim": 32,
    "lr_scheduler": "constant",
    "distribution": "student_t",
    "scaling": "std",
    "anchor": "mean",
    "item_embedding": True,
    "dropout": 0.1,
}
TINY: dict[str, Any] = {
    **PUBLISHED,
    "epochs": 12,
    "batch_size": 64,
    "learning_rate": 5e-3,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "d_model": 32,
    "ffn_dim": 64,
    "lr_scheduler": "cosine",
}
LINEAR: dict[str, Any] = {**PUBLISHED, "learning_rate": 2e-3}
NBEATS: dict[str, Any] = {
    **PUBLISHED,
    "learning_rate": 2e-3,
    "lr_scheduler": "cosine",
    "d_model": 128,
    "blocks": 3,
    "block_layers": 2,
    "distribution": "quantiles",
    "scaling": "seasonal",
    "anchor": "season",
    "item_embedding": False,
    "dropout": 0.0,
}
DEFAULTS = {"tiny": TINY, "dlinear": LINEAR, "nbeats": NBEATS}


def shown(name: str) -> str:
    """The default of an option, for help: the published one, and where a model has another."""
    value = PUBLISHED[name]
    others = [f"{kind}: {_said(table[name])}" for kind, table in DEFAULTS.items() if table[name] != value]
    return "; ".join([_said(value), *others])


def _said(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
