"""Texts with several labels through the command: trained, evaluated, asked, exported, quantized."""

import csv
import json

import numpy as np
import pytest
import torch
import transformers
from running import within as tool
from sklearn import metrics as sk
from transformers import BertConfig, BertForSequenceClassification

from tasks.glue import tiny
from tasks.glue.texts import Texts

WORDS = ["film", "plot", "song", "story", "book", "scene", "cast", "score"]
# Each word means a label; a text may have all of them, or none.
MEANS = {"fine": "good", "poor": "bad", "endless": "long"}
QUICK = ["--model", "tiny", "--cpu", "--threads", 1, "--epochs", 1, "--batch-size", 16, "--learning-rate", 3e-3]


def sentences(count, seed):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        words = [WORDS[at] for at in rng.integers(0, len(WORDS), rng.integers(1, 8))]
        given = [word for word in MEANS if rng.random() < 0.4]
        for word in given:
            words.insert(int(rng.integers(0, len(words) + 1)), word)
        found.append((" ".join(words), [MEANS[word] for word in given]))
    return found


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *((text, str(labels)) for text, labels in rows)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    (folder / "data").mkdir()
    write_csv(folder / "data" / "train.csv", sentences(1200, 0))
    write_csv(folder / "data" / "dev.csv", sentences(120, 1))
    return folder


@pytest.fixture(scope="module")
def trained(place):
    done = tool("train", "glue", *QUICK, "--data", "data", "--json", cwd=place)
    return json.loads(done.stdout), done.stderr


def read_config(place, model):
    return json.loads((place / model / "config.json").read_text())


def evaluated(place, *arguments):
    done = tool("eval", "glue", *arguments, "--cpu", "--threads", 1, "--json", cwd=place)
    return json.loads(done.stdout), done.stderr


def asked(place, *arguments):
    return tool("predict", "glue", *arguments, "--cpu", "--threads", 1, cwd=place).stdout


def test_it_learns_every_label_and_says_how_labels_were_read(place, trained):
    found, said = trained
    metrics = found["metrics"]
    assert metrics["micro_f1"] > 0.9
    assert metrics["micro_f1"] > metrics["baselines"]["majority labels"] + 0.2
    assert metrics["exact_match_low"] < metrics["exact_match"] <= metrics["exact_match_high"]
    assert "lists that are written as text in the column label" in said
    assert "3 labels, any number of them a text: bad, good, long" in said
    assert "threshold chosen for each label on" in said
    assert "neither trained on nor scored" in said


