"""Numbers with their nouns."""

import pytest

from tasks.words import are, counted


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0 pairs are"), (1, "1 pair is"), (2, "2 pairs are"), (2000, "2,000 pairs are")],
)
def test_one_is_singular(number, told):
    assert f"{counted(number, 'pair')} {are(number)}" == told
