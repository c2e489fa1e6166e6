"""What the pixels of conditions say: which are blank, and the range of values of those of more than eight bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image

from tasks.controlnet.pairs import Pairs
from tasks.controlnet.readers.source import Read
from tasks.deep_images import Range, extremes, is_deep, own_range
from tasks.errors import ConfigError, DataError
from tasks.images import BROKEN, EncodedImages, FileImages, deep_note
from tasks.words import are, counted

AUTO, FILE = "auto", "file"
# Conditions that are decoded; of more, so many drawn at random.
DECODED = 2000
# A pixel differs from a condition's ground by so many levels of 255 in a channel; with fewer than one in so many, it is nearly blank.
DIFFERENCE, PIXELS = 8, 1000
PART = 16384
THREADS = 8
T = TypeVar("T")


def parse_range(text: str) -> Range | None:
    """What --condition-range says: (black, white), or None for the words `auto` and `file`.

    Raises:
        ConfigError: neither; says the form.
    """
    if text in (AUTO, FILE):
        return None
    try:
        low, high = (float(part) for part in text.split(","))
        if low != high and np.isfinite([low, high]).all():
            return low, high
    except ValueError:
        pass
    raise ConfigError(f"--condition-range {text}: give the values that are black and white, as 0,4095, or auto or file")


def range_text(value_range: Range) -> str:
    """The same as text that `parse_range` reads back exactly."""
    return ",".join(str(int(value)) if value.is_integer() else repr(value) for value in value_range)


def set_range(reads: Sequence[Read], text: str, seed: int) -> Range | None:
    """Lets the conditions of all splits be read by one range, so that a value is the same grey in each.

    Args:
        reads: checked splits, that of training first; with `auto` the range is that of its conditions of more than eight bits.
        text: --condition-range.

    Returns:
        (black, white); None where there are no such conditions, or each is read by its own range.

    Raises:
        ConfigError: the text says no range.
    """
    value_range = parse_range(text)
    deep = [read for read in reads if deep_count(read)]
    if text == AUTO and deep:
        value_range = own_range(*_range_of(deep[0], seed))
    for read in reads:
        read.pairs.conditions.value_range = value_range
    return value_range if deep else None


def deep_count(read: Read) -> int:
    """How many conditions of a checked split have more than eight bits."""
    conditions = read.pairs.conditions
    return sum(is_deep(conditions.header(entry).mode) for entry in read.pairs.rows.tolist())


def range_notes(reads: Sequence[Read], value_range: Range | None) -> list[str]:
    """How pictures and conditions of more than eight bits are read, a line each."""
    lines = []
    count = sum(map(deep_count, reads))
    if count:
        how = (
            "each by its own range of values"
            if value_range is None
            else "{:.6g},{:.6g} as black,white".format(*value_range)
        )
        lines.append(
            f"{counted(count, 'condition')} of more than 8 bits {are(count)} read with {how}; --condition-range sets it"
        )
    return [*lines, *filter(None, [deep_note(*((read.pairs.images, read.pairs.rows) for read in reads))])]


def looked_at(read: Read, seed: int, count: int | None = DECODED) -> np.ndarray:
    """int64 [k]: the numbers of pairs whose conditions are decoded, at most `count` of them; drawn ones never are blank."""
    if not isinstance(read.pairs.conditions, FileImages | EncodedImages):
        return np.empty(0, np.int64)
    return np.sort(np.random.default_rng([seed, 3]).permutation(len(read))[:count])


def blank(pairs: Pairs, numbers: np.ndarray) -> dict[int, str]:
    """Number of the pair -> how blank its condition is, for those of these pairs whose condition is; broken ones are passed over."""

    def look(number: int) -> str | None:
        try:
            return blankness(pairs.conditions.load(int(pairs.rows[number])))
        except DataError:
            return None

    return {number: reason for number, reason in _in_threads(look, numbers.tolist()) if reason is not None}


def blankness(condition: Image.Image) -> str | None:
    """What is wrong with an RGB picture of one colour, but for fewer than one in `PIXELS` pixels; None for others."""
    pixels = np.asarray(condition).reshape(-1, 3)
    # In a picture that is nearly blank, the middle value of a part of its pixels is its ground.
    part = pixels[:: max(1, len(pixels) // PART)]
    ground = np.quantile(part, 0.5, axis=0, method="lower").astype(np.int16)
    for looked in (part, pixels):  # most show in a part of them that they are not blank
        differing = int((np.abs(looked - ground) > DIFFERENCE).any(axis=1).sum())
        if differing * PIXELS >= len(pixels):
            return None
    red, green, blue = (int(value) for value in ground)
    how = f"nearly blank ({differing:,} of {len(pixels):,} pixels differ" if differing else "blank (no pixel differs"
    return f"its condition is {how} from the colour {red},{green},{blue})"


def blank_line(read: Read, seed: int) -> str:
    """How many conditions say nothing, the first of them; empty where none of those looked at does."""
    numbers = looked_at(read, seed)
    reasons = blank(read.pairs, numbers)
    if not reasons:
        return ""
    first = min(reasons)
    of = f"{len(numbers):,} conditions" + (f" looked at, of {len(read):,}," if len(numbers) < len(read) else "")
    return (
        f"{read.pairs.source}: {len(reasons):,} of {of} {are(len(reasons))} blank or nearly so, and teach nothing; --skip-blank leaves "
        f"them out; first {read.where(first).removeprefix(f'{read.pairs.source}, ')}: {reasons[first]}"
    )


def _range_of(read: Read, seed: int) -> Range:
    """Least and greatest value of the deep conditions among those looked at."""
    conditions, rows = read.pairs.conditions, read.pairs.rows
    deep = np.flatnonzero([is_deep(conditions.header(entry).mode) for entry in rows.tolist()])
    chosen = deep[np.sort(np.random.default_rng([seed, 3]).permutation(len(deep))[:DECODED])]

    def look(number: int) -> Range:
        try:
            with conditions.open(int(rows[number])) as image:
                return extremes(image)
        except BROKEN:
            return np.inf, -np.inf

    lows, highs = zip(*(found for _, found in _in_threads(look, chosen.tolist())), strict=True)
    return (min(lows), max(highs)) if min(lows) <= max(highs) else (0.0, 1.0)


def _in_threads(look: Callable[[int], T], numbers: Sequence[int]) -> list[tuple[int, T]]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(zip(numbers, pool.map(look, numbers), strict=True))
