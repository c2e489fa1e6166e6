"""`tool export onnx` as a user meets it: the folder, its README run as it stands, and what it refuses."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers

from cli.main import main

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "first", "text", "second", "one", ".", ","]
LABELS = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}


def tool(capsys, *args):
    """(exit code, stdout, stderr) of the command, in this process."""
    with pytest.raises(SystemExit) as end:
        main(list(args))
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run of a tiny BERT with a tokenizer of its own."""
    runs = tmp_path_factory.mktemp("work") / "runs"
    model = runs / "glue-rte" / "model"
    model.mkdir(parents=True)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        **LABELS,
    )
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(model)
    (model / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(vocab=str(model / "vocab.txt")).save_pretrained(model)
    (runs / "glue-rte" / "status.json").write_text(json.dumps({"state": "finished", "recipe": "glue"}))
    (runs / "glue-rte" / "config.yaml").write_text("recipe: glue\n")
    return runs / "glue-rte"


def test_with_nothing_said_the_newest_run_is_exported_into_its_folder(run_folder, capsys, monkeypatch):
    monkeypatch.chdir(run_folder.parents[1])
    code, out, err = tool(capsys, "export", "onnx", "--json")
    assert code == 0, err
    assert err.splitlines()[0] == "newest glue run: runs/glue-rte"
    folder = run_folder / "model-onnx"
    assert {"model.onnx", "config.json", "tokenizer.json", "README.md", "export.json"} <= {
        path.name for path in folder.iterdir()
    }
    said, kept = json.loads(out), json.loads((folder / "export.json").read_text())
    assert said == {"output": "runs/glue-rte/model-onnx", **kept}
    assert kept["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
    assert kept["graph"] in ("fused", "basic")
    assert kept["largest_difference"] < 1e-4
    assert kept["bytes"] == (folder / "model.onnx").stat().st_size
    assert kept["nodes"] == sum(kept["operators"].values())
    assert not [path.name for path in run_folder.iterdir() if path.name.startswith(".")]


def test_the_readme_runs_as_it_stands_and_gives_torchs_logits(run_folder):
    folder = run_folder / "model-onnx"
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL).group(1)
    assert "tasks" not in code
    assert "transformers" not in code
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", done.stdout)]
    model = transformers.BertForSequenceClassification.from_pretrained(run_folder / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run_folder / "model")
    with torch.no_grad():
        wanted = model.eval()(**tokenizer("A first text.", "A second one.", return_tensors="pt")).logits[0]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
    assert "0 bad, 1 good" in (folder / "README.md").read_text()


def test_the_folder_opens_with_its_tokenizer_and_labels(run_folder):
    from tasks.onnx.session import open_model

    session, tokenizer, config = open_model(run_folder / "model-onnx", threads=1)
    assert config.id2label == {0: "bad", 1: "good"}
    encoded = tokenizer(["a text", "a second text ."], padding=True, return_tensors="np")
    assert session.run(encoded).shape == (2, 2)


def test_what_cannot_be_exported_is_told_in_one_line(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = json.loads((run_folder / "model" / "config.json").read_text())
    for name, change in {
        "headless": {"architectures": ["BertForMaskedLM"]},
        "int8": {"quantization_config": {"quant_method": "bitsandbytes"}},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({**config, **change}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    onnx = str(run_folder / "model-onnx")
    cases = [
        ([], 2, "--model: there is no finished glue or vqa run under runs/"),
        (["--model", "headless"], 2, "--model headless has no classification head (it is a BertForMaskedLM)"),
        (["--model", "int8"], 2, "--model int8 is quantized already (bitsandbytes)"),
        (["--model", onnx], 2, "is ONNX already (model.onnx)"),
        (["--model", str(run_folder), "--output", "full"], 2, "--output: full holds something else"),
        (["--model", "./nothing"], 2, "--model ./nothing: no such file or folder"),
        (["--opset", "11"], 2, "--opset: 11 is below 20"),
        (["--graph", "fast"], 2, "--graph: 'fast' is not one of none, basic, fused"),
    ]
    for args, code, message in cases:
        found = tool(capsys, "export", "onnx", *args)
        assert found[0] == code
        assert found[1] == ""
        assert message in found[2]
        assert len(found[2].strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "headless", "int8"]


def test_a_vilt_whose_forward_differs_is_loaded_with_the_forward_of_transformers(tmp_path, monkeypatch):
    from recipes.export.pretrained import load
    from tasks.vqa.models import vilt

    config = transformers.ViltConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        **LABELS,
    )
    torch.manual_seed(0)
    transformers.ViltForQuestionAnswering(config).save_pretrained(tmp_path)
    words = transformers.BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)})
    transformers.ViltProcessor(transformers.ViltImageProcessor(), words).save_pretrained(tmp_path)
    assert not load(str(tmp_path))[0].library_forward
    monkeypatch.setattr(vilt, "attend", lambda query, *others: 100 + query)
    assert load(str(tmp_path))[0].library_forward
