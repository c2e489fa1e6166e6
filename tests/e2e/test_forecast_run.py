"""Forecasting through the command: small runs, back-tests, and everything that is done with them."""

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from running import leftovers, only_run, same, start, status, stop, tool, until, weights, within

SMALL = [
    "train", "forecast", "--data", "series.csv", "--prediction-length", 12, "--context-length", 24, "--lags", "1,2,3,24",
    "--batches-per-epoch", 10, "--epochs", 3, "--batch-size", 32, "--num-parallel-samples", 20, "--threads", 1,
]  # fmt: skip
FILES = [
    ".lock", "checkpoints", "config.yaml", "environment.json", "forecasts.parquet", "log.txt", "metrics.json", "metrics.jsonl",
    "model", "report.html", "scores.json", "status.json", "training_record.parquet",
]  # fmt: skip


def write_series(folder, count=5, steps=400, seed=0):
    """Wide CSV: hourly, a daily season and noise; a hole in one series."""
    rng = np.random.default_rng(seed)
    hours = np.arange(steps)
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=steps, freq="h")})
    for number in range(count):
        season = 3 * np.sin(2 * np.pi * (hours + number) / 24)
        frame[f"s{number}"] = (10 * (number + 1) + season + 0.3 * rng.standard_normal(steps)).round(4)
    frame.loc[100:110, "s1"] = np.nan
    frame.to_csv(folder / "series.csv", index=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast")
    write_series(folder)
    return folder


@pytest.fixture(scope="module")
def trained(place):
    done = tool(*SMALL, "--model", "transformer", "--windows", 3, "--price-per-hour", 2, "--json", cwd=place)
    return json.loads(done.stdout), done.stderr


def test_a_run_leaves_exactly_its_files(place, trained):
    run = place / trained[0]["run"]
    assert sorted(path.name for path in run.iterdir()) == FILES
    assert sorted(path.name for path in (run / "model").iterdir()) == [
        "README.md",
        "config.json",
        "forecast.json",
        "model.safetensors",
        "training_record.parquet",
    ]
    assert not leftovers(run)
    found = status(run)
    assert (found["state"], found["step"], found["recipe"]) == ("finished", 30, "forecast")
    assert found["score"].startswith("MASE ")
    assert {"steps", "seconds", "memory_bytes", "disk_bytes", "cost"} <= set(found["estimate"])


def test_it_says_what_it_does_and_what_the_figures_are_of(trained):
    result, said = trained
    assert said.startswith("forecast · transformer, ")
    for words in (
        "5 choose the best weights",
        "15 test",
        "context 24, horizon 12",
        "m 24",
        "estimate",
        "validation: loss",
    ):
        assert words in said, words
    figures = result["metrics"]
    assert figures["n"] == 5
    assert figures["m"] == 24
    assert figures["mase_low"] < figures["mase"] < figures["mase_high"]
    assert set(figures["baselines"]) == {"naive", "seasonal-naive"}


def test_the_forecasts_are_a_table_of_every_model_and_step(place, trained):
    frame = pd.read_parquet(place / trained[0]["run"] / "forecasts.parquet")
    assert list(frame.columns[:8]) == ["model", "item_id", "window", "timestamp", "step", "actual", "median", "mean"]
    assert frame.groupby("model").size().to_dict() == dict.fromkeys(
        ("transformer", "naive", "seasonal-naive"), 5 * 3 * 12
    )
    given = pd.read_csv(place / "series.csv", parse_dates=["time"]).set_index("time")
    last = frame[(frame.item_id == "s3") & (frame.window == 2) & (frame.model == "transformer")]
    np.testing.assert_array_equal(last.actual, given["s3"].iloc[-12:])
    assert list(last.timestamp) == list(given.index[-12:])
    assert (last["0.1"] <= last["median"]).all()
    assert (last["median"] <= last["0.9"]).all()


def test_transformers_loads_the_model_and_the_card_runs(place, trained):
    from transformers import TimeSeriesTransformerForPrediction

    folder = place / trained[0]["model"]
    model = TimeSeriesTransformerForPrediction.from_pretrained(folder)
    assert (model.config.prediction_length, model.config.cardinality) == (12, [5])
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0].replace('"."', repr(str(folder)))
    exec(compile(code, "card", "exec"), {})


