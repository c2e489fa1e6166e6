"""Forecasting models: what they are made from, and their losses."""

from tasks.forecast.fast.interface import layers_of
from tasks.forecast.models.build import build, load, past_length, spec_of
from tasks.forecast.models.losses import losses
from tasks.forecast.models.spec import Spec

__all__ = ["Spec", "build", "layers_of", "load", "losses", "past_length", "spec_of"]
