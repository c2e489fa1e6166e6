"""A recipe for `tool`: classes from a table of numbers. Each part is imported when it is used."""

PARTS = {
    "Train": "tabular_recipe.config:Train",
    "train": "tabular_recipe.recipe:train",
    "Eval": "tabular_recipe.config:Eval",
    "evaluate": "tabular_recipe.recipe:evaluate",
    "Predict": "tabular_recipe.config:Predict",
    "predict": "tabular_recipe.recipe:predict",
    "Sample": "tabular_recipe.config:Sample",
    "sample": "tabular_recipe.recipe:sample",
}
