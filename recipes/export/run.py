"""`tool export onnx`: a trained classifier as a folder that plain onnxruntime runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.distributed.device import set_threads, silence
from recipes.export.config import Export
from recipes.process.extras import require
from recipes.runs.environment import versions
from recipes.runs.select import choose_model, output_folder
from recipes.terminal.progress import parameters_text, print_line, size
from tasks.files import write_folder, write_json, write_text
from tasks.hub import loading

if TYPE_CHECKING:
    from tasks.onnx.export import Exported

FACTS = "export.json"
VERSIONS = ("modeltool", "torch", "transformers", "onnx", "onnxscript", "onnxruntime")
FITTING = ("glue", "vqa")


def export_onnx(config: Export) -> dict[str, Any]:
    """Exports, checks and writes the folder, whole or not at all; returns what the command prints."""
    silence()
    set_threads(config.threads)
    require("onnx", "tool export onnx")
    from recipes.export.pretrained import load
    from tasks.onnx.export import export

    model, run = choose_model(config.model, config.output_dir, FITTING)
    output = output_folder(config.output, run, model, "onnx", FACTS)
    with loading(model, "--model"):
        network, processor = load(model, config.revision, config.token)
    print_line(f"export    {model} · {network.config.model_type}, {parameters_text(network)} parameters")
    done: list[Exported] = []

    def fill(folder: Path) -> None:
        made = export(
            network,
            folder,
            graph=config.graph,
            opset=config.opset,
            tolerance=config.tolerance,
            threads=config.threads,
        )
        done.append(made)
        network.config.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        write_text(folder / "README.md", readme(network, made))
        write_json(folder / FACTS, facts(made, model))

    write_folder(output, fill)
    made = done[0]
    noted = {"output": str(output), **facts(made, model)}
    return {**noted, "text": report(made, output)}


def facts(made: Exported, model: str) -> dict[str, Any]:
    """export.json: how the graph was made and checked."""
    spec = made.spec
    return {
        "model": model,
        **{name: value for name, value in vars(made).items() if name not in ("path", "spec", "nodes")},
        "inputs": list(spec.inputs),
        "outputs": ["logits"],
        "dynamic_axes": {name: list(axes) for name, axes in spec.axes.items()},
        "image": list(spec.image) if spec.image else None,
        "heads": spec.heads,
        "hidden_size": spec.hidden,
        "checked_shapes": [list(shape) for shape in spec.shapes()],
        "nodes": sum(made.nodes.values()),
        "operators": made.nodes,
        "versions": versions(VERSIONS),
    }


def report(made: Exported, output: Path) -> str:
    """What the command prints."""
    fused = ", ".join(f"{count} {name}" for name, count in made.fused.items() if count) or "nothing"
    lines = [
        f"graph     {made.graph} · {sum(made.nodes.values())} nodes · fused {fused} · opset {made.opset} · {size(made.bytes)}",
        *(f"          {note}" for note in made.notes),
        f"checked   {len(made.spec.shapes())} shapes against PyTorch · largest difference {made.largest_difference:.1g}",
        f"model     {output} · {made.seconds:.1f} s",
    ]
    return "\n".join(lines)


_IMAGE = """import onnxruntime
from PIL import Image
from transformers import AutoImageProcessor
pixels = AutoImageProcessor.from_pretrained(".")(Image.open("photo.jpg").convert("RGB"), return_tensors="np")["pixel_values"]
print(onnxruntime.InferenceSession("model.onnx").run(["logits"], {"pixel_values": pixels}))
"""
_BOTH = """import onnxruntime
from PIL import Image
from transformers import AutoProcessor
session, processor = onnxruntime.InferenceSession("model.onnx"), AutoProcessor.from_pretrained(".")
given = processor(Image.open("photo.jpg").convert("RGB"), "What is it?", return_tensors="np")
print(session.run(["logits"], {one.name: given[one.name] for one in session.get_inputs()}))
"""


def readme(network: Any, made: Exported) -> str:
    """README.md: how to run the folder with nothing of ours."""
    from tasks.onnx.session import SEVERAL_LABELS, TEXT_EXAMPLE

    labels = network.config.id2label
    named = ", ".join(f"{number} {labels[number]}" for number in sorted(labels)[:20])
    more = f" and {len(labels) - 20} more in config.json" if len(labels) > 20 else ""
    if made.spec.image is None:
        example = '"A first text.", "A second one."' if "token_type_ids" in made.spec.inputs else '"A text."'
        code = TEXT_EXAMPLE.replace("{example}", example)
    elif "input_ids" in made.spec.inputs:
        code = _BOTH
    else:
        code = _IMAGE
    return (
        f"# {network.config.model_type} classifier in ONNX\n\n"
        f"`model.onnx` computes `logits` within {made.largest_difference:.1g} of PyTorch's on the shapes that it was checked on; "
        f"`{FACTS}` says how it was made. It runs with onnxruntime alone:\n\n"
        f"```python\n{code}```\n\n"
        f"The logits are of: {named}{more}.\n"
        + (f"\n{SEVERAL_LABELS}\n" if network.config.problem_type == "multi_label_classification" else "")
    )
