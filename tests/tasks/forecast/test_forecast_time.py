"""Time columns: numbers by their values, zones and clock changes, in every form of data; against pandas."""

import json

import numpy as np
import pandas as pd
import pytest

from tasks.errors import ConfigError, DataError
from tasks.forecast.data import Options, load

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
# An hourly series in which a day is missing, and monthly ones.
HOURS = pd.date_range("2024-01-01", periods=96, freq="h").delete(slice(30, 54))
MONTHS = pd.date_range("2019-05-01", periods=50, freq="MS")


def write(folder, form, stamps, values=None, name="timestamp"):
    """A series `a` with those stamps in one of the forms; `stamps` are texts, numbers, or time stamps."""
    values = np.arange(len(stamps)) * 0.5 if values is None else values
    path = folder / f"data.{form.split('-')[-1]}"
    if form.startswith("long"):
        table = pd.DataFrame({"item_id": "a", name: stamps, "target": values})
    elif form.startswith("wide"):
        table = pd.DataFrame({name: stamps, "a": values})
    if form.endswith("csv"):
        table.to_csv(path, index=False)
    elif form.endswith("parquet"):
        table.to_parquet(path, index=False)
    else:
        first = stamps[0] if isinstance(stamps[0], str) else str(stamps[0])
        first = int(first) if first.isdigit() else first
        path.write_text(json.dumps({"item_id": "a", "start": first, "target": list(values)}) + "\n")
    return str(path)


def stamps_of(panel, number=0):
    return panel.calendar.timestamps(int(panel.starts[number]), int(panel.lengths[number]))


def same(found, expected):
    """The same instants in the same zone, whichever library's zone it is."""
    return bool((found == expected).all()) and str(found.tz) == str(expected.tz)


def as_series(panel, number=0):
    return pd.Series(panel.series(number)[:, 0], stamps_of(panel, number))


