"""Figures of VQA that can be trusted: what training saw, which score is used and what the model's limit cuts, as the command says."""

import json
import shutil

import pandas
import pytest
from PIL import Image
from running import within

COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}
# Of words that the model knows; with the marks at both ends 17 pieces.
LONG = "is it what colour is it what colour is it what colour is it what"


def draw(folder, first, count):
    """Pictures of one colour, each a little different, and (path, question, answer) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(first, first + count):
        name = list(COLOURS)[i % 3]
        picture = Image.new("RGB", (24, 24), COLOURS[name])
        picture.putpixel((i % 24, i // 24), (i, i, i))
        picture.save(folder / f"{i}.png")
        rows.append((f"{folder.name}/{i}.png", "what colour is it?", name))
    return rows


def table(path, rows):
    pandas.DataFrame(rows, columns=["image", "question", "answer"]).to_csv(path, index=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("trust")


@pytest.fixture(scope="module")
def run(place):
    """A run on `data`, whose validation shares three of ten pictures with its training: (its folder, stderr, result)."""
    rows = draw(place / "data" / "pics", 0, 37)
    table(place / "data" / "train.csv", rows[:30])
    table(place / "data" / "val.csv", rows[27:])
    flags = ["--max-steps", "2", "--batch-size", "8", "--max-question-length", "12", "--json"]
    done = within("train", "vqa", "--model", "tiny", "--data", "data", *flags, cwd=place)
    result = json.loads(done.stdout)
    return place / result["run"], done.stderr, result


def test_splits_that_share_pictures_are_told_and_the_figure_is_marked(run):
    folder, said, _ = run
    assert "leaks     3 of 10 evaluation questions have pictures that are also in the training split" in said
    figures = json.loads((folder / "evaluation.json").read_text())
    assert figures["seen"] == {"count": 3, "of": 10, "unit": "questions"}
    assert figures["unseen"]["n"] == 7
    assert "(3 of 10 seen in training)" in json.loads((folder / "status.json").read_text())["score"]
    assert "(3 of 10 seen in training)" in (folder / "report.html").read_text()
    assert "(3 of 10 seen in training)" in (folder / "model" / "README.md").read_text()


def test_training_without_the_leaks(run, place):
    done = within(
        "train", "vqa", "--model", "tiny", "--data", "data", "--drop-leaks", "--max-steps", "1", "--json", cwd=place
    )
    assert "and are left out" in done.stderr
    assert (json.loads(done.stdout)["metrics"]["n"], json.loads(done.stdout)["metrics"]["seen"]["count"]) == (7, 0)


def test_inspect_tells_what_splits_share(run, place):
    found = json.loads(within("data", "inspect", "vqa", "--data", "data", "--json", cwd=place).stdout)
    (line,) = found["leaks"]
    assert line.startswith("train and validation: 3 of 10 evaluation questions have pictures")
    assert found["splits"]["train"]["score"] == "accuracy (exact match): one answer a question"


def evaluate(place, run, *flags, code=0):
    done = within("eval", "vqa", "--model", run[0], *flags, "--json", cwd=place, code=code)
    return (json.loads(done.stdout) if not code else None), done.stderr


def test_trained_pictures_are_known_in_another_container_under_other_names(run, place):
    rows = draw(place / "new" / "pics", 40, 4)
    paths = [place / "data" / "pics" / f"{i}.png" for i in (3, 4)] + [place / "new" / path for path, _, _ in rows]
    frame = pandas.DataFrame(
        {
            "image": [{"bytes": path.read_bytes(), "path": f"other-{i}.png"} for i, path in enumerate(paths)],
            "question": ["What colour  is it?", "is it dark?"] + ["what colour is it?"] * 4,
            "answer": ["red", "green", *(answer for _, _, answer in rows)],
        }
    )
    frame.to_parquet(place / "mixed.parquet")
    figures, said = evaluate(place, run, "--data", "mixed.parquet")
    assert figures["seen"] == {"count": 2, "of": 6, "unit": "questions", "same_question": 1}
    assert (figures["n"], figures["unseen"]["n"]) == (6, 4)
    assert (
        "seen      2 of 6 questions' pictures were in the training data: the figure is not one of unseen data" in said
    )
    left, said = evaluate(place, run, "--data", "mixed.parquet", "--drop-leaks")
    assert (left["n"], left["seen"]["count"], left["unseen"]) == (4, 0, None)
    assert "2 of 6 questions' pictures were in the training data, and are left out" in said
    assert left["accuracy"] == figures["unseen"]["accuracy"]
    frame[:2].to_parquet(place / "seen.parquet")
    _, said = evaluate(place, run, "--data", "seen.parquet", "--drop-leaks", code=3)
    assert "all 2 of 2 questions' pictures were in the training data" in said


def test_a_copied_model_keeps_its_record_and_one_without_it_is_said(run, place):
    shutil.copytree(run[0] / "model", place / "copy", dirs_exist_ok=True)
    known = json.loads(
        within("eval", "vqa", "--model", "copy", "--data", "data", "--eval-split", "train", "--json", cwd=place).stdout
    )
    assert (known["seen"]["count"], known["seen"]["same_question"]) == (30, 30)
    (place / "copy" / "training-data.npz").unlink()
    done = within("eval", "vqa", "--model", "copy", "--data", "data", "--json", cwd=place)
    assert json.loads(done.stdout)["seen"] is None
    assert "seen      not known" in done.stderr


def test_what_the_first_training_saw_counts_for_the_second(run, place):
    rows = draw(place / "more" / "pics", 60, 9)
    table(place / "more" / "train.csv", rows)
    old = [(f"../data/{path}", question, answer) for path, question, answer in draw(place / "data" / "pics", 0, 3)]
    table(
        place / "more" / "val.csv", [*old, *((f"../new/pics/{i}.png", "what colour is it?", "red") for i in (40, 41))]
    )
    draw(place / "new" / "pics", 40, 4)
    done = within("train", "vqa", "--model", run[0], "--data", "more", "--max-steps", "1", "--json", cwd=place)
    assert "seen      3 of 5 questions' pictures were in the training data" in done.stderr
    assert json.loads(done.stdout)["metrics"]["seen"]["count"] == 3


def test_the_score_is_chosen_and_kept(run, place):
    rows = draw(place / "several" / "pics", 80, 12)
    several = [(path, question, json.dumps([answer, answer, "a red"])) for path, question, answer in rows]
    frame = pandas.DataFrame([*several[:1], *rows[1:]], columns=["image", "question", "answers"])
    frame.to_csv(place / "several" / "all.csv", index=False)
    by_default, said = evaluate(place, run, "--data", "several")
    assert by_default["score"] == "any"
    assert "score     11 of 12 questions have fewer than 3 answers, 1 has 3 or more" in said
    chosen = {
        kind: evaluate(place, run, "--data", "several", "--score", kind)[0] for kind in ("official", "exact", "anls")
    }
    assert {kind: figures["score"] for kind, figures in chosen.items()} == {kind: kind for kind in chosen}
    assert chosen["official"]["accuracy"] <= 1 / 12
    assert chosen["exact"]["accuracy"] >= by_default["accuracy"] - 1 / 12
    assert "--score weights" in evaluate(place, run, "--data", "several", "--score", "weights", code=2)[1]
    flags = ["--score", "anls", "--label-answers", "all", "--max-steps", "1", "--eval-fraction", "0.5"]
    done = within("train", "vqa", "--model", "tiny", "--data", "several", *flags, "--json", cwd=place)
    assert "(all answers)" in done.stderr
    assert "measured by ANLS: by --score" in done.stderr
    assert "ANLS" in within("eval", "vqa", "--model", json.loads(done.stdout)["run"], cwd=place).stdout


def test_cut_questions_are_told_by_every_verb(run, place):
    rows = draw(place / "long" / "pics", 0, 6)
    texts = [LONG, f"{LONG[:-4]}colour", "what colour is it?"]
    asked = [(path, texts[i % 3], answer) for i, (path, _, answer) in enumerate(rows)]
    asked.append((rows[0][0], texts[1], "red"))
    table(place / "long" / "all.csv", asked)
    line = "{} of 7 questions lose words to the limit of 12 word pieces, the first"
    _, said = evaluate(place, run, "--data", "long")
    assert f"cut       {line.format(5)}" in said
    assert "2 become equal to another on their picture" in said
    picture = place / "long" / "pics" / "0.png"
    assert "cut       1 of 1 questions" in within("predict", "vqa", "--model", run[0], picture, LONG, cwd=place).stderr
    found = json.loads(
        within("data", "inspect", "vqa", "--data", "long", "--model", run[0], "--json", cwd=place).stdout
    )
    cut = found["splits"]["all"]["cut"]
    assert (cut["questions"], cut["become_equal"], cut["limit"]) == (5, 2, 12)
