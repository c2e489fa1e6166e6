"""The easy-VQA folder: {train,test}/questions.json with rows [question, answer, image id] beside {train,test}/images/."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tasks.errors import DataError
from tasks.readers.paths import listing, read_text, split_of
from tasks.readers.problems import Problems
from tasks.vqa.questions import Questions
from tasks.vqa.readers.columns import answer_types, question_types
from tasks.vqa.readers.paths import Resolver
from tasks.vqa.readers.source import Load, Options, Source, index_paths


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

    def load(folder: Path) -> Load:
        return lambda problems: _read(folder, options, problems)

    splits = {split_of(folder.name) or folder.name: load(folder) for folder in folders}
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
    texts = [str(row[0] if row[0] is not None else "").strip() for row in good]
    answers = [[] if row[1] is None or not str(row[1]).strip() else [str(row[1])] for row in good]
    image, images = index_paths(_names(folder, good), Resolver(folder, options.image_root))
    return Questions(
        question_id=list(numbers),
        question=texts,
        image=image,
        answers=answers,
        weights=None,
        question_type=question_types(texts),
        answer_type=answer_types(answers),
        images=images,
        source=str(path),
        rows=numbers,
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
