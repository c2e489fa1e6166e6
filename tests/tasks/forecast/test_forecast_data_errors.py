"""Each bad input of the forecasting data ends in one line that names series, row and file; what is dubious is counted."""

import gzip
import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.errors import ConfigError, DataError, ToolError
from tasks.forecast import named
from tasks.forecast.calendar import Calendar
from tasks.forecast.checks import check_counts, check_future, too_short
from tasks.forecast.data import Options, load
from tasks.forecast.inspection import inspect
from tasks.forecast.panel import Panel

EXCHANGE = Path(__file__).parents[4] / "shared" / "data" / "forecast" / "exchange_rate.txt.gz"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def long_rows(*series):
    """A long CSV from (name, [(stamp, value), ...])."""
    lines = [f"{name},{stamp},{value}" for name, rows in series for stamp, value in rows]
    return "item_id,timestamp,target\n" + "\n".join(lines) + "\n"


def days(count, first="2024-01-01", freq="D"):
    return [
        (stamp.isoformat(" "), number % 7)
        for number, stamp in enumerate(pd.date_range(first, periods=count, freq=freq))
    ]


GOOD = ("good", days(30))
TWICE = ("bad", [*days(12), days(12)[-1], *days(5, "2024-01-13")])
BACK = ("bad", [*days(12, "2024-01-10"), *days(5)])
HALF = ("bad", [*days(10), ("2024-01-11 12:30:00", 1), *days(5, "2024-01-12")])
WEEKLY = ("bad", days(12, freq="W-MON"))
EMPTY = ("bad", [(stamp, "") for stamp, _ in days(20)])
HUGE = ("bad", [*days(20)[:9], ("2024-01-10 00:00:00", "1e308"), *days(10, "2024-01-11")])


@pytest.mark.parametrize(
    ("bad", "message", "kind"),
    [
        (TWICE, r"long.csv: series bad, row 44: 2024-01-12 00:00:00 comes twice \(duplicate", "repeat or go back"),
        (
            BACK,
            r"long.csv: series bad, row 44: 2024-01-01 00:00:00 comes after a later or equal one; sort",
            "repeat or go back",
        ),
        (HALF, r"series bad, row 42: 2024-01-11 12:30:00 is off the grid of frequency D", "off the D grid"),
        (
            WEEKLY,
            r"series bad, row 32: it goes by 7 steps of D at a time \(wrong or mixed frequency\)",
            "another frequency",
        ),
        (EMPTY, r"series bad: all 20 values are missing \(NaN\)", "NaN only"),
        (
            HUGE,
            r"series bad, row 41, 2024-01-10 00:00:00 \(value 10\): 1e\+308 is beyond what float32 holds",
            "beyond float32",
        ),
    ],
    ids=["twice", "back", "half", "weekly", "empty", "huge"],
)
def test_a_bad_series_is_named_or_left_out(tmp_path, bad, message, kind):
    path = write(tmp_path / "long.csv", long_rows(GOOD, bad))
    with pytest.raises(DataError, match=message) as error:
        load(Options(path, prediction_length=3))
    assert "\n" not in str(error.value)
    left = load(Options(path, prediction_length=3, skip_bad=True))
    assert left.panel.item_ids == ["good"]
    assert left.panel.values[:, 0].tolist() == [value for _, value in GOOD[1]]
    assert left.skipped == [f"1 series left out: {left.skipped[0].split(': ', 1)[1]}"]
    assert kind in left.skipped[0]
    only = write(tmp_path / "only.csv", long_rows(bad))
    if bad is not WEEKLY and bad is not HALF:
        with pytest.raises(DataError, match="no series is left"):
            load(Options(only, prediction_length=3, skip_bad=True))


def test_ten_problems_are_told_and_the_rest_counted(tmp_path):
    bad = [(f"n{number}", EMPTY[1]) for number in range(13)]
    with pytest.raises(DataError, match=r"series n9: .*; and 3 more\. Mend"):
        load(Options(write(tmp_path / "long.csv", long_rows(GOOD, *bad)), prediction_length=3))