def test_a_backtest_of_the_run_gives_the_same_figures(place, trained):
    done = within("backtest", "--num-parallel-samples", 20, "--threads", 1, "--json", cwd=place)
    assert f"newest forecast run: {trained[0]['run']}" in done.stderr
    found = json.loads(done.stdout)
    name = trained[0]["run"].split("/")[-1]
    assert found["models"][name]["overall"]["mase"]["value"] == trained[0]["metrics"]["mase"]
    assert (
        found["models"]["seasonal-naive"]["overall"]["mase"]["value"]
        == trained[0]["metrics"]["baselines"]["seasonal-naive"]
    )
    run = place / found["run"]
    trained_on = json.loads((place / trained[0]["run"] / "metrics.json").read_text())
    # Five series don't tell a model from the naive forecast, three windows neither.
    assert found["verdict"] == trained[0]["verdict"] == trained_on["verdict"]
    assert (found["verdict"]["clears"], status(run)["verdict"]) == (False, found["verdict"]["line"])
    assert "no better than the naive forecast seasonal-naive (MASE " in found["verdict"]["line"]
    assert sorted(path.name for path in run.iterdir()) == [
        ".lock",
        "config.yaml",
        "environment.json",
        "forecasts.parquet",
        "metrics.json",
        "report.html",
        "scores.json",
        "status.json",
    ]
    assert set(found["phases"]) == {"load", "forecast", "score", "write"}


def test_eval_gives_the_same_figures_without_a_run_folder(place, trained):
    before = sorted((place / "runs").iterdir())
    done = within("eval", "forecast", "--model", trained[0]["run"], "--num-parallel-samples", 20, "--json", cwd=place)
    name = trained[0]["run"].split("/")[-1]
    assert json.loads(done.stdout)["models"][name]["overall"]["mase"]["value"] == trained[0]["metrics"]["mase"]
    assert sorted((place / "runs").iterdir()) == before


def test_a_backtest_reads_the_sample_that_its_run_was_trained_on(tmp_path):
    options = ["--model", "dlinear", "--max-steps", 2, "--max-series", 4, "--seed", 3, "--num-parallel-samples", 20]
    run = json.loads(within("train", "forecast", *options, "--json", cwd=tmp_path).stdout)
    found = json.loads(within("backtest", "--seed", 3, "--num-parallel-samples", 20, "--json", cwd=tmp_path).stdout)
    name = run["run"].split("/")[-1]
    assert found["models"][name]["overall"]["mase"]["value"] == run["metrics"]["mase"]
    assert found["models"]["naive"]["overall"]["mase"]["value"] == run["metrics"]["baselines"]["naive"]


def test_two_runs_are_a_table_and_an_ensemble(place, trained):
    other = json.loads(within(*SMALL, "--model", "dlinear", "--windows", 3, "--json", cwd=place).stdout)["run"]
    done = tool(
        "backtest", "--model", trained[0]["run"], "--model", other, "--num-parallel-samples", 20, "--json", cwd=place
    )
    found = json.loads(done.stdout)["models"]
    names = [path.split("/")[-1] for path in (trained[0]["run"], other)]
    assert list(found) == [*names, "ensemble", "naive", "seasonal-naive"]
    frame = pd.read_parquet(place / json.loads(done.stdout)["run"] / "forecasts.parquet")
    means = [frame[frame.model == name]["mean"].to_numpy() for name in (*names, "ensemble")]
    np.testing.assert_allclose(means[2], (means[0] + means[1]) / 2, rtol=1e-5)


@pytest.mark.parametrize("kind", ["informer", "autoformer", "dlinear", "nbeats", "patchtst"])
def test_a_run_of_each_model_is_tested_beside_another_and_forecasts(place, trained, kind):
    """Models that read other inputs, or none beside the values, of one data set."""
    options = [*SMALL, "--model", kind, "--epochs", 1, "--windows", 3, "--output-dir", "others"]
    if kind in ("dlinear", "nbeats", "patchtst"):
        options[options.index("--lags") : options.index("--lags") + 2] = []
    if kind == "nbeats":
        options[options.index("--context-length") + 1] = 48
    run = json.loads(tool(*options, "--json", cwd=place).stdout)["run"]
    both = within(
        "backtest", "--model", run, "--model", trained[0]["run"], "--num-parallel-samples", 20, "--json", cwd=place
    )
    named = set(json.loads(both.stdout)["models"])
    assert {Path(run).name, Path(trained[0]["run"]).name, "ensemble", "naive", "seasonal-naive"} <= named
    within("predict", "forecast", "--model", run, "--output", f"{kind}.csv", cwd=place)
    future = pd.read_csv(place / f"{kind}.csv")
    assert len(future) == 5 * 12
    assert future["median"].notna().all()


