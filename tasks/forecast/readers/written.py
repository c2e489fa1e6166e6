"""Time stamps written as text: what the clock shows, the offset from UTC, and the zone's name."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import DataError
from tasks.forecast.readers.tables import FORMATS, Complain
from tasks.forecast.zones import offset_of

# An offset that a text has not, and a time stamp that it is not.
NO_OFFSET = np.iinfo(np.int64).min
# A time stamp, an offset from UTC, and a zone's name: 2024-03-31T03:00:00+02:00[Europe/Berlin].
_ZONED = (
    r"^(?P<clock>\d{1,4}[-/.]?\d{1,2}[-/.]?\d{1,4}(?:[Tt ] *\d{1,2}(?::?\d{2}(?::?\d{2}(?:[.,]\d{1,9})?)?)?)?)"
    r" *(?P<offset>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)? *(?:\[?(?P<name>[A-Za-z]+(?:/[A-Za-z0-9_+\-]+)+|UTC)\]?)?$"
)
_PLAIN = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d(:\d\d(:\d\d(\.\d{1,9})?)?)?)?|\d{4}/\d\d/\d\d.*|\d\d\.\d\d\.\d{4}.*")
_QUARTER = re.compile(r"(\d{4})[- ]?[Qq]([1-4])")
NUMBER = re.compile(r"[+-]?\d+\.?\d*([eE][+-]?\d+)?")
LIKE = "is no time stamp like 2026-01-31 17:00"


def arrow_type(cell: str) -> pa.DataType:
    """How Arrow is to read a CSV file's time column, told by one of its cells: as time stamps, or as texts that are looked at here."""
    return pa.timestamp("ns") if _PLAIN.fullmatch(cell.strip()) else pa.string()


def is_stamp(cell: str) -> bool:
    """Whether a text that is no number tells a time."""
    cell = cell.strip()
    if not cell or NUMBER.fullmatch(cell):
        return False
    return texts_of(pa.array([cell]), lambda at, what: DataError(what), fails=False) is not None


def as_numbers(column: pa.Array, complain: Complain) -> pa.Array:
    for kind in (pa.int64(), pa.float64()):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    at = next(at for at, cell in enumerate(column.to_pylist()) if not NUMBER.fullmatch(cell))
    raise complain(at, f"{column[at].as_py()[:40]!r} where other rows have numbers")


def texts_of(
    column: pa.Array, complain: Complain, fails: bool = True
) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
    """(what the clock shows, int64 nanoseconds; offsets from UTC, NO_OFFSET where there is none; distinct names of zones)."""
    fields = pc.extract_regex(column, _ZONED)
    # An offset follows a time, not a date: the end of 2024-01-31-05 is none.
    bare = pc.and_(pc.less_equal(pc.utf8_length(fields.field("clock")), 10), pc.not_equal(fields.field("offset"), ""))
    fields = pc.if_else(pc.fill_null(bare, False), pa.scalar(None, fields.type), fields)
    clocks = pc.if_else(fields.is_null(), column, fields.field("clock")) if fields.null_count else fields.field("clock")
    shown = _shown(clocks)
    wrong = shown == NO_OFFSET
    if wrong.any():
        if not fails:
            return None
        at = int(np.argmax(wrong))
        raise complain(at, f"{column[at].as_py()[:40]!r} {LIKE}")
    coded = pc.fill_null(fields.field("offset"), "").dictionary_encode()
    some = coded.dictionary.to_pylist()
    known = np.array([NO_OFFSET if (found := offset_of(text)) is None else found for text in some], np.int64)
    offsets = known[coded.indices.to_numpy(zero_copy_only=False)] if len(some) else np.zeros(0, np.int64)
    if fields.null_count:
        offsets = np.where(fields.is_null().to_numpy(zero_copy_only=False), NO_OFFSET, offsets)
    names = [name for name in pc.unique(fields.field("name")).to_pylist() if name]
    if "UTC" in names and (offsets == NO_OFFSET).any():
        offsets = np.where(offsets == NO_OFFSET, 0, offsets)
    return shown, offsets, names


def _shown(texts: pa.Array) -> np.ndarray:
    """int64 nanoseconds of time stamps without a zone, NO_OFFSET where a text is none."""
    try:
        return texts.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        pass
    series = pd.Series(texts.to_pylist(), dtype=object)
    found = pd.to_datetime(series.where(~series.str.fullmatch(r"\d+")), errors="coerce", format="ISO8601")
    for format in FORMATS:
        if not found.isna().any():
            break
        found = found.fillna(pd.to_datetime(series.where(found.isna()), errors="coerce", format=format))
    if found.isna().any():
        quarters = series.where(found.isna(), "").str.extract(_QUARTER)
        months = pd.to_numeric(quarters[1], errors="coerce") * 3 - 2
        found = found.fillna(
            pd.to_datetime(quarters[0] + "-" + months.map("{:02.0f}".format), errors="coerce", format="%Y-%m")
        )
    return found.to_numpy(dtype="datetime64[ns]").view(np.int64)
