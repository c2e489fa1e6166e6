"""Text classification through the command: small runs, and everything that is done with them."""

import csv
import json
import signal

import numpy as np
import pytest
import torch
import transformers
from running import leftovers, only_run, same, start, status, stop, tool, until, weights, within
from texts import WORDS, sentences, write_csv, write_data

QUICK = ["--model", "tiny", "--threads", 1, "--epochs", 2, "--batch-size", 16, "--learning-rate", 2e-3]
FILES = [
    ".lock", "checkpoints", "config.yaml", "environment.json", "evaluation.json", "log.txt", "metrics.jsonl", "model",
    "predictions.jsonl", "report.html", "scores.json", "status.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glue")
    write_data(folder / "data")
    return folder


@pytest.fixture(scope="module")
def trained(place):
    done = tool("train", "glue", *QUICK, "--data", "data", "--json", cwd=place)
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def pipeline(place, trained):
    return transformers.pipeline("text-classification", model=str(place / trained[0]["model"]))


def test_a_run_leaves_exactly_its_files(place, trained):
    run = place / trained[0]["run"]
    assert sorted(path.name for path in run.iterdir()) == FILES
    names = [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training-data.npz",
    ]
    assert sorted(path.name for path in (run / "model").iterdir()) == names
    assert not leftovers(run)
    assert (status(run)["state"], status(run)["step"], status(run)["recipe"]) == ("finished", 40, "glue")
    assert run.name.startswith("glue-data-")


def test_it_learns_and_says_so_beside_the_baseline(place, trained):
    found, said = trained
    metrics = found["metrics"]
    assert metrics["accuracy"] > 0.95
    assert metrics["accuracy_low"] < metrics["accuracy"] <= metrics["accuracy_high"]
    assert (metrics["n"], metrics["baselines"]) == (120, {"majority": 0.5})
    assert "majority 50.0" in said


def test_the_model_answers_in_transformers_as_here(place, trained, pipeline):
    texts = [text for text, _ in sentences(30, 2)]
    done = within("predict", "glue", "--model", trained[0]["run"], *texts, "--threads", 1, "--json", cwd=place)
    ours, theirs = json.loads(done.stdout), pipeline(texts)
    assert [one[0]["label"] for one in ours] == [one["label"] for one in theirs]
    torch.testing.assert_close([one[0]["score"] for one in ours], [one["score"] for one in theirs], atol=1e-5, rtol=0)


def test_all_labels_add_up_to_one(place, trained):
    done = within("predict", "glue", "--model", trained[0]["run"], "fine film", "--top-k", 5, "--json", cwd=place)
    (answers,) = json.loads(done.stdout)
    assert {answer["label"] for answer in answers} == {"yes", "no"}
    assert answers[0]["label"] == "yes"
    assert sum(answer["score"] for answer in answers) == pytest.approx(1)


def test_eval_gives_the_figures_of_the_run(place, trained):
    done = within("eval", "glue", "--model", trained[0]["run"], "--threads", 1, "--json", cwd=place)
    found = json.loads(done.stdout)
    for name in ("accuracy", "accuracy_low", "accuracy_high", "n"):
        assert found[name] == trained[0]["metrics"][name]
    assert found["loss"] == pytest.approx(trained[0]["metrics"]["loss"], abs=1e-6)
    assert found["baselines"] == {"majority": 0.5}


def test_predictions_of_a_file_in_each_form(place, trained):
    rows = sentences(8, 3)
    write_csv(place / "new.csv", [[text] for text, _ in rows], ["text"])
    for name in ("out.jsonl", "out.csv", "out.tsv"):
        within("predict", "glue", "--model", trained[0]["run"], "new.csv", "--output", name, cwd=place)
    lines = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [text for text, _ in rows]
    labels = [line["answers"][0]["label"] for line in lines]
    assert labels == [label for _, label in rows]
    with open(place / "out.csv", encoding="utf-8") as file:
        assert [(row["text"], row["label"]) for row in csv.DictReader(file)] == rows
    assert (place / "out.tsv").read_text().splitlines() == [
        "index\tprediction",
        *(f"{number}\t{label}" for number, label in enumerate(labels)),
    ]


def test_an_exported_model_scores_the_same(place, trained):
    within("export", "onnx", "--model", trained[0]["run"], "--graph", "basic", cwd=place)
    folder = f"{trained[0]['run']}/model-onnx"
    done = within("eval", "glue", "--model", folder, "--data", "data", "--threads", 1, "--json", cwd=place)
    found = json.loads(done.stdout)
    assert (found["kind"], found["accuracy"]) == ("onnx", trained[0]["metrics"]["accuracy"])
    assert found["loss"] == pytest.approx(trained[0]["metrics"]["loss"], abs=1e-5)


