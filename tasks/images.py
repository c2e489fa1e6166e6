"""Images of a split, decoded only when they are needed.

Nothing here keeps or writes pixels: a store holds paths (or rows of a memory-mapped dataset) and opens one image at
a time.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from tasks.deep_images import NUMPY, Range, as_grey, is_deep, open_array
from tasks.errors import DataError
from tasks.headers import START, Header, quick
from tasks.words import counted

# What PIL raises on a file that is missing, cut short, of another kind or absurdly large.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, Image.DecompressionBombError)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MEANINGS: dict[type[Exception], str] = {
    FileNotFoundError: "no such image file",
    PermissionError: "the image file may not be read (permission denied)",
    IsADirectoryError: "is a folder, not an image file",
    Image.UnidentifiedImageError: "is not an image file, whatever its name says",
}
_SIDEWAYS = (5, 6, 7, 8)


# Of a data set that is inspected, so many pictures are decoded.
INSPECTED = 2000


class ImageStore:
    """All images of a split. `open` and `where` are what a kind of store must give; the rest follows.

    Attributes:
        ground: what lies under transparent parts.
        value_range: black and white of pictures of more than eight bits; None: each picture's own range.
    """

    ground: tuple[int, int, int] = (255, 255, 255)
    value_range: Range | None = None

    def __init__(self) -> None:
        self._headers: dict[int, Header] = {}

    def __len__(self) -> int:
        raise NotImplementedError

    def open(self, i: int) -> Image.Image:
        """Image `i` with its header read and its pixels not yet; any of `BROKEN` may be raised."""
        raise NotImplementedError

    def where(self, i: int) -> str:
        """How to name image `i` to the user: its path, or the dataset and row that hold it."""
        raise NotImplementedError

    def content(self, i: int) -> bytes:
        """The encoded file of image `i`, as stored."""
        raise NotImplementedError

    def start(self, i: int) -> bytes:
        """The first bytes of `content`, as many as a header takes as a rule; b"" where they cost as much as all."""
        return b""

    def load(self, i: int) -> Image.Image:
        """Image `i` as RGB, turned upright.

        Raises:
            DataError: the file is missing, broken or cut short; the message names it.
        """
        with self._opened(i) as image:
            return to_rgb(image, self.ground, self.value_range)

    def size(self, i: int) -> tuple[int, int]:
        """(width, height) of image `i` as `load` will give it, from its header alone.

        Raises:
            DataError: as `load`.
        """
        header = self.header(i)
        return header.width, header.height

    def header(self, i: int) -> Header:
        """What the header of image `i` says; remembered.

        Raises:
            DataError: as `load`.
        """
        if i not in self._headers:
            with self._opened(i) as image:
                self._headers[i] = _header(image)
        return self._headers[i]

    @contextmanager
    def _opened(self, i: int) -> Iterator[Image.Image]:
        try:
            with self.open(i) as image:
                yield image
        except BROKEN as error:
            raise DataError(f"{self.where(i)}: {_reason(error)}; mend it, or leave it out with --skip-bad") from error

    def problem(self, i: int, decode: bool = False) -> str | None:
        """What is wrong with image `i`, seen in its header or, with `decode`, in all of it; None for a sound one."""
        try:
            plain = None if decode else quick(self.start(i))
            if plain is not None:
                self._headers[i] = plain
                return None
            with self.open(i) as image:
                self._headers[i] = _header(image)
                if decode:
                    image.load()
        except BROKEN as error:
            return _reason(error)
        return None

    def problems(self, indices: Sequence[int], decode: bool | None = False, threads: int = 8) -> dict[int, str]:
        """Checks the images at `indices` in a pool of threads; gives index -> what is wrong.

        Args:
            decode: read the pixels as well as the headers, which finds files cut short; None: those of INSPECTED at most, drawn
                at random.
        """
        if decode is None:
            drawn = np.random.default_rng(0).permutation(np.asarray(indices, np.int64))[:INSPECTED]
            return self.problems(indices, False, threads) | self.problems(drawn.tolist(), True, threads)
        with ThreadPoolExecutor(threads) as pool:
            size = max(1, min(256, len(indices) // threads))
            pieces = [indices[start : start + size] for start in range(0, len(indices), size)]
            found = pool.map(lambda piece: [(i, self.problem(i, decode)) for i in piece], pieces)
            return {int(i): reason for piece in found for i, reason in piece if reason is not None}


class FileImages(ImageStore):
    """Images in files of their own."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__()
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, i: int) -> Image.Image:
        path = self.paths[i]
        return open_array(path) if path.endswith(NUMPY) else Image.open(path)

    def where(self, i: int) -> str:
        return self.paths[i]

    def start(self, i: int) -> bytes:
        with open(self.paths[i], "rb", buffering=0) as file:
            return file.read(START)

    def content(self, i: int) -> bytes:
        return Path(self.paths[i]).read_bytes()


