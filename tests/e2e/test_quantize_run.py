"""Quantization through the command: after a run, by each approach, with a planted fault, and with wrong input."""

import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import transformers
from running import leftovers, start, stop, tool, until, within
from safetensors.torch import load_file, save_file
from texts import train

# Few texts and few repetitions: what is tested is the way, not the figures.
LITTLE = ["--threads", 1, "--latency-samples", 5, "--calibration-samples", 16, "--max-drop", 5]
FILES = [
    "README.md", "config.json", "model.onnx", "quantization.json", "report.html", "tokenizer.json", "tokenizer_config.json",
    "training-data.npz",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    train(folder)
    return folder


@pytest.fixture(scope="module")
def run(place):
    (found,) = (place / "runs").iterdir()
    return found


@pytest.fixture(scope="module")
def graph(place, run):
    """The same model as a float graph: what is tried on it needs no export of its own."""
    within("export", "onnx", "--model", run, "--graph", "basic", cwd=place)
    return run / "model-onnx"


@pytest.fixture(scope="module")
def dynamic(place, run):
    done = within("quantize", "--approach", "dynamic", *LITTLE, "--json", cwd=place)
    return json.loads(done.stdout), done.stderr


def test_it_takes_the_newest_run_and_says_so(run, dynamic):
    found, said = dynamic
    assert f"newest glue run: runs/{run.name}" in said
    assert found["model"] == f"runs/{run.name}/model-int8"


def test_without_a_run_it_names_the_ways_to_give_a_model(tmp_path):
    done = within("quantize", "--approach", "dynamic", cwd=tmp_path, code=2)
    assert "there is no finished glue run under runs/" in done.stderr
    for way in ("a run folder", "a model folder", "a Hub id", "tool train glue"):
        assert way in done.stderr


def test_the_folder_holds_exactly_its_files(run, dynamic):
    assert sorted(path.name for path in (run / "model-int8").iterdir()) == FILES
    assert not leftovers(run)


def test_it_is_measured_beside_the_float_model(run, dynamic):
    facts = json.loads((run / "model-int8" / "quantization.json").read_text())
    float_model, quantized = facts["float"], facts["quantized"]
    trained = json.loads((run / "evaluation.json").read_text())
    assert float_model["figures"]["accuracy"] == trained["accuracy"]
    against = quantized["against"]
    assert against["drop"] == pytest.approx(100 * (trained["accuracy"] - quantized["figures"]["accuracy"]))
    assert against["drop_low"] <= against["drop"] <= against["drop_high"]
    assert 0.9 < against["equal_answers"] <= 1
    assert quantized["bytes"] < 0.4 * float_model["bytes"]
    assert set(quantized["latency"]) == {"1", "32"}
    assert facts["operators"]["weights_quantized"] > 5
    assert facts["machine"]["cpu"] == list(dict.fromkeys(facts["machine"]["cpu"]))
    assert facts["versions"]["onnxruntime"]


def test_its_score_is_what_eval_finds(place, run, dynamic):
    given = ["--model", run / "model-int8", "--data", "data", "--threads", 1]
    done = within("eval", "glue", *given, "--json", cwd=place)
    assert json.loads(done.stdout)["accuracy"] == dynamic[0]["quantized"]["figures"]["accuracy"]


def test_the_readmes_code_runs_with_onnxruntime_alone(place, run, dynamic):
    (code,) = re.findall(r"```python\n(.*?)```", (run / "model-int8" / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) == 5
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=run / "model-int8", capture_output=True, text=True, check=True, timeout=60
    )
    logits = [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", done.stdout)]
    asked = within(
        "predict", "glue", "--model", run / "model-int8", "a gripping film", "--top-k", 2, "--json", cwd=place
    )
    scores = {one["label"]: one["score"] for one in json.loads(asked.stdout)[0]}
    shares = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose([scores["no"], scores["yes"]], shares, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["static"], "static minmax"),
        (["static", "--moving-average", 0.1], "static minmax"),
        (["static", "--calibration", "percentile"], "static percentile"),
        (["static", "--calibration", "entropy"], "static entropy"),
        (["int4"], "int4 block 32"),
        (["dynamic", "--format", "u8u8", "--exclude", "bert.encoder.layer.1"], "dynamic u8u8"),
    ],
)
def test_each_approach(place, graph, options, name, tmp_path):
    output = tmp_path / "small"
    given = [*LITTLE, "--max-drop", 60, "--model", graph, "--data", "data", "--output", output]
    done = within("quantize", "--approach", *options, *given, "--json", cwd=place)
    facts = json.loads(done.stdout)
    assert facts["name"].startswith(name)
    counts = facts["operators"]
    assert counts["weights_quantized"] > 0
    if options[0] == "static":
        assert counts.get("QuantizeLinear", 0) > 0
    assert sorted(path.name for path in output.iterdir()) == FILES