def test_nbeats_is_trained_by_its_own_defaults_and_forecasts_series_that_it_never_saw(tmp_path, place):
    """Missing values, a context that most of a short series can't fill, a back-test of the run, an ensemble of two."""
    given = ["--data", str(place / "series.csv"), "--prediction-length", 12, "--windows", 3, "--threads", 1]
    options = ["train", "forecast", "--model", "nbeats", *given, "--batches-per-epoch", 60, "--epochs", 2, "--json"]
    first, second = (
        json.loads(within(*options, *more, cwd=tmp_path).stdout) for more in ((), ("--anchor", "mean", "--seed", 1))
    )
    assert first["metrics"]["mase"] < first["metrics"]["baselines"]["seasonal-naive"]
    config = json.loads((tmp_path / first["run"] / "model" / "config.json").read_text())
    assert (config["model_type"], config["context_length"], config["season"], config["anchor"]) == (
        "nbeats",
        48,
        24,
        "season",
    )
    names = [found["run"].split("/")[-1] for found in (first, second)]
    done = within("backtest", "--model", first["run"], "--model", second["run"], "--json", cwd=tmp_path)
    models = json.loads(done.stdout)["models"]
    assert models[names[0]]["overall"]["mase"]["value"] == first["metrics"]["mase"]
    assert list(models) == [*names, "ensemble", "naive", "seasonal-naive"]
    hours = pd.date_range("2024-03-04", periods=30, freq="h")
    new = pd.DataFrame({"time": hours, "new": 100 + 3 * np.sin(2 * np.pi * np.arange(30) / 24)})
    new.to_csv(tmp_path / "new.csv", index=False)
    rows = json.loads(within("predict", "forecast", "new.csv", "--model", first["run"], "--json", cwd=tmp_path).stdout)
    truth = 100 + 3 * np.sin(2 * np.pi * np.arange(30, 42) / 24)
    assert np.abs(np.array([row["median"] for row in rows]) - truth).mean() < 1.5


def test_predict_writes_the_future(place, trained):
    done = within(
        "predict", "forecast", "series.csv", "--output", "future.csv", "--num-parallel-samples", 20, cwd=place
    )
    assert "60 rows (5 series) written to future.csv" in done.stdout
    frame = pd.read_csv(place / "future.csv", parse_dates=["timestamp"])
    given = pd.read_csv(place / "series.csv", parse_dates=["time"])
    assert frame.timestamp.min() == given.time.max() + pd.Timedelta("1h")
    assert list(frame[frame.item_id == "s0"].step) == list(range(1, 13))
    rows = json.loads(
        within("predict", "forecast", "series.csv", "--num-parallel-samples", 20, "--json", cwd=place).stdout
    )
    assert rows[0]["item_id"] == "s0"
    assert rows[0]["0.9"] == pytest.approx(frame["0.9"][0])


def test_killed_in_the_middle_of_a_backtest_and_run_again_the_files_are_the_same(place, trained, tmp_path):
    arguments = [
        "backtest",
        "--model",
        trained[0]["run"],
        "--batch-size",
        "1",
        "--num-parallel-samples",
        "200",
        "--threads",
        "1",
    ]
    whole = json.loads(tool(*arguments, "--output-dir", tmp_path / "whole", "--json", cwd=place).stdout)["run"]
    folder = tmp_path / "killed"
    command = [*map(str, arguments), "--output-dir", str(folder)]
    for number, kind in enumerate((signal.SIGKILL, signal.SIGTERM), start=1):
        process = start(command, place)
        assert until(lambda number=number: len(list(folder.glob("*/pieces/*.npz"))) >= 4 * number, process)
        assert stop(process, kind, place) == (-9 if kind == signal.SIGKILL else 75)
    done = tool(*command, cwd=place)
    assert "resuming" in done.stderr
    (run,) = folder.iterdir()
    for name in ("forecasts.parquet", "metrics.json", "scores.json"):
        assert (run / name).read_bytes() == (place / whole / name).read_bytes(), name
    assert not (run / "pieces").exists()
    assert not leftovers(run)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["informer", "nbeats"])
def test_killed_in_training_and_run_again_the_weights_are_the_same(tmp_path, place, model):
    write_series(tmp_path)
    arguments = [*map(str, SMALL), "--model", model, "--scaling", "std", "--epochs", "6", "--checkpoint-steps", "1"]
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "series.csv").symlink_to(tmp_path / "series.csv")
    tool(*arguments, cwd=tmp_path / "whole")
    here = tmp_path / "killed"
    process = start(arguments, here)
    assert until(lambda: any(run.glob("checkpoints/step-*") for run in (here / "runs").glob("*")), process)
    stop(process, signal.SIGKILL, here)
    tool(*arguments, cwd=here)
    assert same(weights(only_run(here)), weights(only_run(tmp_path / "whole")))