def test_killed_and_run_again_it_has_the_same_weights(place, trained, tmp_path):
    (tmp_path / "data").symlink_to(place / "data")
    command = ["train", "glue", *map(str, QUICK), "--data", "data", "--checkpoint-steps", "3"]
    process = start(command, tmp_path)
    assert until(lambda: list(tmp_path.glob("runs/*/checkpoints/step-*")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = start(command, tmp_path)
    assert until(lambda: len(list(tmp_path.glob("runs/*/checkpoints/step-*"))) > 1, process) or process.poll() == 0
    if process.poll() is None:
        assert stop(process, signal.SIGTERM, tmp_path) in (0, 75)
    tool(*command, "--resume", only_run(tmp_path), cwd=tmp_path)
    run = only_run(tmp_path)
    assert status(run)["state"] == "finished"
    assert same(weights(run), weights(place / trained[0]["run"]))


def test_a_regression_of_pairs(place):
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(160):
        level = int(rng.integers(0, 5))
        second = " ".join(["fine"] * level + ["poor"] * (4 - level))
        rows.append([f"the {WORDS[rng.integers(0, 8)]}", second, level + 0.25])
    write_csv(place / "scores.csv", rows, ["sentence1", "sentence2", "score"])
    done = within(
        "train", "glue", *QUICK, "--data", "scores.csv", "--epochs", 5, "--output-dir", "pairs", "--json", cwd=place
    )
    found = json.loads(done.stdout)
    assert found["metrics"]["metrics"] == ["pearson", "spearman"]
    assert found["metrics"]["pearson"] > 0.8
    given = ["the film", "fine fine fine fine", "the film", "poor poor poor poor"]
    done = within("predict", "glue", "--model", found["run"], "--pairs", *given, "--json", cwd=place)
    (high,), (low,) = json.loads(done.stdout)
    assert high["label"] == low["label"] == "LABEL_0"
    assert high["score"] > 3 > low["score"]


def test_both_evaluation_sets_of_mnli_are_scored(tmp_path):
    folder = tmp_path / "MNLI"
    folder.mkdir()
    names = ["entailment", "neutral", "contradiction"]
    for file, count, seed in (("train", 48, 0), ("dev_matched", 15, 1), ("dev_mismatched", 18, 2)):
        rng = np.random.default_rng(seed)
        lines = ["index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
                 "\tsentence1\tsentence2\tlabel1\tgold_label"]  # fmt: skip
        for row in range(count):
            word = WORDS[rng.integers(0, 8)]
            kind = names[row % 3]
            lines.append(
                "\t".join([str(row), "1", "a", "fiction", "", "", "", "", f"the {word}", f"{kind} {word}", kind, kind])
            )
        (folder / f"{file}.tsv").write_text("\n".join(lines) + "\n")
    done = within("train", "glue", *QUICK, "--data", "MNLI", "--max-steps", 2, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    run = tmp_path / found["run"]
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert {name: part["n"] for name, part in evaluation["splits"].items()} == {"matched": 15, "mismatched": 18}
    assert found["metrics"]["mismatched_accuracy"] == evaluation["splits"]["mismatched"]["accuracy"]
    assert sorted(path.name for path in run.glob("predictions*")) == [
        "predictions-matched.jsonl",
        "predictions-mismatched.jsonl",
    ]


def test_a_classifier_of_the_same_labels_keeps_its_head(place, trained, tmp_path):
    """One step with next to no learning rate: the score is that of the checkpoint, though the labels are given in another order."""
    options = ["--data", str(place / "data"), "--max-steps", 1, "--learning-rate", 1e-9, "--labels", "yes,no"]
    model = str(place / trained[0]["model"])
    done = within("train", "glue", "--model", model, "--threads", 1, *options, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["metrics"]["accuracy"] == trained[0]["metrics"]["accuracy"]
    assert "its head for these labels is kept" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "glue"], 2, 'give a text or a file: tool predict glue "a gripping film"'),
        (["predict", "glue", "--pairs", "one"], 2, "--pairs: 1 texts are not pairs"),
        (["predict", "glue", "a", "--output", "x.xls"], 2, "--output: x.xls must end in .jsonl, .csv, .tsv"),
        (["train", "glue", "--metric-for-best", "f2"], 2, "'f2' is not one of accuracy, f1"),
        (["train", "glue", "--regression", "--labels", "a,b"], 2, "--labels: a regression has none"),
        (["train", "glue", "--model", "tiny", "--data", "data", "--max-length", "600"], 2, "more than the 512 tokens"),
        (["train", "glue", "--model", "tiny", "--data", "data", "--metric-for-best", "pearson"], 2, "measured by accuracy"),
    ],
)  # fmt: skip
def test_wrong_options_end_in_a_line(place, arguments, code, message):
    done = within(*arguments, cwd=place, code=code)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_model_without_a_head_is_named_with_what_it_has(place, tmp_path):
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "bare")
    done = within("eval", "glue", "--model", tmp_path / "bare", "--data", "data", cwd=place, code=2)
    assert "has no classification head (it is a BertForMaskedLM); fine-tune it first" in done.stderr


def test_unknown_labels_are_named_with_their_row(place, trained):
    write_csv(place / "odd.csv", [["fine film", "yes"], ["poor film", "perhaps"]], ["text", "label"])
    done = within("eval", "glue", "--model", trained[0]["run"], "--data", "odd.csv", cwd=place, code=3)
    assert "odd.csv" in done.stderr
    assert "perhaps" in done.stderr
    assert done.stderr.count("error:") == done.stderr.count("\n") or "row 2" in done.stderr
