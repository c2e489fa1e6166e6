"""`tool eval --metric mase,... --predictions P --references R`: layouts, golden figures, and each way in which files don't fit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.forecast.score.scores import QUANTILES

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "forecast"
STEPS, H = 40, 4


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any, str]]:
    """Runs `tool eval --json` in this process: exit code, result, what stderr says."""
    from cli.console import State
    from cli.main import main

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*args: object, as_json: bool = True) -> tuple[int, Any, str]:
        monkeypatch.setattr(State, "json", False)
        monkeypatch.setattr(sys, "argv", ["tool", "eval", *map(str, args), *(["--json"] if as_json else [])])
        try:
            code = main(sys.argv[1:])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return int(code or 0), json.loads(out) if out and as_json else out, err

    return call


@pytest.fixture
def data() -> pd.DataFrame:
    """Three series of 40 hours, one with missing values."""
    generator = np.random.default_rng(0)
    index = pd.date_range("2024-03-01", periods=STEPS, freq="h", name="timestamp")
    frame = pd.DataFrame(generator.normal(10, 2, (STEPS, 3)).round(3), index=index, columns=["a", "b", "c"])
    frame.iloc[[3, 38], 1] = np.nan
    return frame


def naive(data: pd.DataFrame, windows: int = 1) -> pd.DataFrame:
    """Our long form: the value 5 steps before, in windows that end at the data's end."""
    parts = []
    for window in range(windows):
        origin = STEPS - H * (windows - window)
        for name in data:
            values = data[name].ffill().to_numpy()
            part = pd.DataFrame(
                {"timestamp": data.index[origin : origin + H], "median": values[origin - 5 : origin - 1]}
            )
            parts.append(part.assign(item_id=name, window=window))
    return pd.concat(parts, ignore_index=True)


def expected_mase(data: pd.DataFrame, predictions: pd.DataFrame, m: int) -> float:
    """The definition, entry by entry."""
    errors: list[float] = []
    for (_, name), entry in predictions.groupby(["window", "item_id"]):
        values = data[str(name)]
        past = values[values.index < entry.timestamp.min()].to_numpy()
        scale = np.nanmean(np.abs(past[m:] - past[:-m]))
        errors += (np.abs(values[entry.timestamp].to_numpy() - entry["median"].to_numpy()) / scale).tolist()
    return float(np.nanmean(errors))


def long_of(data: pd.DataFrame) -> pd.DataFrame:
    return data.reset_index().melt("timestamp", var_name="item_id", value_name="target")


def test_long_parquet_of_several_windows_against_a_wide_csv(run: Any, data: pd.DataFrame, tmp_path: Path) -> None:
    predictions = naive(data, windows=3)
    predictions.sample(frac=1, random_state=0).to_parquet(tmp_path / "p.parquet")
    data.to_csv(tmp_path / "r.csv")
    code, found, _ = run(
        "--metric",
        "mase,nd",
        "--predictions",
        tmp_path / "p.parquet",
        "--references",
        tmp_path / "r.csv",
        "--freq",
        "h",
    )
    assert code == 0
    assert found["m"] == 24
    assert found["mase"] == pytest.approx(expected_mase(data, predictions, 24), rel=1e-9)
    assert (found["n"], found["series"], found["points"], found["missing_points"]) == (9, 3, 3 * 3 * H - 1, 1)
    low, high = found["intervals"]["mase"]
    assert low < found["mase"] < high


def test_history_in_a_file_of_its_own_and_periodicity(run: Any, data: pd.DataFrame, tmp_path: Path) -> None:
    predictions = naive(data, windows=2)
    predictions.to_csv(tmp_path / "p.csv", index=False)
    long = long_of(data)
    split = data.index[STEPS - 2 * H]
    long[long.timestamp >= split].to_parquet(tmp_path / "r.parquet")
    long[long.timestamp < split].to_csv(tmp_path / "h.csv", index=False)
    paths = ["--predictions", tmp_path / "p.csv", "--references", tmp_path / "r.parquet"]
    code, found, _ = run("--metric", "mase", *paths, "--history", tmp_path / "h.csv", "--periodicity", 3)
    assert (code, found["m"]) == (0, 3)
    # The second window's history reaches over the first one's values.
    assert found["mase"] == pytest.approx(expected_mase(data, predictions, 3), rel=1e-9)
    code, found, err = run("--metric", "mase", *paths, "--periodicity", 3)
    assert code == 3
    assert "--history" in err