STAMPED = "date,a,b\n2024-01-01,1,2\n2024-01-02,3,4\n2024-01-03,5,6\n2024-01-04,7,8\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "a.csv: the file is empty"),
        ("a.csv", "date,a,b\n", "a.csv: no rows"),
        ("a.csv", "date,a,b", "a.csv: no rows"),
        ("a.csv", STAMPED.replace("5,6", "5,six"), "a.csv, row 4, column b: 'six' is not a number"),
        ("a.csv", STAMPED.replace("5,6", "5,6,7"), "a.csv, row 4: 4 cells where the header has 3"),
        ("a.csv", STAMPED.replace("5,6", "5"), "a.csv, row 4: 2 cells where the header has 3"),
        (
            "a.csv",
            STAMPED.replace("2024-01-03", "yesterday"),
            "a.csv, row 4, column date: 'yesterday' is no time stamp",
        ),
        ("a.csv", STAMPED.replace("2024-01-03", "2024-01-02"), "a.csv, row 4: 2024-01-02 00:00:00 comes twice"),
        (
            "a.csv",
            STAMPED.replace("2024-01-03", "2023-01-02"),
            "a.csv, row 4: 2023-01-02 00:00:00 comes after a later one",
        ),
        ("a.csv", STAMPED.replace("2024-01-03", "2024-01-02 07:00"), "no regular step|off the grid"),
        ("a.csv", STAMPED.replace("date,a,b", "date,a,a"), "two columns are called 'a'"),
        ("a.csv", "a,b\n1,2\n3,4\n", "a.csv: no time stamps; state --freq"),
        ("a.csv", "date,a\n2024-01-01,1\n2024-01-02,2\n", "too few time stamps to find the frequency"),
        ("a.txt", "1,2\n3,x\n", "a.txt, row 2, column 1: 'x' is not a number"),
        ("a.csv", "item_id,timestamp,target\nx,2024-01-01,1\nx,,2\n", "a.csv, row 3, column timestamp: no time stamp"),
        (
            "a.csv",
            "item_id,timestamp,target\nx,2024-01-01,1\n,2024-01-02,2\n",
            "a.csv, row 3, column item_id: the cell is empty",
        ),
        (
            "a.csv",
            "item_id,timestamp,target\nx,2024-01-01,1\nx,2024-01-02,one\n",
            "row 3, column target: 'one' is not a number",
        ),
        ("a.json", '{"start": "2024-01-01", "target": [1]}\n{"start": \n', "a.json, row 2: not JSON"),
        ("a.json", '{"start": "2024-01-01"}\n', "a.json, row 1: no record with a target"),
        ("a.json", '{"start": "2024-01-01", "target": [1, "x"]}\n', "a.json, row 1: target is no list of numbers"),
        ("a.json", '{"start": "soon", "target": [1]}\n', "start 'soon' is no time stamp"),
        ("a.parquet", "no parquet", "a.parquet: not a Parquet file, or broken"),
        ("a.xlsx", "PK", "a.xlsx: not a format known here"),
        ("X-train.csv", "V1,V2,V3\nH1,1,2\n", "come as a pair"),
    ],
)
def test_broken_files(tmp_path, name, text, message):
    path = write(tmp_path / name, text)
    with pytest.raises(DataError, match=message) as error:
        load(Options(path, prediction_length=1, freq="D" if name.endswith((".json", ".txt")) else None))
    assert "\n" not in str(error.value)


def test_names_that_lead_nowhere(tmp_path):
    with pytest.raises(DataError, match=r"did you mean exchange_rate\?"):
        load(Options("exchange-rate"))
    with pytest.raises(DataError, match="no such file or folder"):
        load(Options(str(tmp_path / "none.csv")))
    with pytest.raises(DataError, match="no GluonTS folder"):
        load(Options(str(tmp_path)))
    with pytest.raises(ConfigError, match="no column sales, only date, a, b"):
        load(Options(write(tmp_path / "a.csv", STAMPED), target_columns=["sales"]))
    with pytest.raises(ConfigError, match="--data-file goes with a named data set"):
        load(Options("sample", data_file="x"))
    with pytest.raises(ConfigError, match="--windows -1"):
        load(Options("sample", windows=-1))
    with pytest.raises(ConfigError, match="pandas knows no frequency 'fortnight'"):
        load(Options(write(tmp_path / "a.csv", STAMPED), freq="fortnight"))


def test_a_static_column_that_changes(tmp_path):
    text = "item_id,timestamp,target,kind\n" + "".join(
        f"x,{stamp},1,{'b' if n == 7 else 'a'}\n" for n, (stamp, _) in enumerate(days(12))
    )
    with pytest.raises(DataError, match="series x, row 9: kind changes within the series"):
        load(Options(write(tmp_path / "a.csv", text), category_columns=["kind"], prediction_length=2))