@pytest.mark.parametrize("kind", ["bnb-int8", "bnb-nf4"])
def test_bitsandbytes_folders_load_in_transformers(place, run, kind):
    pytest.importorskip("bitsandbytes")
    done = within("quantize", "--approach", kind, "--model", run, *LITTLE, "--json", cwd=place)
    facts = json.loads(done.stdout)
    assert facts["operators"]["linear_quantized"] == 13  # two layers of six, and the pooler
    assert facts["quantized"]["bytes"] < 0.5 * facts["float"]["bytes"]
    given = ["--model", facts["model"], "--data", "data", "--cpu"]
    found = json.loads(within("eval", "glue", *given, "--json", cwd=place).stdout)
    assert found["accuracy"] == facts["quantized"]["figures"]["accuracy"]
    done = within("quantize", "--model", facts["model"], "--data", "data", cwd=place, code=2)
    assert "is quantized already" in done.stderr


def test_too_great_a_loss_is_refused_and_put_aside(place, run, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(run / "model", broken)
    spoil(broken)
    given = [*LITTLE, "--model", broken, "--data", place / "data"]
    done = within("quantize", "--approach", "dynamic", *given, "--max-drop", 1, cwd=tmp_path, code=1)
    assert re.search(r"error: dynamic \S+ loses [\d.]+ points of accuracy, above --max-drop 1; raise", done.stderr)
    assert not (tmp_path / "broken-int8").exists()
    assert sorted(path.name for path in (tmp_path / "broken-int8-over-the-drop").iterdir()) == FILES
    assert "over" in done.stdout


def spoil(folder):
    """Weights of 30,000 for inputs of the pooler that are always 0: the float model is the same with or without them.

    There is one in each block of 32, so that int4 fails too: whether it or a rescued plan is the fastest is no matter of the test.
    """
    weights = load_file(folder / "model.safetensors")
    for part in ("weight", "bias"):
        weights[f"bert.encoder.layer.1.output.LayerNorm.{part}"][7::32] = 0
    weights["bert.pooler.dense.weight"][:, 7::32] = 30_000
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_auto_finds_the_layer_with_the_planted_fault(place, run, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(run / "model", broken)
    spoil(broken)
    given = [*LITTLE, "--model", broken, "--data", place / "data"]
    done = within("quantize", "--approach", "auto", *given, "--max-drop", 1, "--json", cwd=tmp_path)
    facts = json.loads(done.stdout)
    assert facts["quantized"]["against"]["drop"] <= 1
    assert "bert.pooler.dense" in facts["plan"]["excluded"]
    # All of the evaluation's texts had a say in which trial is kept.
    assert facts["chosen"] == {"count": 120, "of": 120, "unit": "texts"}
    assert "120 of 120 texts chose among the trials" in (tmp_path / "broken-int8" / "README.md").read_text()
    for pairs in facts["sensitivity"].values():
        assert pairs[0][0] == "bert.pooler.dense"
    again = within("quantize", "--approach", "auto", *given, "--max-drop", 1, "--json", cwd=tmp_path)
    assert again.stderr.count("from an earlier call") == len(facts["trials"])


def test_stopped_it_goes_on_from_the_trials_it_has(place, graph, tmp_path):
    shutil.copytree(graph, tmp_path / "model")
    command = ["quantize", "--approach", "auto", "--model", "model", "--data", str(place / "data"), *map(str, LITTLE)]
    process = start(command, tmp_path)
    trials = tmp_path / "model-int8-trials" / "trials.json"
    assert until(lambda: trials.exists(), process)
    assert stop(process, signal.SIGTERM, tmp_path) == 75
    kept = json.loads(trials.read_text())
    assert "run the same command again" in (tmp_path / "said.txt").read_text()
    assert not (tmp_path / "model-int8").exists()
    done = tool(*command, cwd=tmp_path)
    assert done.stderr.count("from an earlier call") == len(kept)
    assert (tmp_path / "model-int8" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--format", "s8s8"], 2, "--format s8s8: dynamic quantization has unsigned activations only"),
        (["--percentile", "99"], 2, "--percentile: only with --calibration percentile"),
        (["--exclude", "bert.encoder.layer.9"], 2, "--exclude bert.encoder.layer.9: the graph has no such layer"),
        (["--operators", "Conv"], 1, "quantized nothing"),
        (["--labels", "a,b"], 2, "--labels"),
        (["--max-length", "9999"], 2, "--max-length"),
    ],
)
def test_wrong_options_end_in_a_line(place, run, options, code, message, dynamic):
    done = within("quantize", "--approach", "dynamic", "--model", run, *LITTLE, *options, cwd=place, code=code)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_wrong_models_end_in_a_line(place, run, dynamic, tmp_path):
    quantized = str(run / "model-int8")
    done = within("quantize", "--model", quantized, "--data", "data", cwd=place, code=2)
    assert "is quantized already" in done.stderr
    broken = tmp_path / "broken"
    shutil.copytree(quantized, broken)
    (broken / "model.onnx").write_bytes((broken / "model.onnx").read_bytes()[:5000])
    done = within("eval", "glue", "--model", broken, "--data", "data", cwd=place, code=3)
    assert "onnxruntime can't load it" in done.stderr
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bare")
    done = within("quantize", "--model", tmp_path / "bare", "--data", "data", cwd=place, code=2)
    assert "has no classification head (it is a BertModel)" in done.stderr


def test_a_model_above_memory_is_refused_with_the_sum(place, run, tmp_path):
    large = tmp_path / "large"
    shutil.copytree(run / "model", large)
    with open(large / "more.safetensors", "wb") as file:
        file.truncate(10 * 2**40)  # takes no room on the disk
    done = within("quantize", "--model", large, "--data", "data", cwd=place, code=4)
    assert "of weights, which export and quantization hold 3 times, don't fit into the" in done.stderr


def test_static_needs_training_texts(place, run, tmp_path):
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "test.csv").write_text("text,label\na fine film,yes\na poor plot,no\n")
    given = ["--model", run, "--data", tmp_path / "only", "--output", tmp_path / "out"]
    done = within("quantize", "--approach", "static", *given, *LITTLE, cwd=place, code=3)
    assert "to calibrate on" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_text_of_a_million_characters_is_cut(place, run, dynamic, tmp_path):
    text = "a poor film " * 84_000
    (tmp_path / "long.csv").write_text(f"text\n{text}\n")
    done = within("predict", "glue", "--model", run / "model-int8", tmp_path / "long.csv", "--json", cwd=place)
    assert json.loads(done.stdout)[0][0]["label"] in ("no", "yes")


def test_the_same_command_gives_the_same_bytes(place, run, dynamic, tmp_path):
    given = ["--model", run, "--output", tmp_path / "again", *LITTLE]
    within("quantize", "--approach", "dynamic", *given, cwd=place)
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (run / "model-int8" / "model.onnx").read_bytes()