def test_a_step_that_is_missing_in_the_history_shifts_no_season(run: Any, data: pd.DataFrame, tmp_path: Path) -> None:
    predictions = naive(data)
    predictions.to_csv(tmp_path / "p.csv", index=False)
    long_of(data).dropna().to_csv(tmp_path / "r.csv", index=False)  # b lacks the rows of its holes
    paths = ["--predictions", tmp_path / "p.csv", "--references", tmp_path / "r.csv"]
    code, _, err = run("--metric", "mase", *paths, "--periodicity", 3)
    assert code == 3  # row 38 of b is one that was predicted
    assert "has no b at 2024-03-02T14:00:00" in err
    long = long_of(data)
    long[long.target.notna() | (long.timestamp > data.index[30])].to_csv(tmp_path / "r.csv", index=False)
    code, found, _ = run("--metric", "mase", *paths, "--periodicity", 3)
    assert code == 0
    assert found["mase"] == pytest.approx(expected_mase(data, predictions, 3), rel=1e-9)


def test_arrays_in_order_with_samples(run: Any, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    samples, actual = generator.normal(5, 1, (6, 30, H)), generator.normal(5, 1, (6, H))
    history = generator.normal(5, 1, (6, 50))
    history[2, :20] = np.nan  # shorter series, filled up on the left
    for name, values in {"p": samples, "r": actual, "h": history}.items():
        np.save(tmp_path / f"{name}.npy", values)
    paths = [f"--{flag}={tmp_path / flag[0]}.npy" for flag in ("predictions", "references", "history")]
    code, found, _ = run("--metric", "crps,wql,msis", "--metric", "mase,coverage", *paths, "--periodicity", 2)
    assert code == 0
    far = np.abs(samples - actual[:, None]).mean()
    apart = np.abs(samples[:, :, None] - samples[:, None]).mean()
    assert found["crps"] == pytest.approx(far - apart / 2, rel=1e-9)
    middle = np.sort(samples, axis=1)[:, round(29 * 0.5)]
    scale = np.nanmean(np.abs(history[:, 2:] - history[:, :-2]), axis=1)
    assert found["mase"] == pytest.approx((np.abs(actual - middle) / scale[:, None]).mean(), rel=1e-9)
    assert 0 < found["coverage_50"] < found["coverage_80"] < found["coverage_95"] <= 1
    assert list(found)[:4] == ["metric", "crps", "wql", "msis"]


def test_quantile_columns_and_what_they_are_not_enough_for(run: Any, data: pd.DataFrame, tmp_path: Path) -> None:
    predictions = naive(data)
    for level in QUANTILES:
        predictions[str(level)] = predictions["median"] + 3 * (level - 0.5)
    predictions.to_parquet(tmp_path / "p.parquet")
    data.to_csv(tmp_path / "r.csv")
    paths = ["--predictions", tmp_path / "p.parquet", "--references", tmp_path / "r.csv"]
    code, found, _ = run("--metric", "wql,coverage,rmse", *paths)
    assert code == 0
    actual = data.iloc[-H:].to_numpy().T.ravel()
    loss = [2 * np.abs((actual - predictions[str(q)]) * ((predictions[str(q)] >= actual) - q)).sum() for q in QUANTILES]
    assert found["wql"] == pytest.approx(np.mean(loss) / np.nansum(np.abs(actual)), rel=1e-9)
    assert found["width_80"] == pytest.approx(2.4)
    assert found["coverage_95"] is None
    for metric, message in (("msis", "needs the quantile columns 0.025, 0.975"), ("crps", "needs samples")):
        code, _, err = run("--metric", metric, *paths, "--periodicity", 2)
        assert (code, message in err) == (3, True), err


@pytest.mark.parametrize("kind", ["json", "txt", "csv"])
def test_one_series_as_a_plain_column(run: Any, tmp_path: Path, kind: str) -> None:
    values = {"prediction": [1.0, 2.0, 4.0], "reference": [1.0, 4.0, 5.0]}
    for name, column in values.items():
        text = json.dumps(column) if kind == "json" else "\n".join(map(str, column)) + "\n"
        (tmp_path / f"{name}.{kind}").write_text(f"{name}\n{text}" if kind == "csv" else text)
    paths = ["--predictions", tmp_path / f"prediction.{kind}", "--references", tmp_path / f"reference.{kind}"]
    code, found, _ = run("--metric", "nd", "--metric", "mape", *paths)
    assert (code, found["intervals"]) == (0, {})
    assert found["nd"] == pytest.approx(3 / 10)
    assert found["mape"] == pytest.approx((0 + 0.5 + 0.2) / 3)


@pytest.mark.parametrize("index", ["Date", "", "numbers", "none"])
def test_wide_tables_with_and_without_time_stamps(run: Any, data: pd.DataFrame, tmp_path: Path, index: str) -> None:
    actual, guess = data.iloc[-H:], data.iloc[-H:][["c", "a", "b"]].ffill() + 0.5
    for name, frame in (("p", guess), ("r", actual)):
        if index in ("numbers", "none"):
            frame = frame.reset_index(drop=True)
        frame.to_csv(tmp_path / f"{name}.csv", index_label=index if index == "Date" else "", index=index != "none")
    paths = ["--predictions", tmp_path / "p.csv", "--references", tmp_path / "r.csv"]
    code, found, err = run("--metric", "nd", *paths)
    assert code == 0, err
    assert found["nd"] == pytest.approx(0.5 * (3 * H - 1) / np.nansum(np.abs(actual.to_numpy())))
    assert (found["series"], found["missing_points"]) == (3, 1)


def test_golden_figures_of_m4_hourly(run: Any, tmp_path: Path) -> None:
    train, test = DATA / "M4-Hourly-train.csv", DATA / "M4-Hourly-test.csv"
    if not train.exists():
        pytest.skip("M4 is not here")
    rows = pd.read_csv(train, index_col=0)
    last = np.stack([row[~np.isnan(row)][-24:] for row in rows.to_numpy()])
    frame = pd.DataFrame(np.tile(last, 2), index=rows.index[:], columns=[f"V{i}" for i in range(2, 50)])
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "p.csv")  # paired by name, not by order
    np.save(tmp_path / "p.npy", np.tile(last, 2))
    for path in (tmp_path / "p.csv", tmp_path / "p.npy"):
        given = ["--predictions", path, "--references", test, "--history", train, "--freq", "h"]
        code, found, _ = run("--metric", "mase,wql", *given)
        assert (code, found["m"], found["n"]) == (0, 24, 414)
        assert found["mase"] == pytest.approx(1.1932102, abs=5e-8)
        assert found["wql"] == pytest.approx(0.0483092, abs=5e-8)
    _, text, _ = run("--metric", "mase", *given, as_json=False)
    assert "1.19321" in text


