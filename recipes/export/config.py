"""The options of `tool export onnx`."""

from __future__ import annotations

import dataclasses

from recipes.config import Panel
from recipes.options import HUB, MACHINE, MODEL, OUTPUT

GRAPH = Panel("Graph")
GRAPHS = ("none", "basic", "fused")


@dataclasses.dataclass
class Export:
    """`tool export onnx`."""

    model: str | None = MODEL.option(
        None,
        "Run folder, local folder or Hub id of a text or image classifier, or of a ViLT.",
        shown_default="the newest finished glue or vqa run",
    )
    output: str | None = OUTPUT.option(
        None, "Folder to write.", shown_default="model-onnx in the run, else NAME-onnx here"
    )
    graph: str = GRAPH.option(
        "fused",
        "none: as exported; basic: LayerNorm and Gelu fused; fused: attention too, where that is faster here.",
        choices=GRAPHS,
    )
    opset: int = GRAPH.option(20, "Version of ONNX's operators.", minimum=20, maximum=23)
    tolerance: float = GRAPH.option(
        1e-4, "Largest difference of a logit from PyTorch's; above it nothing is kept.", above=0
    )
    threads: int | None = MACHINE.option(None, "CPU threads.", minimum=1, shown_default="all cores")
    revision: str | None = HUB.option(None, "Branch, tag or commit of the Hub model.")
    token: str | None = HUB.option(None, "Hub token; better in HF_TOKEN.", secret=True)
    output_dir: str = OUTPUT.option("runs", "Where run folders are looked for.")
