"""Annotations of faces: dlib's XML, JSON, 300-W's .pts and lists of numbers beside the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from tasks.controlnet.conditions.landmarks import POINTS
from tasks.errors import DataError
from tasks.readers.paths import files_below, read_text
from tasks.words import counted

FORMS = "dlib XML, JSON {picture: [[x, y], ...]}, or .pts and *_ldmks.txt files named as the pictures"
# Points of the pupils may follow the 68.
COUNTS = (POINTS, POINTS + 2)


class Landmarks:
    """Faces by picture, found by the end of its path.

    Args:
        source: the file or folder that names them.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = Path(source).expanduser()
        self._faces: dict[str, list[np.ndarray]] = {}
        self._files: dict[str, list[Path]] = {}
        if self.source.is_dir():
            self._look_into(self.source)
        elif self.source.is_file():
            self._read(self.source)
        else:
            raise DataError(f"--landmarks {source}: no such file or folder")
        if not self._faces and not self._files:
            raise DataError(f"--landmarks {source}: holds no landmarks; known are {FORMS}")

    def of(self, relative: str) -> list[np.ndarray]:
        """The faces of a picture, float64 [68 or 70, 2] each in pixels of the file; none where nothing is told.

        Args:
            relative: the picture's path below its folder, with slashes.

        Raises:
            DataError: its own file is broken, or two files are meant alike.
        """
        for name in _ends(relative):
            if name in self._faces:
                return self._faces[name]
        for name in _ends(str(Path(relative).with_suffix("").as_posix())):
            paths = self._files.get(name, [])
            if len(paths) > 1:
                raise DataError(f"{paths[0]} and {paths[1]}: both could be the landmarks of {relative}; remove one")
            if paths:
                return [_points_of_file(paths[0])]
        return []

    def _look_into(self, folder: Path) -> None:
        for path in files_below(folder, 8):
            if path.suffix.lower() in (".xml", ".json"):
                self._read(path)
            elif path.suffix.lower() == ".pts" or path.name.lower().endswith("_ldmks.txt"):
                stem = re.sub(r"_ldmks$", "", path.relative_to(folder).with_suffix("").as_posix())
                for end in _ends(stem):
                    self._files.setdefault(end, []).append(path)

    def _read(self, path: Path) -> None:
        if path.suffix.lower() == ".xml":
            found = _dlib(path)
        elif path.suffix.lower() == ".json":
            found = _json(path)
        else:
            raise DataError(f"--landmarks {path}: known are {FORMS}")
        for name, faces in found:
            self._faces.setdefault(name.replace("\\", "/").removeprefix("./"), []).extend(faces)


def _ends(relative: str) -> list[str]:
    """a/b/c.jpg, b/c.jpg, c.jpg."""
    parts = relative.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _dlib(path: Path) -> list[tuple[str, list[np.ndarray]]]:
    """The faces of dlib's training files: <image file><box><part name x y/></box></image>."""
    text = read_text(path)
    if "<!ENTITY" in text:
        raise DataError(f"{path}: defines entities, which annotations have no need of; remove them")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(
            f"{path}, line {error.position[0]}: not XML ({error.msg if hasattr(error, 'msg') else error})"
        ) from None
    found = []
    for image in root.iter("image"):
        name = image.get("file", "")
        parts = [sorted(box.iter("part"), key=lambda part: str(part.get("name")).zfill(4)) for box in image.iter("box")]
        faces = [
            _checked([(part.get("x"), part.get("y")) for part in one], f"{path}, image {name}") for one in parts if one
        ]
        found.append((name, faces))
    return found


def _json(path: Path) -> list[tuple[str, list[np.ndarray]]]:
    """{picture: points or faces}, or a list of {"file_name", "landmarks"}."""
    try:
        told = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    if isinstance(told, dict):
        rows: Iterable[tuple[Any, Any]] = told.items()
    else:
        rows = [(row.get("file_name"), row.get("landmarks")) for row in told if isinstance(row, dict)]
    found = []
    for name, points in rows:
        where = f"{path}, {name}"
        if not isinstance(name, str) or not isinstance(points, list):
            raise DataError(f'{where}: needs a "file_name" and "landmarks", a list of [x, y]')
        several = points and isinstance(points[0], list) and points[0] and isinstance(points[0][0], list)
        faces = points if several else [points]
        found.append((name, [_checked(face, where) for face in faces if face]))
    return found


def _points_of_file(path: Path) -> np.ndarray:
    """A .pts file (its first pixel is 1, as 300-W has it), or two numbers a line."""
    text = read_text(path)
    if path.suffix.lower() == ".pts":
        inner = re.search(r"\{(.*?)\}", text, re.DOTALL)
        if inner is None:
            raise DataError(f"{path}: no points between braces, as a .pts file has them")
        return _checked([line.split() for line in inner[1].split("\n") if line.strip()], str(path)) - 1
    return _checked([line.split() for line in text.split("\n") if line.strip()], str(path))


def _checked(points: Any, where: str) -> np.ndarray:
    try:
        face = np.array([[float(value) for value in point] for point in points], np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: its landmarks aren't all two numbers a point") from None
    if face.ndim != 2 or face.shape[1] != 2 or len(face) not in COUNTS or not np.isfinite(face).all():
        raise DataError(
            f"{where}: {counted(len(face), 'landmark')}; there must be 68 points of x and y (or 70 with the pupils)"
        )
    return face
