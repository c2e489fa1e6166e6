"""Windows that a model saw in training, through the command: refused by default, shown apart and marked, in whatever data they come."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running import within

STEPS, H = 140, 7
NAMES = ["a", "b", "c", "d"]
TRAIN = ["train", "forecast", "--data", "noise.csv", "--prediction-length", H, "--context-length", 28, "--threads", 1]
ISSUE = ["--model", "nbeats", "--validation-windows", 0, "--dropout", 0, "--learning-rate", "5e-3", "--epochs", 3]
QUICK = ["--model", "dlinear", "--max-steps", 2, "--num-parallel-samples", 5]


def noise(steps=STEPS, seed=0):
    """White noise: nothing can be learnt of it but what was seen."""
    values = np.random.default_rng(seed).standard_normal((steps, len(NAMES))).round(4) + 10
    return pd.DataFrame(values, index=pd.date_range("2024-01-01", periods=steps, name="time"), columns=NAMES)


def train(place, *options):
    return json.loads(within(*TRAIN, *options, "--json", cwd=place).stdout)


def backtest(place, *options, code=0):
    done = within("backtest", "--threads", 1, "--num-parallel-samples", 5, *options, "--json", cwd=place, code=code)
    return json.loads(done.stdout) if code == 0 else None, done.stderr


def refused(place, *options):
    """The one line that refuses them."""
    _, said = backtest(place, *options, code=2)
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    noise().to_csv(folder / "noise.csv")
    return folder


@pytest.fixture(scope="module")
def learnt(place):
    return train(place, *ISSUE)


@pytest.fixture(scope="module")
def quick(place):
    """A run of a few steps, one window of which chose the weights."""
    return train(place, *QUICK, "--no-item-embedding")["run"]


def test_windows_that_training_saw_are_refused_with_the_ways_out(place, learnt):
    line = refused(place, "--model", learnt["run"], "--windows", 12)
    for words in (
        f"{Path(learnt['run']).name} was trained on, or chosen by, 44 of these 48 forecasts (11 of 12 windows)",
        "it saw series a until 2024-05-12",
        "and 3 other series",
        "take --windows 1, ",
        "--refit N",
        "--include-seen",
    ):
        assert words in line, line
    within("eval", "forecast", "--model", learnt["run"], "--windows", 2, cwd=place, code=2)


def test_by_default_a_backtest_says_what_trainings_own_test_said(place, learnt):
    found, _ = backtest(place, "--model", learnt["run"])
    name = Path(learnt["run"]).name
    assert found["seen"] is False
    assert found["models"][name]["overall"]["mase"]["value"] == learnt["metrics"]["mase"]
    assert learnt["metrics"]["mase"] > 0.6  # nothing but noise


def test_seen_windows_are_shown_apart_and_marked_in_table_json_report_and_parquet(place, learnt):
    name = Path(learnt["run"]).name
    done = within("backtest", "--model", learnt["run"], "--windows", 12, "--include-seen", "--save-samples", cwd=place)
    assert "naive · seen" in done.stdout
    assert "seen in training: 44 forecasts of 7 steps (4 series x 11 windows)" in done.stdout
    found = json.loads(
        within(
            "eval", "forecast", "--model", learnt["run"], "--windows", 12, "--include-seen", "--json", cwd=place
        ).stdout
    )
    seen = found["seen_windows"]
    assert (found["seen"], seen["seen"]) == (False, True)
    assert found["models"][name]["overall"]["mase"]["value"] == learnt["metrics"]["mase"]
    assert seen["models"][name]["overall"]["mase"]["value"] < 0.3  # the figure that was taken for the model's
    assert seen["models"][name]["counts"]["entries"] == 44
    run = max((place / "runs").glob("backtest-*"), key=lambda path: path.stat().st_mtime_ns)
    frame = pd.read_parquet(run / "forecasts.parquet")
    assert frame.groupby("seen").window.unique().map(sorted).to_dict() == {False: [11], True: list(range(11))}
    report = (run / "report.html").read_text()
    assert f"{name} · seen" in report
    assert "trained on or chosen by" in report
    kept = json.loads((run / "metrics.json").read_text())
    assert kept["seen_windows"]["models"][name]["overall"] == seen["models"][name]["overall"]
    # Only what is unseen is compared with other runs.
    assert len(json.loads((run / "scores.json").read_text())["contents"]) == 4


def test_sample_paths_of_unseen_windows_are_those_of_a_backtest_without_the_others(place):
    """A model that draws samples has the same figure, to the bit, whatever is shown beside it."""
    run = train(place, "--model", "tiny", "--max-steps", 2, "--num-parallel-samples", 5, "--lags", 1)
    name, value = Path(run["run"]).name, run["metrics"]["crps"]
    beside, _ = backtest(place, "--model", run["run"], "--windows", 3, "--include-seen", "--save-samples")
    assert beside["models"][name]["overall"]["crps"]["value"] == value
    frame = pd.read_parquet(place / beside["run"] / "samples.parquet")
    assert frame.groupby("window").seen.unique().map(list).to_dict() == {0: [True], 1: [True], 2: [False]}
    options = ["--windows", 3, "--include-seen", "--num-parallel-samples", 5, "--json"]
    alone = json.loads(within("eval", "forecast", "--model", run["run"], *options, cwd=place).stdout)
    assert alone["models"][name]["overall"]["crps"]["value"] == value
    assert alone["seen_windows"]["models"][name] == beside["seen_windows"]["models"][name]


def test_windows_that_were_all_seen_are_marked_as_such(place, quick):
    older = noise().iloc[: STEPS - H]
    older.to_csv(place / "older.csv")
    assert "no window lies after" in refused(place, "--model", quick, "--data", "older.csv")
    found, _ = backtest(place, "--model", quick, "--data", "older.csv", "--include-seen")
    assert found["seen"] is True
    run = place / found["run"]
    assert "on windows seen in training" in json.loads((run / "status.json").read_text())["score"]
    assert "on windows seen in training" in (run / "report.html").read_text()
    assert pd.read_parquet(run / "forecasts.parquet").seen.all()
    assert not (run / "scores.json").exists()


def test_what_chose_the_weights_is_seen_too(place, quick):
    """The test is the last window; the one before chose, and those before that trained."""
    record = pd.read_parquet(place / quick / "model" / "training_record.parquet")
    assert (place / quick / "training_record.parquet").read_bytes() == (
        place / quick / "model" / "training_record.parquet"
    ).read_bytes()
    assert record["item_id"].tolist() == NAMES
    assert set(record["last"]) == {pd.Timestamp("2024-01-01") + pd.Timedelta(days=STEPS - H - 1)}
    assert (set(record["steps"]), set(record["chosen"])) == ({STEPS - H}, {H})
    assert "4 of these 8 forecasts (1 of 2 windows)" in refused(place, "--model", quick, "--windows", 2)


@pytest.mark.parametrize("what", ["renamed", "reordered", "cut", "long", "grown", "grown and renamed"])
def test_the_same_series_are_recognised_however_the_data_come(place, quick, what):
    frame, honest = noise(), 1
    if "grown" in what:
        more = noise(2 * H, seed=1).set_index(pd.date_range("2024-05-20", periods=2 * H, name="time"))
        frame, honest = pd.concat([frame, more]), 3
    if "renamed" in what:
        frame.columns = [f"series {name}" for name in NAMES]
    if what == "reordered":
        frame = frame[NAMES[::-1]]
    if what == "cut":
        frame = frame.iloc[60:]
    if what == "long":
        frame = frame.reset_index().melt("time", var_name="item_id", value_name="target")
    frame.to_csv(place / f"{what}.csv", index=what != "long")
    given = ["--model", quick, "--data", f"{what}.csv", "--windows"]
    assert f"take --windows {honest}, " in refused(place, *given, honest + 1)
    found, _ = backtest(place, *given, honest)
    assert found["seen"] is False


def test_a_series_that_is_new_is_unseen_and_said_to_be(place, quick):
    frame = noise().assign(new=noise(seed=3)["a"])
    frame.to_csv(place / "more.csv")
    assert "8 of these 15 forecasts (2 of 3 windows)" in refused(
        place, "--model", quick, "--data", "more.csv", "--windows", 3
    )
    found, said = backtest(place, "--model", quick, "--data", "more.csv", "--windows", 3, "--include-seen")
    assert "1 of 5 series are new to it (new): unseen, though it may know their time from other series" in said
    name = Path(quick).name
    assert found["models"][name]["counts"]["entries"] == 4 + 3
    assert found["seen_windows"]["models"][name]["counts"]["entries"] == 8
    noise(seed=5).to_csv(place / "others.csv")
    found, said = backtest(place, "--model", quick, "--data", "others.csv", "--windows", 3)
    assert "4 of 4 series have the name and time of one that it was trained on, but other values" in said


def test_a_model_keeps_its_record_where_it_goes_and_one_without_is_not_known(place, quick, tmp_path):
    shutil.copytree(place / quick / "model", tmp_path / "copied")
    given = ["--data", "noise.csv", "--windows", 2, "--model", tmp_path / "copied"]
    assert "copied was trained on, or chosen by, 4 of these 8 forecasts" in refused(place, *given)
    (tmp_path / "copied" / "training_record.parquet").unlink()
    found, said = backtest(place, *given)
    assert "note      copied: what it was trained on is not on record" in said
    assert found["seen"] is None
    assert pd.read_parquet(place / found["run"] / "forecasts.parquet").seen.isna().all()
    further = train(place, *QUICK[2:], "--model", tmp_path / "copied", "--output-dir", tmp_path / "runs")
    assert further["metrics"]["seen"] is None
    _, said = backtest(place, "--model", further["run"], "--data", "noise.csv")
    assert "the model that it began with has no record" in said


def test_of_runs_with_unlike_ends_the_latest_counts(place, quick):
    early = train(place, *QUICK, "--windows", 3)["run"]
    backtest(place, "--model", early, "--data", "noise.csv", "--windows", 3)
    line = refused(place, "--model", early, "--model", quick, "--data", "noise.csv", "--windows", 3)
    assert f"{Path(quick).name} was trained on" in line
    assert "take --windows 1, " in line
    # A run that goes on from one may not be tested on what that one saw.
    done = within(*TRAIN, *QUICK[2:], "--model", quick, "--windows", 3, cwd=place, code=2)
    assert "was trained on, or chosen by, 8 of these 12 forecasts" in done.stderr
    further = train(place, *QUICK[2:], "--model", early, "--windows", 1)["run"]
    assert "take --windows 1, " in refused(place, "--model", further, "--data", "noise.csv", "--windows", 3)


def test_a_run_up_to_a_later_window_saw_the_earlier_ones(place):
    late = train(place, *QUICK, "--windows", 3, "--first-window", 2)
    assert "take --windows 1, " in refused(place, "--model", late["run"])
    found, _ = backtest(place, "--model", late["run"], "--windows", 1)
    assert found["models"][Path(late["run"]).name]["overall"]["mase"]["value"] == late["metrics"]["mase"]


def test_refits_make_earlier_windows_honest_unless_the_run_began_with_a_model_that_saw_them(place, quick):
    found, _ = backtest(place, "--model", quick, "--data", "noise.csv", "--windows", 3, "--refit", 2)
    assert found["seen"] is False
    assert found["models"][Path(quick).name]["counts"]["entries"] == 12
    for refit in (place / found["run"] / "refits").iterdir():
        assert (refit / "model" / "training_record.parquet").is_file()
    further = train(place, *QUICK[2:], "--model", quick)["run"]
    line = refused(place, "--model", further, "--data", "noise.csv", "--windows", 3, "--refit", 2)
    assert "was trained on, or chosen by, 8 of these 12 forecasts" in line
    assert "--refit N" not in line