def test_series_too_short_for_the_test(tmp_path):
    path = write(tmp_path / "long.csv", long_rows(GOOD, ("short", days(8)), ("shorter", days(4))))
    message = r"series short has 8 steps \(and 1 more series are too short\); 3 windows of 4 need more than 12"
    with pytest.raises(DataError, match=message):
        load(Options(path, prediction_length=4, windows=3))
    left = load(Options(path, prediction_length=4, windows=3, skip_bad=True))
    assert left.panel.item_ids == ["good"]
    assert left.test.origin.tolist() == [18, 22, 26]
    assert left.skipped == ["2 series left out: too short for the test (12 steps and one to train on)"]


def test_m4_pairs_that_do_not_match(tmp_path):
    train = write(tmp_path / "Daily-train.csv", "V1,V2,V3,V4\nD1,1,2,3\nD2,4,5,\n")
    write(tmp_path / "Daily-test.csv", "V1,V2,V3\nD2,8,9\nD1,6,7\n")
    pair = load(Options(train))
    assert [pair.panel.series(number)[:, 0].tolist() for number in range(2)] == [[1, 2, 3, 6, 7], [4, 5, 8, 9]]
    assert pair.panel.calendar.freq == "D"
    assert load(Options(train, prediction_length=1)).test.origin.tolist() == [3, 2]
    with pytest.raises(DataError, match="--prediction-length 3 is beyond the test data, which have 2 steps"):
        load(Options(train, prediction_length=3))
    write(tmp_path / "Daily-test.csv", "V1,V2,V3\nD3,8,9\nD1,6,7\n")
    with pytest.raises(DataError, match="D2 is missing"):
        load(Options(train))
    write(tmp_path / "Daily-test.csv", "V1,V2,V3\nD2,8,9\nD1,6,\n")
    with pytest.raises(DataError, match="row 3: series D1 has 1 values, the first 2"):
        load(Options(train))


def panel_of(*series, freq="h", **others):
    offsets = np.concatenate([[0], np.cumsum([len(values) for values in series])])
    values = np.concatenate(series).astype(float)[:, None]
    names = [f"s{number}" for number in range(len(series))]
    calendar = Calendar(freq, pd.Timestamp("2024-01-01"), max(len(values) for values in series))
    return Panel(values, offsets, np.zeros(len(series), np.int64), calendar, names, **others)


def test_how_long_a_series_must_be():
    panel = panel_of(range(50), range(20), range(28), range(27))
    assert too_short(panel, panel.lengths, 8, [1, 12], 8).startswith(
        "series s1 has 20 steps to train on (and 1 more series), but must have 28: context 8 + longest lag 12 + horizon 8"
    )
    assert too_short(panel, panel.lengths, 4, [], 8) is None


@pytest.mark.parametrize(("value", "message"), [(-1, "-1 is negative"), (2.5, "2.5 is no whole number")])
def test_counts_for_a_negative_binomial(value, message):
    check_counts(panel_of([0, 1, np.nan, 1e6]))
    wrong = panel_of([0, 1, 2], [3, 4, 5, value])
    with pytest.raises(DataError, match=rf"series s1, 2024-01-01 03:00:00 \(value 4\): {message}"):
        check_counts(wrong)


def test_covariates_missing_in_the_past_and_in_the_future(tmp_path):
    known = {
        "covariates": np.zeros((8, 1), np.float32),
        "covariate_offsets": np.array([0, 5, 8]),
        "covariate_names": ["promo"],
    }
    panel = panel_of(range(3), range(3), **known)
    check_future(panel_of(range(3), range(1), **known), 2)
    with pytest.raises(DataError, match="series s1: the covariates promo are known for 0 of the 2 steps to forecast"):
        check_future(panel, 2)
    rows = [("x", stamp, number, "" if number == 4 else 1) for number, (stamp, _) in enumerate(days(12))]
    text = "item_id,timestamp,target,promo\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    with pytest.raises(
        DataError, match=r"series x, row 6, 2024-01-05 00:00:00 \(value 5\): the covariate promo is missing"
    ):
        load(Options(write(tmp_path / "a.csv", text), covariate_columns=["promo"], prediction_length=2))


def test_constant_series_are_counted_not_refused(tmp_path):
    flat = ("flat", [(stamp, 3) for stamp, _ in days(30)])
    loaded = load(Options(write(tmp_path / "a.csv", long_rows(GOOD, flat)), prediction_length=3))
    assert len(loaded.panel) == 2
    assert loaded.warnings == ["1 of 2 series are constant: MASE has no scale there"]


def test_inspect_counts_what_is_there(tmp_path):
    hours = pd.date_range("2024-01-01", periods=24 * 20, freq="h")
    season = np.round(100 + 20 * np.sin(np.arange(len(hours)) * 2 * np.pi / 24), 3)
    noise = np.random.default_rng(0).normal(size=len(hours)).round(3)
    noise[3:15] = np.nan
    flat = np.zeros(len(hours))
    table = pd.DataFrame({"season": season, "noise": noise, "flat": flat}, index=hours)
    table.to_csv(tmp_path / "wide.csv", index_label="date")
    found = inspect(load(Options(str(tmp_path / "wide.csv"), prediction_length=24, windows=2)))
    assert json.loads(json.dumps(found)) == found  # plain numbers and texts only
    assert (found["series"], found["steps"], found["constant_series"]) == (3, 1440, 1)
    assert found["missing_share"] == round(12 / 1440, 6)
    assert found["zero_share"] == round(480 / 1428, 6)
    assert found["negative_values"] == int((noise < 0).sum())
    assert not found["integers_only"]
    assert found["span"] == "2024-01-01 00:00 to 2024-01-20 23:00"
    assert found["split"]["train_steps"] == {"min": 432, "max": 432}
    assert found["suggested"]["context_length"] == 48
    assert max(found["suggested"]["lags"]) <= 432 - 24 - 48
    assert found["suggested"]["series_too_short"] == 0

    def strength(name):
        return inspect(load(Options(str(tmp_path / "wide.csv"), prediction_length=24, target_columns=[name])))[
            "season"
        ]["strength"]

    assert strength("season") > 0.99
    assert strength("noise") < 0.15


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A stand-in for the place that the named data sets come from; what it gives is set by the test."""
    given = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = given.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"") + given.get("missing", 0)))
            self.end_headers()
            self.wfile.write(body or b"")
            given["asked"] = given.get("asked", 0) + 1

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setattr(named, "_ROOT", f"http://127.0.0.1:{running.server_port}/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield given
    running.shutdown()


def test_a_named_data_set_is_fetched_once_and_whole(server, tmp_path, monkeypatch):
    text = "\n".join(",".join(str(column * 100 + row) for column in range(3)) for row in range(120)) + "\n"
    known = named.Known("small/small.txt.gz", 3, 120, "h", "2020-01-01", 1, 3, every=6)
    monkeypatch.setitem(named.SETS, "solar", known)
    server["/small/small.txt.gz"] = gzip.compress(text.encode())
    for _ in range(2):
        loaded = load(Options("solar"))
    assert server["asked"] == 1
    assert loaded.panel.series(1)[:, 0].tolist() == [
        sum(100 + row for row in range(6 * hour, 6 * hour + 6)) for hour in range(20)
    ]
    assert loaded.test.origin.tolist() == [17, 17, 17, 18, 18, 18, 19, 19, 19]
    folder = tmp_path / "cache" / "modeltool" / "forecast"
    (folder / "small.txt.gz").unlink()
    server["missing"] = 10
    with pytest.raises(ToolError, match=r"solar|broke off"):
        load(Options("solar"))
    server.pop("missing")
    monkeypatch.setitem(
        named.SETS, "solar", named.Known("small/small.txt.gz", 3, 120, "h", "2020-01-01", 1, 3, sha256="0" * 64)
    )
    with pytest.raises(ToolError, match="no longer the file that solar is; give the file by --data-file"):
        load(Options("solar"))
    server.pop("/small/small.txt.gz")
    with pytest.raises(ToolError, match=r"can't fetch .* --data-file"):
        load(Options("solar"))
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not EXCHANGE.exists(), reason=f"{EXCHANGE} is not there")
def test_the_real_file_is_taken_from_the_cache_only_if_it_is_whole(server, tmp_path):
    server["/exchange_rate/exchange_rate.txt.gz"] = EXCHANGE.read_bytes()
    folder = tmp_path / "cache" / "modeltool" / "forecast"
    folder.mkdir(parents=True)
    (folder / "exchange_rate.txt.gz").write_bytes(b"half")
    assert load(Options("exchange_rate")).panel.lengths.tolist() == [7588] * 8
    assert server["asked"] == 1
