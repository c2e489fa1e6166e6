"""Static categories: texts a series, coded in sorted order, or in the order that a trained model knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.cells import as_text
from tasks.errors import ConfigError, DataError


class Categories:
    """One category column of a long table, collected block by block."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.codes = np.empty(0, np.int32)

    @property
    def texts(self) -> list[str]:
        """Each series' category."""
        names = list(self.numbers)
        return [names[code] for code in self.codes]

    def add(self, series: np.ndarray, names: list[str], codes: np.ndarray, count: int) -> np.ndarray:
        """Takes the rows of a block in; gives those whose category is not their series' own.

        Args:
            series: number of each row's series.
            codes: of each row, into `names`.
            count: how many series there are by now.
        """
        rows = np.array([self.numbers.setdefault(name, len(self.numbers)) for name in names], np.int32)[codes]
        more = np.full(count - len(self.codes), -1, np.int32)
        self.codes = np.concatenate([self.codes, more])
        fresh, first = np.unique(series, return_index=True)
        new = self.codes[fresh] < 0
        self.codes[fresh[new]] = rows[first[new]]
        return np.flatnonzero(self.codes[series] != rows)


def encode(
    columns: list[Categories] | list[list[str]],
    names: list[str],
    known: list[list[str]] | None,
    source: str,
    item_ids: list[str],
    bad: np.ndarray | None = None,
) -> dict[str, Any]:
    """The two fields of a panel that say what the series' categories are.

    Args:
        columns: for each column the series' texts.
        names: the columns' names, for messages.
        known: the values that a model knows, for each column.
        bad: series that are left out.

    Raises:
        ConfigError: another number of columns than the model knows.
        DataError: a value that it does not know.
    """
    texts = [column.texts if isinstance(column, Categories) else column for column in columns]
    if known is not None and len(known) != len(texts):
        raise ConfigError(
            f"the model knows {len(known)} static categories, {source} gives {len(texts)}; name them with --category-columns"
        )
    left_out = set() if bad is None else set(bad.tolist())
    values, coded = [], np.zeros((len(item_ids), len(texts)), np.int64)
    for i, column in enumerate(texts):
        used = {text for number, text in enumerate(column) if number not in left_out}
        order = known[i] if known is not None else in_order(used)
        numbers = {as_text(name): code for code, name in enumerate(order)}
        for text, item in zip(column, item_ids, strict=True):
            if text in used and text not in numbers:
                raise DataError(
                    f"{source}, series {item}: the model knows no {names[i]} {text!r}, only {', '.join(order[:10])}"
                )
        coded[:, i] = [numbers.get(text, 0) for text in column]
        values.append(list(order))
    return {"static_categories": coded, "category_names": values}


def in_order(texts: set[str]) -> list[str]:
    """Sorted; as numbers where all are whole numbers."""
    if all(text.lstrip("-").isdigit() for text in texts):
        return sorted(texts, key=lambda text: (int(text), text))
    return sorted(texts)
