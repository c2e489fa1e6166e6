"""Finds the picture of each COCO image id: which folder, and which way of naming its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from tasks.errors import DataError

# How many ids are tried to recognise a folder, and how many folders are looked into.
PROBES = 50
MAX_FOLDERS = 400
_ENDINGS = (".jpg", ".png", ".jpeg")


def locate(ids: list[Any], subtype: str, kind: str, questions: Path, roots: list[Path]) -> list[str]:
    """The path of each image; for one that is nowhere, the path where it should be.

    Args:
        ids: distinct image ids, numbers as a rule.
        subtype: `data_subtype` of the questions JSON ("train2014", "test-dev2015", ...).
        kind: its `data_type` ("mscoco", "abstract_v002", ...).
        questions: their file, for messages.
        roots: where to look, the best place first.

    Raises:
        DataError: no folder under the roots holds a single one of the first ids.
    """
    if not ids:
        return []
    patterns = _patterns(subtype, kind)
    places = _places(ids[:PROBES], roots, subtype, patterns)
    if not places:
        looked = ", ".join(dict.fromkeys(str(root) for root in roots))
        raise DataError(
            f"{questions}: found none of its images, such as {subtype}/{_name(patterns[0], ids[0])}, under {looked}; "
            "say where they are with --image-root"
        )
    names = {folder: set(os.listdir(folder)) for folder, _ in places}
    return [_path(image, places, names) for image in ids]


def _path(image: Any, places: list[tuple[str, str]], names: dict[str, set[str]]) -> str:
    for folder, pattern in places:
        name = _name(pattern, image)
        if name in names[folder]:
            return os.path.join(folder, name)
    return os.path.join(places[0][0], _name(places[0][1], image))


def _patterns(subtype: str, kind: str) -> list[str]:
    """Ways to name a file, the most particular first; `test-dev2015` asks about the images of `test2015`."""
    subtype = subtype.replace("-dev", "").replace("-std", "")
    heads = ["COCO"] if kind == "mscoco" else [kind, "COCO"]
    patterns = [f"{head}_{subtype}_{{id:0>12}}" for head in heads if subtype] + ["{id:0>12}", "{id}"]
    endings = _ENDINGS if kind == "mscoco" else (".png", ".jpg", ".jpeg")
    return [pattern + ending for pattern in patterns for ending in endings]


def _name(pattern: str, image: Any) -> str:
    return pattern.format(id=str(image))


def _places(ids: list[Any], roots: list[Path], subtype: str, patterns: list[str]) -> list[tuple[str, str]]:
    """(folder, pattern) pairs that hold some of `ids`, best first; the search ends at one that holds them all."""
    candidates: list[tuple[int, str, str]] = []
    seen: set[str] = set()
    for folder in chain.from_iterable(_folders(root, subtype) for root in roots):
        if folder in seen or len(seen) >= MAX_FOLDERS:
            continue
        seen.add(folder)
        hits, pattern = max(
            ((sum(os.path.exists(os.path.join(folder, _name(p, i))) for i in ids), p) for p in patterns),
            key=lambda pair: pair[0],
        )
        if hits:
            candidates.append((hits, folder, pattern))
        if hits == len(ids):
            break
    return [(folder, pattern) for _, folder, pattern in sorted(candidates, key=lambda place: -place[0])]


def _folders(root: Path, subtype: str) -> Iterator[str]:
    """`root` and the folders three levels below it, those named after the subtype first in each level."""
    level = [str(root)]
    plain = subtype.replace("-dev", "").replace("-std", "")
    for depth in range(4):
        yield from level
        if depth == 3:
            return
        level = [path for folder in level for path in _subfolders(folder)][:MAX_FOLDERS]
        level.sort(key=lambda path: (plain not in os.path.basename(path), path))


def _subfolders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []
