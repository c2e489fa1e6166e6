"""How well a drawn picture obeys its condition: the condition is made anew from the picture and compared.

Each score has a baseline, the same score against the conditions of other pictures: what a net reaches that ignores
its condition and draws pictures of the right sort.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tasks.controlnet.conditions import canny as canny_edges
from tasks.controlnet.conditions import palette as blocks
from tasks.errors import ConfigError, DataError
from tasks.stats import bootstrap_mean, paired_bootstrap
from tasks.words import counted

TOLERANCE = 2.0  # pixels by which an edge may be off
SHUFFLES = 8  # other conditions that each picture is compared with
# The share of the conditions that must look like a kind for it to be that of all.
MOST = 0.8
MIXED = 3  # changes of colour beside each other that still count as one border of two blocks
CIRCLE_SIDE = 128  # circles are compared at this longer side at most, in pixels
# What the builder writes beside its pairs.
BUILT = "build.json"


def evaluate(
    kind: str,
    conditions: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
    seed: int = 0,
    *,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The mean score of pictures against their conditions, beside that against the conditions of others.

    Args:
        conditions, pictures: [n], picture `i` drawn under condition `i`; a condition that has several pictures is
            given several times, and intervals then count it once.
        options: with which the conditions were made, as `built_with` gives them.

    Returns:
        score, low, high: the mean and its 95 % bootstrap interval over conditions; baseline, baseline_low,
        baseline_high: of shuffled pairs; difference, difference_low, difference_high, p: of the two, by picture (all
        None where there is a single condition); n.

    Raises:
        DataError: no pictures, or not as many as conditions.
    """
    if len(conditions) != len(pictures) or not len(pictures):
        raise DataError(f"agreement: {counted(len(pictures), 'picture')} for {counted(len(conditions), 'condition')}")
    options = options or {}
    own = np.array([score(kind, one, other, **options) for one, other in zip(conditions, pictures, strict=True)])
    groups = _groups(conditions)
    found: dict[str, Any] = {"kind": kind, "n": len(own)}
    found["score"], found["low"], found["high"] = bootstrap_mean(own, groups, seed=seed)
    others = _strangers(groups, seed)
    names = ("baseline", "baseline_low", "baseline_high", "difference", "difference_low", "difference_high", "p")
    if others is None:
        return found | dict.fromkeys(names)
    base = np.array(
        [np.mean([score(kind, conditions[j], pictures[i], **options) for j in row]) for i, row in enumerate(others)]
    )
    against = (*bootstrap_mean(base, groups, seed=seed), *paired_bootstrap(own, base, groups, seed=seed))
    return found | dict(zip(names, against, strict=True))


def score(kind: str, condition: Image.Image, picture: Image.Image, **options: Any) -> float:
    """How well one picture agrees with one condition, 0 to 1.

    Args:
        kind: "canny", "palette" or "circles".
        options: low, high (canny); colours, block (palette), else guessed from the condition.

    Raises:
        ConfigError: a kind that can't be recomputed.
    """
    if kind not in SCORES:
        raise ConfigError(f"agreement: no way to recompute {kind!r} from a picture; there are {', '.join(SCORES)}")
    if picture.size != condition.size:
        condition = condition.resize(picture.size, Image.Resampling.BILINEAR)
    return SCORES[kind](condition.convert("RGB"), picture.convert("RGB"), **options)


