"""Forecasting models: what they are made from, their losses, and a fast training step for the CPU."""

from tasks.forecast.models.build import build, load, needs, past_length, spec_of
from tasks.forecast.models.losses import layers_of, losses
from tasks.forecast.models.spec import Spec

__all__ = ["Spec", "build", "layers_of", "load", "losses", "needs", "past_length", "spec_of"]
