"""Sizes and modes of PNG and JPEG files from their first bytes, several times as fast as a general reader."""

from __future__ import annotations

import zlib
from typing import NamedTuple

# Bytes of a file that are looked at; a header longer than that is for the general reader.
START = 2048
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {(1, 0): "1", (8, 0): "L", (8, 2): "RGB", (8, 3): "P", (8, 6): "RGBA"}
_PNG_HARMLESS = (b"PLTE", b"pHYs", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"tIME", b"bKGD")
_JPEG_MODES = {1: "L", 3: "RGB"}
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_JPEG_SKIPPED = (0xC4, 0xDB, 0xDD, 0xE0, 0xFE)  # tables, restart interval, JFIF, comment


class Header(NamedTuple):
    """What an image's header says: its size once upright, PIL's mode, and whether it has transparency."""

    width: int
    height: int
    mode: str
    alpha: bool
    turned: bool


def quick(start: bytes) -> Header | None:
    """The header in a file's first `START` bytes; None for what a general reader must look at: other formats and
    modes, EXIF, XMP, and whatever is not as it should be.
    """
    try:
        if start.startswith(_PNG):
            return _png(start)
        if start.startswith(b"\xff\xd8"):
            return _jpeg(start)
    except IndexError:
        pass
    return None


def _png(start: bytes) -> Header | None:
    """Chunks up to the pixels: what may hold an orientation or transparency is not passed over."""
    if start[8:16] != b"\x00\x00\x00\rIHDR" or zlib.crc32(start[12:29]) != _number(start, 29, 4):
        return None
    mode = _PNG_MODES.get((start[24], start[25]))
    at = 33
    while start[at + 4 : at + 8] in _PNG_HARMLESS:
        at += 12 + _number(start, at, 4)
    width, height = _number(start, 16, 4), _number(start, 20, 4)
    if mode is None or start[at + 4 : at + 8] != b"IDAT" or not width or not height:
        return None
    return Header(width, height, mode, mode == "RGBA", False)


def _jpeg(start: bytes) -> Header | None:
    at = 2
    while start[at] == 0xFF:
        kind, length = start[at + 1], _number(start, at + 2, 2)
        if kind in _JPEG_FRAMES:
            height, width = _number(start, at + 5, 2), _number(start, at + 7, 2)
            mode = _JPEG_MODES.get(start[at + 9])
            sound = start[at + 4] == 8 and length == 8 + 3 * start[at + 9] and width and height
            return Header(width, height, mode, False, False) if mode and sound else None
        if kind not in _JPEG_SKIPPED or length < 2:
            return None
        at += 2 + length
    return None


def _number(start: bytes, at: int, count: int) -> int:
    """A big-endian number; IndexError past the end."""
    if at + count > len(start):
        raise IndexError(at)
    return int.from_bytes(start[at : at + count], "big")
