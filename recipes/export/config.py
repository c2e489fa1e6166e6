"""The options of `tool export onnx`."""

from __future__ import annotations

import dataclasses

from recipes.config import option
from recipes.options import HUB, MACHINE, MODEL, OUTPUT

GRAPH = "Graph"
GRAPHS = ("none", "basic", "fused")


@dataclasses.dataclass
class Export:
    """`tool export onnx`."""

    model: str | None = option(
        None,
        "Run folder, local folder or Hub id of a text or image classifier, or of a ViLT.",
        panel=MODEL,
        shown_default="the newest finished glue or vqa run",
    )
    output: str | None = option(
        None, "Folder to write.", panel=OUTPUT, shown_default="model-onnx in the run, else NAME-onnx here"
    )
    graph: str = option(
        "fused",
        "none: as exported; basic: LayerNorm and Gelu fused; fused: attention too, where that is faster here.",
        panel=GRAPH,
        choices=GRAPHS,
    )
    opset: int = option(20, "Version of ONNX's operators.", panel=GRAPH, minimum=20, maximum=23)
    tolerance: float = option(
        1e-4, "Largest difference of a logit from PyTorch's; above it nothing is kept.", panel=GRAPH, above=0
    )
    threads: int | None = option(None, "CPU threads.", panel=MACHINE, minimum=1, shown_default="all cores")
    revision: str | None = option(None, "Branch, tag or commit of the Hub model.", panel=HUB)
    token: str | None = option(None, "Hub token; better in HF_TOKEN.", panel=HUB, secret=True)
    output_dir: str = option("runs", "Where run folders are looked for.", panel=OUTPUT)