def test_what_a_run_leaves(place, trained):
    run = place / trained[0]["run"]
    config = read_config(place, trained[0]["model"])
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {"0": "bad", "1": "good", "2": "long"}
    assert set(config["thresholds"]) == {"bad", "good", "long"}
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [line["given"] for line in lines] == [sorted(labels) for _, labels in sentences(120, 1)]
    for line in lines:
        above = {label for label, score in line["scores"].items() if score >= config["thresholds"][label]}
        assert {answer["label"] for answer in line["answers"]} == above
    # The figures are those of the answers written down, by an independent reckoning.
    names = ["bad", "good", "long"]
    given, answers = (
        np.array([[name in labels for name in names] for labels in column], int)
        for column in (
            [line["given"] for line in lines],
            [[answer["label"] for answer in line["answers"]] for line in lines],
        )
    )
    scores = np.array([[line["scores"][name] for name in names] for line in lines])
    metrics = trained[0]["metrics"]
    assert metrics["micro_f1"] == pytest.approx(sk.f1_score(given, answers, average="micro"))
    assert metrics["macro_f1"] == pytest.approx(sk.f1_score(given, answers, average="macro"))
    assert metrics["exact_match"] == pytest.approx(sk.accuracy_score(given, answers))
    assert metrics["macro_average_precision"] == pytest.approx(
        sk.average_precision_score(given, scores, average="macro")
    )
    each = json.loads((run / "evaluation.json").read_text())["by_label"]
    for at, name in enumerate(names):
        tn, fp, fn, tp = sk.confusion_matrix(given[:, at], answers[:, at]).ravel()
        assert [each[name][key] for key in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
        assert each[name]["threshold"] == config["thresholds"][name]
    card = (run / "model" / "README.md").read_text()
    assert "says which of 3 labels a text has" in card
    assert "### Labels" in card
    assert "training texts that were held out; none of the texts measured on" in card
    assert "By label" in (run / "report.html").read_text()
    each = json.loads((run / "scores.json").read_text())
    assert each["metric"] == "exact_match"
    assert np.mean(each["scores"]) == pytest.approx(metrics["exact_match"])


def test_thresholds_are_not_chosen_by_what_is_scored(place, trained, tmp_path):
    """With every label of the evaluation set turned round the same thresholds come out."""
    (tmp_path / "data").mkdir()
    write_csv(tmp_path / "data" / "train.csv", sentences(1200, 0))
    turned = [
        (text, [name for name in ("bad", "good", "long") if name not in labels]) for text, labels in sentences(120, 1)
    ]
    write_csv(tmp_path / "data" / "dev.csv", turned)
    other = json.loads(tool("train", "glue", *QUICK, "--data", "data", "--json", cwd=tmp_path).stdout)
    first, second = read_config(place, trained[0]["model"]), read_config(tmp_path, other["model"])
    assert first["thresholds"] == second["thresholds"] != dict.fromkeys(first["thresholds"], 0.5)


def test_eval_gives_the_figures_of_the_run(place, trained):
    found, said = evaluated(place, "--model", trained[0]["run"])
    for name in ("micro_f1", "macro_f1", "exact_match", "micro_average_precision", "micro_f1_low", "n"):
        assert found[name] == pytest.approx(trained[0]["metrics"][name], abs=1e-9)
    assert set(found["by_label"]) == {"bad", "good", "long"}
    assert "a text has a label from a probability of" in said
    other, _ = evaluated(place, "--model", trained[0]["run"], "--threshold", 0.999)
    assert other["exact_match"] < found["exact_match"]


def test_answers_are_those_of_transformers_pipeline(place, trained):
    texts = [text for text, _ in sentences(20, 2)]
    ours = json.loads(asked(place, "--model", trained[0]["run"], *texts, "--top-k", 3, "--json"))
    theirs = transformers.pipeline("text-classification", model=str(place / trained[0]["model"]), top_k=None)(texts)
    assert [[one["label"] for one in row] for row in ours] == [[one["label"] for one in row] for row in theirs]
    scores = [[[one["score"] for one in row] for row in side] for side in (ours, theirs)]
    torch.testing.assert_close(*scores, atol=1e-6, rtol=0)
    said = asked(place, "--model", trained[0]["run"], "a fine endless film", "a film").splitlines()
    assert "good" in said[0]
    assert "long" in said[0]
    assert "bad" not in said[0]
    assert said[1].endswith("no label")


def test_a_model_from_elsewhere_has_sigmoids_and_a_half(tmp_path):
    texts = [text for text, _ in sentences(40, 3)]
    tokenizer = tiny.build_tokenizer(Texts(texts, None, None))
    torch.manual_seed(3)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = {0: "bad", 1: "good", 2: "long"}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), id2label=names, problem_type="multi_label_classification", **sizes)
    )
    model.classifier.weight.data.normal_()
    model.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    theirs = transformers.pipeline("text-classification", model=str(tmp_path / "theirs"), top_k=None)(texts)
    ours = json.loads(asked(tmp_path, "--model", "theirs", *texts, "--top-k", 9, "--json"))
    scores = [[{one["label"]: one["score"] for one in row} for row in side] for side in (ours, theirs)]
    torch.testing.assert_close(*scores, atol=1e-6, rtol=0)
    write_csv(tmp_path / "d.csv", list(zip(texts, [labels for _, labels in sentences(40, 3)], strict=True)))
    found, said = evaluated(tmp_path, "--model", "theirs", "--data", "d.csv")
    assert "from a probability of 0.5 on" in said
    given = np.array([[name in labels for name in names.values()] for _, labels in sentences(40, 3)], int)
    chosen = np.array([[row[name] >= 0.5 for name in names.values()] for row in scores[1]], int)
    assert found["micro_f1"] == pytest.approx(sk.f1_score(given, chosen, average="micro"))


