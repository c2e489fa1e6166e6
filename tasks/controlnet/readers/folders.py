"""Two folders, of pictures and of conditions, with files named alike; captions in NAME.txt or in captions.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.controlnet.captions import WRONG, captions, column_captions
from tasks.controlnet.readers.columns import CAPTION, IMAGE
from tasks.controlnet.readers.paths import CONDITION_FOLDERS, IMAGE_FOLDERS, Named, folder_among, stem
from tasks.controlnet.readers.rows import rows_of
from tasks.controlnet.readers.source import WHOLE, Load, Options, Read, Source, read_of
from tasks.errors import DataError
from tasks.images import FileImages
from tasks.readers.paths import listing, read_text, split_of
from tasks.readers.problems import Problems

_CAPTION_FILES = ("captions.json", "captions.jsonl", "captions.csv", "captions.tsv")
# Names that an error lists of files without a partner.
_LISTED = 3
Folders = tuple[Path, Path]


def recognise(path: Path, options: Options) -> Source | None:
    """`path` with a folder of each in it, itself or in subfolders named after splits; or pictures in `path` and their
    conditions in --conditioning-dir.
    """
    if path.is_file():
        return None
    given = Path(options.conditioning_dir).expanduser() if options.conditioning_dir else None
    found = _splits(path, given)
    if not found:
        return None

    def load(name: str) -> Load:
        return lambda problems: _read(*found[name], path, options, problems)

    return Source("parallel folders", path.resolve().name, {name: load(name) for name in found})


def _splits(path: Path, given: Path | None) -> dict[str, Folders]:
    whole = _pair(path, given)
    below: dict[str, Folders] = {}
    for entry in listing(path):
        name = split_of(entry.name) if entry.is_dir() else None
        if name is None:
            continue
        side = given / entry.name if given is not None else None
        pair = _pair(Path(entry.path), side if side is not None and side.is_dir() else None)
        if pair is not None:
            below[name] = pair
    if below:
        return below if whole is None or given is not None else {"train": whole, **below}
    return {WHOLE: whole} if whole is not None else {}


def _pair(folder: Path, given: Path | None) -> Folders | None:
    images = folder_among(folder, IMAGE_FOLDERS)
    if given is not None:
        return (images or folder), given
    conditions = folder_among(folder, CONDITION_FOLDERS)
    return (images, conditions) if images is not None and conditions is not None else None


def _read(image_folder: Path, condition_folder: Path, path: Path, options: Options, problems: Problems) -> Read:
    images, conditions = Named(image_folder), Named(condition_folder)
    if condition_folder != image_folder and image_folder in condition_folder.parents:  # the conditions lie within
        inside = str(condition_folder.relative_to(image_folder)).replace("\\", "/") + "/"
        images.paths = {name: file for name, file in images.paths.items() if not name.startswith(inside)}
        images.doubles = [double for double in images.doubles if not double[0].startswith(inside)]
    if not images.paths or not conditions.paths:
        empty = image_folder if not images.paths else condition_folder
        raise DataError(f"{empty}: no pictures in it (.png, .jpg, .webp, ...)")
    both = _matched(images, conditions, problems)
    texts = _captions(images, both, (image_folder.parent, image_folder), options, problems)
    captioned = any(texts)
    kept = [i for i, text in enumerate(texts) if text or not captioned]
    for i in sorted(set(range(len(both))) - set(kept)):
        file = images.paths[both[i]].with_suffix(".txt")
        lacking = f"{file.name} is empty" if file.is_file() else f"no {Path(both[i]).name}.txt beside it"
        what = f"has no caption: {lacking} (--caption-column none trains without any)"
        problems.add(str(images.paths[both[i]]), what, "no caption")
    return read_of(
        FileImages([str(images.paths[both[i]]) for i in kept]),
        FileImages([str(conditions.paths[both[i]]) for i in kept]),
        [texts[i] for i in kept],
        str(path),
        None,
        captioned,
    )


def _matched(images: Named, conditions: Named, problems: Problems) -> list[str]:
    """The names that both have; those that one has alone or twice are reported."""
    for named in (images, conditions):
        for name, first, second in named.doubles:
            problems.add(
                str(second), f"has the name of {first.name}; which of them belongs to {name}?", "name used twice"
            )
    twice = {double[0] for named in (images, conditions) for double in named.doubles}
    alone = [
        ([name for name in one.paths if name not in other.paths], one, other)
        for one, other in ((images, conditions), (conditions, images))
    ]
    if alone[0][0] or alone[1][0]:
        counts = f"{len(images.paths):,} images in {images.folder}, {len(conditions.paths):,} conditions in"
        without = "; ".join(
            f"without {what}: {_some(names, one)}"
            for what, (names, one, _) in zip(("condition", "image"), alone, strict=True)
            if names
        )
        problems.add(
            str(images.folder.parent),
            f"{counts} {conditions.folder}; {without}",
            "image or condition without the other",
            len(alone[0][0]) + len(alone[1][0]),
        )
    return [name for name in images.paths if name in conditions.paths and name not in twice]


def _some(names: list[str], named: Named) -> str:
    shown = ", ".join(str(named.paths[name].relative_to(named.folder)) for name in names[:_LISTED])
    return f"{shown} and {len(names) - _LISTED:,} more" if len(names) > _LISTED else shown


def _captions(
    images: Named, names: list[str], folders: tuple[Path, ...], options: Options, problems: Problems
) -> list[list[str]]:
    """The captions of each name: from a list beside the folders or in them, else from NAME.txt beside each picture."""
    if options.caption_column == "none":
        return [[] for _ in names]
    file = next((folder / name for folder in folders for name in _CAPTION_FILES if (folder / name).is_file()), None)
    if file is None:
        return [_beside(images.paths[name], problems) for name in names]
    listed = _listed(file, options, problems)
    forms = ((name, Path(name).name) for name in names)
    return [next((listed[form] for form in pair if form in listed), []) for pair in forms]


def _beside(path: Path, problems: Problems) -> list[str]:
    """The captions in the text file of a picture's name, one a line; none where there is no such file."""
    file = path.with_suffix(".txt")
    try:
        lines = read_text(file).splitlines()
        texts: list[str] = []
        for number, line in enumerate(lines, 1):
            try:
                texts += captions(line)
            except ValueError as error:
                problems.add(f"{file}, row {number}", f"its caption is {error}", WRONG)
        return texts
    except DataError:
        if file.exists():
            raise
        return []


