"""Forecasting. The verbs and their configs, each imported when used."""

PARTS = {
    "Train": "recipes.forecast.config:Train",
    "train": "recipes.forecast.train:train",
    "Backtest": "recipes.forecast.config:Backtest",
    "backtest": "recipes.forecast.backtest:backtest",
    "Eval": "recipes.forecast.config:Eval",
    "evaluate": "recipes.forecast.evaluate:evaluate",
    "Predict": "recipes.forecast.config:Predict",
    "predict": "recipes.forecast.predict:predict",
    "Data": "recipes.forecast.config:Data",
    "inspect": "recipes.forecast.inspection:inspect",
    "Sample": "recipes.forecast.config:Sample",
    "sample": "recipes.forecast.inspection:sample",
}
