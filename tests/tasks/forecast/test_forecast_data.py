"""Each form of forecasting data read from real files, against pandas, gluonts and the published splits."""

import contextlib
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import ConfigError, DataError
from tasks.forecast.calendar import Calendar
from tasks.forecast.data import Options, load
from tasks.forecast.readers import hub, tables
from tasks.forecast.readers.grid import infer
from tasks.forecast.readers.hub import read_dataset
from tasks.forecast.sample import write_sample

REAL = Path(__file__).parents[4] / "shared" / "data" / "forecast"
EXCHANGE = REAL / "exchange_rate.txt.gz"
needs_real = pytest.mark.skipif(not EXCHANGE.exists(), reason=f"{REAL} is not there")


def series_of(panel, name):
    """A series as pandas sees it: values by time stamp."""
    number = panel.item_ids.index(name)
    values = panel.series(number)
    index = panel.calendar.timestamps(int(panel.starts[number]), len(values))
    return pd.DataFrame(values, index=index, columns=panel.target_names)


@pytest.fixture(scope="module")
def gluonts_exchange(tmp_path_factory):
    """GluonTS's own recipe, run on the local file."""
    if not EXCHANGE.exists():
        pytest.skip(f"{EXCHANGE} is not there")
    from gluonts.dataset.jsonl import JsonLinesWriter
    from gluonts.dataset.repository import _lstnet

    folder = tmp_path_factory.mktemp("gluonts") / "exchange"
    known = _lstnet.datasets_info["exchange_rate"]
    _lstnet.datasets_info["exchange_rate"] = known._replace(url=str(EXCHANGE))
    try:
        _lstnet.generate_lstnet_dataset(folder, "exchange_rate", JsonLinesWriter())
    finally:
        _lstnet.datasets_info["exchange_rate"] = known
    return folder


@pytest.mark.parametrize("start", ["1990-01-01", "2024-02-29 16:30", "1700-03-01", "1500-06-01", "2026-11-27"])
@pytest.mark.parametrize("first", [0, 1, 777])
def test_business_days_are_those_of_pandas(start, first):
    begin = pd.Timestamp(start)
    begin = begin if begin.dayofweek < 5 else begin + pd.Timedelta(days=7 - begin.dayofweek)
    found = Calendar("B", begin, 10).timestamps(first, 600)
    expected = pd.date_range(begin, periods=first + 600, freq="B", unit="ns" if begin.year >= 1678 else "s")[first:]
    assert found.dtype == expected.dtype
    assert found.equals(expected)


def test_exchange_rate_is_split_as_gluonts_splits_it(gluonts_exchange):
    from gluonts.dataset.common import load_datasets

    theirs = load_datasets(gluonts_exchange, gluonts_exchange / "train", gluonts_exchange / "test")
    train, test = list(theirs.train), list(theirs.test)
    ours = load(Options("exchange_rate", data_file=str(EXCHANGE)))
    assert (len(train), len(test), len(ours.test)) == (8, 40, 40)
    assert ours.panel.calendar.freq == theirs.metadata.freq.removeprefix("1") == "B"
    assert ours.prediction_length == theirs.metadata.prediction_length == 30
    stamps = ours.panel.calendar.timestamps(0, ours.panel.calendar.length)
    for number, entry in enumerate(train):
        trained_on = ours.panel.series(number)[: ours.train_ends[number], 0]
        np.testing.assert_array_equal(trained_on.astype(np.float32), entry["target"])
    for entry, series, origin in zip(test, ours.test.series, ours.test.origin, strict=True):
        seen = ours.panel.series(series)[: origin + 30, 0].astype(np.float32)
        np.testing.assert_array_equal(seen, np.asarray(entry["target"], np.float32))
        assert stamps[ours.panel.starts[series]] == entry["start"].to_timestamp()
        assert stamps[ours.panel.starts[series] + origin] == (entry["start"] + origin).to_timestamp()
    assert ours.test.window.tolist() == [window for window in range(5) for _ in range(8)]
    assert ours.description == "8 series x 7,588 steps, business days, 1990-01-01 to 2019-01-30, 5 windows of 30"


