"""Captions of pictures: from a table beside them, a file, their folders' names, text files, or a captioning model."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.controlnet.captions import captions
from tasks.errors import ConfigError, DataError
from tasks.readers.paths import missing_path, read_text

if TYPE_CHECKING:
    from PIL import Image

WAYS = ("none", "class", "column", "txt", "blip")
BLIP = "Salesforce/blip-image-captioning-base"
PLACE = "{caption}"
TABLES = ("metadata.jsonl", "metadata.csv")
NAMES = ("file_name", "filename", "file", "image", "path")
TEXTS = ("text", "caption", "captions", "prompt")
MOST_TOKENS = 40

# The captions of a picture, from its path below the folder of pictures; an empty list where there is none.
Reader = Callable[[str], list[str]]


def reader(way: str, images: Path, column: str | None = None, template: str | None = None) -> Reader:
    """How captions are found.

    Args:
        way: one of `WAYS` but "blip", or a file (JSON lines, CSV, TSV) of names and texts.
        images: the folder of pictures.
        column: the table's column; None: the first of `TEXTS`.
        template: what each caption is put into.

    Raises:
        ConfigError: no such way.
        DataError: the table or the file is missing or broken.
    """
    if way == "none":
        return lambda relative: [""]
    if way == "txt":
        found: Reader = lambda relative: _beside(images / relative)  # noqa: E731
    elif way == "class":
        found = _by_class(images)
    elif way == "column":
        table = find_table(images)
        if table is None:
            raise DataError(
                f"--caption column: no {' or '.join(TABLES)} in {images} or above it; give the file itself: --caption FILE"
            )
        found = _by_table(table, images, column)
    else:
        path = Path(way).expanduser()
        if not path.is_file():
            if path.suffix.lower() in (".jsonl", ".ndjson", ".csv", ".tsv"):
                raise DataError(str(missing_path(way)).replace("--data", "--caption"))
            raise ConfigError(f"--caption {way}: neither a file nor one of {', '.join(WAYS)}")
        found = _by_table(path, images, column)
    return lambda relative: [filled(one, template) for one in map(_clean, found(relative)) if one]


def filled(caption: str, template: str | None) -> str:
    """The caption in its template."""
    return template.replace(PLACE, caption) if template else caption


def load_blip(model: str = BLIP, token: str | None = None, device: str = "cpu") -> Callable[[Sequence[Any]], list[str]]:
    """A function of a batch of RGB pictures that gives their captions, by the most probable words.

    Raises:
        ConfigError: the model is no BLIP.
        ToolError: it can't be loaded.
    """
    import torch
    import transformers

    from tasks.controlnet.conditions.networks import open_network

    processor, network = open_network(
        transformers.BlipForConditionalGeneration,
        model,
        "--caption-model",
        "captioning as BLIP does",
        token,
        device,
        transformers.BlipProcessor,
    )

    @torch.inference_mode()
    def run(pictures: Sequence[Image.Image]) -> list[str]:
        inputs = processor(images=list(pictures), return_tensors="pt").to(device)
        ids = network.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False, num_beams=1)
        return [_clean(text) for text in processor.batch_decode(ids, skip_special_tokens=True)]

    return run


def find_table(images: Path) -> Path | None:
    """The table beside the pictures, in their folder or in the one above it; None where there is none."""
    paths = (folder / name for folder in (images, images.absolute().parent) for name in TABLES)
    return next((path for path in paths if path.is_file()), None)


def read_table(path: Path) -> list[dict[str, Any]]:
    """Rows of JSON lines, CSV or TSV, by suffix.

    Raises:
        DataError: naming file and row.
    """
    text = read_text(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return list(
            csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        )
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise DataError(f"--caption {path}: captions are read from JSON lines (.jsonl), CSV or TSV")
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, row {number}: not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: must be an object with file_name and text")
        rows.append(row)
    return rows


def _by_table(path: Path, images: Path, column: str | None) -> Reader:
    rows = read_table(path)
    known = list(rows[0]) if rows else []
    name = next((one for one in NAMES if one in known), None)
    text = column or next((one for one in TEXTS if one in known), None)
    if name is None:
        raise DataError(f"{path}: no column with the pictures' names; it needs file_name, and has {', '.join(known)}")
    if text is None or text not in known:
        raise ConfigError(
            f"--caption-column: {f'{path} has no column {text!r}' if text else 'give the column of the captions'}; "
            f"there are {', '.join(known)}"
        )
    table: dict[str, list[str]] = {}
    for number, row in enumerate(rows, 1):
        texts = _as_list(row.get(text), f"{path}, row {number}")
        for place in dict.fromkeys(_absolute(folder / str(row.get(name))) for folder in (path.parent, images)):
            table.setdefault(place, []).extend(texts)
    return lambda relative: table.get(_absolute(images / relative), [])


def _as_list(value: Any, where: str) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise DataError(f"{where}: the caption must be a text or a list of texts, found {value!r:.60}")
    try:
        return captions(value)
    except ValueError as error:
        raise DataError(f"{where}: the caption is {error}") from None


def _by_class(images: Path) -> Reader:
    """The column `class` of the table beside the pictures, else the folder that a picture lies in."""
    path = find_table(images)
    if path is not None and any("class" in row for row in read_table(path)[:1]):
        inner = _by_table(path, images, "class")
    else:
        inner = lambda relative: list(Path(relative).parts[-2:-1])  # noqa: E731
    return lambda relative: [one.replace("_", " ") for one in inner(relative)]


def _beside(picture: Path) -> list[str]:
    """Lines of the text file that is named as the picture: a caption each."""
    path = picture.with_suffix(".txt")
    return read_text(path).splitlines() if path.is_file() else []


def _clean(caption: str) -> str:
    return " ".join(caption.split())


def _absolute(path: Path) -> str:
    return os.path.normpath(os.path.abspath(path))