def test_files_of_answers(place, trained):
    with open(place / "new.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text"], ["a fine endless film"], ["a film"]])
    for name in ("out.csv", "out.tsv"):
        asked(place, "--model", trained[0]["run"], "new.csv", "--output", name)
    with open(place / "out.csv", encoding="utf-8") as file:
        rows = [json.loads(row["label"]) for row in csv.DictReader(file)]
    assert [sorted(labels) for labels in rows] == [["good", "long"], []]
    assert [json.loads(line.split("\t")[1]) for line in (place / "out.tsv").read_text().splitlines()[1:]] == rows
    write_csv(place / "right.csv", [("a fine endless film", ["good", "long"]), ("a film", ["bad"])])
    scored = tool(
        "eval", "--metric", "multilabel", "--predictions", "out.csv", "--references", "right.csv", "--json", cwd=place
    )
    assert json.loads(scored.stdout)["micro_f1"] == pytest.approx(0.8)


def test_exported_and_quantized_it_gives_the_same_labels(place, trained):
    run, metrics = trained[0]["run"], trained[0]["metrics"]
    tool("export", "onnx", "--model", run, "--graph", "none", cwd=place)
    found, _ = evaluated(place, "--model", f"{run}/model-onnx", "--data", "data")
    assert (found["kind"], found["micro_f1"]) == ("onnx", pytest.approx(metrics["micro_f1"]))
    assert found["loss"] == pytest.approx(metrics["loss"], abs=1e-5)
    assert "reaches its threshold" in (place / run / "model-onnx" / "README.md").read_text()
    quantize = ["--approach", "dynamic", "--max-drop", 100, "--threads", 1, "--latency-samples", 4, "--json"]
    facts = json.loads(tool("quantize", "--model", run, *quantize, cwd=place).stdout)
    against = facts["trials"][0]["measured"]["against"] if "trials" in facts else {}
    assert against["metric"] == "micro_f1"
    assert (
        read_config(place, f"{run}/model-int8")["thresholds"] == read_config(place, trained[0]["model"])["thresholds"]
    )
    found, _ = evaluated(place, "--model", f"{run}/model-int8", "--data", "data")
    assert found["micro_f1"] == pytest.approx(metrics["micro_f1"] - against["drop"] / 100, abs=1e-9)
    assert "reaches its threshold" in (place / run / "model-int8" / "README.md").read_text()


def test_cut_texts_are_counted_in_training_evaluation_and_inspection(place, trained, tmp_path):
    long = "film " * 30
    rows = [(f"{long}{ending}", labels) for ending, labels in (("fine", ["good"]), ("poor", ["bad"]), ("x", []))]
    write_csv(place / "long.csv", [*rows, ("a fine film", ["good"])])
    _, said = evaluated(place, "--model", trained[0]["run"], "--data", "long.csv", "--max-length", 16)
    assert "3 of 4" in said
    assert "(3 become equal to another by it) lose words to --max-length 16" in said
    done = tool(
        "data",
        "inspect",
        "glue",
        "--data",
        "long.csv",
        "--model",
        trained[0]["run"],
        "--max-length",
        16,
        "--json",
        cwd=place,
    )
    (split,) = json.loads(done.stdout)["splits"].values()
    assert (split["cut"]["texts"], split["cut"]["become_equal"]) == (3, 3)
    done = tool("data", "inspect", "glue", "--data", "long.csv", "--max-length", 16, "--json", cwd=place)
    (split,) = json.loads(done.stdout)["splits"].values()
    assert split["cut"]["texts_at_least"] == 3
    done = tool("train", "glue", *QUICK, "--data", "data", "--max-length", 6, "--dry-run", cwd=place)
    assert "training texts" in next(line for line in done.stderr.splitlines() if "lose words to --max-length 6" in line)
