"""The table of architectures in docs/export.md, made by exporting each of them.

`python tests/tasks/onnx_table.py` writes it into the document.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx_models

from tasks.onnx import graph
from tasks.onnx.architectures import spec_of
from tasks.onnx.export import TOLERANCE, check, translated
from tasks.onnx.session import Session
from tasks.quantize.formats import formats
from tasks.quantize.plan import Plan
from tasks.quantize.quantizer import quantize

# Not by the CPU that it runs on: the table is the same everywhere. The heads of these models are narrow and stay float.
PLAN = Plan(format=formats("avx2")[0], operators=("MatMul", "Gemm"))
DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"
BEGIN, END = "<!-- architectures: begin -->\n", "<!-- architectures: end -->\n"
HEAD = (
    "| architecture | inputs | nodes: none | basic | fused | attention fused | differs from torch by | int8 products |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def row(name, folder):
    """One architecture's line: exported in each form, each checked against torch on three shapes, and quantized."""
    model = onnx_models.tiny(name)
    spec = spec_of(model)
    traced = translated(model, spec)
    nodes, worst, fused = {}, 0.0, {}
    for kind in graph.KINDS:
        form = traced.clone()
        fused = graph.shape_graph(form, kind)
        path = folder / f"{name}-{kind}.onnx"
        graph.save(form, path)
        worst = max(worst, check(model, spec, path, TOLERANCE))
        nodes[kind] = sum(graph.operators(path).values())
    small = folder / f"{name}-int8.onnx"
    counts = {}
    for kind in graph.KINDS:
        counts[kind] = quantized(folder / f"{name}-{kind}.onnx", small)
        assert int8_error(spec, folder / f"{name}-{kind}.onnx", small) < 0.3
    assert len(set(counts.values())) == 1, counts
    below = "1e-4" if worst < 1e-4 else f"{worst:.0e}"
    inputs = ", ".join(f"`{one}`" for one in spec.inputs)
    attention = f"{fused['MultiHeadAttention']} of 2" if fused["MultiHeadAttention"] else "no"
    return (
        f"| {name} | {inputs} | {nodes['none']} | {nodes['basic']} | {nodes['fused']} | {attention} | under {below} | "
        f"{counts['fused']} |\n"
    )


def quantized(path, small):
    """Writes the graph in dynamic int8 as `tool quantize` does; how many products of matrices became integers."""
    return quantize(path, small, PLAN).get("MatMulInteger", 0)


def int8_error(spec, path, small):
    """The quantized logits' root mean square error over the float ones' standard deviation, over 64 inputs."""
    sessions = [Session(path), Session(small)]
    float_, int8 = [], []
    for seed in range(8):
        feeds = {key: value.numpy() for key, value in spec.example(8, 12, seed=seed).items()}
        float_.append(sessions[0].run(feeds))
        int8.append(sessions[1].run(feeds))
    wanted, found = np.concatenate(float_), np.concatenate(int8)
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())


def written():
    """The rows in the document by their architecture."""
    text = DOCUMENT.read_text(encoding="utf-8")
    inside = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert inside.startswith(HEAD)
    lines = inside[len(HEAD) :].splitlines(keepends=True)
    return {line.split("|")[1].strip(): line for line in lines}


def rewrite(names):
    """Makes the rows anew and puts them into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = written() if names else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or onnx_models.MODELS:
            rows[name] = row(name, Path(folder))
            print(rows[name], end="", flush=True)
    table = HEAD + "".join(rows[name] for name in onnx_models.MODELS if name in rows)
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    DOCUMENT.write_text(before + table + after, encoding="utf-8")


if __name__ == "__main__":
    rewrite(sys.argv[1:])
