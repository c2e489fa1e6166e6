"""The official VQA accuracy, rule by rule; expected values are worked out by hand from the rules."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import DataError
from tasks.vqa import score

OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "vqa" / "official"
CONTRACTIONS = Path(score.__file__).with_name("contractions.json")


def ten(*parts: tuple[int, str]) -> list[str]:
    """Ten answers from (how many, text); what is missing to ten is `zebra`, so that they are not all equal."""
    answers = [text for count, text in parts for _ in range(count)]
    return answers + ["zebra"] * (10 - len(answers))


# Four matches among ten that differ give 1.0, so `ten((4, text))` asks whether the prediction becomes `text`'s form.
CASES = [
    # how many agree
    ("yes", ten(), 0.0),
    ("yes", ten((1, "yes")), 0.3),
    ("yes", ten((2, "yes")), 0.6),
    ("yes", ten((3, "yes")), 0.9),
    ("yes", ten((4, "yes")), 1.0),
    ("yes", ten((10, "yes")), 1.0),
    ("no", ten((7, "yes"), (3, "no")), 0.9),
    # other numbers of ground truths
    ("yes", ["yes"], 0.0),
    ("no", ["yes"], 0.0),
    ("yes", ["yes", "yes"], 1 / 3),
    ("yes", ["yes", "no"], 1 / 6),
    ("yes", ["yes", "yes", "yes"], 2 / 3),
    ("yes", ["yes", "yes", "no"], 4 / 9),
    ("yes", ["yes", "yes", "yes", "yes"], 1.0),
    ("yes", ["yes", "yes", "yes", "no", "no"], 0.8),
    # all equal: nothing is normalised, but blanks, newlines and tabs
    ("Black.", ten((10, "black")), 0.0),
    ("Black", ten((10, "black")), 0.0),
    ("black", ten((10, "Black")), 0.0),
    ("Black", ten((10, "Black")), 1.0),
    ("2", ten((10, "two")), 0.0),
    ("the dog", ten((10, "dog")), 0.0),
    ("  black\n", ten((10, "black")), 1.0),
    ("hot\tdog", ten((10, "hot dog")), 1.0),
    ("hot  dog", ten((10, "hot dog")), 0.0),
    ("", ten((10, "black")), 0.0),
    ("dog", ten((5, "dog"), (5, " dog\n")), 1.0),
    ("Dog", ten((5, "dog"), (5, " dog\n")), 0.0),
    # one that differs, and everything is normalised
    ("Black.", ten((9, "black")), 1.0),
    ("black", ten((9, "BLACK")), 1.0),
    ("hot  dog", ten((9, "hot dog")), 1.0),
    ("Dog", ten((5, "dog"), (5, "Dog")), 1.0),
    # digits and articles
    ("none", ten((4, "0")), 1.0),
    ("zero", ten((2, "none"), (1, "0")), 0.9),
    ("10", ten((4, "ten")), 1.0),
    ("eleven", ten((4, "11")), 0.0),
    ("two dogs", ten((3, "2 dogs")), 0.9),
    ("none of them", ten((4, "0 of them")), 1.0),
    ("Three", ten((1, "3"), (1, "three")), 0.6),
    ("a dog", ten((1, "the dog")), 0.3),
    ("dog a an the", ten((4, "dog")), 1.0),
    ("an", ten((4, "the")), 1.0),
    ("", ten((4, "a")), 1.0),
    ("theme", ten((4, "me")), 0.0),
    ("A", ten((4, "b")), 0.0),
    # contractions: whole words, after lower-casing
    ("dont know", ten((4, "don't know")), 1.0),
    ("don't", ten((4, "dont")), 1.0),
    ("DONT", ten((4, "don't")), 1.0),
    ("don\u2019t", ten((4, "don't")), 0.0),
    ("cants", ten((4, "can'ts")), 0.0),
    ("Im", ten((4, "I'm")), 0.0),
    ("its", ten((4, "it's")), 0.0),
    ("lets", ten((4, "let's")), 0.0),
    ("somebody'd", ten((4, "somebodyd")), 1.0),
    ("its five oclock", ten((4, "its 5 o'clock")), 1.0),
    ("dog's", ten((4, "dogs")), 0.0),
    ("dog's", ten((4, "dog s")), 0.0),
    ("dont-cant", ten((4, "don't can't")), 1.0),
    # commas
    ("1,000", ten((4, "1000")), 1.0),
    ("1,000", ten((4, "1 000")), 0.0),
    ("red,blue", ten((4, "red blue")), 1.0),
    ("red,blue", ten((4, "redblue")), 0.0),
    ("red, blue", ten((4, "red blue")), 1.0),
    ("red , blue", ten((4, "red blue")), 1.0),
    ("red,blue, green", ten((4, "redblue green")), 1.0),
    ("red,blue, green", ten((4, "red blue green")), 0.0),
    ("5 ,000", ten((4, "5 000")), 1.0),
    ("5 ,000", ten((4, "5000")), 0.0),
    # a comma between digits deletes the other marks too
    ("t-shirt and 1,000", ten((4, "tshirt and 1000")), 1.0),
    ("1,2-3", ten((4, "123")), 1.0),
    ("1-2", ten((4, "1 2")), 1.0),
    ("1-2", ten((4, "12")), 0.0),
    # marks beside a space are deleted everywhere, each mark by itself
    ("t-shirt", ten((4, "t shirt")), 1.0),
    ("t-shirt", ten((4, "tshirt")), 0.0),
    ("t-shirt -", ten((4, "tshirt")), 1.0),
    ("t-shirt/cap /", ten((4, "t shirtcap")), 1.0),
    (">= 5", ten((4, "5")), 1.0),
    ("x-y (z)", ten((4, "x y z")), 1.0),
    # the space is looked for in the original, not in what other marks have left
    ("x-/y", ten((4, "x y")), 1.0),
    ("x-/y-z", ten((4, "x y z")), 1.0),
    # newline and tab are spaces by then; outer blanks are gone
    ("x-y\n-z", ten((4, "xy z")), 1.0),
    ("x-y\t-z", ten((4, "xy z")), 1.0),
    (" -x-y ", ten((4, "x y")), 1.0),
    ("hot\ndog", ten((4, "hot dog")), 1.0),
    # other marks
    ("yes!", ten((4, "yes")), 1.0),
    ('"stop"', ten((4, "stop")), 1.0),
    ("fire_hydrant", ten((4, "fire hydrant")), 1.0),
    ("one;two", ten((4, "1 2")), 1.0),
    ("a/c", ten((4, "c")), 1.0),
    ("[x]{y}(z)", ten((4, "x y z")), 1.0),
    ("x\\y`z@w", ten((4, "x y z w")), 1.0),
    ("10:30", ten((4, "10 30")), 0.0),
    ("10:30", ten((4, "10:30")), 1.0),
    ("50%", ten((4, "50")), 0.0),
    # full stops
    ("3.5", ten((4, "3.5")), 1.0),
    ("3.5", ten((4, "35")), 0.0),
    ("3.", ten((4, "3")), 1.0),
    ("3.x", ten((4, "3x")), 1.0),
    (".5", ten((4, "5")), 0.0),
    ("a.m.", ten((4, "am")), 1.0),
    ("p.m.5", ten((4, "pm.5")), 1.0),
    ("..5", ten((4, ".5")), 1.0),
    ("one.two", ten((4, "1 2")), 0.0),
    ("one.two", ten((4, "onetwo")), 1.0),
    ("one. two", ten((4, "1 2")), 1.0),
    ("5.,6", ten((4, "5 6")), 1.0),
    ("." * 32 + "x", ten((4, "x")), 1.0),
    ("." * 33 + "x", ten((4, "x")), 0.0),
]


@pytest.mark.parametrize(("prediction", "answers", "expected"), CASES)
def test_question_accuracy_follows_the_rules(prediction: str, answers: list[str], expected: float) -> None:
    assert score.question_accuracy(prediction, answers) == pytest.approx(expected, abs=1e-12)
    # The mean over the ground truths does not depend on their order.
    assert score.question_accuracy(prediction, answers[::-1]) == pytest.approx(expected, abs=1e-12)


def test_all_cases_at_once_give_the_same() -> None:
    found = score.official_accuracy([case[0] for case in CASES], [case[1] for case in CASES])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [case[2] for case in CASES], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("x,y", "x y"),
        ("x, y,z", "x yz"),
        ("1,5 x-y", "15 xy"),
        ("x?", "x "),
        ("x ?", "x "),
        ("Mr. X", "Mr X"),
        ("v1.2.", "v1.2"),
        ("x:y'z", "x:y'z"),
        ("-", " "),
    ],
)
def test_process_punctuation(text: str, expected: str) -> None:
    assert score.process_punctuation(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  The  Two dogs ", "2 dogs"),
        ("a", ""),
        ("None", "0"),
        ("arent aren't", "aren't aren't"),
        ("twas", "'twas"),
        ("yall'd've", "y'all'd've"),
        ("ten eleven", "10 eleven"),
    ],
)
def test_process_digits_articles(text: str, expected: str) -> None:
    assert score.process_digits_articles(text) == expected


@pytest.mark.parametrize(
    ("answer", "expected"), [(" A Red\nApple! ", "red apple"), ("1,000.", "1000"), ("Dont", "don't"), ("the", "")]
)
def test_normalize_cleans_and_does_both(answer: str, expected: str) -> None:
    assert score.normalize(answer) == expected


def test_the_table_of_contractions_is_the_official_one() -> None:
    table = score.contractions()
    assert len(table) == 120
    assert table["somebody'd"] == "somebodyd"
    assert CONTRACTIONS.with_name("contractions.LICENSE.txt").is_file()
    if OFFICIAL.is_dir():
        assert table == json.loads((OFFICIAL / "contractions.json").read_text(encoding="utf-8"))


# A second reading of the rules, letter by letter and in fractions, sharing nothing with the first.
_MARKS = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"]
_COUNT = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def _reference_normal(text: str, table: dict[str, str]) -> str:
    has_number_comma = any(
        text[i] == "," and text[i - 1].isdecimal() and text[i + 1].isdecimal() for i in range(1, len(text) - 1)
    )
    beside = set()
    for left, right in itertools.pairwise(text):
        if left == " ":
            beside.add(right)
        if right == " ":
            beside.add(left)
    kept = ""
    for letter in text:
        if letter not in _MARKS:
            kept += letter
        elif letter not in beside and not has_number_comma:
            kept += " "
    without_stops, deleted = "", 0
    for i, letter in enumerate(kept):
        if letter == "." and not kept[i + 1 : i + 2].isdecimal() and deleted < 32:
            deleted += 1
        else:
            without_stops += letter
    words = []
    for word in without_stops.lower().split():
        number = "0" if word == "none" else str(_COUNT.index(word)) if word in _COUNT else word
        if number not in ("a", "an", "the"):
            words.append(table.get(number, number))
    return " ".join(words)


def _reference_accuracy(prediction: str, answers: list[str], table: dict[str, str]) -> Fraction:
    def tidy(text: str) -> str:
        return "".join(" " if letter in "\n\t" else letter for letter in text).strip()

    truths, predicted = [tidy(answer) for answer in answers], tidy(prediction)
    if len(set(truths)) > 1:
        truths = [_reference_normal(truth, table) for truth in truths]
        predicted = _reference_normal(predicted, table)
    total = Fraction(0)
    for left_out in range(len(truths)):
        others = truths[:left_out] + truths[left_out + 1 :]
        total += min(Fraction(1), Fraction(others.count(predicted), 3))
    return total / len(truths)


def _nasty(generator: np.random.Generator) -> str:
    pieces = [
        *_MARKS, ".", ".", ":", "'", "%", " ", " ", " ", "\n", "\t", "  ", "1,000", "3.5", "5", ".5", "A", "a", "an",
        "the", "The", "none", "None", "ZERO", "two", "ten", "eleven", "dont", "Im", "cant", "somebody'd", "let's",
        "yes", "Yes", "no", "t-shirt", "a.m.", "\u0663,\u0663", "\u00e9", "\u2019", "\u00a0", "x" + "." * 34,
    ]  # fmt: skip
    return "".join(generator.choice(pieces, size=generator.integers(1, 7)))


def test_agrees_with_an_independent_reading_on_random_strings() -> None:
    table = json.loads(CONTRACTIONS.read_text(encoding="utf-8"))
    generator = np.random.default_rng(20)
    agreeing = 0
    for _ in range(2000):
        base = [_nasty(generator) for _ in range(3)]
        pool = [*base, base[0].upper(), f" {base[0]}", base[1].replace(",", ""), f"the {base[2]}", base[0].lower()]
        answers = [str(text) for text in generator.choice(pool, size=generator.integers(1, 12))]
        if generator.random() < 0.1:
            answers = [answers[0]] * len(answers)
        prediction = str(generator.choice(pool))
        for text in (*answers, prediction):
            assert score.normalize(text) == _reference_normal(
                text.replace("\n", " ").replace("\t", " ").strip(), table
            ), repr(text)
        expected = _reference_accuracy(prediction, answers, table)
        assert score.question_accuracy(prediction, answers) == pytest.approx(float(expected), abs=1e-12), (
            prediction,
            answers,
        )
        agreeing += expected > 0
    assert agreeing > 500  # the comparison is of more than zeros


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the folder shared/data/vqa/official is not beside the repository")
def test_the_two_real_annotations() -> None:
    annotations = json.loads((OFFICIAL / "two_real_v2_annotations.json").read_text(encoding="utf-8"))["annotations"]
    answers = [[answer["answer"] for answer in row["answers"]] for row in annotations]
    # 7 x down, at table, skateboard, table; 9 x white, light blue
    for predictions, expected in [
        (["down", "white"], [1.0, 1.0]),
        (["Down.", "the white"], [1.0, 1.0]),
        (["table", "light-blue"], [0.3, 0.3]),
        (["at a table", "blue"], [0.3, 0.0]),
        (["up", "White!"], [0.0, 1.0]),
    ]:
        np.testing.assert_allclose(score.official_accuracy(predictions, answers), expected, atol=1e-12)


def test_a_question_without_ground_truth_is_an_error() -> None:
    with pytest.raises(DataError, match="without a ground-truth"):
        score.question_accuracy("yes", [])
    with pytest.raises(DataError, match="row 2"):
        score.official_accuracy(["a", "b"], [["a"], []])
    with pytest.raises(DataError, match="1 and 2 rows"):
        score.official_accuracy(["a"], [["a"], ["b"]])


def test_weighted_accuracy_takes_the_given_weight() -> None:
    found = score.weighted_accuracy(["red", "blue", "x"], [{"red": 0.6, "pink": 1.0}, {"red": 1}, {}])
    assert found.tolist() == [0.6, 0.0, 0.0]
    with pytest.raises(DataError):
        score.weighted_accuracy([], [{}])


def test_summary_gives_means_and_counts_by_type() -> None:
    accuracy = np.array([1.0, 0.3, 0.0, 0.9])
    found = score.summary(accuracy, ["what", "is", "what", "is"], ["other", "yes/no", "other", "other"])
    assert found == {
        "overall": pytest.approx(0.55),
        "n": 4,
        "per_answer_type": {
            "other": {"accuracy": pytest.approx(1.9 / 3), "n": 3},
            "yes/no": {"accuracy": pytest.approx(0.3), "n": 1},
        },
        "per_question_type": {
            "is": {"accuracy": pytest.approx(0.6), "n": 2},
            "what": {"accuracy": pytest.approx(0.5), "n": 2},
        },
    }
    assert list(found["per_question_type"]) == ["is", "what"]
    assert score.summary(accuracy) == {"overall": pytest.approx(0.55), "n": 4}
    with pytest.raises(DataError, match="no question"):
        score.summary(np.array([]))


def test_official_summary_is_in_per_cent_with_two_decimals() -> None:
    accuracy = np.array([1.0, 0.3, 0.3])
    assert score.official_summary(accuracy, ["b", "a", "a"], ["x", "x", "x"]) == {
        "overall": 53.33,
        "perQuestionType": {"a": 30.0, "b": 100.0},
        "perAnswerType": {"x": 53.33},
    }


def test_majority_prior_breaks_ties_by_the_alphabet() -> None:
    assert score.majority_prior(["no", "yes", "no", "yes", "2"], ["q", "r"]) == ["no", "no"]
    with pytest.raises(DataError):
        score.majority_prior([], ["q"])


def test_question_prior_takes_the_longest_frequent_prefix() -> None:
    questions = ["What colour is it?"] * 2 + ["What colour is the ball?"] * 3 + ["What shape is it?"] * 2 + ["Why?"]
    answers = ["red", "blue", "green", "green", "red", "round", "round", "because"]
    asked = [
        "what colour is the cube",  # `what colour is the`, 3 times: green
        "What colour is it",  # the same question, twice: blue and red tie, blue is first
        "What colour was it?",  # `what colour`, 5 times: green and red tie
        "What shape, please?",  # `what shape`
        "What now?",  # `what`, 7 times: green, red and round tie
        "Why?",  # seen once only: the majority
        "???",
    ]
    found = score.question_prior(questions, answers, asked, minimum=2)
    assert found == ["green", "blue", "green", "round", "green", "green", "green"]
    assert score.question_prior(questions, answers, asked, minimum=9) == ["green"] * 7
    # The order of the training rows decides nothing.
    assert score.question_prior(questions[::-1], answers[::-1], asked, minimum=2) == found


def test_a_prefix_is_of_whole_words() -> None:
    found = score.question_prior(["is it red?"] * 3 + ["what?"] * 4, ["yes"] * 3 + ["x"] * 4, ["island?"], minimum=2)
    assert found == ["x"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes.", "yes/no"), ("no", "yes/no"), ("2", "number"), ("two", "number"), ("none", "number"),
        ("1,000", "number"), ("3.5", "number"), ("red", "other"), ("2 dogs", "other"), ("", "other"),
        ("yes sir", "other"),
    ],
)  # fmt: skip
def test_answer_type(answer: str, expected: str) -> None:
    assert score.answer_type(answer) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [("What colour is it?", "what colour"), ("Why?", "why"), ("Is, it so", "is it"), ("?", "none of the above")],
)
def test_question_type(question: str, expected: str) -> None:
    assert score.question_type(question) == expected
