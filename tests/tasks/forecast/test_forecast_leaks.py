"""Tests of test windows whose values training has too."""

import numpy as np
import pytest

from tasks.errors import DataError
from tasks.forecast.data import Options, load
from tasks.forecast.leaks import _rolling, _row_hashes, leaked
from tasks.forecast.panel import Entries


def write_wide(path, columns):
    rows = [",".join(["date", *columns])]
    steps = max(map(len, columns.values()))
    for step in range(steps):
        cells = [f"{column[step]}" if step < len(column) else "" for column in columns.values()]
        rows.append(f"{np.datetime64('2024-01-01') + step},{','.join(cells)}")
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def write_m4(folder, train, test):
    for name, rows in (("train", train), ("test", test)):
        width = max(map(len, rows))
        head = ",".join(f"V{number}" for number in range(1, width + 2))
        lines = [
            ",".join([f"H{number}", *map(str, row), *[""] * (width - len(row))]) for number, row in enumerate(rows)
        ]
        (folder / f"Hourly-{name}.csv").write_text("\n".join([head, *lines]) + "\n")
    return str(folder / "Hourly-train.csv")


NOISE = np.random.default_rng(0).normal(size=(6, 120)).round(3)


def test_a_test_file_that_repeats_the_training_end_is_told_and_dropped(tmp_path):
    data = write_m4(tmp_path, NOISE[:, :100], [*NOISE[:2, 92:100], *NOISE[2:, 100:108]])
    told = "2 of 6 evaluation windows have values that are also in the training split"
    assert any(told in line for line in load(Options(data)).warnings)
    dropped = load(Options(data, drop_leaks=True))
    assert dropped.test.series.tolist() == [2, 3, 4, 5]
    assert any(f"{told}, and are left out" in line for line in dropped.warnings)
    data = write_m4(tmp_path, NOISE[:, :100], NOISE[:, 92:100])
    with pytest.raises(DataError, match="all 6 evaluation windows"):
        load(Options(data, drop_leaks=True))


def test_a_series_that_is_there_twice_and_goes_on_longer(tmp_path):
    columns = {"a": NOISE[0, :100], "b": NOISE[1], "a_again": NOISE[0]}
    loaded = load(Options(write_wide(tmp_path / "w.csv", columns), prediction_length=8))
    assert any("1 of 3 evaluation windows" in line for line in loaded.warnings)
    assert (
        load(Options(write_wide(tmp_path / "v.csv", {"a": NOISE[0], "b": NOISE[1]}), prediction_length=8)).warnings
        == []
    )


def test_a_series_that_repeats_itself_is_no_leak(tmp_path):
    season = np.arange(8) * 1.5
    columns = {
        "same": np.tile(season, 15),
        "other": np.tile(season, 15),
        "flat": np.ones(120),
        "counts": np.arange(120) % 2,
    }
    loaded = load(Options(write_wide(tmp_path / "w.csv", columns), prediction_length=8))
    assert not any("training split" in line for line in loaded.warnings)


def test_hashes_find_what_comparing_finds():
    random = np.random.default_rng(1)
    values = random.integers(0, 3, (400, 2)).astype(float)
    for steps in (1, 2, 3, 7, 16, 21):
        hashes = _rolling(_row_hashes(values), steps)[: 400 - steps + 1]
        windows = [values[at : at + steps].tobytes() for at in range(400 - steps + 1)]
        assert len(set(hashes.tolist())) == len(set(windows))
        groups = {}
        assert all(groups.setdefault(window, number) == number for window, number in zip(windows, hashes, strict=True))


def test_short_horizons_and_missing_values_tell_nothing(tmp_path):
    loaded = load(Options(write_wide(tmp_path / "w.csv", {"a": NOISE[0], "b": NOISE[0]}), prediction_length=3))
    assert loaded.warnings == []
    nothing = np.zeros(0, np.int64)
    assert not len(leaked(loaded.panel, loaded.train_ends, Entries(nothing, nothing, nothing), 8))