class EncodedImages(ImageStore):
    """Images inside a column of a `datasets.Dataset` whose Image feature does not decode: {"bytes", "path"} a row.

    Args:
        dataset: one with only the image column, memory-mapped.
        column: its name.
        rows: the row that holds each image (several questions on one image have one entry).
        source: how to name the dataset.
        folder: where relative paths start, for rows that hold a path and no bytes; or what says where a path leads.
    """

    def __init__(
        self, dataset: Any, column: str, rows: np.ndarray, source: str, folder: str | Callable[[str], str] = "."
    ) -> None:
        super().__init__()
        self.dataset, self.column, self.rows, self.source, self.folder = dataset, column, rows, source, folder

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, i: int) -> Image.Image:
        return Image.open(io.BytesIO(self.content(i)))

    def where(self, i: int) -> str:
        return f"{self.source}, row {int(self.rows[i]) + 1}"

    def blobs(self) -> Iterator[memoryview]:
        """The file of each row of the dataset, in order, mapped and not copied; empty for a row that holds a path."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for table in self.dataset.with_format("arrow").iter(batch_size=256):
            for cells in table.column(self.column).chunks:
                blobs = pc.struct_field(cells, "bytes") if pa.types.is_struct(cells.type) else cells
                yield from (memoryview(blob.as_buffer() or b"") for blob in blobs.cast(pa.large_binary()))

    def problems(self, indices: Sequence[int], decode: bool | None = False, threads: int = 8) -> dict[int, str]:
        """As in general; headers alone are read in one pass over the dataset, as single rows take long to reach."""
        if decode is not False or not len(indices):
            return super().problems(indices, decode, threads)
        wanted: dict[int, list[int]] = {}
        for i in indices:
            wanted.setdefault(int(self.rows[i]), []).append(i)
        for row, blob in enumerate(self.blobs()):
            header = quick(bytes(blob[:START])) if row in wanted else None
            if header is not None:
                self._headers.update(dict.fromkeys(wanted[row], header))
        return super().problems([i for i in indices if i not in self._headers], decode, threads)

    def content(self, i: int) -> bytes:
        cell = self.dataset[int(self.rows[i])][self.column]
        if isinstance(cell, bytes):
            return cell
        if cell is None or (cell.get("bytes") is None and not cell.get("path")):
            raise ValueError("holds no image")
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        path = cell["path"]
        path = os.path.join(self.folder, path) if isinstance(self.folder, str) else self.folder(path)
        return Path(path).read_bytes()


def deep_note(*parts: tuple[ImageStore, np.ndarray]) -> str:
    """A line on pictures of more than eight bits, of which each is read by its own range; empty where there are none. Those that
    can't be read are told elsewhere.

    Args:
        parts: stores, and which of their entries.
    """
    count = 0
    for store, entries in parts:
        for entry in np.unique(entries).tolist():
            with suppress(DataError):
                count += is_deep(store.header(entry).mode)
    if not count:
        return ""
    return f"{counted(count, 'picture')} of more than 8 bits, each read by its own range of values (own scale, if it fills 16 bits)"


def _reason(error: BaseException) -> str:
    """What an exception of PIL or of the system means for the file, in words."""
    for kind, meaning in _MEANINGS.items():
        if isinstance(error, kind):
            return meaning
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large for an image: {error}"
    detail = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
    return f"broken image ({detail})"


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, from the header alone; 1 where there is none that can be read."""
    if image.format == "TIFF":  # PIL turns a TIFF by itself while loading, and already gives its turned size
        return 1
    try:
        # Past PngImageFile.getexif, which decodes the whole file to look for a late chunk.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except (*BROKEN, KeyError, TypeError):
        return 1
    return value if value in _TURNS else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) once turned upright, without decoding."""
    header = _header(image)
    return header.width, header.height


def _header(image: Image.Image) -> Header:
    turn = orientation(image)
    width, height = image.size
    if turn in _SIDEWAYS:
        width, height = height, width
    return Header(width, height, image.mode, image.has_transparency_data, turn != 1)


def to_rgb(
    image: Image.Image, ground: tuple[int, int, int] = ImageStore.ground, value_range: Range | None = None
) -> Image.Image:
    """Any PIL image as RGB, turned upright; transparent parts show the ground, white as a rule.

    Of more than eight bits (`I;16`, `I`, `F`) the values from `value_range`, else from the picture's own range
    (`tasks.deep_images.own_range`), become black to white.
    """
    turn = _TURNS.get(orientation(image))
    if is_deep(image.mode):
        image = as_grey(image, value_range)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        under = Image.new("RGBA", layer.size, (*ground, 255))
        under.alpha_composite(layer)
        image = under
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    rgb = rgb if turn is None else rgb.transpose(turn)
    rgb.load()
    return rgb