def _listed(file: Path, options: Options, problems: Problems) -> dict[str, list[str]]:
    """Captions by name without suffix: rows with a name and a caption, or one JSON object {name: caption or captions}."""
    if file.name == "captions.json":
        found = _object(file)
        if found is not None:
            texts = _readable(found.values(), [f"{file}, {name}" for name in found], problems)
            return {stem(str(name)): text for name, text in zip(found, texts, strict=True)}
    wanted = (options.caption_column,) if options.caption_column else CAPTION
    names, cells, places = [], [], []
    for number, row in rows_of(file, problems):
        name = next((row[column] for column in ("name", *IMAGE) if isinstance(row.get(column), str)), None)
        if name is None:
            problems.add(f"{file}, row {number}", "names no picture (file_name)", "row that can't be read")
            continue
        names.append(stem(name))
        cells.append(next((row[column] for column in wanted if column in row), None))
        places.append(f"{file}, row {number}")
    listed: dict[str, list[str]] = {}
    for name, text in zip(names, _readable(cells, places, problems), strict=True):
        listed.setdefault(name, []).extend(text)
    return listed


def _readable(cells: Iterable[Any], places: list[str], problems: Problems) -> list[list[str]]:
    """The captions of each cell; those that can't be read are reported by their places."""
    texts, wrong = column_captions(list(cells))
    for number, reason in wrong.items():
        problems.add(places[number], reason, WRONG)
    return texts


def _object(file: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(read_text(file))
    except ValueError:
        return None  # JSON lines, perhaps
    named = isinstance(value, dict) and not any(column in value for column in (*CAPTION, *IMAGE, "name"))
    return value if named else None