def test_golden_figures_of_exchange_rates(run: Any, tmp_path: Path) -> None:
    if not (DATA / "exchange_rate.txt.gz").exists():
        pytest.skip("the exchange rates are not here")
    frame = pd.read_csv(DATA / "exchange_rate.txt.gz", header=None).add_prefix("c")
    frame.index = pd.date_range("1990-01-01", periods=len(frame), freq="B", name="date")
    train = int(0.8 * len(frame)) + 1
    parts = [
        pd.DataFrame(
            {
                "item_id": name,
                "timestamp": frame.index[train + 30 * window :][:30],
                "window": window,
                "median": np.tile(frame[name].to_numpy()[train + 30 * window - 5 : train + 30 * window], 6),
            }
        )
        for window in range(5)
        for name in frame
    ]
    pd.concat(parts).to_parquet(tmp_path / "p.parquet")
    frame.iloc[: train + 150].to_csv(tmp_path / "r.csv")
    paths = ["--predictions", tmp_path / "p.parquet", "--references", tmp_path / "r.csv"]
    code, found, _ = run("--metric", "mase,nd", *paths, "--freq", "B")
    assert (code, found["m"], found["n"]) == (0, 5, 40)
    assert found["mase"] == pytest.approx(1.6203, abs=5e-5)
    assert found["nd"] == pytest.approx(0.0107497, abs=5e-8)


