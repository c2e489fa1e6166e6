"""Checks before anything is paid for: pairs that can't be used, each named with file and row."""

from __future__ import annotations

import numpy as np

from tasks.controlnet.holdout import same_pictures, take
from tasks.controlnet.readers.source import Read
from tasks.errors import DataError
from tasks.headers import Header
from tasks.images import FileImages, ImageStore
from tasks.readers.problems import Problems


def check(read: Read, problems: Problems, resolution: int | None, decode: bool) -> Read:
    """Reports pairs with a missing or broken file, of two shapes, or smaller than the resolution.

    Args:
        resolution: what the shorter side of each picture must have; None: any.
        decode: read the pixels as well as the headers; finds files cut short.

    Returns:
        the pairs without these (all problems are raised later unless they may be skipped).
    """
    pairs = read.pairs
    entries = pairs.rows.tolist()
    broken = [(store, store.problems(entries, decode=decode)) for store in (pairs.images, pairs.conditions)]
    keep = np.ones(len(pairs), bool)
    for i, entry in enumerate(entries):
        wrong = _broken(read, i, entry, broken) or _unfit(read, entry, resolution)
        if wrong is not None:
            keep[i] = False
            problems.add(read.where(i), *wrong)
    return take(read, np.flatnonzero(keep))


def _broken(read: Read, i: int, entry: int, broken: list[tuple[ImageStore, dict[int, str]]]) -> tuple[str, str] | None:
    for what, (store, reasons) in zip(("picture", "condition"), broken, strict=True):
        if entry in reasons:
            file = store.where(entry)
            named = reasons[entry] if file == read.where(i) else f"{file}: {reasons[entry]}"
            return named, f"{what} missing or broken"
    return None


def _unfit(read: Read, entry: int, resolution: int | None) -> tuple[str, str] | None:
    images, conditions = read.pairs.images, read.pairs.conditions
    if isinstance(images, FileImages) and images.where(entry) == conditions.where(entry):
        return f"its condition is the picture itself, {images.where(entry)}", "picture as its own condition"
    image, condition = images.header(entry), conditions.header(entry)
    if not same_shape(image, condition):
        sizes = f"the picture is {image.width}x{image.height}, its condition {condition.width}x{condition.height}"
        return f"{sizes}; cut or resize one to the other's shape", "condition of another shape"
    if resolution is not None and min(image.width, image.height) < resolution:
        small = f"the picture is {image.width}x{image.height}, below the resolution of {resolution}"
        return f"{small}; lower --resolution", "picture below the resolution"
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
    for what, headers, ground in (("pictures", images, "white"), ("conditions", conditions, "black")):
        count = sum(header.alpha for header in headers)
        if count:
            lines.append(f"{pairs.source}: {count:,} {what} with an alpha channel, laid on {ground}")
    smaller = sum(c.width < i.width for c, i in zip(conditions, images, strict=True))
    if smaller:
        lines.append(f"{pairs.source}: {smaller:,} conditions are smaller than their pictures and are enlarged")
    return lines


def shared_note(train: Read, evaluation: Read) -> list[str]:
    """A line where pictures of the evaluation are trained on too."""
    group = same_pictures(train, evaluation)
    cut = len(train.pairs)
    count = int(np.isin(group[cut:], group[:cut]).sum())
    if not count:
        return []
    return [f"{evaluation.pairs.source}: {count:,} of {len(evaluation.pairs):,} pictures are in the training split too"]


def check_some(read: Read) -> Read:
    """
    Raises:
        DataError: no pair is left.
    """
    if not len(read.pairs):
        raise DataError(f"{read.pairs.source}: no pairs left; each needs a picture and its condition")
    return read