def test_a_gluonts_folder_gives_its_own_test(gluonts_exchange):
    folder, named = load(Options(str(gluonts_exchange))), load(Options("exchange_rate", data_file=str(EXCHANGE)))
    assert folder.own_split
    for one, other in zip(
        (folder.test.series, folder.test.origin, folder.test.window, folder.train_ends),
        (named.test.series, named.test.origin, named.test.window, named.train_ends),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    last = int(named.test.origin[-1]) + 30
    for number in range(8):
        np.testing.assert_array_equal(folder.panel.series(number), named.panel.series(number)[:last])
    assert folder.panel.calendar.start == named.panel.calendar.start
    assert folder.panel.category_names == [[str(number) for number in range(8)]]
    with pytest.raises(DataError, match="beyond the test data"):
        load(Options(str(gluonts_exchange), prediction_length=2000))


@needs_real
def test_a_raw_matrix_with_stated_frequency_and_start():
    stated = load(Options(str(EXCHANGE), freq="B", start="1990-01-01", prediction_length=30, windows=2, stride=10))
    assert stated.format == "matrix"
    np.testing.assert_array_equal(stated.test.origin, [7588 - 40] * 8 + [7588 - 30] * 8)
    assert (stated.train_ends == 7548).all()
    one = load(Options("exchange_rate", data_file=str(EXCHANGE), multivariate=True))
    assert (len(one.panel), one.panel.dims, len(one.test)) == (1, 8, 5)
    np.testing.assert_array_equal(one.panel.values, stated.panel.values.reshape(8, -1).T)
    with pytest.raises(DataError, match="--freq"):
        load(Options(str(EXCHANGE)))
    with pytest.raises(DataError, match="8 columns of 7,588 rows, traffic has 862 of 17,544"):
        load(Options("traffic", data_file=str(EXCHANGE)))


@needs_real
def test_the_m4_pair_is_what_others_made_of_it():
    pair = load(Options(str(REAL / "M4-Hourly-test.csv")))
    table = pd.read_parquet(REAL / "m4_hourly.parquet")
    assert (pair.prediction_length, len(pair.test), len(pair.panel)) == (48, 414, 414)
    assert not pair.panel.has_timestamps
    np.testing.assert_array_equal(pair.test.origin, pair.train_ends)
    np.testing.assert_array_equal(pair.panel.lengths, pair.train_ends + 48)
    for name, rows in table.groupby("series_id")["value"]:
        np.testing.assert_array_equal(pair.panel.series(pair.panel.item_ids.index(name))[:, 0], rows)
    long = load(Options(str(REAL / "m4_hourly.parquet"), prediction_length=48, category_columns=["category"]))
    assert long.panel.item_ids == pair.panel.item_ids
    np.testing.assert_array_equal(long.panel.values, pair.panel.values)
    stamps = table[table.series_id == "H200"].timestamp
    assert (series_of(long.panel, "H200").index == pd.DatetimeIndex(stamps)).all()


@needs_real
def test_etth1_as_series_and_as_one():
    table = pd.read_csv(REAL / "ETTh1.csv", index_col=0, parse_dates=True, float_precision="round_trip")
    seven = load(Options(str(REAL / "ETTh1.csv"), prediction_length=24, windows=7))
    assert (seven.format, seven.panel.calendar.freq, len(seven.test)) == ("wide CSV", "h", 49)
    for name in table:
        np.testing.assert_array_equal(series_of(seven.panel, name)["target"], table[name])
    one = load(Options(str(REAL / "ETTh1.csv"), multivariate=True, target_columns=["OT", "HUFL"]))
    assert one.panel.target_names == ["OT", "HUFL"]
    pd.testing.assert_frame_equal(
        series_of(one.panel, "ETTh1"), table[["OT", "HUFL"]], check_names=False, check_freq=False
    )


def long_table(seed=0, freq="h", series=7):
    """Series of unequal length and start, with gaps in time and NaN, statics and a covariate."""
    random = np.random.default_rng(seed)
    parts = []
    for number in range(series):
        count = int(random.integers(60, 120))
        stamps = pd.date_range("2024-03-01", periods=150, freq=freq)[int(random.integers(0, 30)) :][:count]
        values = random.normal(size=(count, 2)).round(6)
        values[random.random((count, 2)) < 0.05] = np.nan
        values[[0, -1]] = 1.5
        part = pd.DataFrame(
            {
                "shop": f"s{9 - number}",
                "when": stamps,
                "sales": values[:, 0],
                "visits": values[:, 1],
                "promo": random.random(count),
            }
        )
        part["kind"], part["size"] = ("b", "a", "c")[number % 3], number * 1.5
        drop = random.random(count) < 0.1
        drop[[0, 1, -1]] = False
        parts.append(part[~drop])
    return pd.concat(parts, ignore_index=True)


LONG = {"item_column": "shop", "timestamp_column": "when", "target_columns": ["sales", "visits"]}


def write(table, folder, kind):
    path = folder / f"table.{kind}"
    if kind == "parquet":
        table.to_parquet(path, index=False)
    elif kind == "tsv":
        table.to_csv(path, index=False, sep="\t")
    else:
        table.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "parquet"])
