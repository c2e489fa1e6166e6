"""Tests that `tiny` learns what differs by an accent, a vowel sign or a voicing mark alone."""

import csv
import json

import pytest
from running import within

SENTENCES = {
    "hindi": (["यह {} है {}", "{} देखो {}", "मुझे {} चाहिए {}"], "फल", "फूल"),
    "japanese": (["{}があります{}", "これは{}です{}", "{}をください{}"], "かき", "かぎ"),
    "thai": (["นี่คือ{}{}", "ฉันเห็น{}{}", "{}อยู่ที่นี่{}"], "คา", "ค้า"),
    "spanish": (["tiene un {} {}", "otro {} {}", "el {} pasado {}"], "año", "ano"),
}


@pytest.mark.parametrize("language", SENTENCES)
def test_words_that_differ_by_a_mark_are_told_apart(language, tmp_path):
    forms, *words = SENTENCES[language]
    rows = [(form.format(word, number), word) for number in range(40) for form in forms for word in words]
    with open(tmp_path / "data.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    flags = ["--epochs", 5, "--batch-size", 16, "--learning-rate", 1e-3, "--threads", 1, "--json"]
    done = within("train", "glue", "--model", "tiny", "--data", "data.csv", *flags, cwd=tmp_path)
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["accuracy"] == 1.0
    assert metrics["n"] == 24
