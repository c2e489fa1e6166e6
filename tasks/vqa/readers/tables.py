"""CSV, TSV, JSON lines and JSON lists with an image path, a question and its answers in each row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tasks.errors import DataError
from tasks.readers.paths import canonical, files_below, one_a_split, read_text, split_of
from tasks.readers.problems import Problems
from tasks.readers.rows import Row, delimited, is_object, json_lines, json_list
from tasks.vqa.questions import Questions
from tasks.vqa.readers.columns import LABEL_IDS, LABEL_WEIGHTS, assemble, layout, looks_like
from tasks.vqa.readers.source import WHOLE, Load, Options, Source, index_paths

_SEVERAL = ("answers", "label", "labels", *LABEL_IDS, *LABEL_WEIGHTS)
_WHOLE = re.compile(r"[0-9]{1,18}(\.0*)?")
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")


def recognise(path: Path, options: Options) -> Source | None:
    """One such file, or a folder of them: one a split by their names, or a single one."""
    if path.is_file():
        if path.suffix.lower() not in ENDINGS:
            return None
        files = [path]
    else:
        files = [
            file for file in files_below(path, 1) if file.suffix.lower() in ENDINGS and _has_columns(file, options)
        ]
    if not files:
        return None
    named = one_a_split(path, files)
    splits = {name: partial(_read, file, options, None) for name, file in named.items()} or _by_column(files, options)
    kind = "JSON lines" if files[0].suffix.lower() in (".jsonl", ".ndjson") else files[0].suffix[1:].upper()
    return Source(format=f"{kind} with image paths", name=path.name, splits=splits)


def _has_columns(file: Path, options: Options) -> bool:
    """Whether a file found in a folder has the columns of questions on images, or is called as if it had."""
    try:
        first = next(_rows(file, Problems(skip=True)), None)
    except DataError:
        first = None
    if first is None:
        return split_of(file.stem) is not None
    wanted = {options.image_column, options.question_column} - {None}
    return looks_like(first[1]) or bool(wanted and wanted <= set(first[1]))


def _by_column(files: list[Path], options: Options) -> dict[str, Load]:
    """One file without a split in its name: parted by its `split` column if it has one."""
    if len(files) > 1:
        some = ", ".join(str(file) for file in files[:3])
        raise DataError(
            f"{len(files)} files with questions and no split in their names ({some}); give one of them as --data"
        )
    (file,) = files
    names = [row.get("split") for _, row in _rows(file, Problems(skip=True))]
    splits: list[str | None] = list(dict.fromkeys(canonical(str(name)) for name in names if name))
    return {name or WHOLE: partial(_read, file, options, name) for name in splits or [None]}


def _read(file: Path, options: Options, split: str | None, problems: Problems) -> Questions:
    found = _rows(file, problems)
    rows = [row for row in found if split is None or canonical(str(row[1].get("split"))) == split]
    if not rows:
        problems.raise_if_any()
        raise DataError(f"{file}: no rows; it needs an image path, a question and an answer in each")
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    columns = {name: [row.get(name) for _, row in rows] for name in names}
    roles = layout(names, options, str(file))
    if "question_id" in columns:
        columns["question_id"] = _whole_numbers(columns["question_id"])
    image, images = index_paths(columns[roles.image], file.parent, options.image_root)
    return assemble(
        columns=columns,
        roles=roles,
        image=image,
        images=images,
        source=str(file),
        rows=[number for number, _ in rows],
        problems=problems,
    )


def _rows(file: Path, problems: Problems) -> Iterator[Row]:
    """(row number, cells) of each row. The number is the line of the file where the row starts, from 1."""
    text = read_text(file)
    ending = file.suffix.lower()
    if ending in (".csv", ".tsv"):
        return _csv_rows(file, text, problems)
    if ending == ".json" and not is_object(text.split("\n", 1)[0]):
        unlike = "neither a list of rows, nor JSON lines, nor the official VQA layout"
        return json_list(file, text, unlike, problems)
    return json_lines(file, text.split("\n"), problems)


def _csv_rows(file: Path, text: str, problems: Problems) -> Iterator[Row]:
    header = text.split("\n", 1)[0]
    mark = "\t" if "\t" in header else ";" if ";" in header and "," not in header else ","
    for number, row in delimited(file, text, mark, problems):
        yield number, {name: _cell(name, cell) for name, cell in row.items()}


def _cell(name: str, cell: str) -> Any:
    """A cell of a column for several answers that '|' parts, taken apart; any other as it stands."""
    if name in _SEVERAL and "|" in cell and cell.strip()[:1] not in ("[", "{"):
        return [part.strip() for part in cell.split("|")]
    return cell


def _whole_numbers(values: list[Any]) -> list[Any]:
    """Ids read as text become numbers where all of them are, as pandas writes them beside a blank one too."""
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    if texts and all(_WHOLE.fullmatch(text) for text in texts):
        return [
            int(value.strip().partition(".")[0]) if isinstance(value, str) and value.strip() else value
            for value in values
        ]
    return values
