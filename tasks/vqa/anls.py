"""ANLS, the average normalised Levenshtein similarity by which DocVQA, InfographicVQA and ST-VQA score answers.

Source: Biten et al., Scene Text Visual Question Answering, ICCV 2019, and the evaluation script of the Robust Reading
Competition (https://rrc.cvc.uab.es/?ch=17), which keeps a similarity of exactly 0.5.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np

from tasks.errors import DataError

# A similarity below it counts 0: another answer, not one misread.
THRESHOLD = 0.5
_CACHED_PAIRS = 1 << 18


def anls(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """Each question's similarity to the nearest of its answers, float64 [n] in 0..1.

    Args:
        predictions: [n] answers.
        answers: [n] lists of accepted answers.

    Raises:
        DataError: lengths differ, or a question has no answer.
    """
    if len(predictions) != len(answers):
        raise DataError(
            f"the two columns to compare have {len(predictions)} and {len(answers)} rows; they must pair up"
        )
    empty = [row for row, accepted in enumerate(answers, start=1) if not accepted]
    if empty:
        raise DataError(f"row {empty[0]} has no answer to compare with ({len(empty)} such rows in all)")
    pairs = zip(predictions, answers, strict=True)
    return np.array([max(similarity(prediction, each) for each in accepted) for prediction, accepted in pairs], float)


def similarity(prediction: str, answer: str) -> float:
    """1 less the share of letters to change, in lower case and with single spaces; 0 where that is below one half."""
    return _similarity(_plain(prediction), _plain(answer))


class Candidates:
    """Words among which the one most similar to an answer is looked for, all at once."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = list(dict.fromkeys(map(_plain, words)))
        self.lengths = np.array([len(word) for word in self.words], np.int64)
        self.letters = np.full((len(self.words), int(self.lengths.max(initial=0))), -1, np.int64)
        for row, word in zip(self.letters, self.words, strict=True):
            row[: len(word)] = [ord(letter) for letter in word]
        self._known = frozenset(self.words)

    def best(self, answers: Iterable[str]) -> float:
        """The greatest similarity of one of the words to one of the answers; 0 where there is none."""
        accepted = set(map(_plain, answers))
        if not accepted.isdisjoint(self._known):
            return 1.0
        return max((self._nearest(answer) for answer in accepted), default=0.0)

    def _nearest(self, answer: str) -> float:
        longest = np.maximum(self.lengths, len(answer))
        # Words whose lengths are too far apart can't be alike enough.
        near = np.flatnonzero(2 * np.abs(self.lengths - len(answer)) <= longest)
        if not len(near) or not answer:
            return 0.0
        shares = 1 - _distances(answer, self.letters[near], self.lengths[near]) / longest[near]
        best = float(shares.max())
        return best if best >= THRESHOLD else 0.0


@functools.lru_cache(maxsize=_CACHED_PAIRS)
def _similarity(one: str, other: str) -> float:
    longest = max(len(one), len(other))
    share = 1 - _distance(one, other) / longest if longest else 1.0
    return share if share >= THRESHOLD else 0.0


@functools.lru_cache(maxsize=_CACHED_PAIRS)
def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _distance(one: str, other: str) -> int:
    """Levenshtein's: the fewest letters to insert, delete or replace."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, there in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != there))
    return row[-1]


def _distances(answer: str, letters: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`_distance` of the answer from each of many words, int64 [words].

    Args:
        letters: int64 [words, longest], code points, -1 after a word's end. lengths: int64 [words].
    """
    steps = np.arange(letters.shape[1] + 1)
    row = np.broadcast_to(steps, (len(letters), len(steps))).copy()
    for i, letter in enumerate(answer, start=1):
        changed = np.minimum(row[:, 1:] + 1, row[:, :-1] + (letters != ord(letter)))
        row[:, 0], row[:, 1:] = i, changed
        row = np.minimum.accumulate(row - steps, axis=1) + steps
    return row[np.arange(len(letters)), lengths]
