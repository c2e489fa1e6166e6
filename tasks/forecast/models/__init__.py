"""Forecasting models: what they are made from, and their losses."""

from tasks.forecast.fast.interface import layers_of
from tasks.forecast.models.build import build, load, needs, past_length, spec_of
from tasks.forecast.models.losses import losses
from tasks.forecast.models.spec import Spec

__all__ = ["Spec", "build", "layers_of", "load", "losses", "needs", "past_length", "spec_of"]
