"""Time of the data in what the commands write: zones, ends and numbers, in every output of predict and back-test."""

import json

import numpy as np
import pandas as pd
import pytest
from running import only_run, within

BERLIN = "Europe/Berlin"
STAMPS = pd.date_range("2024-10-14", periods=330, freq="h", tz=BERLIN)
AFTER = pd.date_range(STAMPS[-1], periods=7, freq="h")[1:]
SMALL = [
    "train", "forecast", "--model", "transformer", "--prediction-length", 6, "--context-length", 30, "--lags", "1,2,24",
    "--max-steps", 10, "--d-model", 8, "--batch-size", 8, "--threads", 1, "--num-parallel-samples", 20,
]  # fmt: skip


def table():
    hours = np.arange(len(STAMPS))
    return pd.DataFrame({"time": STAMPS, "a": 10 + np.sin(hours / 4).round(4), "b": 5 + np.cos(hours / 4).round(4)})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("time")
    table().to_parquet(folder / "zoned.parquet", index=False)
    done = within(*SMALL, "--data", "zoned.parquet", cwd=folder)
    assert f"2024-10-14 00:00 to 2024-10-27 16:00 {BERLIN}" in done.stderr
    return folder


def predict(place, data, *options):
    done = within("predict", "forecast", data, "--model", only_run(place), "--json", *options, cwd=place)
    return pd.DataFrame(json.loads(done.stdout)), done.stderr


def test_every_output_has_the_zone(place):
    run = only_run(place)
    frame = pd.read_parquet(run / "forecasts.parquet")
    assert str(frame.timestamp.dtype) == f"datetime64[ns, {BERLIN}]"
    assert list(frame.timestamp[:6]) == list(STAMPS[-6:])
    assert json.loads((run / "metrics.json").read_text())["data"]["time_zone"] == BERLIN
    assert json.loads((run / "model" / "forecast.json").read_text())["time_zone"] == BERLIN
    rows, _ = predict(place, "zoned.parquet")
    assert list(rows.timestamp[:6]) == [stamp.isoformat() for stamp in AFTER]
    for name in ("out.parquet", "out.csv", "out.jsonl"):
        within("predict", "forecast", "zoned.parquet", "--model", run, "--output", name, cwd=place)
    written = pd.read_parquet(place / "out.parquet")
    assert str(written.timestamp.dtype) == f"datetime64[ns, {BERLIN}]"
    assert list(written.timestamp[:6]) == list(AFTER)
    assert [line.split(",")[1] for line in (place / "out.csv").read_text().splitlines()[1:7]] == [
        str(stamp) for stamp in AFTER
    ]
    lines = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert [line["timestamp"] for line in lines[:6]] == [stamp.isoformat() for stamp in AFTER]


