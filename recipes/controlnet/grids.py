"""Grids of drawn pictures as PNG files that record their layout, so that report and card can cut single pictures out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from recipes.runs.trackers import PICTURES
from tasks.controlnet.drawing.contact_sheet import grid
from tasks.controlnet.drawing.png import read_facts, write_png

SMALLEST_CELL, LARGEST_CELL = 128, 320
CONDITION, TRUTH = "condition", "true picture"
Row = list[Image.Image | None]  # condition, pictures, true picture


def write_grid(path: Path, rows: list[Row], prompts: list[str], facts: dict[str, Any], *, truths: bool) -> None:
    """Writes a row a scene with its prompt below.

    Args:
        facts: what the pictures were drawn with, `step` among them where they are of a run.
        truths: whether each row ends in the true picture.

    Raises:
        OutOfDisk: no room for it.
    """
    count = max(len(row) for row in rows) - 1 - truths
    longest = max(max(picture.size) for row in rows for picture in row if picture is not None)
    sheet, boxes = grid(
        rows,
        [CONDITION, *(f"drawn {number + 1}" for number in range(count)), *([TRUTH] if truths else [])],
        prompts,
        cell=min(max(longest, SMALLEST_CELL), LARGEST_CELL),
        heading=f"step {facts['step']:,}" if "step" in facts else "",
    )
    layout = {
        "prompts": json.dumps(prompts, ensure_ascii=False),
        "truths": int(truths),
        "cells": json.dumps(boxes),
    }
    write_png(path, sheet, {**facts, **layout})


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
