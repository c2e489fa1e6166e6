"""Data checks before training: pairs that can't be used, each named with file and row."""

from __future__ import annotations

import numpy as np

from tasks.controlnet import condition_pixels
from tasks.controlnet.readers.source import Read
from tasks.deep_images import is_deep
from tasks.errors import DataError
from tasks.headers import Header
from tasks.images import FileImages, ImageStore
from tasks.readers.problems import Problems
from tasks.words import are, counted

# So many pictures below the resolution are named one by one.
MOST_LISTED = 5
# Modes whose way to RGB needs no word; alpha has its own.
PLAIN_MODES = ("RGB", "L", "RGBA", "LA")


def check(read: Read, problems: Problems, resolution: int | None, decode: bool | None) -> Read:
    """Reports pairs with a missing or broken file, of two shapes, or smaller than the resolution.

    Args:
        resolution: what the shorter side of each picture must have; None: any.
        decode: as `ImageStore.problems`.

    Returns:
        the pairs without these (all problems are raised later unless they may be skipped).
    """
    pairs = read.pairs
    entries = pairs.rows.tolist()
    broken = [(store, store.problems(entries, decode=decode)) for store in (pairs.images, pairs.conditions)]
    keep = np.ones(len(pairs), bool)
    small = []
    for i, entry in enumerate(entries):
        wrong = _broken(read, i, entry, broken) or _unfit(read, entry)
        if wrong is None and resolution is not None and min(pairs.images.size(entry)) < resolution:
            small.append(i)
        elif wrong is not None:
            keep[i] = False
            problems.add(read.where(i), *wrong)
    if resolution is not None:
        _too_small(read, small, resolution, problems)
    keep[small] = False
    return read.take(np.flatnonzero(keep))


def _too_small(read: Read, small: list[int], resolution: int, problems: Problems) -> None:
    """Reports each, but many at once, as they would hide all other problems."""
    listed = small if problems.skip or len(small) <= MOST_LISTED else small[:1]
    for i in listed:
        width, height = read.pairs.images.size(int(read.pairs.rows[i]))
        what = f"the picture is {width}x{height}, below the resolution of {resolution}"
        more = (
            f", and so are {len(small) - 1:,} of the other {len(read.pairs) - 1:,}" if len(listed) < len(small) else ""
        )
        problems.add(read.where(i), f"{what}{more}; lower --resolution", "picture below the resolution")


def _broken(read: Read, i: int, entry: int, broken: list[tuple[ImageStore, dict[int, str]]]) -> tuple[str, str] | None:
    for what, (store, reasons) in zip(("picture", "condition"), broken, strict=True):
        if entry in reasons:
            file = store.where(entry)
            named = reasons[entry] if file == read.where(i) else f"{file}: {reasons[entry]}"
            return named, f"{what} missing or broken"
    return None


def _unfit(read: Read, entry: int) -> tuple[str, str] | None:
    images, conditions = read.pairs.images, read.pairs.conditions
    if isinstance(images, FileImages) and images.where(entry) == conditions.where(entry):
        return f"its condition is the picture itself, {images.where(entry)}", "picture as its own condition"
    image, condition = images.header(entry), conditions.header(entry)
    if not same_shape(image, condition):
        sizes = f"the picture is {image.width}x{image.height}, its condition {condition.width}x{condition.height}"
        return f"{sizes}; cut or resize one to the other's shape", "condition of another shape"
    return None


def same_shape(image: Header, condition: Header) -> bool:
    """Whether the two have one aspect ratio, to a pixel of the smaller one."""
    slack = max(image.width, image.height, condition.width, condition.height)
    return abs(condition.width * image.height - condition.height * image.width) <= slack


def notes(read: Read) -> list[str]:
    """What will be done to pairs that is no reason to stop, a line each."""
    pairs, lines = read.pairs, []
    if not read.captioned:
        lines.append(f"{pairs.source}: no captions; every pair trains with the empty prompt")
    images = [pairs.images.header(entry) for entry in pairs.rows.tolist()]
    conditions = [pairs.conditions.header(entry) for entry in pairs.rows.tolist()]
    for what, headers, ground in (("picture", images, "white"), ("condition", conditions, "black")):
        count = sum(header.alpha for header in headers)
        if count:
            lines.append(f"{pairs.source}: {counted(count, what)} with an alpha channel, laid on {ground}")
    odd = [header.mode for header in conditions if header.mode not in PLAIN_MODES and not is_deep(header.mode)]
    if odd:
        lines.append(
            f"{pairs.source}: {counted(len(odd), 'condition')} of mode {', '.join(sorted(set(odd)))}, made RGB"
        )
    smaller = sum(c.width < i.width for c, i in zip(conditions, images, strict=True))
    if smaller:
        lines.append(
            f"{pairs.source}: {counted(smaller, 'condition')} {are(smaller)} smaller than the picture and enlarged"
        )
    return lines


def without_blank(read: Read, problems: Problems) -> Read:
    """The pairs whose conditions say something; the others are counted as left out."""
    blank = condition_pixels.blank(read.pairs, condition_pixels.looked_at(read, 0, None))
    for number in blank:
        problems.leave_out(read.where(number), "blank condition")
    return read.take(np.flatnonzero(~np.isin(np.arange(len(read)), sorted(blank))))


def check_some(read: Read, problems: Problems) -> Read:
    """
    Raises:
        DataError: no pair is left; says what became of them.
    """
    if not len(read.pairs):
        why = "; ".join(problems.summary()) or "each needs a picture and its condition"
        raise DataError(f"{read.pairs.source}: no pairs left; {why}")
    return read
