"""A BERT-like classifier of two layers as an ONNX graph, written by hand so that tests need no exporter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HIDDEN, HEADS, INNER, VOCABULARY, POSITIONS = 32, 4, 64, 60, 40


class Writer:
    """Nodes and constants of a graph; weights come from a seed and their name's place."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        if all(tensor.name != name for tensor in self.constants):
            self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name: str, *shape: int, size: float = 0.3) -> str:
        return self.constant(name, self.random.normal(0, size, shape).astype(np.float32))

    def node(self, operator: str, inputs: list[str], output: str, module: str = "", **attributes: Any) -> str:
        made = helper.make_node(operator, inputs, [output], name=f"node_{output}", **attributes)
        if module:
            scopes = made.metadata_props.add()
            scopes.key, scopes.value = "pkg.torch.onnx.name_scopes", str(["", *_above(module), output])
        self.nodes.append(made)
        return output

    def linear(self, module: str, data: str, inner: int, columns: int) -> str:
        # Named as torch's exporter names a folded transpose: by nothing that a user knows.
        weight = self.weight(f"val_{len(self.constants)}", inner, columns)
        out = self.node("MatMul", [data, weight], f"{module}.product", module)
        return self.node("Add", [out, self.weight(f"{module}.bias", columns)], f"{module}.out")

    def norm(self, module: str, data: str) -> str:
        scale = self.constant(f"{module}.weight", (1 + self.random.normal(0, 0.1, HIDDEN)).astype(np.float32))
        bias = self.weight(f"{module}.bias", HIDDEN, size=0.1)
        return self.node("LayerNormalization", [data, scale, bias], f"{module}.out", axis=-1, epsilon=1e-5)


def write_encoder(path: Path, *, pooled: str = "first", fused: bool = False, labels: int = 2, seed: int = 0) -> Path:
    """Writes the graph: inputs `input_ids`, `attention_mask` int64 [batch, sequence], output `logits` [batch, labels].

    Args:
        pooled: "first" token, or "mean" of all.
        fused: with onnxruntime's nodes for attention and for the norms after a sum.
    """
    w = Writer(seed)
    words = w.node(
        "Gather", [w.weight("bert.words.weight", VOCABULARY, HIDDEN), "input_ids"], "words", "bert.words", axis=0
    )
    hidden = w.norm("bert.norm", words)
    w.constant("one", np.float32(1))
    mask = w.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32 if fused else TensorProto.FLOAT)
    if not fused:
        mask = w.node("Sub", ["one", mask], "mask_turned")
        mask = w.node("Mul", [mask, w.constant("lowest", np.float32(-1e9))], "mask_low")
        mask = w.node("Unsqueeze", [mask, w.constant("middle", np.array([1, 2]))], "mask_wide")
    for number in range(2):
        hidden = _layer(w, f"bert.layer.{number}", hidden, mask, fused)
    if pooled == "first":
        taken = w.node("Gather", [hidden, w.constant("zero", np.array(0))], "taken", axis=1)
    else:
        taken = w.node("ReduceMean", [hidden, w.constant("axis", np.array([1]))], "taken", keepdims=0)
    weight, bias = w.weight("bert.pooler.weight", HIDDEN, HIDDEN), w.weight("bert.pooler.bias", HIDDEN)
    pooler = w.node("Gemm", [taken, weight, bias], "pooled", "bert.pooler", transB=1)
    active = w.node("Tanh", [pooler], "active")
    head, bias = w.weight("classifier.weight", labels, HIDDEN), w.weight("classifier.bias", labels)
    w.node("Gemm", [active, head, bias], "logits", "classifier", transB=1)
    model = _model(w, labels, fused)
    onnx.save(model, str(path))
    return path


