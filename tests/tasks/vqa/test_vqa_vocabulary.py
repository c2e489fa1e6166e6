"""Which answers a model learns, the soft labels they make, and the best score within reach."""

import numpy as np
import pytest

from tasks.errors import DataError
from tasks.images import FileImages
from tasks.vqa.questions import Questions
from tasks.vqa.vocabulary import Vocabulary, build_vocabulary, ceiling, soft_score, targets


def questions(answers, weights=None):
    n = len(answers)
    return Questions(
        list(range(n)), [f"{i}?" for i in range(n)], np.zeros(n, np.int64), answers, weights, [""] * n, [""] * n,
        FileImages(["a.png"]), "data.csv",
    )  # fmt: skip


def ten(**counts):
    """Ten annotators: ten(red=6, blue=4)."""
    given = [answer for answer, times in counts.items() for _ in range(times)]
    assert len(given) == 10
    return given


@pytest.mark.parametrize(("count", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (5, 1), (10, 1)])
def test_soft_scores_of_ten_annotators(count, score):
    assert soft_score(count, 10) == pytest.approx(score)


@pytest.mark.parametrize(
    ("count", "annotators", "score"), [(1, 1, 1), (1, 2, 1), (1, 3, 1), (1, 5, 0.6), (2, 5, 1), (3, 20, 0.45)]
)
def test_soft_scores_of_other_numbers(count, annotators, score):
    assert soft_score(count, annotators) == pytest.approx(score)


def test_targets_are_sparse_and_leave_out_unknown_answers():
    data = questions([ten(red=3, Red=3, blue=2, pink=2), ["blue"], ["pink"], []])
    made = targets(data, Vocabulary(["blue", "red"]))
    assert made.offsets.tolist() == [0, 2, 3, 3, 3]
    assert (made.offsets.dtype, made.ids.dtype, made.scores.dtype) == (np.int64, np.int32, np.float32)
    dense = made.dense(np.array([2, 0, 1]), 2)
    assert dense.tolist() == [[0, 0], [pytest.approx(0.6), 1.0], [1.0, 0]]
    assert len(made) == 4


def test_wordings_of_one_answer_count_together():
    made = targets(questions([["two", "2", "Two.", *["3"] * 7]]), Vocabulary(["2", "3"]))
    assert made.dense([0], 2).tolist() == [[pytest.approx(0.9), 1.0]]


def test_letters_that_are_articles_stay_answers():
    assert build_vocabulary(questions([["A"], ["B"], ["a"], ["C"]])).answers == ["a", "b", "c"]


def test_given_weights_are_used_as_given():
    data = questions([["Net", "no"], []], [{"Net": 0.3, "no": 0.7}, {}])
    vocabulary = build_vocabulary(questions([["Net"], ["no"]], [{"Net": 0.3}, {"no": 1.0}]))
    assert vocabulary.answers == ["Net", "no"]
    assert targets(data, vocabulary).dense([0, 1], 2).tolist() == [[pytest.approx(0.3), pytest.approx(0.7)], [0, 0]]


def test_order_is_by_frequency_then_spelling():
    made = build_vocabulary(questions([["q"], ["r"], ["p"], ["r"], ["q"], ["s"]]), min_frequency=1)
    assert made.answers == ["q", "r", "p", "s"]
    assert made.frequency == [2, 2, 1, 1]
    assert made.index == {"q": 0, "r": 1, "p": 2, "s": 3}
    assert (
        made.answers == build_vocabulary(questions([["s"], ["q"], ["p"], ["r"], ["q"], ["r"]]), min_frequency=1).answers
    )


def test_only_the_commonest_answer_of_a_question_counts():
    made = build_vocabulary(questions([ten(red=6, blue=4), ten(red=5, blue=5), ten(green=9, blue=1)]), min_frequency=1)
    assert dict(zip(made.answers, made.frequency, strict=True)) == {"red": 2, "green": 1}