@pytest.mark.slow
def test_refits_train_on_what_was_known_at_each_window(place, trained):
    done = tool(
        "backtest", "--model", trained[0]["run"], "--refit", 2, "--num-parallel-samples", 20, "--json", cwd=place
    )
    run = place / json.loads(done.stdout)["run"]
    assert len(list((run / "refits").iterdir())) == 2
    name = trained[0]["run"].split("/")[-1]
    once = pd.read_parquet(place / trained[0]["run"] / "forecasts.parquet")
    again = pd.read_parquet(run / "forecasts.parquet")
    once, again = once[once.model == "transformer"], again[again.model == name]
    # Before the first window nothing more is known than in training; before the third, two windows more.
    for window, equal in ((0, True), (1, True), (2, False)):
        medians = [frame[frame.window == window]["median"].to_numpy() for frame in (once, again)]
        assert np.array_equal(*medians) == equal, window


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path):
    write_series(tmp_path)
    found = []
    for count in (1, 2):
        options = [
            "--model",
            "transformer",
            "--dropout",
            0,
            "--layerdrop",
            0,
            "--epochs",
            1,
            "--num-processes",
            count,
            "--output-dir",
            f"runs{count}",
        ]
        tool(*SMALL, *options, cwd=tmp_path)
        (run,) = (tmp_path / f"runs{count}").iterdir()
        found.append(weights(run))
        assert status(run)["state"] == "finished"
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], rtol=1e-4, atol=1e-5)


def test_a_baseline_alone_needs_no_model(place):
    found = json.loads(
        within(
            "backtest",
            "--model",
            "seasonal-naive",
            "--data",
            "series.csv",
            "--horizon",
            12,
            "--windows",
            2,
            "--json",
            cwd=place,
        ).stdout
    )
    assert list(found["models"]) == ["naive", "seasonal-naive"]
    assert found["verdict"] is None
    assert found["best"] == "seasonal-naive"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["backtest", "--model", "./nowhere", "--data", "series.csv"], 2, "nowhere"),
        (["backtest", "--model", "RUN", "--horizon", "13"], 2, "--horizon"),
        (["backtest", "--model", "RUN", "--refit", "sometimes"], 2, "--refit"),
        (["train", "forecast", "--data", "series.csv", "--model", "naive"], 2, "tool backtest --model naive"),
        (["train", "forecast", "--data", "series.csv", "--distribution", "quantiles"], 2, "dlinear"),
        (["train", "forecast", "--data", "series.csv", "--lags", "0,x"], 2, "--lags"),
        (
            ["train", "forecast", "--data", "series.csv", "--model", "nbeats", "--context-length", "24"],
            2,
            "or --scaling",
        ),
        (["train", "forecast", "--data", "series.csv", "--model", "dlinear", "--blocks", "2"], 2, "--model nbeats"),
        (["train", "forecast", "--data", "series.csv", "--prediction-length", "300"], 3, "series.csv"),
        (["predict", "forecast", "other.csv", "--model", "RUN"], 3, "no 'new'"),
        (["predict", "forecast", "daily.csv", "--model", "RUN"], 2, "frequency D"),
    ],
)
def test_wrong_input_ends_with_one_line_and_nothing_half_written(place, trained, arguments, code, words):
    times = {
        "other.csv": pd.date_range("2024-01-01", periods=90, freq="h"),
        "daily.csv": pd.date_range("2024-01-01", periods=90),
    }
    for name, index in times.items():
        pd.DataFrame({"time": index, "new": np.sin(np.arange(90.0))}).to_csv(place / name, index=False)
    before = sorted((place / "runs").iterdir())
    done = within(*[trained[0]["run"] if part == "RUN" else part for part in arguments], cwd=place, code=code)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert words in errors[0]
    assert "Traceback" not in done.stderr
    assert sorted((place / "runs").iterdir()) == before


REAL = Path(__file__).parents[3] / "shared" / "data" / "forecast"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data are not here")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            ["--data", "exchange_rate", "--data-file", REAL / "exchange_rate.txt.gz"],
            {"seasonal-naive": {"mase": 1.620289, "nd": 0.0107497}, "naive": {"mase": 1.491925, "nd": 0.00931097}},
        ),
        (
            ["--data", REAL / "M4-Hourly-train.csv", "--freq", "h"],
            {"seasonal-naive": {"mase": 1.1932102, "wql": 0.0483092}},
        ),
        (
            ["--data", REAL / "m4_hourly.parquet", "--horizon", 48],
            {"seasonal-naive": {"mase": 1.1932102, "wql": 0.0483092}},
        ),
    ],
)
def test_the_naive_forecasts_score_what_others_published(tmp_path, data, expected):
    found = json.loads(within("backtest", "--model", "seasonal-naive", *data, "--json", cwd=tmp_path).stdout)
    for model, figures in expected.items():
        for metric, value in figures.items():
            assert found["models"][model]["overall"][metric]["value"] == pytest.approx(
                value, rel=5e-7 if value > 1 else 5e-6
            )
