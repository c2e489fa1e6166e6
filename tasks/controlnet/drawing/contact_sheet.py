"""Contact sheets: pictures side by side with captions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from tasks.images import to_rgb

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Box = tuple[int, int, int, int]  # left, top, right, bottom
GROUND, INK, FRAME = (255, 255, 255), (30, 30, 30), (200, 200, 200)
GAP = 8
LINES = 3


def grid(
    rows: Sequence[Sequence[Image.Image | None]],
    titles: Sequence[str] = (),
    captions: Sequence[str | Sequence[str]] = (),
    *,
    cell: int = 192,
    heading: str = "",
    lines: int = LINES,
) -> tuple[Image.Image, list[list[Box | None]]]:
    """Rows of pictures, each with its words under it.

    Args:
        rows: the pictures, any number in a row and of any size; None leaves a place empty.
        titles: one over each column.
        captions: one a row, over its whole width; or several, which share the width equally.
        cell: longest side that a picture is shown with, in pixels; smaller ones are enlarged.
        heading: a line over all.
        lines: the most lines of a caption; what goes on is cut.

    Returns:
        The sheet, RGB, and where each picture lies on it.
    """
    columns = max((len(row) for row in rows), default=0) or max(len(titles), 1)
    shown = [[None if picture is None else fitted(picture, cell) for picture in row] for row in rows]
    width = GAP + columns * (cell + GAP)
    font = default_font(max(11, cell // 14))
    boxes: list[list[Box | None]] = []
    blocks = [_text_band([heading], width, font, 1)] if heading else []
    if titles:
        blocks.append(_text_band(list(titles), width, font, 1, columns))
    for number, row in enumerate(shown):
        band, places = _picture_band(row, width, cell, GAP + sum(block.height for block in blocks))
        blocks.append(band)
        boxes.append(places)
        if number < len(captions):
            given = captions[number]
            blocks.append(_text_band([given] if isinstance(given, str) else list(given), width, font, lines))
    return _stack(blocks, width), boxes


def fitted(picture: Image.Image, cell: int) -> Image.Image:
    """The picture as RGB with its longer side `cell` pixels; small ones are enlarged with their pixels visible."""
    picture = to_rgb(picture)
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if size == picture.size:
        return picture
    return picture.resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)


@cache
def default_font(size: int) -> Font:
    """PIL's own scalable font; its small fixed one where PIL was built without FreeType."""
    try:
        return ImageFont.load_default(size)
    except ImportError:
        return ImageFont.load_default()


def wrapped(text: str, width: float, font: Font, lines: int = LINES) -> list[str]:
    """`text` in lines of at most `width` pixels; a word that is too long is broken, what exceeds `lines` is cut.

    Returns:
        At most `lines` lines; the last ends in "..." where text was cut.
    """
    found: list[str] = []
    rest = " ".join(text.split())
    while rest and len(found) < lines:
        line = _fitting(rest, width, font)
        found.append(line.rstrip())
        rest = rest[len(line) :].lstrip()
    if rest and found:
        last = found[-1]
        while last and font.getlength(last + "...") > width:
            last = last[:-1]
        found[-1] = last.rstrip() + "..."
    return found


def _fitting(text: str, width: float, font: Font) -> str:
    """The longest start of `text` that fits, up to a space where there is one; at least one character."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    if low == len(text) or text[low] == " ":
        return text[:low]
    space = text.rfind(" ", 0, low)
    return text[: space + 1] if space > 0 else text[:low]


def _text_band(texts: list[str], width: int, font: Font, lines: int, shares: int = 0) -> Image.Image:
    """Texts beside each other, each in an equal share of the width; empty where there are none."""
    share = (width - GAP) / (shares or max(len(texts), 1))
    blocks = [wrapped(text, share - GAP, font, lines) for text in texts]
    step = round(sum(font.getbbox("Ag")[1::2])) + 1
    band = Image.new("RGB", (width, max((len(block) for block in blocks), default=0) * step + GAP // 2), GROUND)
    draw = ImageDraw.Draw(band)
    for place, block in enumerate(blocks):
        for row, line in enumerate(block):
            draw.text((GAP + place * share, row * step), line, fill=INK, font=font)
    return band


def _picture_band(
    row: list[Image.Image | None], width: int, cell: int, top: int
) -> tuple[Image.Image, list[Box | None]]:
    """Pictures in the middles of their cells, and where they lie on a sheet that has the band at `top`."""
    height = max((picture.height for picture in row if picture is not None), default=0)
    band = Image.new("RGB", (width, height + GAP), GROUND)
    draw = ImageDraw.Draw(band)
    boxes: list[Box | None] = []
    for place, picture in enumerate(row):
        if picture is None:
            boxes.append(None)
            continue
        left, upper = GAP + place * (cell + GAP) + (cell - picture.width) // 2, (height - picture.height + GAP) // 2
        draw.rectangle((left - 1, upper - 1, left + picture.width, upper + picture.height), outline=FRAME)
        band.paste(picture, (left, upper))
        boxes.append((left, top + upper, left + picture.width, top + upper + picture.height))
    return band, boxes


def _stack(blocks: list[Image.Image], width: int) -> Image.Image:
    sheet = Image.new("RGB", (width, max(1, sum(block.height for block in blocks)) + 2 * GAP), GROUND)
    top = GAP
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return sheet
