"""The forecasting recipe's own parts: options, what a model's facts refuse, pieces of a back-test, tables of forecasts."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recipes.config import resolve
from recipes.forecast import outputs
from recipes.forecast.artefacts import usage
from recipes.forecast.backtest import check_data, read_piece, save_piece
from recipes.forecast.config import ARCHITECTURES, DISTRIBUTIONS, NAMED, Backtest, Train, with_defaults
from recipes.forecast.config import OWN as OURS
from recipes.forecast.data import check_inputs, cut, for_model, with_item_category
from recipes.forecast.facts import Facts
from recipes.forecast.forecasting import Piece
from recipes.forecast.refit import train_options
from recipes.forecast.setup import Setup
from recipes.forecast.testing import naive_forecasts, overall, score_all
from recipes.runs.folder import Run
from tasks.errors import ConfigError, DataError
from tasks.files import write_text
from tasks.forecast import named
from tasks.forecast.calendar import Calendar
from tasks.forecast.data import Loaded
from tasks.forecast.models import Spec, build
from tasks.forecast.models.spec import DISTRIBUTIONS as KNOWN
from tasks.forecast.models.spec import KINDS, OWN
from tasks.forecast.origins import Origins, validation_entries
from tasks.forecast.panel import Entries, Panel, rolling_entries
from tasks.forecast.score.summary import from_samples


def panel(lengths=(40, 30), dims=1, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.random((sum(lengths), dims)) + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    starts = np.asarray([0, 5][: len(lengths)], dtype=np.int64)
    calendar = Calendar("h", pd.Timestamp("2024-01-01"), int((starts + lengths).max()))
    names = [f"t{number}" for number in range(dims)]
    return Panel(values, offsets, starts, calendar, [f"s{number}" for number in range(len(lengths))], names)


def loaded(given):
    entries = rolling_entries(given.lengths, 4, 2, 4)
    return Loaded(given, given.lengths - 8, entries, 4, "words", name="data.csv")


def test_a_flag_given_twice_is_a_list():
    assert resolve(Backtest, {"model": "a,b"}).model == ["a", "b"]


def test_the_defaults_depend_on_the_model_and_a_flag_beats_them():
    published, tiny = with_defaults(Train()), with_defaults(Train(model="tiny", epochs=3))
    assert (published.learning_rate, published.batch_size, published.epochs, published.lr_scheduler) == (
        6e-4,
        128,
        50,
        "constant",
    )
    assert (tiny.epochs, tiny.lr_scheduler) == (3, "cosine")


def test_origins_leave_a_context_and_a_horizon_and_are_drawn_evenly():
    origins = Origins(np.asarray([20, 9, 10]), context_length=6, prediction_length=4)
    series, origin = origins.locate(np.arange(len(origins)))
    assert list(zip(series, origin, strict=True)) == [(0, at) for at in range(6, 17)] + [(2, 6)]
    batches = origins.batches(seed=1, epoch=0, batch_size=600, count=20)
    counts = np.bincount(np.concatenate(batches), minlength=12)
    assert abs(counts / 12000 - 1 / 12).max() < 0.01
    again, other = (origins.batches(seed=1, epoch=epoch, batch_size=600, count=20) for epoch in (0, 1))
    assert np.array_equal(batches, again)
    assert not np.array_equal(batches, other)


def test_validation_windows_end_where_training_may_not_look():
    entries = validation_entries(np.asarray([30, 3, 20]), prediction_length=4, windows=2, most=10)
    assert list(zip(entries.series, entries.origin, entries.window, strict=True)) == [
        (0, 22, 0),
        (2, 12, 0),
        (0, 26, 1),
        (2, 16, 1),
    ]
    assert list(validation_entries(np.full(9, 30), prediction_length=4, windows=1, most=3).series) == [0, 4, 8]


def test_a_model_with_an_embedding_for_each_series_refuses_others():
    known = with_item_category(panel())
    assert known.category_names == [["s0", "s1"]]
    mapped = with_item_category(panel(), ["s1", "other", "s0"])
    assert mapped.static_categories[:, 0].tolist() == [2, 0]
    with pytest.raises(DataError, match=r"2 series and knows no 's0'.*--no-item-embedding"):
        with_item_category(panel(), ["x", "s1"])


def test_data_that_a_model_does_not_fit_are_refused_with_the_difference():
    facts = Facts("h", 4, 24, ["a", "b"], covariate_names=["price"])
    for arguments, words in (
        (("D", 2, ["price"]), "frequency D"),
        (("h", 1, ["price"]), "1 target columns; the model was trained on 2"),
        (("h", 2, []), "needs price"),
    ):
        with pytest.raises(ConfigError, match=words):
            facts.check_fits(*arguments, "data.csv")
    spec = Spec("transformer", 4, lags=(1,), num_time_features=5, cardinality=(1,))
    with pytest.raises(ConfigError, match=r"takes 1 static categories; data\.csv gives 0"):
        check_inputs(spec, loaded(panel()), "m")
    with pytest.raises(ConfigError, match="knows 1 values of a static category"):
        check_inputs(spec, loaded(with_item_category(panel())), "m")
    with pytest.raises(ConfigError, match="takes 7 time features"):
        check_inputs(dataclasses.replace(spec, num_time_features=7), loaded(panel()), "m")


def test_covariates_come_in_the_models_order():
    given = dataclasses.replace(
        panel(),
        covariates=np.arange(140, dtype=np.float32).reshape(70, 2),
        covariate_offsets=panel().offsets,
        covariate_names=["a", "b"],
    )
    found = for_model(loaded(given), Facts("h", 4, 24, ["t0"], covariate_names=["b"])).panel
    assert found.covariate_names == ["b"]
    assert found.covariates[:2, 0].tolist() == [1, 3]


def test_the_facts_survive_the_model_folder(tmp_path):
    facts = Facts("W-SUN", 4, 1, ["a"], [["x", "y"]], False, ["r"], ["c"])
    facts.write(tmp_path)
    assert Facts.read(tmp_path) == facts
    assert Facts.read(tmp_path / "elsewhere") is None
    write_text(tmp_path / "forecast.json", "[1]")
    with pytest.raises(DataError, match=r"forecast\.json can't be read"):
        Facts.read(tmp_path)


def test_a_piece_is_read_as_it_was_written(tmp_path):
    samples = np.random.default_rng(0).random((3, 7, 4)).astype(np.float32)
    piece = Piece(
        slice(0, 3), {"a": from_samples(samples, np.ones((3, 4))), "b": from_samples(samples)}, {"a": samples}
    )
    save_piece(tmp_path / "piece.npz", piece)
    found = read_piece(tmp_path / "piece.npz")
    assert list(found) == ["a", "b"]
    for name, one in piece.forecasts.items():
        for item in ("median", "mean", "quantiles", "crps"):
            np.testing.assert_array_equal(getattr(found[name], item), getattr(one, item))


def test_the_table_of_forecasts_names_series_dimension_window_and_time():
    given = panel(dims=2)
    entries = rolling_entries(given.lengths, 3, 2, 3)
    samples = np.random.default_rng(0).random((len(entries), 5, 3, 2)).astype(np.float32)
    frame = outputs.forecast_frame(given, entries, from_samples(samples), actual=True)
    row = frame[(frame.item_id == "s1") & (frame.target == "t1") & (frame.window == 1) & (frame.step == 2)].iloc[0]
    assert row.timestamp == pd.Timestamp("2024-01-01") + pd.Timedelta(hours=5 + 30 - 2)
    assert row.actual == given.series(1)[-2, 1]
    assert row["mean"] == pytest.approx(samples[3, :, 1, 1].mean())
    assert len(frame) == 2 * 2 * 2 * 3


def test_the_same_forecasts_give_the_same_bytes(tmp_path):
    given = panel()
    entries = rolling_entries(given.lengths, 3, 2, 3)
    tested = score_all(given, entries, 3, 2, naive_forecasts(given, entries, 3, 2), {})
    for name in ("a.parquet", "b.parquet"):
        outputs.write_forecasts(tmp_path / name, tested)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    found = overall(tested, "naive")
    assert found["n"] == 2
    assert found["mase_low"] <= found["mase"] <= found["mase_high"]


def test_a_constant_series_has_no_score_and_the_others_are_compared():
    given = panel((40, 30))
    given.values[:40] = 3.0
    entries = rolling_entries(given.lengths, 4, 1, 4)
    tested = score_all(given, entries, 4, 2, {}, {})
    assert tested.scores["naive"].counts["zero_scale"] == 1
    found = outputs.per_series(tested, {"name": "x"})
    assert found.ids == ["s1"]
    assert found.greater_is_better is False


def test_a_refit_is_the_runs_own_command_up_to_a_window(tmp_path):
    write_text(
        tmp_path / "config.yaml",
        "recipe: forecast\nmodel: dlinear\nepochs: 7\nseed: 3\ntracker: [wandb]\nnum_processes: 4\n",
    )
    config = Backtest(model=["x"], data="series.csv", windows=5, refit="2")
    found = train_options(config, Run(tmp_path), 4, str(tmp_path / "refits"))
    assert (found.model, found.epochs, found.seed, found.first_window, found.windows) == ("dlinear", 7, 3, 4, 5)
    assert (found.tracker, found.num_processes, found.output_dir) == ([], 1, str(tmp_path / "refits"))


def test_each_model_has_its_own_defaults_and_what_was_asked_for_stays():
    names = ("learning_rate", "d_model", "blocks", "distribution", "scaling", "anchor", "item_embedding", "dropout")
    found = {
        model: tuple(getattr(with_defaults(Train(model=model)), name) for name in names)
        for model in ("transformer", "dlinear", "nbeats")
    }
    assert found["transformer"] == (6e-4, 16, None, "student_t", "std", "mean", True, 0.1)
    assert found["dlinear"] == (2e-3, 16, None, "student_t", "std", "mean", True, 0.1)
    assert found["nbeats"] == (2e-3, 128, 3, "quantiles", "seasonal", "season", False, 0.0)
    asked = with_defaults(Train(model="nbeats", distribution="normal", anchor="last", item_embedding=True, dropout=0.2))
    assert (asked.distribution, asked.anchor, asked.item_embedding, asked.dropout) == ("normal", "last", True, 0.2)
    # What a run wrote down is a command that can be given again.
    assert not [problem for model in found for problem in with_defaults(Train(model=model)).problems()]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "transformer", "anchor": "season"}, "--anchor: season is for --model dlinear or nbeats"),
        ({"model": "dlinear", "blocks": 4}, "--blocks: dlinear has none"),
        ({"model": "patchtst", "block_layers": 1}, "--block-layers: patchtst has none"),
        ({"model": "informer", "distribution": "quantiles"}, "is for --model dlinear or nbeats"),
    ],
)
def test_options_of_another_model_are_refused(given, words):
    (problem,) = Train(**given).problems()
    assert words in problem


def test_a_window_that_is_not_there():
    entries = rolling_entries(np.asarray([40, 30]), 4, 3, 4)
    later = cut(entries, 1)
    assert (len(later), later.window.tolist()) == (4, [0, 0, 1, 1])
    with pytest.raises(ConfigError, match="there are 3 test windows"):
        cut(entries, 3)
    assert isinstance(later, Entries)


def test_a_backtest_goes_on_only_with_the_data_that_it_began_with(tmp_path):
    write_text(tmp_path / "status.json", "{}")
    run, given = Run(tmp_path), panel()
    check_data(Setup([], loaded(given), 4, 24), run)
    check_data(Setup([], loaded(given), 4, 24), run)
    given.values[3] += 1e-9
    with pytest.raises(ConfigError, match="began with other data than is there now"):
        check_data(Setup([], loaded(given), 4, 24), run)


def test_the_names_that_flags_offer_are_those_that_there_are():
    assert set(NAMED) <= set(named.NAMES)
    assert ARCHITECTURES == KINDS
    assert OURS == OWN
    assert {name for names in KNOWN.values() for name in names} == set(DISTRIBUTIONS)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("transformer", {"input_size": 2, "num_static_real_features": 1}),
        ("informer", {"cardinality": (3,)}),
        ("autoformer", {"label_length": 4}),
        ("patchtst", {}),
        ("patchtst", {"distribution": "point"}),
        ("dlinear", {}),
        ("nbeats", {"distribution": "quantiles", "input_size": 2}),
    ],
)
def test_the_cards_example_runs(tmp_path, capsys, kind, settings):
    features = {} if kind == "patchtst" else {"num_time_features": 5, "lags": (1, 2)}
    spec = Spec(kind, 4, 12, **features, **settings)
    build(spec, 0).save_pretrained(tmp_path)
    exec(compile(usage(SimpleNamespace(spec=spec), str(tmp_path)), "card", "exec"), {})
    assert capsys.readouterr().out.startswith("tensor(")
