"""Cells of series as their writers meant them: words that look like none, numbers and texts that are one, lists as text."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import DataError
from tasks.forecast.data import Options, load

DAYS = [str(day.date()) for day in pd.date_range("2024-01-01", periods=12)]


def long(folder, items, kind="csv", values=None, **columns):
    """Twelve days for each of the items, with columns of one cell an item."""
    rows = {
        "item_id": [item for item in items for _ in DAYS],
        "timestamp": DAYS * len(items),
        "target": values or list(range(12)) * len(items),
        **{name: [cell for cell in cells for _ in DAYS] for name, cells in columns.items()},
    }
    path = folder / f"long.{kind}"
    if kind == "csv":
        lines = [",".join(map(str, row)) for row in zip(*rows.values(), strict=True)]
        path.write_text("\n".join([",".join(rows), *lines]) + "\n")
    else:
        pq.write_table(pa.table(rows), path)
    return str(path)


def read(path, **options):
    return load(Options(path, **{"prediction_length": 2, **options}))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_words_that_look_like_none_name_series_and_categories(tmp_path, kind):
    path = long(tmp_path, ["EU", "NA", "null", "None"], kind, region=["N/A", "nan", "west", "-"])
    panel = read(path, category_columns=["region"]).panel
    assert panel.item_ids == ["EU", "NA", "null", "None"]
    assert [panel.category_names[0][code] for code in panel.static_categories[:, 0]] == ["N/A", "nan", "west", "-"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_among_numbers_they_are_empty_cells_with_their_row(tmp_path, kind):
    first = 2 if kind == "csv" else 1
    path = long(tmp_path, ["1", "2", "NA"], kind)
    with pytest.raises(
        DataError, match=rf"series NA, row {first + 24}, column item_id: 'NA' among numbers is an empty cell"
    ):
        read(path)
    assert read(path, skip_bad=True).panel.item_ids == ["1", "2"]
    path = long(tmp_path, ["a", "b", "c"], kind, size=["1", "null", "3"])
    with pytest.raises(DataError, match=rf"series b, row {first + 12}, column size: 'null' among numbers"):
        read(path, category_columns=["size"])
    for cells in (["a", "", "c"], ["a", "  ", "c"]):
        with pytest.raises(DataError, match=rf"row {first + 12}, column item_id: the cell is empty"):
            read(long(tmp_path, cells, kind))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_number_and_its_text_are_one_series_and_one_category(tmp_path, kind):
    cells = ["1"] * 4 + ["1.0"] * 4 + [" 1 "] * 4
    table = {"item_id": cells, "timestamp": DAYS, "target": list(range(12)), "size": [" 2", *["2.0"] * 11]}
    path = tmp_path / f"one.{kind}"
    pq.write_table(pa.table(table), path) if kind == "parquet" else pd.DataFrame(table).to_csv(path, index=False)
    panel = read(str(path), category_columns=["size"]).panel
    assert (panel.item_ids, panel.lengths.tolist(), panel.category_names) == (["1"], [12], [["2"]])
    known = read(str(path), category_columns=["size"], categories=[["1.0", "2.0"]]).panel
    assert known.static_categories.tolist() == [[1]]


def test_ids_that_one_blank_made_floats_are_the_same_series(tmp_path):
    whole = read(long(tmp_path, [7, 8], "parquet"))
    floats = read(long(tmp_path, [7.0, 8.0], "parquet"))
    records = [
        {"start": DAYS[0], "item_id": name, "target": list(range(12)), "feat_static_cat": [name]} for name in (7, "8.0")
    ]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    lines = read(str(tmp_path / "lines.jsonl"), freq="D")
    assert whole.panel.item_ids == floats.panel.item_ids == lines.panel.item_ids == ["7", "8"]
    assert lines.panel.category_names == [["7", "8"]]
    assert read(long(tmp_path, ["007", "7.5"], "csv")).panel.item_ids == ["007", "7.5"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("word", ["NA", "N/A", "#N/A", "null", "NULL", "None", "<NA>", "NaN", "?", "-", "nil", ""])
def test_numbers_with_words_for_none_are_missing(tmp_path, kind, word):
    values = [str(number) for number in range(12)]
    values[5] = word
    panel = read(long(tmp_path, ["a"], kind, values=values)).panel
    np.testing.assert_array_equal(panel.values[:, 0], [np.nan if number == 5 else number for number in range(12)])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("cell", ["1.234,5", "1 234", "1'234", "3,14"])
def test_thousands_and_decimal_commas_are_refused(tmp_path, kind, cell):
    values = [str(number) for number in range(12)]
    values[3] = cell if kind == "parquet" else f'"{cell}"'
    with pytest.raises(
        DataError, match=r"row [45], column target: .* is not a number: write numbers with a decimal point"
    ):
        read(long(tmp_path, ["a"], kind, values=values))


def test_a_german_spreadsheet_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "wide.csv").write_text("date;a\n" + "".join(f"{day};{number},5\n" for number, day in enumerate(DAYS)))
    with pytest.raises(DataError, match=r"row 2, column a: '0,5' is not a number: write numbers with a decimal point"):
        read(str(tmp_path / "wide.csv"))


VALUES = [1.0, 2.5, float("nan"), -3.0, *range(4, 12)]
FORMS = {
    "json": json.dumps([None if np.isnan(value) else value for value in VALUES]),
    "python": repr([None if np.isnan(value) else value for value in VALUES]),
    "numpy": str(np.array(VALUES)),
    "numpy in lines": "[ 1.   2.5  nan -3.   4. \n  5.   6.   7.   8.   9.  10.  11. ]",
    "call": repr(np.array(VALUES)),
    "words": '["1", "2.5", "NA", -3, 4, 5, 6, 7, 8, 9, 10, 11]',
}


def written(tmp_path, kind, records):
    path = tmp_path / f"listed.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        table = pd.DataFrame(records)
        table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("form", FORMS)
def test_a_target_that_is_a_list_as_text(tmp_path, kind, form):
    if form == "call" and kind != "jsonl":
        pytest.skip("only a whole list is recognised in a table")
    records = [
        {
            "item_id": "x",
            "start": "2024-01-01",
            "target": FORMS[form],
            "feat_static_cat": "[3]",
            "feat_static_real": "[0.5 2.]",
        },
        {
            "item_id": "y",
            "start": "2024-01-03",
            "target": "[1 2 3]",
            "feat_static_cat": "['4']",
            "feat_static_real": "[1., 2.]",
        },
    ]
    if form == "call":
        records[0]["target"] = FORMS[form].removeprefix("array(").removesuffix(")")
    path = written(tmp_path, kind, records)
    panel = load(Options(str(path), freq="D", windows=0)).panel
    assert panel.item_ids == ["x", "y"]
    np.testing.assert_array_equal(panel.series(0)[:, 0], VALUES)
    assert panel.series(1)[:, 0].tolist() == [1, 2, 3]
    assert panel.starts.tolist() == [0, 2]
    assert panel.category_names == [["3", "4"]]
    assert panel.static_reals.tolist() == [[0.5, 2.0], [1.0, 2.0]]


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (str(np.arange(2000)), "target is a list whose middle was left out"),
        ("[1 2 3", "target is"),
        ("[a b]", "target is a list with 'a' where a value should be"),
        ('["red", "pink"]', "target is no list of numbers"),
        ("3", "target is no list of numbers"),
        ("", "no target"),
    ],
)
def test_one_that_can_t_be_read_is_refused_with_its_row(tmp_path, kind, cell, message):
    records = [
        {"item_id": name, "start": "2024-01-01", "target": text} for name, text in (("x", "[1 2 3]"), ("y", cell))
    ]
    path = written(tmp_path, kind, records)
    with pytest.raises(DataError, match=rf"listed.{kind}, row {3 if kind == 'csv' else 2}: {message}"):
        load(Options(str(path), freq="D", windows=0))


def test_lists_of_stamps_and_values_as_a_dataset_writes_them_by_to_csv(tmp_path):
    from datasets import Dataset

    stamps = [list(pd.date_range("2024-01-01", periods=count, freq="D").strftime("%Y-%m-%d")) for count in (4, 5)]
    table = Dataset.from_dict(
        {"item_id": ["u", "v"], "timestamp": stamps, "target": [[1.0, 2, 3, 4], [5.0, 6, 7, 8, 9]]}
    )
    table.to_csv(str(tmp_path / "set.csv"))
    panel = load(Options(str(tmp_path / "set.csv"), windows=0)).panel
    assert (panel.item_ids, panel.calendar.freq, panel.lengths.tolist()) == (["u", "v"], "D", [4, 5])
    assert panel.values[:, 0].tolist() == list(range(1, 10))


def test_empty_static_features_of_records_are_refused(tmp_path):
    for field, cell, message in (
        ("feat_static_cat", [None], "row 1: value 1 of feat_static_cat is empty"),
        ("feat_static_real", [1.0, None], "row 1: value 2 of feat_static_real is missing"),
    ):
        (tmp_path / "one.jsonl").write_text(json.dumps({"start": "2024-01-01", "target": [1, 2, 3], field: cell}))
        with pytest.raises(DataError, match=message):
            load(Options(str(tmp_path / "one.jsonl"), freq="D", windows=0))
