"""Grids of drawn pictures: written with what lies where, so that the report and the card can cut the pictures out again."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recipes.runs.trackers import PICTURES
from tasks.controlnet.drawing.contact_sheet import grid
from tasks.controlnet.drawing.png import read_facts, write_png

SMALLEST_CELL, LARGEST_CELL = 128, 320
WHITE = 256 * 256 - 1
CONDITION, TRUTH = "condition", "true picture"
Row = list[Image.Image | None]  # condition, pictures, true picture
Box = tuple[int, int, int, int]  # left, top, right, bottom


def write_grid(path: Path, rows: list[Row], prompts: list[str], facts: dict[str, Any], *, truths: bool) -> None:
    """Writes a row a scene with its prompt below.

    Args:
        facts: what the pictures were drawn with, `step` among them where they are of a run.
        truths: whether each row ends in the true picture.

    Raises:
        OutOfDisk: no room for it.
    """
    count = max(len(row) for row in rows) - 1 - truths
    longest = max(one.width if one.width > one.height else one.height for row in rows for one in row if one is not None)
    layout: dict[str, Any] = {
        "titles": [CONDITION, *(f"drawn {number + 1}" for number in range(count)), *([TRUTH] if truths else [])],
        "captions": prompts,
        "cell": min(max(longest, SMALLEST_CELL), LARGEST_CELL),
        "heading": f"step {facts['step']:,}" if "step" in facts else "",
    }
    told = {
        **facts,
        "prompts": json.dumps(prompts, ensure_ascii=False),
        "truths": int(truths),
        "cells": json.dumps(places(rows, layout)),
    }
    write_png(path, grid(rows, **layout), told)


def places(rows: list[Row], layout: dict[str, Any]) -> list[list[Box | None]]:
    """Where each picture lies in `grid(rows, **layout)`: the same grid of plain colours, one a place, shows it.

    A colour is full red and the place's number in green and blue. The words and frames are grey, and so is none of these but
    white, the last.
    """
    numbers = itertools.count()
    placed = [[None if one is None else (next(numbers), one.size) for one in ones] for ones in rows]
    coloured = [
        [None if one is None else Image.new("RGB", one[1], (255, *divmod(one[0], 256))) for one in ones]
        for ones in placed
    ]
    sheet = np.asarray(grid(coloured, **layout)).astype(np.int32)
    number = np.where(sheet[..., 0] == 255, sheet[..., 1] * 256 + sheet[..., 2], WHITE)
    down, across = np.nonzero(number != WHITE)
    # Of all places in one pass: a look for each would take minutes for some hundred rows.
    first, last = np.full((2, WHITE), np.iinfo(np.int64).max), np.full((2, WHITE), -1)
    for axis, at in enumerate((across, down)):
        np.minimum.at(first[axis], number[down, across], at)
        np.maximum.at(last[axis], number[down, across], at)
    boxes = np.concatenate([first, last + 1]).T.tolist()
    return [[None if one is None else (*boxes[one[0]],) for one in ones] for ones in placed]


@dataclass
class Kept:
    """A grid that a run has kept, its pictures cut out again: rows of condition, pictures, true picture where `truths`."""

    step: int
    path: Path
    rows: list[Row]
    prompts: list[str]
    truths: bool


def read_kept(path: Path) -> Kept | None:
    """A grid from its file; None where it isn't whole."""
    facts = read_facts(path)
    try:
        with Image.open(path) as image:
            sheet = image.convert("RGB")
        rows = [[None if box is None else sheet.crop(box) for box in boxes] for boxes in json.loads(facts["cells"])]
        return Kept(int(facts["step"]), path, rows, json.loads(facts["prompts"]), facts["truths"] == "1")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kept_steps(run: Path) -> list[Path]:
    """The grids of a run folder, by step."""
    return sorted((run / PICTURES).glob("step-*.png"), key=lambda path: (len(path.name), path.name))