def batch(rows: int, length: int, seed: int = 0, padded: int = 0) -> dict[str, np.ndarray]:
    """Inputs; the last row ends in `padded` positions of padding."""
    ids = np.random.default_rng(seed).integers(0, VOCABULARY, (rows, length))
    mask = np.ones_like(ids)
    if padded:
        mask[-1, -padded:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(path: Path | str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """What onnxruntime makes of it, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], feeds)[0])


def change(path: Path, name: str, new: Callable[[np.ndarray], np.ndarray]) -> None:
    """Applies `new` to a constant of the file, or to the weight of a layer of that name."""
    from tasks.quantize.graph.nodes import layers

    model = onnx.load(str(path))
    name = {layer.name: layer.weight for layer in layers(model)}.get(name, name)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(new(numpy_helper.to_array(tensor).copy()), name))
    onnx.save(model, str(path))


def outliers(path: Path, layer: int = 0) -> str:
    """Plants weights in a layer's first feed-forward product that no input ever meets; returns its name.

    In float they do nothing. In 8 bits they take all steps of their columns, and the other weights are rounded to 0.
    """

    def silence(values: np.ndarray) -> np.ndarray:
        values[5] = 0
        return values

    def enlarge(weight: np.ndarray) -> np.ndarray:
        weight[5] = 1000
        return weight

    for part in ("weight", "bias"):
        change(path, f"bert.layer.{layer}.norm.{part}", silence)
    change(path, f"bert.layer.{layer}.up", enlarge)
    return f"bert.layer.{layer}.up"


def _layer(w: Writer, name: str, hidden: str, mask: str, fused: bool) -> str:
    parts = [w.linear(f"{name}.{part}", hidden, HIDDEN, HIDDEN) for part in ("query", "key", "value")]
    if fused:
        inputs = [*parts, "", mask]
        out = w.node("MultiHeadAttention", inputs, f"{name}.context", domain="com.microsoft", num_heads=HEADS)
    else:
        out = _attention(w, name, parts, mask)
    out = w.linear(f"{name}.dense", out, HIDDEN, HIDDEN)
    hidden = _sum_and_norm(w, f"{name}.norm", out, hidden, fused)
    out = w.node("Gelu", [w.linear(f"{name}.up", hidden, HIDDEN, INNER)], f"{name}.gelu")
    return _sum_and_norm(w, f"{name}.last", w.linear(f"{name}.down", out, INNER, HIDDEN), hidden, fused)


def _attention(w: Writer, name: str, parts: list[str], mask: str) -> str:
    w.constant("heads", np.array([0, 0, HEADS, HIDDEN // HEADS]))
    split = [w.node("Reshape", [part, "heads"], f"{part}.split") for part in parts]
    perms = [(0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)]
    query, key, value = (
        w.node("Transpose", [part], f"{part}.turned", perm=perm) for part, perm in zip(split, perms, strict=True)
    )
    scores = w.node("MatMul", [query, key], f"{name}.scores")
    w.constant("scale", np.float32((HIDDEN // HEADS) ** -0.5))
    scores = w.node("Add", [w.node("Mul", [scores, "scale"], f"{name}.scaled"), mask], f"{name}.masked")
    context = w.node("MatMul", [w.node("Softmax", [scores], f"{name}.softmax", axis=-1), value], f"{name}.heads")
    turned = w.node("Transpose", [context], f"{name}.turned", perm=(0, 2, 1, 3))
    return w.node("Reshape", [turned, w.constant("merged", np.array([0, 0, HIDDEN]))], f"{name}.context")


def _sum_and_norm(w: Writer, module: str, data: str, skip: str, fused: bool) -> str:
    if not fused:
        return w.norm(module, w.node("Add", [data, skip], f"{module}.sum"))
    scale = w.constant(f"{module}.weight", (1 + w.random.normal(0, 0.1, HIDDEN)).astype(np.float32))
    inputs = [data, skip, scale, w.weight(f"{module}.bias", HIDDEN, size=0.1)]
    return w.node("SkipLayerNormalization", inputs, f"{module}.out", domain="com.microsoft", epsilon=1e-5)


def _model(w: Writer, labels: int, fused: bool) -> onnx.ModelProto:
    sizes = ["batch", "sequence"]
    names = ("input_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, sizes) for name in names]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])
    graph = helper.make_graph(w.nodes, "encoder", inputs, [output], w.constants)
    opsets = [helper.make_opsetid("", 20), *([helper.make_opsetid("com.microsoft", 1)] if fused else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    known = onnx.shape_inference.infer_shapes(model)
    if fused:  # shapes behind onnxruntime's own nodes, which the exporter notes and ONNX can't infer
        noted = {value.name for value in known.graph.value_info}
        for node in w.nodes:
            out = node.output[0]
            if out not in noted and out not in ("logits", "taken", "pooled", "active"):
                size = INNER if ".up" in out or ".gelu" in out else HIDDEN
                known.graph.value_info.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, [*sizes, size]))
    return known


def _above(module: str) -> list[str]:
    words = module.split(".")
    return [".".join(words[: number + 1]) for number in range(len(words))]
