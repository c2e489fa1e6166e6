"""Forecasting: panels of time series, windows, models, sampling and scores."""
