"""Labels of texts that may have several: lists, cells with a separator, columns of 0 and 1, each as a list of names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tasks.cells import as_list, as_text
from tasks.errors import DataError
from tasks.glue.readers.source import Options, Raw
from tasks.words import counted

SEPARATORS = (";", "|")
_YES, _NO = ("1", "true"), ("0", "false")
_BY_HAND = "take labels as they stand with --no-multi-label"


def read_label_sets(raws: Sequence[Raw], options: Options, task: str | None) -> tuple[list[Raw], list[str]]:
    """The splits, those with labels first told apart: where a text may have several labels, each cell becomes a list of texts.

    They may where `multi_label` says so, where columns or a separator are named, or where a cell is a list, be it written as text.
    A cell that can't be read is noted in `unreadable`; without labels it is None.

    Args:
        raws: the training split first.
        task: of GLUE, whose texts have one label each.

    Returns:
        The splits, and lines for the header.

    Raises:
        DataError: a cell is a list where each text has one label.
    """
    labelled = [raw for raw in raws if raw.label is not None]
    single = options.multi_label is False or options.regression is True or task is not None
    if single or not labelled:
        for raw in labelled:
            _check_single(raw)
        return list(raws), []
    several = options.multi_label or bool(options.label_separator) or any(raw.indicators for raw in labelled)
    if not several and not any(_has_lists(raw, options) for raw in labelled):
        for raw in labelled:
            _check_single(raw)
        notes = _separator_notes(labelled[0])
        return [_without_broken_lists(raw, options, "".join(notes)) for raw in raws], notes
    names = _multi_hot_names(labelled, options)
    read = [raw if raw.label is None else _as_sets(raw, options, names) for raw in raws]
    return read, _notes(read, labelled, options)


def _check_single(raw: Raw) -> None:
    for i, cell in enumerate(raw.label or ()):
        if isinstance(cell, (list, dict)):
            what = "a list" if isinstance(cell, list) else "an object"
            raise DataError(f"{raw.where(i)}: the label is {what}; each row needs one label, a name or a number")


def _is_list(cell: Any) -> bool:
    return isinstance(cell, (list, tuple))


def _written_list(text: str) -> list[Any] | None:
    """The list that a text writes out, a set of Python's too; None where it is none.

    Raises:
        ValueError: it looks like one and can't be read.
    """
    stripped = text.strip()
    if stripped[:2] in ("{'", '{"') and stripped[-1:] == "}":
        return as_list(f"[{stripped[1:-1]}]")
    if stripped == "set()":
        return []
    values = as_list(stripped)
    if values is None and stripped[:2] in ("['", '["'):
        raise ValueError("a list that has no end")
    return values


def _texts_of(raw: Raw) -> list[str]:
    """The different cells that are texts, in the order of the file."""
    return list(dict.fromkeys(cell for cell in raw.label or () if isinstance(cell, str)))


def _has_lists(raw: Raw, options: Options) -> bool:
    """Whether a cell is a list, or a text that writes one out."""
    if any(_is_list(cell) for cell in raw.label or ()):
        return True
    for text in _texts_of(raw):
        try:
            if text not in (options.labels or ()) and _written_list(text) is not None:
                return True
        except ValueError:
            continue
    return False


def _without_broken_lists(raw: Raw, options: Options, note: str) -> Raw:
    """A split with one label a text, in which cells that look like lists and are none are noted as unreadable.

    Args:
        note: that cells look as if they held several labels, which is told with the first cell that is empty.
    """
    broken: dict[str, tuple[str, str]] = {}
    for text in _texts_of(raw):
        try:
            if text.lstrip()[:1] in ("[", "{", "(") and text not in (options.labels or ()):
                _written_list(text)
        except ValueError as error:
            broken[text] = _unreadable(text, error)
    cells = list(raw.label or ())
    wrong = {i: broken[cell] for i, cell in enumerate(cells) if isinstance(cell, str) and cell in broken}
    empty = next((i for i, cell in enumerate(cells) if cell in (None, "")), None) if note else None
    if empty is not None:
        wrong[empty] = f"has no label ({note})", "no label"
    if not wrong:
        return raw
    return replace(raw, label=[None if i in wrong else cell for i, cell in enumerate(cells)], unreadable=wrong)


def _unreadable(text: str, error: ValueError) -> tuple[str, str]:
    what = f"the label {text.strip()[:40]!r} looks like a list and can't be read as one ({error})"
    return f'{what}; write it as ["a", "b"], or {_BY_HAND}', "unreadable list of labels"


# -- cells as lists of names ---------------------------------------------------------------------------------------------


def _as_sets(raw: Raw, options: Options, multi_hot: list[str] | None) -> Raw:
    """Every cell as a list of different texts."""
    wrong: dict[int, tuple[str, str]] = {}
    cells: list[list[str] | None] = []
    known: dict[str, list[str]] = {}
    names = list(raw.indicators) or multi_hot
    for i, cell in enumerate(raw.label or ()):
        try:
            if isinstance(cell, str) and cell in known:
                cells.append(known[cell])
                continue
            items = cell if _is_list(cell) else _items(cell, options)
            read = _of_indicators(items, names) if names else _of_items(items, raw.names)
            cells.append(read)
            if isinstance(cell, str):
                known[cell] = read
        except ValueError as error:
            cells.append(None)
            wrong[i] = str(error), "unusable labels"
    return replace(raw, label=cells, sets=True, names=names or raw.names, unreadable=wrong)


def _items(cell: Any, options: Options) -> Sequence[Any]:
    """The labels of a cell that is no list.

    Raises:
        ValueError: it has none, or looks like a list and can't be read.
    """
    if isinstance(cell, dict):
        raise ValueError("the label is an object; give a list of names")
    text = as_text(cell)
    try:
        written = _written_list(cell) if isinstance(cell, str) else None
    except ValueError as error:
        raise ValueError(_unreadable(cell, error)[0]) from None
    if written is not None:
        return written
    if options.label_separator:
        return [part for part in map(str.strip, (text or "").split(options.label_separator)) if part]
    if text is None:
        raise ValueError("has no label; write [] where a text has none")
    return [cell]


def _of_items(items: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    """Different labels as text, class numbers by their names.

    Raises:
        ValueError: an item is empty, a list, or a number with decimals.
    """
    texts: dict[str, None] = {}
    for item in items:
        if isinstance(item, (list, tuple, dict)):
            raise ValueError("the labels hold a list or an object; give a plain list of names")
        text = as_text(item)
        if text is None:
            raise ValueError("an item of the list of labels is empty")
        if isinstance(item, float) and not item.is_integer():
            raise ValueError(f"the labels hold {item:g}; labels are names, whole numbers, or 0 and 1 for each class")
        if names is not None and isinstance(item, int) and not isinstance(item, bool) and 0 <= item < len(names):
            text = names[item]
        texts[text] = None
    return list(texts)


def _of_indicators(items: Sequence[Any], names: Sequence[str]) -> list[str]:
    """The names where an item is 1.

    Raises:
        ValueError: an item is neither 0 nor 1; says which.
    """
    chosen = []
    if len(items) != len(names):
        raise ValueError(f"has {len(items)} values of 0 and 1 for {len(names)} labels")
    for item, name in zip(items, names, strict=True):
        text = as_text(item)
        if text is None or text.lower() not in (*_YES, *_NO):
            raise ValueError(f"the label {name} is {'empty' if text is None else repr(text[:20])}, neither 0 nor 1")
        if text.lower() in _YES:
            chosen.append(name)
    return chosen


def _multi_hot_names(raws: Sequence[Raw], options: Options) -> list[str] | None:
    """Names of the classes where every list has a 0 or a 1 for each of them; None where lists hold the labels themselves.

    A set has nothing twice: equally long lists of 0 and 1 that do, or that hold 0. and 1., are no sets of classes 0 and 1.
    """
    if any(raw.indicators or raw.names for raw in raws):
        return None
    lists = [items for raw in raws for cell in raw.label or () if (items := _list_of(cell)) is not None]
    width = len(lists[0]) if lists else 0
    if width < 2 or any(len(items) != width for items in lists):
        return None
    if any(isinstance(item, str) or item not in (0, 1) for items in lists for item in items):
        return None
    if width == 2 and not any(items[0] == items[1] or not isinstance(items[0], int) for items in lists):
        return None
    if options.labels and len(options.labels) != width:
        raise DataError(f"{raws[0].source}: lists of {width} zeros and ones, and {len(options.labels)} labels")
    return list(options.labels or [f"LABEL_{number}" for number in range(width)])


def _list_of(cell: Any) -> Sequence[Any] | None:
    if _is_list(cell):
        return list(cell)
    try:
        return _written_list(cell) if isinstance(cell, str) else None
    except ValueError:
        return None


# -- lines for the header ------------------------------------------------------------------------------------------------


def _notes(read: Sequence[Raw], before: Sequence[Raw], options: Options) -> list[str]:
    """How the labels were read, and how many texts have none."""
    first = before[0]
    column, cells = first.label_column, [cell for raw in read for cell in raw.label or () if cell is not None]
    if first.indicators:
        how = (
            f"a column of 0 and 1 each: {', '.join(first.indicators[:6])}{' ...' if len(first.indicators) > 6 else ''}"
        )
    elif read[0].names and not first.names:
        how = f"a 0 or a 1 for each class in the lists of the column {column}"
    elif options.label_separator:
        how = f"parted by {options.label_separator!r} in the column {column}; an empty cell is no label"
    elif any(_is_list(cell) for raw in before for cell in raw.label or ()):
        how = f"the lists of the column {column}"
    elif any(_list_of(cell) is not None for raw in before for cell in raw.label or ()):
        how = f"lists that are written as text in the column {column}"
    else:
        how = f"one a text in the column {column}"
    none = sum(not cell for cell in cells)
    without = f"; {counted(none, 'text')} without any" if none else ""
    lines = [f"a text may have several labels: {how}{without}"]
    return lines if options.label_separator else lines + _separator_notes(first)


def _separator_notes(raw: Raw) -> list[str]:
    """A line where labels of one class each look as if they were several with something between."""
    texts = Counter(cell for cell in raw.label or () if isinstance(cell, str) and _list_of(cell) is None)
    for mark in SEPARATORS:
        several = {text: parts for text in texts if len(parts := _parts(text, mark)) > 1}
        if several:
            rows = sum(texts[text] for text in several)
            example = next(iter(several)).strip()[:40]
            return [
                f"{rows:,} of {sum(texts.values()):,} labels hold {mark!r}, as {example!r}, and are one class each; "
                f"--label-separator '{mark}' reads them as several labels"
            ]
    several = {text: parts for text in texts if len(parts := _parts(text, ",")) > 1}
    alone = {text.strip() for text in texts}
    if several and all(part in alone for parts in several.values() for part in parts):
        rows = sum(texts[text] for text in several)
        return [
            f"{rows:,} of {sum(texts.values()):,} labels are other labels with ',' between, as "
            f"{next(iter(several)).strip()[:40]!r}, and are one class each; --label-separator , reads them as several labels"
        ]
    return []


def _parts(text: str, mark: str) -> list[str]:
    return [part for part in map(str.strip, text.split(mark)) if part]