def _broken(tmp_path: Path, data: pd.DataFrame, what: str) -> tuple[list[object], int, str]:
    """Files with one fault: arguments, exit code, part of the message."""
    predictions, long = naive(data), long_of(data)
    metric, more, code = "mase", ["--periodicity", 3], 3
    if what == "nan":
        predictions.loc[5, "median"] = np.nan
        message = "p.csv, row 6: no prediction in column median"
    elif what == "missing reference":
        predictions.loc[7, "item_id"] = "z"
        message = "p.csv, row 8: "
    elif what == "unpredicted":
        predictions = predictions[predictions.item_id != "b"]
        message = "has no prediction of b at 2024-03-01T00:00:00"
    elif what == "fewer steps":
        predictions = predictions[predictions.timestamp < data.index[-1]]
        message = f"r.csv, row {STEPS}: "
    elif what == "hole":
        predictions = predictions.drop(index=5)
        message = "b lacks a time stamp within its forecast"
    elif what == "twice":
        predictions = pd.concat([predictions, predictions.iloc[:1]])
        message = f"p.csv, row {3 * H + 1}: a has this time stamp twice"
    elif what == "twice in the references":
        long = pd.concat([long, long.iloc[:1]])
        message = f"r.csv, row {3 * STEPS + 1}: a has this time stamp twice"
    elif what == "no number":
        long["target"] = long["target"].astype(object)
        long.loc[2, "target"] = "many"
        message = "r.csv, row 3, column target: 'many' is not a number"
    elif what == "no time":
        predictions["timestamp"] = predictions["timestamp"].astype(str)
        predictions.loc[1, "timestamp"] = "noon"
        message = "p.csv, row 2: 'noon' is no time stamp"
    elif what == "off the frequency":
        more = ["--freq", "2h"]
        message = "row 2: 2024-03-01T01:00:00 is off the frequency 2h"
    elif what == "empty":
        predictions = predictions.iloc[:0]
        message = "p.csv has no rows"
    elif what == "constant":
        long.loc[long.timestamp < data.index[-H], "target"] = 1.0
        message = "mase is not defined: 3 histories are constant"
    elif what == "no season":
        more, code = [], 2
        message = "--periodicity"
    elif what == "bad season":
        more, code = ["--periodicity", "0"], 2
        message = "--periodicity must be >= 1"
    elif what == "bad frequency":
        more, code = ["--freq", "fortnight"], 2
        message = "no frequency 'fortnight'"
    elif what == "two of another kind":
        metric, more, code = "mase,accuracy", [], 2
        message = "several at once are for forecasts"
    else:
        metric, more, code = "accuracy", ["--periodicity", "3"], 2
        message = "--periodicity: only for forecasts"
    predictions.to_csv(tmp_path / "p.csv", index=False)
    long.to_csv(tmp_path / "r.csv", index=False)
    paths = ["--predictions", tmp_path / "p.csv", "--references", tmp_path / "r.csv"]
    return ["--metric", metric, *paths, *more], code, message


@pytest.mark.parametrize(
    "what",
    [
        "nan",
        "missing reference",
        "unpredicted",
        "fewer steps",
        "hole",
        "twice",
        "twice in the references",
        "no number",
        "no time",
        "off the frequency",
        "empty",
        "constant",
        "no season",
        "bad season",
        "bad frequency",
        "two of another kind",
        "other metric",
    ],
)
def test_what_does_not_fit_is_told_in_one_line(run: Any, data: pd.DataFrame, tmp_path: Path, what: str) -> None:
    args, code, message = _broken(tmp_path, data, what)
    found, out, err = run(*args)
    assert (found, out) == (code, ""), err
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5,2.5\n3.0,4.0\n", "line 1: the first line must name the columns, found 1.5, 2.5"),
        ("", "has no rows"),
        ("item_id,timestamp\na,2024-01-01\n", "has no column of values"),
        ("item_id,timestamp,low,high\na,2024-01-01,1,2\n", "name one of them target or median"),
        ("item_id,timestamp,median\na,,1\n", "row 1: no timestamp"),
        ("item_id,timestamp,window,median\na,2024-01-01,0.5,1\n", "row 1: the window is 0.5"),
        ("item_id,timestamp,median\na,7,1\n", "they must be of one kind"),
        ("a,b\n1,2\n3\n4,5,6\n", "can't read"),
        ("a,b\n1,1e308\n", "rmse is not defined"),
    ],
)
def test_files_that_can_not_be_read(run: Any, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    (tmp_path / "r.csv").write_text("a,b\n1,2\n" if "item_id" not in text else "id,ds,y\na,2024-01-01,1\n")
    code, out, err = run("--metric", "rmse", "--predictions", tmp_path / "p.csv", "--references", tmp_path / "r.csv")
    assert (code, out) == (3, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("predictions", "references", "history", "message"),
    [
        ((3, H), (2, H), None, "3 series of 4 steps and"),
        ((3, H), (3, H + 1), None, "of 5; they must pair up"),
        ((3, H), (3, H), (2, 9), "has 2 series and"),
        ((3, 2, 2, 2), (3, H), None, "must hold [steps]"),
        ((3, H), (3, 2, H), None, "must hold [series, steps]"),
        ((0, H), (3, H), None, "has no rows"),
        ((3, H), (3, H), "missing.npy", "no such file"),
    ],
)
def test_arrays_that_do_not_fit(
    run: Any, tmp_path: Path, predictions: Any, references: Any, history: Any, message: str
) -> None:
    args: list[object] = ["--metric", "mase", "--periodicity", 1]
    for flag, shape in (("predictions", predictions), ("references", references), ("history", history)):
        if isinstance(shape, tuple):
            np.save(tmp_path / f"{flag}.npy", np.random.default_rng(0).random(shape))
        if shape is not None:
            args += [f"--{flag}", tmp_path / (f"{flag}.npy" if isinstance(shape, tuple) else shape)]
    if history is None:
        np.save(tmp_path / "history.npy", np.random.default_rng(0).random((3, 9)))
        args += ["--history", tmp_path / "history.npy"]
    code, out, err = run(*args)
    assert (code, out) == (3, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
