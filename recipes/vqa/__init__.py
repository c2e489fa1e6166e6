"""Visual question answering. The verbs and their configs, each imported when used."""

PARTS = {
    "Train": "recipes.vqa.config:Train",
    "train": "recipes.vqa.train:train",
    "Eval": "recipes.vqa.config:Eval",
    "evaluate": "recipes.vqa.evaluate:evaluate",
    "Predict": "recipes.vqa.config:Predict",
    "predict": "recipes.vqa.predict:predict",
    "Data": "recipes.vqa.config:Data",
    "inspect": "recipes.vqa.data:inspect",
    "Sample": "recipes.vqa.config:Sample",
    "sample": "recipes.vqa.data:sample",
    "load_model": "recipes.vqa.inference:load_model",
}
