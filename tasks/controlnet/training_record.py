"""Digests of the pairs that training saw, and which pairs of other data are known from it."""

from __future__ import annotations

import json

import numpy as np

from tasks.controlnet import condition_pixels
from tasks.controlnet.pairs import Pairs
from tasks.controlnet.sample.sample import SampleImages
from tasks.copies import picture_digests
from tasks.images import ImageStore
from tasks.seen import Seen, content_digests

PICTURES, CONDITIONS, PAIRS = "pictures", "conditions", "pairs"
# Of a record that is not complete: the training began from a ControlNet whose own isn't known.
INCOMPLETE = "incomplete"


def digests(pairs: Pairs) -> dict[str, np.ndarray]:
    """Kind -> uint64 [n]: of pictures, of conditions, and of both with the captions."""
    pictures, conditions = (picture_digests(_written(store), pairs.rows) for store in (pairs.images, pairs.conditions))
    captions = (json.dumps(given) for given in pairs.captions)
    both = ([digest.tobytes() for digest in column] for column in (pictures, conditions))
    return {PICTURES: pictures, CONDITIONS: conditions, PAIRS: content_digests(*both, captions)}


def _written(store: ImageStore) -> ImageStore:
    """The sample's pictures as `tool data sample` writes them, whatever the size in which they are drawn."""
    return (
        SampleImages(store.seed, store.numbers, condition=store.condition) if isinstance(store, SampleImages) else store
    )


def incomplete(seen: Seen) -> Seen:
    """The same as a record of a part of what was seen."""
    return seen.with_kind(INCOMPLETE, np.ones(1, np.uint64))


def seen_pairs(seen: Seen | None, pairs: Pairs) -> tuple[np.ndarray | None, int]:
    """(bool [n], whose picture or condition training saw; how many it saw whole, with their captions). None: not known.

    A blank condition, which says nothing, is none.
    """
    if seen is None:
        return None, 0
    own = digests(pairs)
    masks = {kind: seen.mask(kind, own[kind]) for kind in own}
    pictures, conditions, whole = (masks[kind] for kind in (PICTURES, CONDITIONS, PAIRS))
    if pictures is None or conditions is None or whole is None:
        return None, 0
    conditions[list(condition_pixels.blank(pairs, np.flatnonzero(conditions & ~pictures)))] = False
    either = pictures | conditions
    return (None, 0) if INCOMPLETE in seen.kinds and not either.any() else (either, int(whole.sum()))
