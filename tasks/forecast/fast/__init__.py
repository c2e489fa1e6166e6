"""Fast forwards of transformers' time-series models on the CPU: other code calls `interface`; README.md says how they work."""

from tasks.forecast.fast.simd import builds

__all__ = ["builds"]
