"""The easy-VQA folder: {train,test}/questions.json with rows [question, answer, image id] beside {train,test}/images/."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

from tasks.errors import DataError
from tasks.readers.paths import listing, read_text, split_of
from tasks.readers.problems import Problems
from tasks.vqa.questions import Questions
from tasks.vqa.readers.columns import Layout, assemble
from tasks.vqa.readers.source import Options, Source, index_paths


def recognise(path: Path, options: Options) -> Source | None:
    """The folder with train/ and test/, or one of the two, or its questions.json."""
    if path.is_file():
        folders = [path.parent] if path.name == "questions.json" and _is_easy(path) else []
    elif _is_easy(path / "questions.json"):
        folders = [path]
    else:
        folders = [Path(entry.path) for entry in listing(path) if _is_easy(Path(entry.path) / "questions.json")]
    if not folders:
        return None
    splits = {split_of(folder.name) or folder.name: partial(_read, folder, options) for folder in folders}
    return Source(format="easy-VQA folder", name="easy-vqa", splits=splits)


def _is_easy(path: Path) -> bool:
    """Whether a file is a JSON list of lists, from its beginning."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return "".join(file.read(256).split())[:2] == "[["
    except OSError:
        return False


def _read(folder: Path, options: Options, problems: Problems) -> Questions:
    path = folder / "questions.json"
    try:
        rows = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); download it again") from error
    good, numbers = [], []
    for number, row in enumerate(rows, 1):
        if isinstance(row, list) and len(row) == 3:
            good.append(row)
            numbers.append(number)
        else:
            problems.add(f"{path}, row {number}", "is not [question, answer, image id]", "row that can't be read")
    image, images = index_paths(_names(folder, good), folder, options.image_root)
    return assemble(
        columns={"question": [row[0] for row in good], "answer": [row[1] for row in good]},
        roles=Layout("image", "question", "answer", None, None, None),
        image=image,
        images=images,
        source=str(path),
        rows=numbers,
        problems=problems,
    )


def _names(folder: Path, rows: list[list[object]]) -> list[str | None]:
    """Path of each row's image below `folder`; the extension is whichever is there, .png at first."""
    try:
        there = set(os.listdir(folder / "images"))
    except OSError:
        there = set()
    names: dict[object, str] = {}
    for _, _, image in rows:
        if image is not None and image not in names:
            endings = (f"{image}{ending}" for ending in (".png", ".jpg", ".jpeg"))
            names[image] = f"images/{next((name for name in endings if name in there), f'{image}.png')}"
    return [None if row[2] is None else names[row[2]] for row in rows]