FORMS = ("long-csv", "wide-csv", "long-parquet", "wide-parquet")
SECONDS = HOURS.asi8 // 10**9
NUMBERED = {
    "seconds since 1970 (UTC)": SECONDS,
    "milliseconds since 1970 (UTC)": SECONDS * 10**3,
    "microseconds since 1970 (UTC)": SECONDS * 10**6,
    "nanoseconds since 1970 (UTC)": SECONDS * 10**9,
    "hours (YYYYMMDDHH)": HOURS.strftime("%Y%m%d%H").astype(np.int64),
    "minutes (YYYYMMDDHHMM)": HOURS.strftime("%Y%m%d%H%M").astype(np.int64),
    "seconds (YYYYMMDDHHMMSS)": HOURS.strftime("%Y%m%d%H%M%S").astype(np.int64),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unit", NUMBERED)
def test_a_numeric_time_column_is_what_its_values_say_and_no_hour_is_lost(tmp_path, form, unit):
    numbers = NUMBERED[unit]
    loaded = load(Options(write(tmp_path, form, numbers), prediction_length=3))
    found = as_series(loaded.panel)
    expected = pd.Series(np.arange(len(HOURS)) * 0.5, HOURS).asfreq("h")
    assert len(found) == 96
    assert found.isna().sum() == 24
    assert loaded.panel.calendar.zone == ("UTC" if "UTC" in unit else None)
    np.testing.assert_array_equal(found.index.tz_localize(None), expected.index)
    np.testing.assert_array_equal(found, expected)
    assert loaded.warnings == [f"timestamp: {numbers[0]} read as {unit}"]


@pytest.mark.parametrize("form", [*FORMS, "records-jsonl"])
@pytest.mark.parametrize(
    ("stamps", "start", "freq"),
    [
        (MONTHS.strftime("%Y%m").astype(int), "2019-05-01", "MS"),
        (MONTHS.strftime("%Y-%m"), "2019-05-01", "MS"),
        (MONTHS.strftime("%Y%m%d").astype(int), "2019-05-01", "MS"),
        (np.arange(1950, 2000), "1950-01-01", "YS-JAN"),
        (np.arange(1950, 2000).astype(float), "1950-01-01", "YS-JAN"),
        (np.round(1949 + np.arange(50) / 12, 4), "1949-01-01", "MS"),
        (1949 + np.arange(50) / 4, "1949-01-01", "QS-JAN"),
        ([f"{year}Q{quarter}" for year in range(2000, 2010) for quarter in range(1, 5)], "2000-01-01", "QS-JAN"),
        (pd.date_range("2024-02-28", periods=9).strftime("%Y%m%d").astype(int), "2024-02-28", "D"),
        (pd.date_range("2024-02-28", periods=9).strftime("%d.%m.%Y"), "2024-02-28", "D"),
    ],
    ids=["yyyymm", "iso", "yyyymmdd", "years", "floats", "twelfths", "fourths", "quarters", "days", "german"],
)
def test_months_years_and_days(tmp_path, form, stamps, start, freq):
    if form.startswith("records") and isinstance(stamps[0], float):
        pytest.skip("one number tells no year's part")
    stated = freq.split("-")[0] if form.startswith("records") else None
    panel = load(Options(write(tmp_path, form, stamps), prediction_length=2, freq=stated)).panel
    assert panel.calendar.freq == freq
    np.testing.assert_array_equal(stamps_of(panel), pd.date_range(start, periods=len(stamps), freq=freq))
    np.testing.assert_array_equal(panel.values[:, 0], np.arange(len(stamps)) * 0.5)


@pytest.mark.parametrize("name", ["date", "Time", "DATETIME", "year", "Period", "ds", "", "moment"])
@pytest.mark.parametrize("form", ["wide-csv", "wide-parquet"])
def test_a_time_column_by_its_name_wherever_it_stands(tmp_path, form, name):
    path = write(tmp_path, form, SECONDS, name=name)
    named = {"timestamp_column": "moment"} if name == "moment" else {}
    assert load(Options(path, prediction_length=3, **named)).panel.lengths.tolist() == [96]
    if name == "":
        return
    table = pd.read_csv(path) if form.endswith("csv") else pd.read_parquet(path)
    table = table[["a", name]]
    table.to_csv(path, index=False) if form.endswith("csv") else table.to_parquet(path, index=False)
    loaded = load(Options(path, prediction_length=3, **named))
    assert loaded.panel.lengths.tolist() == [96]
    assert loaded.panel.item_ids == ["a"]


REFUSED = {
    "excel": (
        range(45292, 45340),
        "may be an Excel date, days since 1970 or a step; write dates .* or state --freq and --start",
    ),
    "excel hours": ([f"{45292 + n / 24:.4f}" for n in range(48)], "may be an Excel date"),
    "days since 1970": (range(19723, 19771), "may be an Excel date, days since 1970"),
    "hour 24": (
        [f"20240101{hour:02d}" for hour in range(1, 25)],
        "row 25, column timestamp: 2024010124 is none of the column's hours",
    ),
    "month 13": ([202311, 202312, 202313, 202401], "row 4, column timestamp: 202313 is none of the column's months"),
    "30 February": ([20240228, 20240229, 20240230, 20240301], "row 4, .*: 20240230 is none of the column's days"),
    "a text": ([1704067200, "2024-01-01 01:00", 1704074400], "row 3, column timestamp: '2024-01-01 01:00' where other"),
    "a blank": (["1704067200", "", "1704074400"], "row 3, column timestamp: no time stamp"),
    "steps": (range(40), "state --freq"),
    "slashes": (["01/02/2024", "02/02/2024"], "'01/02/2024' is no time stamp"),
    "twice": ([2000, 2001, 2001, 2002], "row 4: 2001-01-01 00:00:00 comes twice"),
    "back": ([2001, 2000, 1999], "row 3: 2000-01-01 00:00:00 comes after a later"),
}


@pytest.mark.parametrize("form", ["long-csv", "wide-csv"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_be_several_things_or_none_is_refused_with_its_row(tmp_path, form, kind):
    stamps, message = REFUSED[kind]
    message = (
        message.replace("row 4: ", "series a, row 4: ").replace("row 3: ", "series a, row 3: ")
        if form == "long-csv"
        else message
    )
    with pytest.raises(DataError, match=message):
        load(Options(write(tmp_path, form, list(stamps)), prediction_length=1))


def test_step_numbers_keep_their_gaps_and_take_a_start(tmp_path):
    steps = [number for number in range(20) if number not in (7, 8)]
    for form in FORMS:
        path = write(tmp_path, form, steps)
        loaded = load(Options(path, prediction_length=2, freq="D"))
        assert loaded.panel.lengths.tolist() == [20]
        assert np.flatnonzero(np.isnan(loaded.panel.values[:, 0])).tolist() == [7, 8]
        assert any("made up" in line for line in loaded.warnings)
        excel = write(tmp_path, form, [45292 + step for step in steps])
        stated = load(Options(excel, prediction_length=2, freq="D", start="2024-01-01"))
        assert stamps_of(stated.panel)[-1] == pd.Timestamp("2024-01-20")
        hours = load(Options(write(tmp_path, form, SECONDS), prediction_length=3, freq="h", start="2024-01-01"))
        assert hours.panel.lengths.tolist() == [96]
        years = write(tmp_path, form, list(range(1950, 1990)))
        with pytest.raises(DataError, match="holds years, and --freq D has shorter steps"):
            load(Options(years, prediction_length=2, freq="D"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("start", "count", "freq", "zone"),
    [
        ("2024-03-25", 30, "D", BERLIN),
        ("2023-10-20", 400, "D", NEW_YORK),
        ("2024-01-01", 60, "B", NEW_YORK),
        ("2024-01-07", 60, "W-SUN", BERLIN),
        ("2023-01-01", 30, "MS", BERLIN),
        ("2024-03-30", 72, "h", BERLIN),
        ("2024-10-26", 72, "h", BERLIN),
        ("2024-11-02", 300, "15min", NEW_YORK),
        ("2024-01-01", 40, "h", "UTC"),
        ("2024-01-01", 40, "h", "Asia/Kolkata"),
    ],
)
def test_zones_are_read_and_kept_and_clock_changes_are_no_gaps(tmp_path, form, start, count, freq, zone):
    stamps = pd.date_range(start, periods=count, freq=freq, tz=zone)
    given = [stamp.isoformat() for stamp in stamps] if form.endswith("csv") else stamps
    named = load(Options(write(tmp_path, form, given), prediction_length=3, time_zone=zone)).panel
    panel = load(Options(write(tmp_path, form, given), prediction_length=3)).panel
    for found in (named, panel):
        assert (found.calendar.freq, found.lengths.tolist()) == (freq, [count])
        np.testing.assert_array_equal(found.values[:, 0], np.arange(count) * 0.5)
    after = named.calendar.timestamps(count, 100)
    assert same(after, pd.date_range(stamps[-1], periods=101, freq=freq)[1:])
    assert named.calendar.zone == zone
    assert panel.calendar.zone == (zone if form.endswith("parquet") or zone == "UTC" else stamps[-1].isoformat()[-6:])


@pytest.mark.parametrize("form", ["long-csv", "wide-csv"])
@pytest.mark.parametrize("text", ["{iso}[Europe/Berlin]", "{iso} Europe/Berlin"])
def test_a_zone_written_by_name(tmp_path, form, text):
    stamps = pd.date_range("2024-10-26", periods=60, freq="h", tz=BERLIN)
    panel = load(Options(write(tmp_path, form, [text.format(iso=stamp.isoformat()) for stamp in stamps]))).panel
    assert panel.calendar.zone == BERLIN
    assert same(stamps_of(panel), stamps)


@pytest.mark.parametrize("form", FORMS)
def test_local_stamps_of_a_named_zone_have_the_hour_that_comes_twice(tmp_path, form):
    stamps = pd.date_range("2024-10-26", periods=200, freq="30min", tz=BERLIN)
    local = stamps.tz_localize(None)
    given = local.astype(str) if form.endswith("csv") else local
    panel = load(Options(write(tmp_path, form, given), time_zone=BERLIN)).panel
    assert same(stamps_of(panel), stamps)
    with pytest.raises(DataError, match=r"row \d+: 2024-10-27 02:00:00 comes after .*--time-zone Europe/Berlin"):
        load(Options(write(tmp_path, form, given)))
    spring = pd.date_range("2024-03-30", periods=60, freq="h")
    with pytest.raises(
        DataError, match=r"row 2[78], column timestamp: 2024-03-31 02:00:00 was left out by the clocks of Europe/Berlin"
    ):
        load(Options(write(tmp_path, form, spring.astype(str) if form.endswith("csv") else spring), time_zone=BERLIN))


def test_series_side_by_side_have_that_hour_each(tmp_path):
    stamps = pd.date_range("2024-10-26", periods=60, freq="h", tz=BERLIN)
    rows = [(name, str(stamp)[:19], 1) for stamp in stamps for name in ("a", "b")]
    (tmp_path / "long.csv").write_text("item_id,timestamp,target\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    panel = load(Options(str(tmp_path / "long.csv"), time_zone=BERLIN)).panel
    assert [same(stamps_of(panel, number), stamps) for number in (0, 1)] == [True, True]


def days(zone, count=20):
    return [stamp.isoformat() for stamp in pd.date_range("2024-03-25", periods=count, freq="D", tz=zone)]


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (
            days(NEW_YORK),
            days("America/Los_Angeles"),
            "row 22, column timestamp: the offset -07:00 where others have -04:00: several",
        ),
        (days(NEW_YORK), days("America/Chicago"), "the offset -05:00 where others have -04:00: several time zones"),
        (
            days(NEW_YORK),
            [day[:10] for day in days("UTC")],
            "row 22, column timestamp: no time zone where other rows have one",
        ),
        ([day[:10] for day in days("UTC")], days(NEW_YORK), "row 22, .* has a time zone where other rows have none"),
        (
            [f"{day}[{NEW_YORK}]" for day in days(NEW_YORK)],
            [f"{day}[{BERLIN}]" for day in days(BERLIN)],
            "several time zones",
        ),
    ],
)
def test_several_zones_are_refused(tmp_path, one, other, message):
    rows = [("a", stamp) for stamp in one] + [("b", stamp) for stamp in other]
    path = tmp_path / "long.csv"
    path.write_text("item_id,timestamp,target\n" + "".join(f"{a},{b},{n}\n" for n, (a, b) in enumerate(rows)))
    with pytest.raises(DataError, match=message):
        load(Options(str(path), prediction_length=2))


def test_zones_are_said(tmp_path):
    loaded = load(Options(write(tmp_path, "wide-csv", days(BERLIN)), prediction_length=2))
    assert loaded.description == "1 series x 20 steps, days, 2024-03-25 to 2024-04-13 +02:00, 1 window of 2"
    assert loaded.warnings == [
        "timestamp: offsets +01:00 and +02:00 of a time zone without a name: forecasts are written with +02:00; give the name by "
        "--time-zone"
    ]
    named = load(Options(write(tmp_path, "wide-csv", days(BERLIN)), prediction_length=2, time_zone=BERLIN))
    assert named.description == "1 series x 20 steps, days, 2024-03-25 to 2024-04-13 Europe/Berlin, 1 window of 2"
    with pytest.raises(
        ConfigError, match=r"--time-zone 'Europe/Berln': there is no such time zone; did you mean Europe/Berlin\?"
    ):
        load(Options(write(tmp_path, "wide-csv", days(BERLIN)), time_zone="Europe/Berln"))


def test_features_are_of_the_clocks_on_the_wall():
    from gluonts.time_feature import hour_of_day

    from tasks.forecast.calendar import Calendar

    stamps = pd.date_range("2024-03-30", periods=72, freq="h", tz=BERLIN)
    start = stamps[0].tz_convert("UTC").tz_localize(None)
    found = Calendar("h", start, 72, BERLIN).features(72)[:, 0]
    np.testing.assert_array_equal(found, hour_of_day(stamps).astype(np.float32))
    other = Calendar("h", start, 72, "UTC", features_zone=BERLIN).features(72)[:, 0]
    np.testing.assert_array_equal(other, found)


STARTS = {
    "iso": ("2024-03-30T00:00:00+01:00", {}, "+01:00"),
    "named": ("2024-03-30T00:00:00+01:00[Europe/Berlin]", {}, BERLIN),
    "local": ("2024-03-30", {"time_zone": BERLIN}, BERLIN),
    "seconds": (1711753200, {"time_zone": BERLIN}, BERLIN),
    "texts": ("1711753200000", {"time_zone": BERLIN}, BERLIN),
}


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("freq", ["h", "D"])
def test_records_with_a_start_in_a_zone(tmp_path, kind, freq):
    start, options, zone = STARTS[kind]
    (tmp_path / "data.jsonl").write_text(json.dumps({"start": start, "target": list(range(30))}))
    panel = load(Options(str(tmp_path / "data.jsonl"), freq=freq, windows=0, **options)).panel
    assert panel.calendar.zone == zone
    expected = pd.date_range("2024-03-30", periods=30, freq=freq, tz=zone if "/" in zone else "Etc/GMT-1")
    assert (stamps_of(panel) == expected).all()


def test_records_with_lists_of_zoned_stamps(tmp_path):
    stamps = pd.date_range("2024-10-26", periods=60, freq="h", tz=BERLIN)
    pd.DataFrame({"item_id": ["a"], "timestamp": [list(stamps)], "target": [np.arange(60.0)]}).to_parquet(
        tmp_path / "one.parquet"
    )
    panel = load(Options(str(tmp_path / "one.parquet"), windows=0)).panel
    assert panel.calendar.zone == BERLIN
    assert same(stamps_of(panel), stamps)
    lines = {"item_id": "a", "timestamp": [stamp.isoformat() for stamp in stamps], "target": list(range(60))}
    (tmp_path / "one.jsonl").write_text(json.dumps(lines))
    assert (stamps_of(load(Options(str(tmp_path / "one.jsonl"), windows=0)).panel) == stamps).all()


def test_a_start_with_a_zone_for_data_without_stamps(tmp_path):
    (tmp_path / "bare.csv").write_text("a\n" + "\n".join(map(str, range(60))))
    options = {"freq": "h", "windows": 0}
    for extra in (
        {"start": "2024-10-26T00:00+02:00", "time_zone": BERLIN},
        {"start": "2024-10-26", "time_zone": BERLIN},
    ):
        panel = load(Options(str(tmp_path / "bare.csv"), **options, **extra)).panel
        assert same(stamps_of(panel), pd.date_range("2024-10-26", periods=60, freq="h", tz=BERLIN))
    assert load(Options(str(tmp_path / "bare.csv"), **options)).panel.calendar.zone is None


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_pandas_index_without_a_name_is_no_series(tmp_path, suffix):
    table = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=12), "a": range(12), "b": range(12)})
    table = table.drop(index=[3])
    path = tmp_path / f"table.{suffix}"

    def panel_of(some, **options):
        some.to_csv(path) if suffix == "csv" else some.to_parquet(path)
        return load(Options(str(path), prediction_length=2, **options))

    loaded = panel_of(table)
    assert loaded.panel.item_ids == ["a", "b"]
    assert loaded.panel.lengths.tolist() == [12, 12]
    again = panel_of(table.rename_axis("Unnamed: 0") if suffix == "parquet" else table.reset_index(names="Unnamed: 0"))
    assert again.panel.item_ids == ["a", "b"]
    assert any("passed over" in line for line in loaded.warnings)
    counted = panel_of(table[["a", "b"]], freq="D")
    assert (counted.panel.item_ids, counted.panel.lengths.tolist()) == (["a", "b"], [11, 11])
    dated = panel_of(table.set_index("date").rename_axis(None))
    assert (dated.panel.item_ids, dated.panel.lengths.tolist()) == (["a", "b"], [12, 12])
    years = panel_of(table[["a", "b"]].set_axis([1990, 1991, 1992, *range(1994, 2002)]))
    assert (years.panel.item_ids, years.panel.lengths.tolist()) == (["a", "b"], [12, 12])


