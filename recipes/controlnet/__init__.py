"""ControlNets for Stable Diffusion. The verbs and their configs, each imported when used."""

PARTS = {
    "Train": "recipes.controlnet.config:Train",
    "train": "recipes.controlnet.train:train",
    "Eval": "recipes.controlnet.config:Eval",
    "evaluate": "recipes.controlnet.evaluate:evaluate",
    "Predict": "recipes.controlnet.config:Predict",
    "predict": "recipes.controlnet.predict:predict",
    "Data": "recipes.controlnet.config:Data",
    "inspect": "recipes.controlnet.data:inspect",
    "Sample": "recipes.controlnet.config:Sample",
    "sample": "recipes.controlnet.data:sample",
    "Build": "recipes.controlnet.build_config:Build",
    "build": "recipes.controlnet.build:build",
}
