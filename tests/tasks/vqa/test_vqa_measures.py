"""Which score fits which data, what each gives, and ANLS against DocVQA's definition."""

import numpy as np
import pytest

from recipes.vqa.config import SCORES
from tasks import metrics
from tasks.errors import ConfigError, DataError
from tasks.images import FileImages
from tasks.vqa import baselines, evaluation
from tasks.vqa.anls import Candidates, anls, similarity
from tasks.vqa.evaluation import choose_score
from tasks.vqa.questions import Questions
from tasks.vqa.vocabulary import Vocabulary, build_vocabulary, ceiling


def questions(answers, weights=None):
    n = len(answers)
    return Questions(
        list(range(n)), [f"{i}?" for i in range(n)], np.arange(n), answers, weights, [""] * n, [""] * n,
        FileImages([f"{i}.png" for i in range(n)]), "data.csv",
    )  # fmt: skip


SINGLE, TEN = [["red"]], [["red"] * 4 + ["blue"] * 6]
WEIGHTS = [{"red": 1.0, "pink": 0.3}, {"blue": 0.6}]


def test_the_flags_choices_are_the_scores_there_are():
    assert set(SCORES) == set(evaluation.NAMES)


@pytest.mark.parametrize(
    ("answers", "weights", "kind", "why", "mixed"),
    [
        (SINGLE * 5, None, "exact", "one answer a question", False),
        (SINGLE * 5 + [["red", "pink"]], None, "any", "one or two answers a question", False),
        (TEN * 5, None, "official", "3 answers a question or more", False),
        (SINGLE * 99 + TEN, None, "any", "99 of 100 questions have fewer than 3 answers", True),
        (SINGLE * 12 + TEN * 88, None, "any", "12 of 100 questions have fewer than 3 answers", True),
        (SINGLE * 3 + TEN * 97, None, "official", "3 of 100 questions have fewer than 3 answers", True),
        ([["red", "pink"], ["blue"]], WEIGHTS, "weights", "weights are given", False),
    ],
)
def test_the_default_follows_the_data(answers, weights, kind, why, mixed):
    choice = choose_score(questions(answers, weights))
    assert (choice.kind, choice.why, bool(choice.mixed)) == (kind, why, mixed)


def test_one_question_of_three_answers_takes_nothing_from_single_ones():
    data = questions([["red"]] * 11 + [["red", "red", "blue"]])
    assert evaluation.accuracy(["red"] * 12, data).mean() == 1
    assert ceiling(data, Vocabulary(["red", "blue"])) == 1
    assert baselines.priors(data, data, evaluation.kind_of(data))["majority"] == 1
    assert "11 of 12 questions have fewer than 3 answers, 1 has 3 or more" in choose_score(data).mixed


@pytest.mark.parametrize(
    ("kind", "expected"),
    # Of red x 4 and blue x 6; of pink, Red. (one of two, left out itself: (1/3 + 0) / 2); of one answer in capitals.
    [("official", [1, 1 / 6, 0]), ("exact", [0, 1, 1]), ("any", [1, 1, 1]), ("anls", [1, 0.75, 1])],
)
def test_each_score(kind, expected):
    data = questions([["red"] * 4 + ["blue"] * 6, ["pink", "Red."], ["RED"]])
    assert evaluation.accuracy(["red"] * 3, data, kind).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "expected"), [("weights", [0.3, 0]), ("exact", [0, 0]), ("any", [1, 0]), ("anls", [1, 0])]
)
def test_scores_of_weights(kind, expected):
    data = questions([["red", "pink"], []], [{"red": 1.0, "pink": 0.3}, {}])
    assert evaluation.accuracy(["pink", "pink"], data, kind).tolist() == pytest.approx(expected)


def test_what_the_data_have_not_is_refused():
    for data, score, word in (
        (questions(SINGLE), "weights", "gives no weights"),
        (questions(SINGLE), "official", "no question of data.csv has 3 answers or more"),
        (questions([["red"]], [{"red": 1.0}]), "official", "gives weights"),
    ):
        with pytest.raises(ConfigError, match=word):
            choose_score(data, score)


@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    # 1 - distance / length of the longer, 0 below 0.5: worked out by hand.
    [
        ("kitten", ["sitting"], 4 / 7),
        ("Teh  Cat ", ["the cat", "dog"], 5 / 7),
        ("abcd", ["abxy"], 0.5),
        ("abcd", ["axyz"], 0),
        ("12", ["1.2"], 2 / 3),
        ("", ["a"], 0),
        ("New York", ["NEW YORK", "NYC"], 1),
    ],
)
def test_anls(prediction, answers, score):
    assert anls([prediction], [answers]).tolist() == pytest.approx([score])


def test_the_nearest_of_many_words_is_that_of_each_by_itself():
    rng = np.random.default_rng(0)

    def word():
        return "".join(rng.choice(list("abc"), rng.integers(1, 9)))

    for _ in range(100):
        words, answers = [word() for _ in range(20)], [word(), word()]
        best = max(similarity(one, other) for one in words for other in answers)
        assert Candidates(words).best(answers) == pytest.approx(best)


def test_the_ceiling_is_what_the_best_answer_scores():
    data = questions([["red"] * 5 + ["pink"], ["rad"], ["red", "pink"]])
    known = Vocabulary(["red", "blue"])
    for kind in ("exact", "any", "anls"):
        each = [evaluation.accuracy([answer] * 3, data, kind) for answer in known.answers]
        assert ceiling(data, known, kind) == pytest.approx(np.max(each, axis=0).mean())


def test_anls_is_a_metric_of_lists_in_any_form():
    metric = metrics.load("anls")
    wanted = {"anls": pytest.approx((5 / 7 + 1) / 2), "n": 2}
    assert metric.compute(predictions=["teh cat", "1"], references=[["the cat", "dog"], ["1.0"]]) == wanted
    assert metric.compute(predictions=["teh cat", "1"], references=["['the cat' 'dog']", "1"]) == wanted
    with pytest.raises(DataError, match=r"reference 2: a list whose middle was left out"):
        metric.per_row(["a", "b"], ["a", "['a' ... 'b']"])


def test_all_answers_can_become_labels():
    data = questions([["red"] * 6 + ["pink"] * 4, ["red"] * 10, ["blue"] * 9 + ["Pink."]])
    assert build_vocabulary(data).answers == ["red", "blue"]
    every = build_vocabulary(data, every=True)
    assert dict(zip(every.answers, every.frequency, strict=True)) == {"pink": 2, "red": 2, "blue": 1}
    guide = questions([["red", "pink"], ["blue", "grey"]], [{"red": 1.0, "pink": 0.3}, {"blue": 0.9, "grey": 0.0}])
    assert build_vocabulary(guide).answers == ["blue", "red"]
    assert build_vocabulary(guide, every=True).answers == ["blue", "pink", "red"]