@pytest.mark.parametrize("order", ["series", "time"])
def test_long_tables_match_pandas(tmp_path, monkeypatch, kind, order):
    monkeypatch.setattr(tables, "_BLOCK", 3_000)  # many batches, series broken between them
    table = long_table()
    if order == "time":
        table = table.sort_values(["when", "shop"])
    found = load(
        Options(
            write(table, tmp_path, kind), **LONG, category_columns=["kind"], real_columns=["size"], prediction_length=5
        )
    ).panel
    assert found.item_ids == list(table["shop"].unique())
    assert found.category_names == [["a", "b", "c"]]
    assert found.calendar.start == table["when"].min()
    for number, name in enumerate(found.item_ids):
        rows = table[table["shop"] == name].set_index("when")
        expected = rows[["sales", "visits"]].asfreq("h")
        pd.testing.assert_frame_equal(series_of(found, name), expected, check_names=False, check_freq=False)
        assert found.category_names[0][found.static_categories[number, 0]] == rows["kind"].iloc[0]
        assert found.static_reals[number, 0] == rows["size"].iloc[0]


@pytest.mark.parametrize(
    "freq", ["h", "15min", "2h", "D", "B", "W-WED", "MS", "ME", "QS-FEB", "QE-DEC", "YS-JAN", "YE-DEC", "3D"]
)
def test_frequencies_are_found_in_spite_of_gaps(freq):
    stamps = pd.date_range("2001-01-03", periods=200, freq=freq)
    assert infer(stamps.asi8) == freq
    some = np.random.default_rng(1).random(200) < 0.8
    assert infer(stamps[some].asi8) == freq


@pytest.mark.parametrize("freq", ["B", "MS", "ME", "W-SUN", "QE-DEC"])
def test_gaps_become_missing_steps_at_every_frequency(tmp_path, freq):
    table = long_table(freq=freq)
    found = load(Options(write(table, tmp_path, "csv"), **LONG, prediction_length=5)).panel
    assert found.calendar.freq == freq
    for name in found.item_ids:
        rows = table[table["shop"] == name].set_index("when")[["sales", "visits"]].asfreq(freq)
        pd.testing.assert_frame_equal(series_of(found, name), rows, check_names=False, check_freq=False)


def test_a_stated_frequency_fits_the_data_or_is_refused(tmp_path):
    table = long_table(freq="W-WED", series=2)
    path = write(table, tmp_path, "csv")
    assert load(Options(path, **LONG, freq="W", prediction_length=5)).panel.calendar.freq == "W-WED"
    for freq, message in (
        ("W-FRI", "no step of the frequency W-FRI"),
        ("h", "168 steps of h at a time|coarser --freq"),
    ):
        with pytest.raises(DataError, match=message):
            load(Options(path, **LONG, freq=freq, prediction_length=5))
    month = write(long_table(freq="MS", series=1), tmp_path, "parquet")
    assert load(Options(month, **LONG, freq="M", prediction_length=5)).panel.calendar.freq == "MS"


