"""`tool eval --metric` on the files that forecasting itself writes: the same figures, each model apart, nothing passed over unsaid."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running import within

H, WINDOWS = 6, 3
METRICS = ("mase", "smape", "mape", "rmse", "nd", "wql", "msis", "coverage")
FIGURES = (*METRICS[:-1], *(f"{kind}_{share}" for kind in ("coverage", "width") for share in (50, 80, 95)))


def scored(place, *arguments, code=0):
    done = within("eval", "--metric", *arguments, "--json", cwd=place, code=code)
    return json.loads(done.stdout) if code == 0 else None, done.stderr


def equal(found, expected, names=FIGURES):
    """Every figure and its interval, to 1e-9 of the back-test's own."""
    for name in names:
        own = expected["overall"][name]
        assert found[name] == (None if own["value"] is None else pytest.approx(own["value"], rel=1e-9)), name
        if own["low"] is not None:
            assert found["intervals"][name] == pytest.approx([own["low"], own["high"]], rel=1e-9), name
    assert (found["n"], found["series"]) == (expected["counts"]["entries"], expected["counts"]["series"])
    assert found["missing_points"] == expected["counts"]["missing_points"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Hours of a day's season: one series with a hole in its test, one that begins late and has too short a history for m."""
    folder = tmp_path_factory.mktemp("own")
    rng, hours = np.random.default_rng(0), np.arange(200)
    index = pd.date_range("2024-01-01", periods=200, freq="h", name="time")
    frame = pd.DataFrame(
        {f"s{n}": (10 + 3 * np.sin(2 * np.pi * hours / 24 + n) + rng.normal(size=200)).round(3) for n in range(4)},
        index,
    )
    frame.loc[frame.index[190:193], "s1"] = np.nan
    frame.loc[frame.index[:168], "s3"] = np.nan
    frame.to_csv(folder / "series.csv")
    frame.assign(place="here").to_csv(folder / "noted.csv")
    return folder


@pytest.fixture(scope="module")
def run(place):
    """A back-test with sample paths, of windows that overlap."""
    options = ["--prediction-length", H, "--context-length", 12, "--windows", WINDOWS, "--stride", 4, "--skip-bad"]
    train = [
        "train",
        "forecast",
        "--model",
        "dlinear",
        "--data",
        "series.csv",
        *options,
        "--max-steps",
        3,
        "--threads",
        1,
    ]
    within(*train, "--num-parallel-samples", 20, cwd=place)
    done = within("backtest", "--num-parallel-samples", 20, "--save-samples", "--json", cwd=place)
    return json.loads(done.stdout)


def test_a_backtests_forecasts_give_its_own_figures_for_each_model(place, run):
    path = Path(run["run"]) / "forecasts.parquet"
    found, said = scored(place, ",".join(METRICS), "--predictions", path, "--references", "series.csv")
    assert list(found["models"]) == list(run["models"])
    for name, figures in found["models"].items():
        equal(figures, run["models"][name])
        assert (figures["m"], figures["seen"]) == (24, False)
        # The series that begins late has 18, 22 and 26 hours before its windows.
        assert figures["short_history"] == 2
    assert said == ""


def test_one_model_of_several_and_what_the_file_itself_says_came_true(place, run):
    path = Path(run["run"]) / "forecasts.parquet"
    found, _ = scored(place, "wql,nd", "--predictions", path, "--model-name", "naive")
    assert found["model"] == "naive"
    equal(found, run["models"]["naive"], ("wql", "nd"))
    _, said = scored(place, "nd", "--predictions", path, "--model-name", "nav", code=2)
    assert "no model 'nav'; there are " in said
    trained = next((place / "runs").glob("forecast-*"))
    own = json.loads((trained / "metrics.json").read_text())["models"]
    found, _ = scored(place, "smape,rmse", "--predictions", trained / "forecasts.parquet")
    for name, figures in found["models"].items():
        equal(figures, own[name], ("smape", "rmse"))


def test_sample_paths_give_the_crps_and_all_else(place, run):
    found, _ = scored(
        place,
        f"crps,{','.join(METRICS)}",
        "--predictions",
        Path(run["run"]) / "samples.parquet",
        "--references",
        "series.csv",
    )
    equal(found, run["models"][found["model"]], (*FIGURES, "crps"))
    # Quantiles are no samples; the naive forecasts, being points, have one all the same.
    found, _ = scored(place, "crps", "--predictions", Path(run["run"]) / "forecasts.parquet")
    assert list(found["models"]) == ["naive", "seasonal-naive"]
    equal(found["models"]["naive"], run["models"]["naive"], ("crps",))
    assert "samples.parquet" in found["notes"][0]


def test_columns_of_text_are_passed_over_and_named_and_other_data_refused(place, run):
    path = Path(run["run"]) / "forecasts.parquet"
    found, said = scored(place, "mase", "--predictions", path, "--references", "noted.csv", "--model-name", "naive")
    equal(found, run["models"]["naive"], ("mase",))
    assert "note      noted.csv: passed over place, which holds text" in said
    other = pd.read_csv(place / "series.csv")
    other["s2"] += 1
    other.to_csv(place / "other.csv", index=False)
    _, said = scored(place, "nd", "--predictions", path, "--references", "other.csv", code=3)
    assert "s2 was " in said
    assert "give the data that were forecast" in said


def test_the_samples_own_files_are_references(tmp_path):
    done = within("backtest", "--model", "seasonal-naive", "--data", "sample", "--windows", 2, "--json", cwd=tmp_path)
    run = json.loads(done.stdout)
    within("data", "sample", "forecast", cwd=tmp_path)
    path = Path(run["run"]) / "forecasts.parquet"
    for references in ("sample", "forecast-sample", "forecast-sample/series.csv"):
        found, said = scored(tmp_path, "mase,wql", "--predictions", path, "--references", references)
        for name in ("naive", "seasonal-naive"):
            equal(found["models"][name], run["models"][name], ("mase", "wql"))
        assert ("passed over kind" in said) == (references != "sample")
    # Whatever m is asked for is the one that is used, and printed.
    found, _ = scored(tmp_path, "mase", "--predictions", path, "--references", "sample", "--periodicity", 168)
    assert found["models"]["naive"]["m"] == 168
    assert found["models"]["naive"]["mase"] != run["models"]["naive"]["overall"]["mase"]["value"]


def test_forecasts_of_data_without_time_stamps(tmp_path, place):
    """M4's pair of files, and a wide table whose rows are only counted."""
    rng = np.random.default_rng(2)
    rows = [rng.normal(10, 1, size).round(3).tolist() for size in (60, 45, 20)]
    for name, cut in (("train", slice(None, -H)), ("test", slice(-H, None))):
        names = ["V1", *(f"V{number + 2}" for number in range(60 - H if name == "train" else H))]
        lines = [[f"H{number + 1}", *map(str, row[cut])] for number, row in enumerate(rows)]
        text = "".join(",".join([*line, *[""] * (len(names) - len(line))]) + "\n" for line in [names, *lines])
        (tmp_path / f"Hourly-{name}.csv").write_text(text)
    pd.DataFrame({"x": rows[0], "y": [np.nan] * 15 + rows[1]}).to_csv(tmp_path / "wide.csv", index=False)
    common = ["--horizon", H, "--freq", "h", "--json"]
    for data, given in (
        ("Hourly-train.csv", ["--references", "Hourly-test.csv", "--history", "Hourly-train.csv"]),
        ("wide.csv", ["--references", "wide.csv"]),
    ):
        done = within("backtest", "--model", "naive", "--data", data, *common, cwd=tmp_path)
        run = json.loads(done.stdout)
        found, _ = scored(tmp_path, "mase,smape,msis", "--predictions", Path(run["run"]) / "forecasts.parquet", *given)
        equal(found["models"]["naive"], run["models"]["naive"], ("mase", "smape", "msis"))


@pytest.mark.parametrize("freq", ["h", "D"])
def test_forecasts_in_a_time_zone_are_scored_against_data_with_and_without_it(tmp_path, freq):
    """Across a change of the clocks; days are days by the clock."""
    index = pd.date_range("2024-03-20" if freq == "h" else "2024-02-20", periods=200 if freq == "h" else 60, freq=freq)
    local = index.tz_localize("UTC").tz_convert("Europe/Berlin") if freq == "h" else index.tz_localize("Europe/Berlin")
    values = np.random.default_rng(4).normal(10, 1, len(index)).round(3)
    frame = pd.DataFrame({"timestamp": local, "item_id": "a", "target": values})
    frame.to_parquet(tmp_path / "zoned.parquet")
    options = ["--data", "zoned.parquet", "--horizon", H, "--windows", 2, "--json"]
    run = json.loads(within("backtest", "--model", "naive", *options, cwd=tmp_path).stdout)
    path = Path(run["run"]) / "forecasts.parquet"
    assert str(pd.read_parquet(tmp_path / path).timestamp.dtype.tz) == "Europe/Berlin"
    frame.assign(timestamp=[stamp.isoformat() for stamp in local]).to_csv(tmp_path / "offsets.csv", index=False)
    frame.assign(timestamp=local.tz_localize(None)).to_csv(tmp_path / "bare.csv", index=False)
    for references in ("zoned.parquet", "offsets.csv", "bare.csv"):
        found, _ = scored(tmp_path, "mase", "--predictions", path, "--references", references)
        equal(found["models"]["naive"], run["models"]["naive"], ("mase",))
    pd.read_parquet(tmp_path / path).assign(
        timestamp=lambda one: [stamp.isoformat() for stamp in one.timestamp]
    ).to_csv(tmp_path / "p.csv", index=False)
    _, said = scored(tmp_path, "mase", "--predictions", "p.csv", "--references", "bare.csv", "--freq", freq, code=3)
    assert "p.csv has time stamps of a zone and bare.csv has none" in said


def test_windows_seen_in_training_stay_apart(tmp_path, place, run):
    frame = pd.read_parquet(place / run["run"] / "forecasts.parquet")
    frame["seen"] = frame.window == 0
    frame.to_parquet(tmp_path / "forecasts.parquet")
    found, _ = scored(tmp_path, "nd", "--predictions", "forecasts.parquet", "--model-name", "naive")
    assert {name: (one["seen"], one["n"]) for name, one in found["models"].items()} == {
        "naive": (False, 8),
        "naive · seen": (True, 4),
    }


@pytest.mark.parametrize("layout", ["multivariate", "long"])
def test_each_dimension_of_a_series_is_one(tmp_path, place, layout):
    frame = pd.read_csv(place / "series.csv", usecols=["time", "s0", "s1", "s2"])
    if layout == "long":
        frame.insert(0, "item_id", "shop")
    frame.to_csv(tmp_path / "dims.csv", index=False)
    form = (
        ["--multivariate"] if layout == "multivariate" else [f"--target-columns={name}" for name in ("s0", "s1", "s2")]
    )
    done = within(
        "backtest",
        "--model",
        "naive",
        "--data",
        "dims.csv",
        *form,
        "--horizon",
        H,
        "--windows",
        2,
        "--json",
        cwd=tmp_path,
    )
    run = json.loads(done.stdout)
    path = Path(run["run"]) / "forecasts.parquet"
    found, _ = scored(tmp_path, "mase,rmse", "--predictions", path, "--references", "dims.csv")
    equal(found["models"]["naive"], run["models"]["naive"], ("mase", "rmse"))


def test_each_form_of_a_prediction_is_read_back(tmp_path, place, run):
    given = pd.read_csv(place / "series.csv")
    given.iloc[:-H].to_csv(tmp_path / "past.csv", index=False)
    model = next((place / "runs").glob("forecast-*"))
    predict = ["predict", "forecast", "past.csv", "--model", model, "--num-parallel-samples", 20]
    for ending in ("csv", "parquet", "jsonl"):
        within(*predict, "--output", f"p.{ending}", cwd=tmp_path)
    (tmp_path / "p.json").write_text(within(*predict, "--json", cwd=tmp_path).stdout)
    rows = json.loads((tmp_path / "p.json").read_text())
    (tmp_path / "q.json").write_text(
        json.dumps({"predictions": rows if isinstance(rows, list) else rows["predictions"]})
    )
    frame = pd.read_parquet(tmp_path / "p.parquet").pivot(index="timestamp", columns="item_id", values="median")
    truth = given.iloc[-H:].set_index("time")
    nd = np.nansum(np.abs(frame.to_numpy() - truth.to_numpy())) / np.nansum(np.abs(truth.to_numpy()))
    for name in ("p.csv", "p.parquet", "p.jsonl", "p.json", "q.json"):
        references = ["--references", place / "series.csv", "--freq", "h"]
        found, _ = scored(tmp_path, ",".join(METRICS), "--predictions", name, *references)
        assert found["nd"] == pytest.approx(nd, rel=1e-9), name
        assert (found["m"], found["n"], found["missing_points"]) == (24, 4, 0)
        assert found["wql"] > 0