def test_the_same_series_in_another_form_gives_the_same_forecast(place):
    expected, _ = predict(place, "zoned.parquet")
    frame = table()
    seconds = frame.assign(time=frame["time"].astype("int64") // 10**9)
    local = frame.assign(time=frame["time"].dt.tz_localize(None))
    long = seconds.melt("time", var_name="item_id", value_name="target").rename(columns={"time": "timestamp"})
    lines = [{"item_id": name, "start": STAMPS[0].isoformat(), "target": frame[name].tolist()} for name in ("a", "b")]
    forms = {
        "offsets.csv": (frame, ["--time-zone", BERLIN]),
        "utc.csv": (frame.assign(time=frame["time"].dt.tz_convert("UTC")), ["--time-zone", BERLIN]),
        "seconds.csv": (seconds, ["--time-zone", BERLIN]),
        "local.csv": (local, ["--time-zone", BERLIN]),
        "local.parquet": (local, ["--time-zone", BERLIN]),
        "long.csv": (long, ["--time-zone", BERLIN]),
        "lines.jsonl": (lines, ["--time-zone", BERLIN, "--freq", "h"]),
        "plain.csv": (frame, []),
    }
    for name, (data, options) in forms.items():
        if name.endswith("jsonl"):
            (place / name).write_text("".join(json.dumps(line) + "\n" for line in data))
        else:
            data.to_csv(place / name, index=False) if name.endswith("csv") else data.to_parquet(place / name)
        found, _ = predict(place, name, *options)
        if name == "plain.csv":  # no name: the last offset, and the same instants
            assert found.timestamp[0] == "2024-10-27T17:00:00+01:00"
        assert found.timestamp.tolist() == expected.timestamp.tolist()
        pd.testing.assert_frame_equal(found, expected)


def test_a_blank_end_is_forecast_from_the_tables_end_or_refused(place):
    frame = table()
    frame.loc[322:, "b"] = np.nan
    frame.to_csv(place / "blank.csv", index=False)
    rows, said = predict(place, "blank.csv", "--time-zone", BERLIN)
    for name in ("a", "b"):
        assert rows.timestamp[rows.item_id == name].tolist() == [stamp.isoformat() for stamp in AFTER]
    assert "1 of 2 series end before the others (the first: b, at 2024-10-27 08:00:00+01:00" in said
    frame.loc[300:, "b"] = np.nan
    frame.to_csv(place / "blank.csv", index=False)
    done = within("predict", "forecast", "blank.csv", "--model", only_run(place), cwd=place, code=3)
    assert "1 of 2 series have no value in the 30 steps before their forecast (the first: b)" in done.stderr
    rows, said = predict(place, "blank.csv", "--time-zone", BERLIN, "--skip-bad")
    assert set(rows.item_id) == {"a"}
    assert "have no value in the 30 steps before their forecast: left out" in said


def test_an_item_that_was_discontinued_goes_on_from_its_own_end_and_is_told(place):
    long = table().melt("time", var_name="item_id", value_name="target").rename(columns={"time": "timestamp"})
    long = long[(long.item_id == "a") | (long.timestamp <= STAMPS[249])]
    long.to_parquet(place / "long.parquet", index=False)
    rows, said = predict(place, "long.parquet")
    assert rows.timestamp[rows.item_id == "a"].iloc[0] == AFTER[0].isoformat()
    assert rows.timestamp[rows.item_id == "b"].iloc[0] == STAMPS[250].isoformat()
    assert "forecasts and tests are at each one's own end" in said
    done = within("eval", "forecast", "--data", "long.parquet", "--model", only_run(place), "--include-seen", cwd=place)
    assert "forecasts and tests are at each one's own end" in done.stderr


def test_a_run_that_says_no_zone_had_utc(place):
    facts = only_run(place) / "model" / "forecast.json"
    kept = facts.read_text()
    try:
        facts.write_text(json.dumps({name: value for name, value in json.loads(kept).items() if name != "time_zone"}))
        old, _ = predict(place, "zoned.parquet")
    finally:
        facts.write_text(kept)
    new, _ = predict(place, "zoned.parquet")
    assert old.timestamp.tolist() == new.timestamp.tolist()
    assert old["median"].tolist() != new["median"].tolist()


def test_inspect_says_how_time_was_read_and_what_training_refuses(place):
    frame = table()
    frame.assign(time=frame["time"].astype("int64") // 10**6).to_csv(place / "ms.csv")
    done = within("data", "inspect", "forecast", "--data", "ms.csv", "--json", cwd=place)
    found = json.loads(done.stdout)
    first = STAMPS[0].value // 10**6
    assert (found["time_zone"], found["series_ending_early"], found["series"]) == ("UTC", 0, 2)
    assert f"time: {first} read as milliseconds since 1970 (UTC)" in found["warnings"]
    assert "1 column without a name passed over (''): an index is no series" in found["warnings"]
    assert found["refused"] is None
    frame.iloc[:70].to_parquet(place / "short.parquet")
    done = within("data", "inspect", "forecast", "--data", "short.parquet", "--json", cwd=place, code=3)
    said = "short.parquet: series a has 22 steps to train on (and 1 more series), but must have 72"
    assert said in json.loads(done.stdout)["refused"]
