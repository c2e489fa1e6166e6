"""Grids of drawn pictures: written with what lies where, so that the report and the card can cut the pictures out again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recipes.trackers import PICTURES
from tasks.controlnet.png import read_facts, write_png
from tasks.controlnet.sheet import grid

SMALLEST_CELL, LARGEST_CELL = 128, 320
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

    No colour of the words or frames, all of them grey, is among these.
    """
    coloured = [
        [None if one is None else Image.new("RGB", one.size, (255, row, column)) for column, one in enumerate(ones)]
        for row, ones in enumerate(rows)
    ]
    sheet = np.asarray(grid(coloured, **layout))
    found: list[list[Box | None]] = []
    for row, ones in enumerate(rows):
        found.append([])
        for column, one in enumerate(ones):
            here = (sheet == (255, row, column)).all(axis=2)
            down, across = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
            box = None if one is None else (int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1)
            found[-1].append(box)
    return found


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