def test_least_frequency_and_largest_number():
    data = questions([["p"]] * 5 + [["q"]] * 3 + [["r"]])
    made = build_vocabulary(data, min_frequency=3)
    assert (made.answers, made.min_frequency, made.coverage) == (["p", "q"], 3, pytest.approx(8 / 9))
    assert build_vocabulary(data, min_frequency=1, max_answers=2).answers == ["p", "q"]


def test_default_least_frequency():
    large = questions([["p"]] * 9000 + [["q"]] * 991 + [["r"]] * 8 + [["s"]])
    assert (build_vocabulary(large).min_frequency, build_vocabulary(large).answers) == (9, ["p", "q"])
    small = questions([["p"]] * 600 + [["q"]] * 380 + [["r"]] * 15 + [["s"]] * 5)
    assert (build_vocabulary(small).min_frequency, build_vocabulary(small).answers) == (9, ["p", "q", "r"])
    assert build_vocabulary(questions([[f"{i // 4}x"] for i in range(400)])).min_frequency == 4
    assert build_vocabulary(questions([["p"], ["q"], ["q"]])).min_frequency == 1


def test_many_questions_of_rare_answers_still_make_a_vocabulary():
    made = build_vocabulary(questions([[f"x{i // 2}"] for i in range(12_000)]))
    assert (made.min_frequency, len(made)) == (2, 6000)


def test_too_few_answers_left():
    with pytest.raises(DataError, match=r"data\.csv: 0 of 2 answers left at frequency >= 5 \(the commonest has 2\)"):
        build_vocabulary(questions([["p"], ["p"], ["q"]]), min_frequency=5)
    with pytest.raises(DataError, match="1 of 1 answers left"):
        build_vocabulary(questions([["p"], ["p"]]))


def test_ceiling_of_ten_annotators():
    vocabulary = Vocabulary(["red", "blue", "2"])
    data = questions(
        [ten(red=4, pink=6), ten(blue=3, red=2, pink=5), ten(blue=2, pink=8), ten(red=1, pink=9), ten(pink=9, Pink=1)]
    )
    assert ceiling(data, vocabulary) == pytest.approx((1 + 0.9 + 0.6 + 0.3 + 0) / 5)


def test_ceiling_where_all_agree_compares_raw_strings():
    vocabulary = Vocabulary(["red", "black"])
    assert ceiling(questions([["red"] * 10]), vocabulary) == 1
    assert ceiling(questions([["Black."] * 10]), vocabulary) == 0


@pytest.mark.parametrize("n", [3, 5, 10, 12])
def test_ceiling_is_the_official_accuracy_of_the_best_answer(n):
    from tasks.vqa.score import question_accuracy

    rng = np.random.default_rng(n)
    words = ["red", "Red", "a red", "blue", "2", "two", "none", "pink"]
    vocabulary = Vocabulary(["red", "blue", "2", "0"])
    for _ in range(200):
        answers = [words[int(i)] for i in rng.integers(0, rng.integers(1, 9), n)]
        best = max(question_accuracy(answer, answers) for answer in vocabulary.answers)
        assert ceiling(questions([answers]), vocabulary) == pytest.approx(best)


def test_ceiling_of_single_answers_and_of_weights():
    vocabulary = Vocabulary(["red", "blue"])
    assert ceiling(questions([["Red."], ["pink"], ["blue"], []]), vocabulary) == pytest.approx(2 / 3)
    data = questions([["red", "pink"], ["pink"]], [{"red": 0.6, "pink": 1.0}, {"pink": 1.0}])
    assert ceiling(data, vocabulary) == pytest.approx(0.3)


def test_all_answers_out_of_vocabulary():
    data = questions([["cat"], ["dog"]])
    with pytest.raises(DataError, match=r"data\.csv: none of its answers \('cat', 'dog', \.\.\.\) is among the 2"):
        targets(data, Vocabulary(["red", "blue"]))
    assert ceiling(data, Vocabulary(["red", "blue"])) == 0
