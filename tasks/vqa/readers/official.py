"""The official VQA layout: questions JSON, annotations JSON and a folder of images in COCO naming.

Format as published with VQA v2 (https://visualqa.org/vqa_v1_download.html, /download.html); v1 and the abstract
scenes differ in names only.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.images import FileImages
from tasks.readers.paths import files_below, read_text, split_beside
from tasks.readers.problems import Problems
from tasks.vqa.questions import Questions
from tasks.vqa.readers.answers import UNREADABLE, Answers
from tasks.vqa.readers.coco import locate
from tasks.vqa.readers.columns import answer_types, given, question_types
from tasks.vqa.readers.source import WHOLE, Options, Source, grouped

_FORMS = re.compile(r"openended|multiplechoice|questions|annotations|[_\-. ]+")


def recognise(path: Path, options: Options) -> Source | None:
    """A questions JSON (or its annotations JSON), or a folder with such files in it or two levels below."""
    if path.is_file():
        if not (_is(path, "questions") or _is(path, "annotations")):
            return None
        candidates = [path, *_beside(path)]
        chosen = [file for file in candidates if _is(file, "questions") and _key(file) == _key(path)][:1]
        if not chosen:
            raise DataError(f"{path}: holds annotations, but no questions JSON of the same name lies beside it")
    else:
        candidates = [file for file in files_below(path, 2) if _is_named(file)]
        chosen = [file for file in candidates if _is(file, "questions")]
    annotations = {_key(file): file for file in reversed(candidates) if _is(file, "annotations")}
    if not chosen:
        return None
    return _source(path, _one_a_split(path, chosen), annotations, options)


def _beside(path: Path) -> list[Path]:
    """Other files named as questions or annotations, in the same folder or one beside it (Questions/, Annotations/)."""
    folders = [path.parent]
    with suppress(OSError):
        folders += sorted(
            f for f in path.parent.parent.iterdir() if "annot" in f.name.lower() or "quest" in f.name.lower()
        )
    files = [file for folder in folders if folder.is_dir() for file in files_below(folder, 0)]
    return [file for file in dict.fromkeys(files) if file != path and _is_named(file)]


def _source(path: Path, chosen: dict[str, Path], annotations: dict[str, Path], options: Options) -> Source:
    roots = [Path(options.image_root).expanduser()] if options.image_root else []
    roots += [path.parent, path.parent.parent] if path.is_file() else [path]
    return Source(
        format="official VQA JSON",
        name=path.parent.name if path.is_file() else path.resolve().name,
        splits={name: partial(_read, file, annotations.get(_key(file)), roots) for name, file in chosen.items()},
        unlabelled=frozenset(name for name, file in chosen.items() if _key(file) not in annotations),
    )


def _one_a_split(path: Path, files: list[Path]) -> dict[str, Path]:
    """Split name -> questions file. Open-ended questions go before the multiple-choice form of the same."""
    chosen: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: ("multiplechoice" in file.name.lower(), str(file))):
        name = split_beside(path, file) or WHOLE
        if name not in chosen:
            chosen[name] = file
        elif _key(file) != _key(chosen[name]):
            raise DataError(f"{path}: both {chosen[name]} and {file} are the split {name}; give one of them as --data")
    return chosen


def _is_named(file: Path) -> bool:
    return file.name.lower().endswith(("questions.json", "annotations.json"))


def _key(file: Path) -> str:
    """What a questions file and its annotations have in common: "v2_OpenEnded_mscoco_train2014_questions" ->
    "v2mscocotrain2014".
    """
    return _FORMS.sub("", file.stem.lower())


def _is(file: Path, field: str) -> bool:
    """Whether a JSON file is an object that has `field` at its top, without reading all of it.

    The field may come last, after hundreds of megabytes, so the name counts where the beginning doesn't tell.
    """
    if file.suffix.lower() != ".json":
        return False
    try:
        with open(file, encoding="utf-8-sig", errors="replace") as handle:
            start = handle.read(1 << 16)
    except OSError:
        return file.name.lower().endswith(f"{field}.json")
    if start.lstrip()[:1] != "{":
        return False
    return re.search(rf'"{field}"\s*:\s*\[', start) is not None or file.name.lower().endswith(f"{field}.json")


def _read(path: Path, annotated: Path | None, roots: list[Path], problems: Problems) -> Questions:
    """Puts questions and annotations of the same question_id together."""
    document = _parse(path, "questions")
    entries: list[dict[str, Any]] = document["questions"]
    good, rows = [], []
    for row, entry in enumerate(entries, 1):
        cells = entry if isinstance(entry, dict) else {}
        missing = [key for key in ("question_id", "image_id", "question") if cells.get(key) is None]
        if missing:
            problems.add(f"{path}, row {row}", f"has no {' and no '.join(missing)}", "row that can't be read")
        else:
            good.append(entry)
            rows.append(row)
    ids = [entry["image_id"] for entry in good]
    image, first = grouped(ids)
    subtype, kind = str(document.get("data_subtype") or ""), str(document.get("data_type") or "mscoco")
    files = locate([ids[row] for row in first], subtype, kind, path, roots)
    labels: dict[Any, dict[str, Any]] = {}
    if annotated is not None:
        labels = {label.get("question_id"): label for label in _parse(annotated, "annotations")["annotations"]}
    matched = [labels.get(entry["question_id"], {}) for entry in good]
    questions = [str(entry["question"]).strip() for entry in good]
    reader = Answers(verbatim=True)
    answers: list[list[str]] = []
    broken: list[int] = []
    for row, label in zip(rows, matched, strict=True):
        try:
            answers.append(reader.of(label.get("answers")) or reader.of(label.get("multiple_choice_answer")))
        except ValueError as error:
            answers.append([])
            broken.append(len(answers) - 1)
            problems.add(f"{path}, row {row}", f"answers: {error}", UNREADABLE)
    result = Questions(
        question_id=[entry["question_id"] for entry in good],
        question=questions,
        image=image,
        answers=answers,
        weights=None,
        question_type=given([label.get("question_type") for label in matched]) or question_types(questions),
        answer_type=given([label.get("answer_type") for label in matched]) or answer_types(answers),
        images=FileImages(files),
        source=str(path),
        rows=rows,
    )
    return result.take(np.delete(np.arange(len(result)), broken)) if broken else result


def _parse(path: Path, field: str) -> dict[str, Any]:
    """Reads a JSON object whose `field` is a list.

    Each {"answer": ...} becomes its string at once, one object for equal strings: 4.4 million answers of VQA v2
    would else take gigabytes.
    """
    known: dict[Any, Any] = {}

    def shrink(entry: dict[str, Any]) -> Any:
        if "answer" in entry:
            answer = entry["answer"]
            return known.setdefault(answer, answer) if isinstance(answer, str) else answer
        for key in ("question_type", "answer_type"):
            value = entry.get(key)
            if isinstance(value, str):
                entry[key] = known.setdefault(value, value)
        return entry

    try:
        document = json.loads(read_text(path), object_hook=shrink)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); download it again") from error
    if not isinstance(document, dict) or not isinstance(document.get(field), list):
        raise DataError(f"{path}: no list called {field!r} in it")
    return document
