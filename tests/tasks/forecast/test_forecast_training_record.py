"""The record of what a training saw: series found again where they were renamed, reordered, cut, grown, corrected or re-dated."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from tasks.errors import DataError
from tasks.forecast.calendar import Calendar
from tasks.forecast.panel import Panel
from tasks.forecast.score.training_record import FILE, NOTHING, TrainingRecord, joined, seen_ends, training_record

START = pd.Timestamp("2024-01-01")


def panel(series, start=START, freq="h", **more):
    """A panel of named series that begin together."""
    lengths = [len(values) for values in series.values()]
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    values = np.concatenate([np.asarray(values, float).reshape(len(values), -1) for values in series.values()])
    calendar = Calendar(freq, pd.Timestamp(start), max(lengths))
    return Panel(values, offsets, np.zeros(len(lengths), np.int64), calendar, list(series), **more)


RNG = np.random.default_rng(0)
NOISE = {name: RNG.normal(size=200) for name in "abc"}
SEEN = {"a": 150, "b": 150, "c": 100}


def record(series=NOISE, seen=SEEN, **more):
    ends = np.asarray([seen[name] for name in series])
    return training_record(panel(series, **more), ends, np.full(len(ends), 10))


def found(given, known=None):
    ends = seen_ends(record() if known is None else known, given)
    return dict(zip(given.item_ids, ends.ends.tolist(), strict=True))


def test_the_same_data_renamed_reordered_and_with_names_swapped():
    assert found(panel(NOISE)) == SEEN
    assert found(panel({name: NOISE[name] for name in "cab"})) == SEEN
    assert found(panel({"x": NOISE["c"], "y": NOISE["a"]})) == {"x": 100, "y": 150}
    assert found(panel({"a": NOISE["c"], "b": NOISE["a"], "c": NOISE["b"]})) == {"a": 100, "b": 150, "c": 150}


@pytest.mark.parametrize("rename", ["", "new "])
@pytest.mark.parametrize("start", [START, pd.Timestamp("2031-05-05 03:00")])
def test_data_that_grew_or_were_cut_at_either_end(rename, start):
    """At another time too, as a zone that is read otherwise gives it."""
    grown = {rename + name: np.append(values, RNG.normal(size=50)) for name, values in NOISE.items()}
    assert list(found(panel(grown, start)).values()) == [150, 150, 100]
    front = {rename + name: values[60:] for name, values in NOISE.items()}
    assert list(found(panel(front, start + pd.Timedelta(hours=60))).values()) == [90, 90, 40]
    rear = {rename + name: values[:90] for name, values in NOISE.items()}
    assert list(found(panel(rear, start)).values()) == [90, 90, 90]


def test_any_piece_of_sixteen_values_is_found():
    for first in range(0, 134, 7):
        assert found(panel({"piece": NOISE["b"][first : first + 16]}, "2030-01-01")) == {"piece": 16}, first


def test_what_comes_wholly_after_training_is_unseen_and_known_by_its_name():
    later = panel({name: values[150:] for name, values in NOISE.items()}, START + pd.Timedelta(hours=150))
    ends = seen_ends(record(), later)
    assert ends.ends.tolist() == [0, 0, 0]
    assert ends.known.all()


def test_series_that_are_new_and_others_under_old_names():
    ends = seen_ends(record(), panel({**NOISE, "new": RNG.normal(size=200), "a": RNG.normal(size=200)}))
    assert ends.ends.tolist() == [0, 150, 100, 0]
    assert ends.known.tolist() == [False, True, True, False]
    assert ends.other_values.tolist() == [True, False, False, False]


def test_corrected_values_and_those_of_another_precision_are_the_same_series():
    corrected = {name: values.copy() for name, values in NOISE.items()}
    for values in corrected.values():
        values[[20, 70, 149]] += 1
    assert found(panel(corrected)) == SEEN
    single = {name + "'": values.astype(np.float32) for name, values in NOISE.items()}
    assert list(found(panel(single)).values()) == [150, 150, 100]
    holed = {name: np.where(np.arange(200) % 50 == 3, np.nan, values) for name, values in NOISE.items()}
    assert list(found(panel({name + "'": values for name, values in holed.items()}), record(holed)).values()) == [
        150,
        150,
        100,
    ]


def test_series_without_time_stamps_are_found_where_their_front_was_cut():
    known = record(has_timestamps=False)
    cut = {name: values[30:] for name, values in NOISE.items()}
    assert found(panel(cut, has_timestamps=False), known) == {"a": 120, "b": 120, "c": 70}
    assert found(panel(NOISE, has_timestamps=False), known) == SEEN


def test_series_that_repeat_themselves_and_each_other():
    hours = np.arange(300)
    waves = {f"s{i}": np.round(10 + 3 * np.sin(2 * np.pi * (hours + i) / 24), 4) for i in range(4)}
    known = record(waves, dict.fromkeys(waves, 200))
    assert set(found(panel(waves), known).values()) == {200}
    assert set(found(panel({name + "x": values for name, values in reversed(waves.items())}), known).values()) == {200}
    rare = {f"s{i}": (RNG.random(300) < 0.1) * 1.0 for i in range(40)}
    known = record(rare, dict.fromkeys(rare, 200))
    assert set(found(panel(rare), known).values()) == {200}
    assert set(found(panel({name + "x": values for name, values in reversed(rare.items())}), known).values()) == {200}
    others = {f"t{i}": (RNG.random(300) < 0.1) * 1.0 for i in range(40)}
    assert set(found(panel(others), known).values()) == {0}
    flat = {"s": np.zeros(300)}
    assert found(panel(flat), record(flat, {"s": 200})) == {"s": 200}


def test_several_dimensions_and_other_frequencies():
    wide = {"a": RNG.normal(size=(80, 2)), "b": RNG.normal(size=(80, 2))}
    for freq in ("B", "MS", "W-SUN", "15min"):
        known = record(wide, {"a": 50, "b": 40}, freq=freq)
        assert found(panel(wide, freq=freq), known) == {"a": 50, "b": 40}
        assert found(panel({"x": wide["b"][10:]}, freq=freq), known) == {"x": 30}


def test_a_model_trained_further_saw_what_both_saw():
    first, then = record(), record({"c": NOISE["c"], "d": RNG.normal(size=200)}, {"c": 180, "d": 60})
    both = joined(first, then)
    assert found(panel(NOISE), both) == {"a": 150, "b": 150, "c": 180}
    assert both.complete
    assert not joined(None, then).complete
    assert found(panel(NOISE), NOTHING) == {"a": 0, "b": 0, "c": 0}


def test_it_survives_its_file_to_the_byte(tmp_path):
    known = record()
    assert known.last[0] == START + pd.Timedelta(hours=149)
    assert known.chosen.tolist() == [10, 10, 10]
    known.write(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    again = TrainingRecord.read(tmp_path)
    for name, value in vars(known).items():
        assert np.array_equal(np.asarray(value), np.asarray(getattr(again, name))), name
    again.write(tmp_path)
    assert (tmp_path / FILE).read_bytes() == whole
    assert TrainingRecord.read(tmp_path / "elsewhere") is None
    (tmp_path / FILE).write_bytes(whole[:200])
    with pytest.raises(DataError, match=r"training_record\.parquet can't be read"):
        TrainingRecord.read(tmp_path)


def test_a_large_data_set_keeps_a_small_record(tmp_path):
    count, steps = 20_000, 120
    values = np.random.default_rng(1).normal(size=(count * steps, 1))
    offsets = np.arange(0, count * steps + 1, steps)
    names = [f"s{number}" for number in range(count)]
    given = Panel(values, offsets, np.zeros(count, np.int64), Calendar("h", START, steps), names)
    known = training_record(given, np.full(count, 100), np.zeros(count, np.int64))
    known.write(tmp_path)
    assert (tmp_path / FILE).stat().st_size < 2e6  # of 19 MB of values
    assert (seen_ends(known, given).ends == 100).all()
    renamed = dataclasses.replace(given, item_ids=[name + "x" for name in names])
    assert (seen_ends(known, renamed).ends == 100).all()