def test_wide_files_with_gaps_ends_and_none_of_time(tmp_path):
    stamps = pd.date_range("2024-01-01", periods=40, freq="D")
    values = np.arange(120.0).reshape(40, 3)
    values[:5, 1] = values[33:, 2] = np.nan
    values[10, 0] = np.nan
    table = pd.DataFrame(values, index=stamps, columns=["a", "b", "c"]).drop(stamps[20])
    table.to_csv(tmp_path / "wide.csv", index_label="date")
    loaded = load(Options(str(tmp_path / "wide.csv"), prediction_length=4))
    assert loaded.panel.lengths.tolist() == [40, 35, 33]
    for name in "abc":
        expected = table[name].asfreq("D").loc[table[name].first_valid_index() : table[name].last_valid_index()]
        np.testing.assert_array_equal(series_of(loaded.panel, name)["target"], expected)
        assert series_of(loaded.panel, name).index[0] == expected.index[0]
    one = load(Options(str(tmp_path / "wide.csv"), prediction_length=4, multivariate=True)).panel
    pd.testing.assert_frame_equal(series_of(one, "wide"), table.asfreq("D"), check_freq=False)
    table.to_csv(tmp_path / "bare.csv", index=False)
    bare = load(Options(str(tmp_path / "bare.csv"), prediction_length=4, freq="D")).panel
    assert not bare.has_timestamps
    np.testing.assert_array_equal(bare.series(2)[:, 0], table["c"].dropna())
    table.to_parquet(tmp_path / "wide.parquet")
    np.testing.assert_array_equal(load(Options(str(tmp_path / "wide.parquet"))).panel.values, loaded.panel.values)


def test_covariates_known_beforehand_reach_past_the_target(tmp_path):
    table = long_table(series=3)[["shop", "when", "sales", "promo"]]
    step = table.groupby("shop").cumcount(ascending=False) < 6
    table = table[~table.duplicated(["shop", "when"])]
    full = [rows.set_index("when").asfreq("h").assign(shop=name) for name, rows in table.groupby("shop")]
    table = pd.concat(full).reset_index()
    table["promo"] = np.arange(len(table)) / 8
    last = table.groupby("shop").cumcount(ascending=False)
    step = last < 6
    table.loc[step, "sales"] = np.nan
    table.loc[last == 6, "sales"] = 2.0
    arguments = {
        "item_column": "shop",
        "timestamp_column": "when",
        "target_columns": ["sales"],
        "covariate_columns": ["promo"],
    }
    panel = load(Options(write(table, tmp_path, "csv"), **arguments, windows=0)).panel
    for number, name in enumerate(panel.item_ids):
        rows = table[table["shop"] == name]
        np.testing.assert_array_equal(panel.series(number)[:, 0], rows["sales"][:-6])
        known = panel.covariates[panel.covariate_offsets[number] : panel.covariate_offsets[number + 1], 0]
        np.testing.assert_array_equal(known, rows["promo"].astype(np.float32))


def test_leading_gaps_are_cut_off_and_those_within_stay(tmp_path):
    rows = [("a", day, "" if day in (1, 2, 3, 9, 20) else day) for day in range(1, 21)]
    text = "item_id,timestamp,target\n" + "".join(f"{name},2024-01-{day:02d},{value}\n" for name, day, value in rows)
    (tmp_path / "long.csv").write_text(text)
    loaded = load(Options(str(tmp_path / "long.csv"), prediction_length=3))
    expected = [float("nan") if day in (9, 20) else day for day in range(4, 21)]
    np.testing.assert_array_equal(loaded.panel.values[:, 0], expected)
    assert series_of(loaded.panel, "a").index[0] == pd.Timestamp("2024-01-04")
    assert loaded.description == "1 series x 17 steps, days, 2024-01-04 to 2024-01-20, 1 window of 3"


