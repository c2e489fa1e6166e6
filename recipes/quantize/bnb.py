"""`--approach bnb-int8|bnb-nf4`: bitsandbytes' formats for PyTorch models on a GPU, measured like the others."""

from __future__ import annotations

from typing import Any

from recipes.quantize.config import Quantize
from tasks.errors import ConfigError


def quantize_torch(config: Quantize) -> dict[str, Any]:
    raise ConfigError("not yet")
