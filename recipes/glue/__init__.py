"""Text classification and regression, GLUE's tasks among them. The verbs and their configs, each imported when used."""

PARTS = {
    "Train": "recipes.glue.config:Train",
    "train": "recipes.glue.train:train",
    "Eval": "recipes.glue.config:Eval",
    "evaluate": "recipes.glue.evaluate:evaluate",
    "Predict": "recipes.glue.config:Predict",
    "predict": "recipes.glue.predict:predict",
    "Data": "recipes.glue.config:Data",
    "inspect": "recipes.glue.data:inspect",
    "Sample": "recipes.glue.config:Sample",
    "sample": "recipes.glue.data:sample",
    "TrainedDataOptions": "recipes.glue.config:TrainedDataOptions",
    "load_model": "tasks.glue.pretrained:load_with_tokenizer",
    "quantizable": "recipes.glue.quantizable:quantizable",
}
