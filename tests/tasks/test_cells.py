"""Tests of cells: lists as their writers print them, values in their spellings."""

import json

import numpy as np
import pandas as pd
import pytest

from tasks.cells import as_list, as_text, without_missing

WORDS = ["red", "it's", 'say "no"', "a, b", "[x]", "two\nlines", "été", ""]


@pytest.mark.parametrize(
    "value", [WORDS, ["one"], [], [1, 2], [0.3, 1.0, -2.5e-7], ["a", None, "b"], [["a", "b"], ["c"]]]
)
def test_what_json_and_python_write_is_read_back(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False), str(value), f"  {value}\n"):
        assert as_list(text) == value


@pytest.mark.parametrize(
    "value",
    [
        np.array(["red", "red", "pink"]),
        np.array(WORDS, dtype=object),
        np.array(["word " + "x" * (i % 9) for i in range(200)]),
        np.array([1, 2]),
        np.array([1.0, 0.3, 0.6]),
        np.array([True, False]),
        np.array([["a", "b"], ["c", "d"]]),
    ],
)
def test_what_numpy_prints_is_read_back(value):
    for text in (str(value), repr(value), str(value).replace("\n", "\r\n")):
        if text.startswith("["):
            assert as_list(text) == value.tolist()


def test_numpy_scalars_and_arrays_inside_lists():
    assert as_list(str([np.float64(0.3), np.float64(1.0)])) == [0.3, 1.0]
    assert as_list(str([np.str_("red"), np.int64(3)])) == ["red", 3]
    assert as_list(str([np.array(["a", "b"], dtype=object)])) == [["a", "b"]]
    assert as_list("['a', 'b', ]") == ["a", "b"]
    assert as_list("('a', 'b')") == ["a", "b"]


def test_a_column_written_by_pandas_is_read_back(tmp_path):
    values = [np.array(["red", "red", "pink"]), np.array(["it's"]), np.array([], dtype=object)]
    pd.DataFrame({"answers": values}).to_csv(tmp_path / "a.csv", index=False)
    assert [as_list(text) for text in pd.read_csv(tmp_path / "a.csv")["answers"]] == [list(value) for value in values]


@pytest.mark.parametrize("text", ["red", "", "a [b]", "[a] b", "(red)", "1", "{1}"])
def test_other_texts_are_no_lists(text):
    assert as_list(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (str(np.arange(5000)), "middle was left out"),
        ("['a' ... 'b']", "middle was left out"),
        ("[red, pink]", "put texts in quotes"),
        ("['a', 'b]", "where a value should be"),
        ("[[1, 2]", "has no end"),
        ("[1] [2]", "after the end"),
        ("[" * 5000 + "]", "too deeply"),
        ("[" + "{'a': " * 5000 + "1" + "}" * 5000 + "]", "too deeply"),
        (r"['\x', 'b']", "escapes"),
        (r"['\N{no such letter}']", "escapes"),
        ("[__import__('os')]", "where a value should be"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        as_list(text)


def test_escapes_of_texts_in_quotes(recwarn):
    assert as_list(r"['\x41', 'a\tb', 'it\'s', '\d']") == ["A", "a\tb", "it's", r"\d"]
    assert not recwarn.list


def test_spellings_of_one_value():
    assert {as_text(cell) for cell in (1, 1.0, "1", "1.0", " 1 ", "1.", np.float64(1))} == {"1"}
    assert [as_text(cell) for cell in ("01", "1.5", "v1.0", True, None, float("nan"), " ")] == [
        "01", "1.5", "v1.0", "true", None, None, None,
    ]  # fmt: skip


def test_missing_words_are_words_among_words():
    assert without_missing(["NA", "SA", "EU", ""]) == ["NA", "SA", "EU", None]
    assert without_missing(["NA", 1.0, "2", None]) == [None, "1", "2", None]