def canny_score(
    condition: Image.Image, picture: Image.Image, low: int | str = 100, high: int | str = 200, **_: Any
) -> float:
    """F1 of the picture's edges, found where one of the condition lies within `TOLERANCE` pixels, and the reverse.

    Two without any edge agree wholly, one without and one with not at all.
    """
    grey = np.asarray(condition.convert("L"))
    wanted = grey > max(32.0, 0.4 * float(grey.max()))  # lines of a condition made smaller are no longer white
    drawn = canny_edges.edges(picture, low, high) > 0
    if not wanted.any() or not drawn.any():
        return float(wanted.any() == drawn.any())
    precision, recall = float(_near(wanted)[drawn].mean()), float(_near(drawn)[wanted].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def palette_score(
    condition: Image.Image, picture: Image.Image, colours: int | None = None, block: int | None = None, **_: Any
) -> float:
    """1 - the mean distance of the colours in RGB, as a share of that of black and white."""
    # What the condition shows goes before what it was made with: it may have been resized since.
    block = block_size(condition) or block or max(1, min(condition.size) // 16)
    if colours is None:
        counted = condition.getcolors(256)
        colours = 16 if counted is None else len(counted)
    made = np.asarray(blocks.make(picture, min(colours, 256), block), np.float64)
    distance = np.linalg.norm(made - np.asarray(condition, np.float64), axis=2)
    return float(1 - distance.mean() / np.sqrt(3 * 255.0**2))


def circle_score(condition: Image.Image, picture: Image.Image, **_: Any) -> float:
    """Intersection over union of the condition's disc and what differs from the picture's ground."""
    if max(picture.size) > CIRCLE_SIDE:  # the ratio is that of any size
        scale = CIRCLE_SIDE / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        condition, picture = (one.resize(size, Image.Resampling.BOX) for one in (condition, picture))
    found = find_circle(condition)
    if found is None:
        return 0.0
    x, y, radius = found
    at_y, at_x = np.mgrid[: picture.height, : picture.width] + 0.5
    disc = np.hypot(at_x - x, at_y - y) <= radius
    shape = figure(picture)
    return float((disc & shape).sum() / max(1, (disc | shape).sum()))


SCORES: dict[str, Callable[..., float]] = {"canny": canny_score, "palette": palette_score, "circles": circle_score}


def find_circle(condition: Image.Image) -> tuple[float, float, float] | None:
    """Centre x, y and radius in pixels of the one circle whose outline is all that a condition shows, or None.

    Fitted by least squares (Kasa, 1976) to the pixels that differ from the ground, weighed by how much; so that the
    middle of the line is the circle, also where the frame cuts a part off.
    """
    line = _contrast(condition)
    top = line.max()
    if top < 64:
        return None
    weights = np.where(line > 0.25 * top, line, 0.0).astype(np.float64)
    rows, columns = np.nonzero(weights)
    if not 8 <= len(rows) <= 0.35 * weights.size:
        return None
    x, y, weight = columns + 0.5, rows + 0.5, np.sqrt(weights[rows, columns] / top)
    system = np.stack([x, y, np.ones_like(x)], axis=1)
    (a, b, c), *_ = np.linalg.lstsq(system * weight[:, None], (x**2 + y**2) * weight, rcond=None)
    square = c + a**2 / 4 + b**2 / 4
    if square <= 0:
        return None
    radius = float(np.sqrt(square))
    off = np.abs(np.hypot(x - a / 2, y - b / 2) - radius)
    # A line goes little to either side of its circle; anything else is not one circle.
    if np.quantile(off, 0.95) > 1 + 0.15 * radius or not 2 <= radius <= 2 * max(condition.size):
        return None
    return float(a / 2), float(b / 2), radius


def figure(picture: Image.Image) -> np.ndarray:
    """Where a picture differs from its ground, bool [height, width].

    The ground is the median colour of the border. What differs is told by Otsu's threshold on the distance from it,
    smoothed by a median of 3 pixels; nothing does where all distances are small.
    """
    distance = cv2.medianBlur(_contrast(picture), 3)
    if distance.max() < 24:
        return np.zeros(distance.shape, bool)
    limit, _ = cv2.threshold(distance, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return np.asarray(distance > max(12.0, float(limit)))


def _contrast(picture: Image.Image) -> np.ndarray:
    """The distance in RGB of each pixel from the median colour of the border, uint8 [height, width], 255 at most."""
    pixels = np.asarray(picture.convert("RGB"), np.float64)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    distance = np.linalg.norm(pixels - np.median(border, axis=0), axis=2)
    return np.rint(np.minimum(distance, 255)).astype(np.uint8)


def _near(edges: np.ndarray) -> np.ndarray:
    """Where an edge lies within the tolerance, bool [height, width]."""
    away = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= TOLERANCE)


def _groups(conditions: Sequence[Image.Image]) -> np.ndarray:
    """int64 [n]: conditions of the same pixels have the same number."""
    numbers: dict[bytes, int] = {}
    keys = [hashlib.sha256(repr(one.size).encode() + one.convert("RGB").tobytes()).digest() for one in conditions]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _strangers(groups: np.ndarray, seed: int) -> list[list[int]] | None:
    """For each picture the numbers of conditions that aren't its own, each condition as often as another.

    Returns:
        At most `SHUFFLES` numbers a picture; None where there is but one condition.
    """
    first = np.unique(groups, return_index=True)[1]
    if len(first) < 2:
        return None
    order = np.random.default_rng(seed).permutation(len(first))
    place = np.argsort(order)
    shifts = range(1, min(SHUFFLES, len(first) - 1) + 1)
    return [[int(first[order[(place[group] + shift) % len(first)]]) for shift in shifts] for group in groups]


def kind_of(conditions: Sequence[Image.Image], folder: str | Path | None = None) -> str | None:
    """Which of the kinds these conditions are, by what their folder says of itself or else by their pixels.

    Args:
        conditions: as they are stored: canny's lines aren't known again once they were resized.

    Returns:
        "canny", "palette", "circles", or None where they are of none of these kinds.
    """
    known = built_with(folder) if folder is not None else None
    if known is not None:
        return known[0] if known[0] in SCORES else None
    guesses = [_guess(condition.convert("RGB")) for condition in conditions]
    for kind in SCORES:
        if guesses and guesses.count(kind) >= MOST * len(guesses):
            return kind
    return None


def built_with(folder: str | Path) -> tuple[str, dict[str, Any]] | None:
    """The kind and the options that `tool data build controlnet` wrote into its folder or the one above a split's."""
    for place in (Path(folder), Path(folder).parent):
        path = place / BUILT
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return str(told["condition"]), dict(told["condition_options"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _guess(condition: Image.Image) -> str | None:
    pixels = np.asarray(condition, np.int16)
    grey = int(np.ptp(pixels, axis=2).max()) <= 8
    if grey and find_circle(condition) is not None:
        return "circles"
    if grey and _is_thin(pixels[..., 0]):
        return "canny"
    return "palette" if block_size(condition) is not None else None


def _is_thin(grey: np.ndarray) -> bool:
    """Whether white lines of one pixel on black are all there is.

    Lines that were resized are grey in part, and could as well have been thicker: those aren't told.
    """
    white = grey > 127
    between = (grey > 24) & (grey < 231)
    if not 0 < white.mean() < 0.5 or between.sum() > 0.1 * white.sum():
        return False
    thick = cv2.erode(white.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return bool(thick.sum() < 0.02 * white.sum())


def block_size(condition: Image.Image) -> int | None:
    """The side in pixels of the blocks of one colour that a condition consists of; None where it has none.

    Blocks as the builder makes them: equal ones from edge to edge. Between two, a few pixels may be mixed, as they are
    where the condition was resized.
    """
    pixels = np.asarray(condition.convert("RGB"), np.int16)
    sides = []
    for axis in (0, 1):
        length = pixels.shape[axis]
        changes = np.flatnonzero((np.diff(pixels, axis=axis) != 0).any(axis=(1 - axis, 2))) + 1
        if not len(changes):
            return None
        runs = np.split(changes, np.flatnonzero(np.diff(changes) > 1) + 1)
        if max(map(len, runs)) > MIXED:
            return None
        borders = np.array([run.mean() for run in runs])
        side = float(np.diff(np.concatenate([[0.0], borders, [float(length)]])).min())
        count = max(1, round(length / side))
        places = np.rint(borders * count / length)
        if side < 4 or np.abs(borders - places * length / count).max() > 1.5:
            return None
        sides.append(length // count)
    return min(sides)
