"""What `tool quantize` says of its figures: the batch that they were scored in, the baseline, and what was seen before."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
import tokenizers
import torch
import transformers
from running import within
from safetensors.torch import load_file, save_file
from texts import sentences, train, write_csv

from tasks.buckets import heaviest_first
from tasks.glue.batches import TextBatches, random_texts
from tasks.glue.texts import Texts
from tasks.quantize.calibration.typical import typical_rows
from tasks.quantize.plan import Plan
from tasks.quantize.quantizer import quantize

LITTLE = ["--threads", 1, "--latency-samples", 2, "--max-drop", 100]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    train(folder)
    return folder


@pytest.fixture(scope="module")
def run(place):
    (found,) = (place / "runs").iterdir()
    return found


def edited(run, folder, change):
    """The run's model with other weights."""
    shutil.copytree(run / "model", folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def sensitive(place, run):
    """A model with its border amid the texts of one class, so that what rounding does to a logit is seen in answers."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "model")
    texts = [text for text, label in sentences(120, 1) if label == "yes"]
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits

    def shift(weights):
        weights["classifier.bias"][1] -= (logits[:, 1] - logits[:, 0]).median()

    return edited(run, place / "sensitive", shift)


@pytest.fixture(scope="module")
def scored(place, sensitive):
    done = within("quantize", "--model", sensitive, "--data", "data", *LITTLE, "--json", cwd=place)
    return json.loads(done.stdout)


def answers(folder, texts, size):
    """By onnxruntime and tokenizers alone, in batches of like length, the longest first."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    given = [one.name for one in session.get_inputs()]
    tokens = [tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids for text in texts]
    found = np.zeros(len(texts), int)
    for rows in heaviest_first((np.array([len(one) for one in tokens]),), size):
        width = max(len(tokens[row]) for row in rows)
        ids = np.array([tokens[row] + [0] * (width - len(tokens[row])) for row in rows])
        mask = np.array([[1] * len(tokens[row]) + [0] * (width - len(tokens[row])) for row in rows])
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        found[rows] = session.run(["logits"], {name: feeds[name] for name in given})[0].argmax(1)
    return found


def test_the_drop_is_of_batch_1_and_both_are_told(place, scored):
    texts, labels = zip(*sentences(120, 1), strict=True)
    truth = np.array([("no", "yes").index(label) for label in labels])
    alone, batched = (answers(place / "sensitive-int8", texts, size) for size in (1, 32))
    quantized = scored["quantized"]
    assert quantized["figures"]["accuracy"] == pytest.approx((alone == truth).mean())
    float_accuracy = scored["float"]["figures"]["accuracy"]
    assert quantized["against"]["drop"] == pytest.approx(100 * (float_accuracy - (alone == truth).mean()))
    beside = quantized["in_batches"]
    assert beside["batch_size"] == 32
    assert beside["changed"] == (alone != batched).sum() > 0
    assert beside["figures"]["accuracy"] == pytest.approx((batched == truth).mean())
    line = f"{beside['changed']} of 120 answers depend on what else is in the batch"
    assert line in (place / "sensitive-int8" / "README.md").read_text()
    assert line in (place / "sensitive-int8" / "report.html").read_text()


def test_weights_are_rounded_by_random_texts(place, sensitive, scored, tmp_path):
    """Made again from the float graph, to the byte; rounded each to the nearest it would be another."""
    source = place / "sensitive-int8-trials" / "float-none" / "model.onnx"
    tokenizer = transformers.AutoTokenizer.from_pretrained(sensitive)
    batches = TextBatches(Texts(random_texts(tokenizer, 32), None, None), tokenizer, max_length=128)
    rows = typical_rows(source, [batches.feeds(np.array([number])) for number in range(32)])
    for carried in (True, False):
        quantize(source, tmp_path / "q.onnx", Plan(), typical=rows if carried else None)
        same = (tmp_path / "q.onnx").read_bytes() == (place / "sensitive-int8" / "model.onnx").read_bytes()
        assert same is carried


def test_another_batch_can_be_asked_for(place, sensitive, scored, tmp_path):
    given = ["--model", sensitive, "--data", "data", *LITTLE, "--output", tmp_path / "q"]
    facts = json.loads(within("quantize", *given, "--eval-batch-size", 32, "--json", cwd=place).stdout)
    assert facts["quantized"]["figures"]["accuracy"] == scored["quantized"]["in_batches"]["figures"]["accuracy"]
    assert facts["quantized"]["in_batches"] == {}


def test_eval_scores_int8_one_by_one_too(place, scored):
    given = ["eval", "glue", "--model", "sensitive-int8", "--data", "data", "--threads", 1, "--json"]
    done = within(*given, cwd=place)
    facts, beside = json.loads(done.stdout), scored["quantized"]["in_batches"]
    assert facts["eval_batch_size"] == 1
    assert facts["accuracy"] == scored["quantized"]["figures"]["accuracy"]
    assert facts["in_batches"]["changed"] == beside["changed"]
    assert f"scored at batch 1; at batch 32 {beside['changed']} answers differ" in done.stderr
    facts = json.loads(within(*given, "--eval-batch-size", 32, cwd=place).stdout)
    assert facts["accuracy"] == beside["figures"]["accuracy"]


def test_a_model_that_clears_no_baseline_is_refused(place, run):
    def constant(weights):
        weights["classifier.weight"][:] = 0
        weights["classifier.bias"][:] = weights["classifier.bias"].new_tensor([5.0, 0.0])

    given = ["--model", edited(run, place / "constant", constant), "--data", "data", *LITTLE]
    done = within("quantize", *given, cwd=place, code=2)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "no better than always answering 'no' (50.0 %)" in line
    assert line.endswith("--force quantizes it all the same")
    assert not (place / "constant-int8").exists()
    facts = json.loads(within("quantize", *given, "--force", "--json", cwd=place).stdout)
    assert facts["verdict"]["clears"] is False
    assert "no better than always answering 'no'" in (place / "constant-int8" / "README.md").read_text()


def test_what_training_found_is_taken_at_once(place, run):
    shutil.copytree(run, place / "runs" / "poor")
    path = place / "runs" / "poor" / "evaluation.json"
    figures = json.loads(path.read_text())
    assert figures["verdict"]["clears"] is True
    path.write_text(json.dumps({**figures, "verdict": {"clears": False, "line": "no better than a coin"}}))
    done = within("quantize", "--model", "runs/poor", *LITTLE, cwd=place, code=2)
    assert "runs/poor: no better than a coin; --force quantizes it all the same" in done.stderr
    assert "export" not in done.stderr
    assert within("quantize", "--model", "runs/poor", *LITTLE, "--force", cwd=place).stderr.count(
        "no better than a coin"
    )


def test_calibrated_and_trained_on_texts_are_counted(place, run):
    """Seven of the evaluation's texts are training texts in capitals, with more spaces."""
    train, dev = sentences(320, 0), sentences(120, 1)
    known = {text for text, _ in train}
    unseen = [row for row in dev if row[0] not in known]
    copies = [(text.upper().replace(" ", "  "), label) for text, label in dict(train).items() if len(text) > 40][:7]
    (place / "mixed").mkdir()
    write_csv(place / "mixed" / "train.csv", train, ["text", "label"])
    write_csv(place / "mixed" / "dev.csv", [*unseen, *copies], ["text", "label"])
    given = ["--model", run, "--data", "mixed", "--output", "calibrated", "--approach", "static", *LITTLE]
    done = within("quantize", *given, "--calibration-samples", 320, "--json", cwd=place)
    facts, total = json.loads(done.stdout), len(unseen) + 7
    assert facts["calibrated"] == {"count": 7, "of": total, "unit": "texts"}
    assert facts["seen"]["count"] == 7
    line = f"7 of {total} texts were calibrated on: the figure is not one of unseen data"
    assert line in (place / "calibrated" / "README.md").read_text()
    assert line in (place / "calibrated" / "report.html").read_text()
    assert "(7 calibrated)" in (place / "calibrated" / "README.md").read_text()
    done = within("eval", "glue", "--model", "calibrated", "--data", "mixed", "--threads", 1, cwd=place)
    assert f"calibrated {line}" in done.stderr
    assert "(7 calibrated)" in done.stdout


def test_nothing_is_marked_where_nothing_was_seen(place, run):
    unseen = [row for row in sentences(120, 1) if row[0] not in dict(sentences(320, 0))]
    (place / "clean").mkdir()
    write_csv(place / "clean" / "train.csv", sentences(320, 0), ["text", "label"])
    write_csv(place / "clean" / "dev.csv", unseen, ["text", "label"])
    given = ["--model", run, "--data", "clean", "--output", "unmarked", "--approach", "static", *LITTLE]
    facts = json.loads(within("quantize", *given, "--calibration-samples", 16, "--json", cwd=place).stdout)
    assert (facts["calibrated"]["count"], facts["seen"]["count"]) == (0, 0)
    assert "unseen data" not in (place / "unmarked" / "README.md").read_text()
