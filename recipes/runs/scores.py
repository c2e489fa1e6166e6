"""scores.json: the metric of each example of a run's evaluation split, in one form for all recipes.

With it two runs can be compared example by example, long after the data are gone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tasks.errors import DataError
from tasks.files import writing

FILE = "scores.json"


@dataclass
class Scores:
    """What each example scored; entry `i` of each list is example `i`.

    Attributes:
        metric: its name, as in the run's metrics; their mean is the run's figure.
        data: what the examples are from, in words for the reader: name, revision, split.
        ids: unique names of the examples.
        groups: examples of one group (an image, a series) are resampled together.
        contents: a digest of each example (see `digest`), so that an id used again for something else is seen.
        unit: as in a report's headline, `percent` for fractions.
    """

    metric: str
    greater_is_better: bool
    data: dict[str, Any]
    ids: list[Any]
    scores: list[float]
    groups: list[Any]
    contents: list[str] = field(default_factory=list)
    unit: str = "percent"

    def keys(self) -> list[Hashable]:
        """What example `i` is matched by: its id with its content."""
        return list(zip(self.ids, self.contents, strict=True)) if self.contents else list(self.ids)


def digest(*parts: Any) -> str:
    """A short digest of what an example consists of; plain values only."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def write(folder: Path, scores: Scores) -> Path:
    """Writes scores.json into a run folder, a line a field.

    Raises:
        OutOfDisk: no room for it.
    """
    path = folder / FILE
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in asdict(scores).items()
    ]
    with writing(path) as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
    return path


def read(folder: Path) -> Scores | None:
    """The scores of a run folder, None where it has none.

    Raises:
        DataError: the file is damaged; names it.
    """
    path = folder / FILE
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        found = Scores(**{field.name: given[field.name] for field in fields(Scores) if field.name in given})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} can't be read ({' '.join(str(error).split())})") from None
    problem = _problem(found)
    if problem:
        raise DataError(f"{path} can't be used: {problem}")
    return found


def _problem(found: Scores) -> str | None:
    columns: list[Sequence[Any]] = [found.ids, found.scores, found.groups]
    columns += [found.contents] if found.contents else []
    if not all(isinstance(column, list) for column in columns):
        return "ids, scores and groups must be lists"
    if len({len(column) for column in columns}) > 1 or not found.ids:
        return "ids, scores and groups must be of one length, and not empty"
    if not all(isinstance(name, (int, str)) for name in [*found.ids, *found.groups]):
        return "ids and groups must be numbers or texts"
    if len(set(found.keys())) < len(found.ids):
        return "two examples have the same id"
    return None
