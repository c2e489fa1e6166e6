"""Statistics and problems of a data set, for `tool data inspect controlnet`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from tasks.controlnet import caption_lengths, condition_pixels
from tasks.controlnet.checks import check, notes
from tasks.controlnet.leaks import without_leaks
from tasks.controlnet.readers import Options, Read, recognise
from tasks.copies import same_images
from tasks.errors import DataError
from tasks.headers import Header
from tasks.readers.choice import inspected
from tasks.readers.holdout import subset
from tasks.readers.problems import Problems

# Values that are listed.
LISTED = 10


def inspect(options: Options, tokenizer: Any = None) -> dict[str, Any]:
    """Reads every split (or those named) and describes it; what is wrong is listed, not raised.

    Args:
        options: with `skip_bad` the pixels of every file are read, else those of a part and the headers of all; with `skip_blank`
            those of every condition.
        tokenizer: of the base; without one, captions are counted in words.

    Returns:
        format, name, splits {name: pairs, pictures, ...}, leaks (what the splits share), notes, problems (up to ten, with file and
        row) and problem_count.

    Raises:
        DataError: the data can't be read at all.
    """
    source = recognise(options)
    problems = Problems(noun="pair")
    reads, checked = {}, {}
    for name in inspected(source, options):
        read = reads[name] = subset(source.splits[name](problems), options.max_samples, options.seed)
        checked[name] = check(read, problems, options.resolution, options.skip_bad or None)
    # That of training first, to which the others are compared.
    sound = [checked[name] for name in sorted(checked, key=lambda name: name != "train")]
    value_range = condition_pixels.set_range(
        [read for read in sound if len(read)], options.condition_range, options.seed
    )
    described, cuts = {}, []
    for name, read in reads.items():
        readable = _readable(read)
        blank = _blank(readable, problems, options)
        cut = caption_lengths.of_splits([readable.pairs], tokenizer)
        cuts.append(f"{readable.pairs.source}: {caption_lengths.line(cut)}" if cut.cut else "")
        described[name] = {
            **describe(readable, options.resolution),
            "cut_captions": dataclasses.asdict(cut),
            "blank_conditions": blank,
        }
    lines = [line for read in sound for line in notes(read)] + condition_pixels.range_notes(sound, value_range)
    lines += filter(None, cuts)
    return {
        "format": source.format,
        "name": source.name,
        "splits": described,
        "leaks": [line for other in sound[1:] for line in without_leaks(sound[0], other, drop=False)[1]],
        "notes": lines,
        "problems": problems.first_messages(),
        "problem_count": problems.total,
    }


def describe(read: Read, resolution: int | None = None) -> dict[str, Any]:
    """Counts of one split whose headers can be read; sizes in pixels, captions in words."""
    pairs = read.pairs
    pictures = [pairs.images.header(entry) for entry in pairs.rows.tolist()]
    conditions = [pairs.conditions.header(entry) for entry in pairs.rows.tolist()]
    picture = same_images([(pairs.images, pairs.rows)]).tolist()
    condition = same_images([(pairs.conditions, pairs.rows)]).tolist()
    short = [min(header.width, header.height) for header in pictures]
    return {
        "pairs": len(pairs),
        "different_pictures": len(set(picture)),
        "different_conditions": len(set(condition)),
        "repeated_pairs": len(pairs) - len(set(zip(picture, condition, map(tuple, pairs.captions), strict=True))),
        "shorter_side": _spread(short),
        "longer_side": _spread([max(header.width, header.height) for header in pictures]),
        "sizes": _top([f"{header.width}x{header.height}" for header in pictures]),
        "aspect_ratios": _top([f"{header.width / header.height:.2f}" for header in pictures]),
        **({"below_resolution": sum(side < resolution for side in short)} if resolution is not None else {}),
        "pictures": _modes(pictures),
        "conditions": _modes(conditions),
        "conditions_of_another_size": sum(
            (p.width, p.height) != (c.width, c.height) for p, c in zip(pictures, conditions, strict=True)
        ),
        "captions": _captions(pairs.captions),
    }


def _readable(read: Read) -> Read:
    """The pairs whose two files can be opened."""

    def opens(entry: int) -> bool:
        try:
            read.pairs.images.header(entry)
            read.pairs.conditions.header(entry)
        except DataError:
            return False
        return True

    return read.take(np.flatnonzero([opens(entry) for entry in read.pairs.rows.tolist()]))


def _modes(headers: list[Header]) -> dict[str, Any]:
    """How files are stored; all become RGB."""
    return {
        "modes": _top([header.mode for header in headers]),
        "with_alpha": sum(header.alpha for header in headers),
        "turned_by_exif": sum(header.turned for header in headers),
    }


def _blank(read: Read, problems: Problems, options: Options) -> dict[str, Any]:
    """Conditions that say nothing, in a random part of them; reported."""
    count = None if options.skip_blank else condition_pixels.DECODED
    numbers = condition_pixels.looked_at(read, options.seed, count)
    reasons = condition_pixels.blank(read.pairs, numbers)
    for number, reason in reasons.items():
        problems.add(read.where(number), f"{reason}; --skip-blank leaves it out", "blank condition")
    first = [read.where(number) for number in list(reasons)[:3]]
    return {"looked_at": len(numbers), "found": len(reasons), "first": first}


def _captions(captions: list[list[str]]) -> dict[str, Any]:
    texts = [text for given in captions for text in given]
    repeated = Counter(texts)
    return {
        "captions": len(texts),
        "pairs_without": sum(not given for given in captions),
        "per_pair": {str(count): times for count, times in sorted(Counter(map(len, captions)).items())},
        "words": _spread([len(text.split()) for text in texts]),
        "different": len(repeated),
        "most_repeated": {text: times for text, times in repeated.most_common(3) if times > 1},
    }


def _spread(values: list[int]) -> dict[str, int]:
    if not values:
        return {}
    return {"min": min(values), "median": int(np.median(values)), "max": max(values)}


def _top(values: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))[:LISTED])
