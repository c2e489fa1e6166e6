"""Exporting to ONNX: the graph computes what torch computes, masks and all, and says what it is."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnx_models
import onnx_table
import pytest
import torch

from tasks.errors import ConfigError, DataError, ToolError
from tasks.onnx import graph
from tasks.onnx.architectures import spec_of
from tasks.onnx.export import export
from tasks.onnx.session import Session, find


@pytest.fixture(scope="module")
def bert():
    return onnx_models.tiny("BERT")


@pytest.fixture(scope="module")
def fused(bert, tmp_path_factory):
    """A tiny BERT as the fused graph, its weights in a file of their own: above a limit of a kilobyte."""
    folder = tmp_path_factory.mktemp("onnx")
    return export(bert, folder, graph="fused", measure=False, limit=1000), folder


def test_the_graph_holds_one_fused_node_for_each_attention_and_no_shape_subgraphs(fused):
    made, _ = fused
    assert made.graph == "fused"
    assert made.fused == {"MultiHeadAttention": 2, "SkipLayerNormalization": 4, "BiasGelu": 2}
    assert made.spec.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert made.largest_difference < 1e-5
    assert (made.spec.heads, made.spec.hidden) == (4, 32)
    # Six products a layer: query, key and value stay apart from the attention, so that they can be quantized.
    assert made.nodes["MatMul"] == 12
    assert made.nodes.get("Softmax", 0) == 0
    assert made.nodes.get("Shape", 0) <= 1
    assert made.nodes == graph.operators(made.path)


def test_a_text_has_the_same_logits_alone_and_padded_in_a_batch(bert, fused):
    session = Session(fused[0].path, threads=1)
    alone = {"input_ids": np.array([[5, 9, 2]]), "attention_mask": np.ones((1, 3), np.int64)}
    batch = {
        # What stands behind the end must not matter, whatever it is.
        "input_ids": np.array([[5, 9, 2, 77, 31, 8], [4, 4, 8, 11, 12, 13]]),
        "attention_mask": np.array([[1, 1, 1, 0, 0, 0], [1] * 6]),
    }
    np.testing.assert_allclose(session.run(batch)[0], session.run(alone)[0], atol=1e-5)
    with torch.no_grad():
        wanted = bert(**{name: torch.tensor(value) for name, value in alone.items()}).logits.numpy()
    np.testing.assert_allclose(session.run(alone), wanted, atol=1e-5)
    assert not np.allclose(session.run({"input_ids": batch["input_ids"]})[0], wanted[0], atol=1e-2)


def test_weights_above_the_limit_lie_beside_the_graph(fused):
    made, folder = fused
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert (folder / "model.onnx").stat().st_size < 100_000 < made.bytes
    assert made.bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_nodes_and_weights_have_the_names_of_the_models_modules(fused):
    model = onnx.load(fused[0].path, load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    assert "bert.encoder.layer.1.attention.self.query.weight.T" in weights
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert products[0].name.startswith("bert.encoder.layer.0.attention.self.query/")
    shape = model.graph.input[0].type.tensor_type.shape
    assert [dim.dim_param for dim in shape.dim] == ["batch", "sequence"]


def test_an_export_leaves_the_model_as_it_was(bert, fused):
    assert bert.config._attn_implementation == "sdpa"
    assert not bert.training


@pytest.mark.parametrize("name", ["DistilBERT", "ViT"])
def test_an_architecture_is_exported_as_the_document_says(name, tmp_path):
    assert onnx_table.row(name, tmp_path) == onnx_table.written()[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in onnx_models.MODELS if name not in ("DistilBERT", "ViT")])
def test_every_architecture_is_exported_as_the_document_says(name, tmp_path):
    assert onnx_table.row(name, tmp_path) == onnx_table.written()[name]


def test_the_document_names_every_architecture():
    assert list(onnx_table.written()) == list(onnx_models.MODELS)


@pytest.fixture
def changed(monkeypatch):
    """A BERT of one layer whose forward's logits go through a function."""

    def make(change):
        model = onnx_models.tiny("BERT", num_hidden_layers=1)
        spec, right = spec_of(model), model.forward

        def forward(**inputs):
            found = right(**inputs)
            found.logits = change(found.logits)
            return found

        monkeypatch.setattr(model, "forward", forward)
        monkeypatch.setattr("tasks.onnx.export.spec_of", lambda model: spec)
        return model

    return make


def test_a_graph_that_differs_from_torch_is_not_kept(changed, tmp_path):
    model = changed(lambda logits: logits if torch.compiler.is_exporting() else logits + 0.5)
    with pytest.raises(ToolError, match=r"differs from torch by 0\.5 at batch 1 x length 5, above --tolerance 0\.0001"):
        export(model, tmp_path, graph="basic")
    assert list(tmp_path.iterdir()) == []


def test_an_operation_without_translation_is_named(changed, tmp_path):
    model = changed(lambda logits: torch.linalg.matrix_exp(logits[:, :, None] * logits[:, None, :]).sum(-1))
    with pytest.raises(ToolError, match=r"this bert can't be exported: .*matrix_exp"):
        export(model, tmp_path)


def test_a_decoder_is_refused():
    import transformers

    config = transformers.GPT2Config(n_embd=8, n_head=2, n_layer=1, vocab_size=10, pad_token_id=0)
    model = transformers.GPT2ForSequenceClassification(config)
    with pytest.raises(ConfigError, match=r"a gpt2 is a decoder \(GPT2Attention sees no later tokens\)"):
        spec_of(model)


def test_a_broken_file_is_told_in_one_line(tmp_path, fused):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(fused[0].path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"model\.onnx: onnxruntime can't load it \(") as error:
        Session(broken)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="no ONNX file in it"):
        find(tmp_path / "..")
    with pytest.raises(ConfigError, match="no such file or folder"):
        find(tmp_path / "nothing")


def test_optimums_names_are_found_and_missing_inputs_are_said(tmp_path, fused):
    made, folder = fused
    (tmp_path / "model_quantized.onnx").write_bytes(made.path.read_bytes())
    (tmp_path / "model.onnx.data").write_bytes((folder / "model.onnx.data").read_bytes())
    session = Session(tmp_path, threads=1)
    with pytest.raises(
        DataError, match="the graph takes input_ids, attention_mask, token_type_ids; input_ids is missing"
    ):
        session.run({"attention_mask": np.ones((1, 2))})


def test_importing_the_session_brings_no_torch():
    code = (
        "import sys, tasks.onnx.session; print(json.dumps([n for n in ('torch', 'transformers') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == [], done.stderr


@pytest.mark.slow
def test_a_model_above_two_gigabytes_gets_its_weights_beside_the_graph(tmp_path):
    # 2.25 GB, nearly all of it a table of embeddings.
    size = {"vocab_size": 1_100_000, "hidden_size": 512, "num_hidden_layers": 1, "initializer_range": 0.05}
    model = onnx_models.tiny("BERT", **size)
    made = export(model, tmp_path, measure=False)
    assert made.bytes > 2**31
    assert (tmp_path / "model.onnx").stat().st_size < 1_000_000
    assert made.largest_difference < 1e-4