def records():
    return [
        {
            "start": "2024-01-01 05:00:00",
            "target": [1, 2, None, 4.5],
            "item_id": "x",
            "feat_static_cat": [10],
            "feat_static_real": [0.5],
        },
        {
            "start": "2024-01-01 02:00:00",
            "target": [7, 8, 9],
            "item_id": "y",
            "feat_static_cat": [9],
            "feat_static_real": [2],
        },
    ]


@pytest.mark.parametrize("name", ["data.jsonl", "data.json.gz"])
def test_gluonts_json_lines(tmp_path, name):
    text = "".join(json.dumps(record) + "\n" for record in records()).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    panel = load(Options(str(tmp_path / name), freq="H", windows=0)).panel
    np.testing.assert_array_equal(panel.series(0)[:, 0], [1, 2, np.nan, 4.5])
    assert panel.starts.tolist() == [3, 0]
    assert panel.calendar.start == pd.Timestamp("2024-01-01 02:00")
    assert panel.category_names == [["9", "10"]]
    assert panel.static_categories.tolist() == [[1], [0]]
    assert panel.static_reals.tolist() == [[0.5], [2.0]]
    with pytest.raises(DataError, match="state --freq"):
        load(Options(str(tmp_path / name)))


def test_records_of_several_dimensions_with_dynamic_features(tmp_path):
    lines = [{"start": "2024-01-01", "target": [[1, 2, 3], [4, 5, 6]], "feat_dynamic_real": [[0, 1, 2, 3, 4]]}]
    (tmp_path / "two.json").write_text(json.dumps(lines[0]))
    panel = load(Options(str(tmp_path / "two.json"), freq="D", windows=0)).panel
    assert panel.values.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert panel.covariates[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_hub_dataset_long_or_of_records():
    from datasets import Dataset

    table = long_table()
    flat = read_dataset(Dataset.from_pandas(table), Options(**LONG), "owner/name (train)")
    for name in flat.panel.item_ids:
        rows = table[table["shop"] == name].set_index("when")[["sales", "visits"]].asfreq("h")
        pd.testing.assert_frame_equal(series_of(flat.panel, name), rows, check_names=False, check_freq=False)
    listed = pd.DataFrame(
        {
            "id": ["u", "v"],
            "timestamp": [list(pd.date_range("2024-01-01", periods=n, freq="D")) for n in (4, 5)],
            "target": [[1.0] * 4, [2.0] * 5],
        }
    )
    nested = read_dataset(Dataset.from_pandas(listed), Options(), "owner/name (train)")
    assert nested.panel.calendar.freq == "D"
    assert nested.panel.lengths.tolist() == [4, 5]
    with pytest.raises(DataError, match="neither a long table"):
        read_dataset(Dataset.from_dict({"text": ["a"]}), Options(), "owner/name (train)")


def test_a_hub_id_is_asked_for_with_its_split_revision_and_token(monkeypatch):
    import datasets

    asked = []

    def give(name, **arguments):
        asked.append((name, arguments))
        return datasets.Dataset.from_pandas(long_table())

    monkeypatch.setattr(hub, "loading", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, **__: ["first", "train"])
    monkeypatch.setattr(datasets, "load_dataset", give)
    assert load(Options("owner/name", **LONG, revision="v1", token="t", prediction_length=5)).name == "owner/name"
    assert asked == [("owner/name", {"split": "train", "revision": "v1", "token": "t"})]
    load(Options("owner/name", **LONG, split="first", prediction_length=5))
    assert asked[1][1]["split"] == "first"
    with pytest.raises(ConfigError, match="--split last: owner/name has only first, train"):
        load(Options("owner/name", **LONG, split="last"))


def test_categories_of_a_trained_model(tmp_path):
    path = write(long_table(), tmp_path, "csv")
    known = load(Options(path, **LONG, category_columns=["kind"], categories=[["c", "z", "a", "b"]])).panel
    assert known.category_names == [["c", "z", "a", "b"]]
    assert known.static_categories[:3, 0].tolist() == [3, 2, 0]
    with pytest.raises(DataError, match="series s7: the model knows no kind 'c', only a, b"):
        load(Options(path, **LONG, category_columns=["kind"], categories=[["a", "b"]]))
    with pytest.raises(ConfigError, match="knows 2 static categories"):
        load(Options(path, **LONG, category_columns=["kind"], categories=[["a"], ["b"]]))


def test_large_panels_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, arguments in (
        (write(long_table(), tmp_path, "csv"), LONG),
        (write(long_table(), tmp_path, "parquet"), LONG),
    ):
        small, large = load(Options(name, **arguments)), load(Options(name, **arguments, memory_limit=1_000))
        assert isinstance(large.panel.values, np.memmap)
        assert not isinstance(small.panel.values, np.memmap)
        np.testing.assert_array_equal(large.panel.values, small.panel.values)
    assert list((tmp_path / "cache").rglob("*.*")) == []  # the file goes with the process


def test_a_subset_is_drawn_by_seed_and_keeps_its_test():
    whole, some = load(Options("sample", windows=2)), load(Options("sample", windows=2, max_series=5, seed=3))
    assert len(some.panel) == 5
    assert some.panel.item_ids == [
        name for name in load(Options("sample", seed=3)).panel.item_ids if name in some.panel.item_ids
    ]
    assert load(Options("sample", max_series=5, seed=3)).panel.item_ids == some.panel.item_ids
    assert load(Options("sample", max_series=5, seed=4)).panel.item_ids != some.panel.item_ids
    assert (len(whole.test), len(some.test)) == (36, 10)


def test_the_sample_written_is_the_sample_in_memory(tmp_path):
    write_sample(tmp_path / "one", seed=2)
    written, memory = load(Options(str(tmp_path / "one"), category_columns=["kind"])), load(Options("sample", seed=2))
    np.testing.assert_array_equal(written.panel.values, memory.panel.values)
    for field in ("starts", "offsets", "static_categories"):
        np.testing.assert_array_equal(getattr(written.panel, field), getattr(memory.panel, field))
    assert written.panel.item_ids == memory.panel.item_ids
    assert written.panel.category_names == memory.panel.category_names
    assert written.panel.calendar == memory.panel.calendar
    assert np.isnan(memory.panel.values).any()
    assert len(set(memory.panel.lengths.tolist())) > 3
    assert not np.array_equal(
        load(Options("sample", seed=1)).panel.values,
        memory.panel.values[: len(load(Options("sample", seed=1)).panel.values)],
    )


def test_no_test_at_all_and_yearly_series_beyond_pandas_time(tmp_path):
    assert len(load(Options("sample", windows=0)).test) == 0
    assert (load(Options("sample", windows=0)).train_ends == load(Options("sample")).panel.lengths).all()
    (tmp_path / "years.csv").write_text("a\n" + "\n".join(str(n) for n in range(800)))
    years = load(Options(str(tmp_path / "years.csv"), freq="Y")).panel
    assert years.calendar.features(806).shape[0] == 806


def test_reading_needs_no_torch():
    code = "import sys; from tasks.forecast.data import Options, load; load(Options('sample')); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3]).returncode == 0


def test_parquet_types_as_they_come(tmp_path):
    stamps = pd.date_range("2024-01-01", periods=12, freq="D")
    table = pa.table(
        {
            "item_id": pa.array([1] * 12, pa.int32()),
            "timestamp": pa.array([str(stamp.date()) for stamp in stamps]),
            "target": pa.array(range(12), pa.decimal128(8, 2)),
        }
    )
    pq.write_table(table, tmp_path / "odd.parquet")
    panel = load(Options(str(tmp_path / "odd.parquet"), prediction_length=2)).panel
    assert panel.item_ids == ["1"]
    assert panel.values[:, 0].tolist() == list(range(12))
    numbered = table.set_column(1, "timestamp", pa.array(range(5, 17), pa.int64()))
    pq.write_table(numbered, tmp_path / "steps.parquet")
    steps = load(Options(str(tmp_path / "steps.parquet"), prediction_length=2, freq="D")).panel
    assert (steps.has_timestamps, steps.lengths.tolist(), steps.starts.tolist()) == (False, [12], [0])