def test_matrices_and_what_looks_like_one(tmp_path):
    path = tmp_path / "matrix.csv"
    pd.DataFrame(np.arange(30.0).reshape(10, 3) + 7).to_csv(path)
    assert load(Options(str(path), freq="D", prediction_length=2)).panel.values[0, 0] == 7
    pd.DataFrame(np.arange(30.0).reshape(10, 3) + 7).to_csv(path, index=False)
    with pytest.raises(DataError, match="say --format matrix or --format wide"):
        load(Options(str(path), freq="D", prediction_length=2))
    assert load(Options(str(path), freq="D", prediction_length=2, format="wide")).panel.lengths.tolist() == [10] * 3
    path.write_text("".join(f"{day},{number}\n" for number, day in enumerate(range(20240101, 20240111))))
    with pytest.raises(DataError, match="20240101 looks like a date, in a file without a header"):
        load(Options(str(path), freq="D", prediction_length=2))
    path.write_text("a,b,\n" + "1,2,\n" * 10)
    assert load(Options(str(path), freq="D", prediction_length=2)).panel.item_ids == ["a", "b"]


def test_series_that_end_early_are_told(tmp_path):
    stamps = [str(day.date()) for day in pd.date_range("2024-01-01", periods=20)]
    wide = "date,a,b\n" + "".join(f"{day},1,{2 if number < 15 else ''}\n" for number, day in enumerate(stamps))
    (tmp_path / "wide.csv").write_text(wide)
    told = (
        "1 of 2 series end before the others (the first: b, at 2024-01-15 00:00:00; the last value is of 2024-01-20): "
    )
    loaded = load(Options(str(tmp_path / "wide.csv"), prediction_length=2))
    assert loaded.panel.one_end
    assert [line for line in loaded.warnings if line.startswith(told)]
    assert "tool predict goes on from the table's end" in loaded.warnings[0]
    long = "item_id,timestamp,target\n" + "".join(f"a,{day},1\n" for day in stamps)
    (tmp_path / "long.csv").write_text(long + "".join(f"b,{day},1\n" for day in stamps[:15]))
    loaded = load(Options(str(tmp_path / "long.csv"), prediction_length=2))
    assert not loaded.panel.one_end
    assert loaded.warnings[0] == told + "forecasts and tests are at each one's own end"
