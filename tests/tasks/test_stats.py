"""Bootstrap intervals against what theory says of them."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.errors import ConfigError, DataError
from tasks.stats import bootstrap_mean, paired_bootstrap, percentile_intervals, resampled_ratios


def test_interval_of_independent_rows_is_near_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=1500)  # all different: groups are drawn one by one
    found = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert found.interval == (found.low, found.high)


def test_interval_of_few_different_scores_is_near_the_normal_one() -> None:
    values = np.random.default_rng(2).choice([0.0, 0.3, 1.0], size=4000)  # drawn by their counts
    found = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_both_ways_of_drawing_follow_the_same_law() -> None:
    generator = np.random.default_rng(3)
    few = generator.choice([0.0, 1.0], size=2000)
    many = few + 1e-9 * generator.random(2000)  # no two alike, so drawn one by one
    one, other = bootstrap_mean(few, resamples=20000), bootstrap_mean(many, resamples=20000)
    assert one.low == pytest.approx(other.low, abs=0.001)
    assert one.high == pytest.approx(other.high, abs=0.001)


@pytest.mark.parametrize("kinds", [2, 500])
def test_rows_of_one_group_count_as_one(kinds: int) -> None:
    scores = np.random.default_rng(4).integers(0, kinds, size=500) / kinds
    alone = bootstrap_mean(scores)
    # Nine copies of each row say nothing new, once the copies are known to be one group.
    copies, groups = np.repeat(scores, 9), np.repeat(np.arange(500), 9)
    together = bootstrap_mean(copies, groups)
    assert together.mean == pytest.approx(alone.mean)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.08)
    blind = bootstrap_mean(copies)
    assert blind.high - blind.low == pytest.approx((together.high - together.low) / 3, rel=0.1)


def test_groups_of_different_size_weigh_by_their_rows() -> None:
    # The mean is over rows: 9 rows of 1 in one group, 1 row of 0 in the other.
    found = bootstrap_mean([1.0] * 9 + [0.0], ["a"] * 9 + ["b"])
    assert found.mean == pytest.approx(0.9)
    assert (found.low, found.high) == (0.0, 1.0)  # a quarter of the draws each is group b twice, or group a


@pytest.mark.parametrize("noise", [0.0, 1e-6])  # with noise no two groups are alike: the other way of drawing
def test_interval_over_unequal_groups_is_that_of_pooling_the_drawn_rows(noise: float) -> None:
    generator = np.random.default_rng(13)
    rows = [np.full(size, float(size > 3)) + noise * generator.random(size) for size in [1, 2, 6] * 20]
    pooled = [np.concatenate([rows[i] for i in generator.integers(0, 60, 60)]).mean() for _ in range(4000)]
    found = bootstrap_mean(np.concatenate(rows), np.repeat(np.arange(60), [len(row) for row in rows]), resamples=4000)
    assert found.mean == pytest.approx(2 / 3, abs=1e-5)
    assert found.interval == pytest.approx(tuple(np.quantile(pooled, [0.025, 0.975])), abs=0.01)


def test_groups_may_be_text_numbers_or_an_array_and_rows_in_any_order() -> None:
    values = np.array([1.0, 0.0, 0.5, 0.25, 1.0])
    text = bootstrap_mean(values, ["a", "b", "a", "c", "b"])
    assert text == bootstrap_mean(values, [1, 2, 1, 3, 2]) == bootstrap_mean(values, np.array([1, 2, 1, 3, 2]))
    order = [4, 2, 0, 1, 3]
    assert text == bootstrap_mean(values[order], np.array([1, 2, 1, 3, 2])[order])


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    values = np.random.default_rng(5).random(50)
    assert bootstrap_mean(values, seed=7) == bootstrap_mean(values, seed=7)
    assert bootstrap_mean(values, seed=7) != bootstrap_mean(values, seed=8)


def test_more_confidence_is_a_wider_interval() -> None:
    values = np.random.default_rng(6).random(300)
    narrow, wide = bootstrap_mean(values, confidence=0.5), bootstrap_mean(values, confidence=0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_many_groups_are_drawn_in_pieces() -> None:
    values = np.random.default_rng(7).random(60_000)  # 100 x 60,000 indices don't fit one piece
    found = bootstrap_mean(values, resamples=100)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(len(values)), rel=0.3)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(8)
    covered = 0
    for trial in range(300):
        groups = np.repeat(np.arange(60), 5)
        values = (generator.random(60)[groups] + generator.random(300)) / 2  # true mean 0.5, rows of a group alike
        found = bootstrap_mean(values, groups, resamples=300, seed=trial)
        covered += found.low <= 0.5 <= found.high
    assert 0.90 <= covered / 300 <= 0.98


def test_one_group_or_one_value_is_a_point() -> None:
    assert bootstrap_mean([1.0, 0.0], ["a", "a"]) == (0.5, 0.5, 0.5)
    assert bootstrap_mean([1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)
    assert bootstrap_mean([0.25]) == (0.25, 0.25, 0.25)


def test_paired_differences_cancel_what_the_rows_share() -> None:
    generator = np.random.default_rng(9)
    hardness = generator.normal(size=400)
    a, b = hardness + 0.1 + 0.05 * generator.normal(size=400), hardness
    found = paired_bootstrap(a, b)
    assert found.difference == pytest.approx((a - b).mean())
    assert found.high - found.low < 0.02  # unpaired it would be 0.28
    assert found.low < 0.1 < found.high
    assert found.p == pytest.approx(2 / 2001)
    swapped = paired_bootstrap(b, a)
    assert swapped.difference == pytest.approx(-found.difference)
    assert swapped.p == found.p


def test_no_difference_has_a_large_p() -> None:
    values = np.random.default_rng(10).random(100)
    assert paired_bootstrap(values, values) == (0.0, 0.0, 0.0, 1.0)
    noise = np.random.default_rng(11).permutation(np.repeat([0.1, -0.1], 50))
    assert paired_bootstrap(values + noise, values).p > 0.5


def test_groups_widen_a_paired_interval_too() -> None:
    steps = np.repeat(np.random.default_rng(12).choice([1.0, 0.0, -1.0], size=200), 9)
    groups = np.repeat(np.arange(200), 9)
    together, blind = paired_bootstrap(steps, 0 * steps, groups), paired_bootstrap(steps, 0 * steps)
    assert together.high - together.low == pytest.approx(3 * (blind.high - blind.low), rel=0.15)


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ([], None, "at least one number"),
        ([[1.0]], None, "shape"),
        ([1.0, float("nan"), float("inf")], None, "2 of 3 values aren't finite, the first is row 2"),
        ([1.0, 2.0], ["a"], "2 values and 1 groups"),
    ],
)
def test_unusable_rows_are_data_errors(values: list[float], groups: list[str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        bootstrap_mean(values, groups)


def test_rows_that_do_not_pair_are_a_data_error() -> None:
    with pytest.raises(DataError, match="1 and 2"):
        paired_bootstrap([1.0], [1.0, 2.0])


@pytest.mark.parametrize("options", [{"confidence": 0.0}, {"confidence": 95}, {"resamples": 0}])
def test_options_out_of_range_are_config_errors(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        bootstrap_mean([1.0, 0.0], **options)  # type: ignore[arg-type]


def test_ratios_of_sums_resample_whole_groups() -> None:
    generator = np.random.default_rng(14)
    above, below = generator.random((40, 2)), 0.5 + generator.random((40, 2))
    draws = resampled_ratios(above, below, resamples=4000)
    by_hand = [above[index].sum(axis=0) / below[index].sum(axis=0) for index in generator.integers(0, 40, (4000, 40))]
    low, high = percentile_intervals(draws)
    expected = np.quantile(by_hand, [0.025, 0.975], axis=0)
    assert np.stack([low, high]) == pytest.approx(expected, abs=0.006)
    mean = bootstrap_mean(above[:, 0], resamples=4000)  # over ones below, a ratio is a mean
    means = percentile_intervals(resampled_ratios(above[:, :1], np.ones((40, 1)), resamples=4000))
    assert means[:, 0] == pytest.approx(np.array(mean.interval), abs=0.004)


def test_columns_of_ratios_share_their_draws_in_pieces_too() -> None:
    above = np.random.default_rng(15).random((30_000, 1))  # 200 x 30,000 draws don't fit one piece
    draws = resampled_ratios(np.hstack([above, 2 * above]), np.ones((30_000, 2)), resamples=200)
    np.testing.assert_allclose(draws[:, 1], 2 * draws[:, 0])
    assert draws[:, 0].std() == pytest.approx(above.std() / np.sqrt(30_000), rel=0.2)
    assert len(set(draws[:, 0])) == 200


def test_draws_with_nothing_below_are_left_out_of_an_interval() -> None:
    draws = resampled_ratios(np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 0.0]]), resamples=500)
    assert np.isnan(draws[:, 1]).all()
    assert 0.15 < np.isnan(draws[:, 0]).mean() < 0.35  # twice the second group: one draw in four
    low, high = percentile_intervals(draws)
    assert (low[0], high[0]) == (1.0, 4.0)
    assert np.isnan([low[1], high[1]]).all()


def test_ratios_refuse_what_they_can_not_use() -> None:
    with pytest.raises(DataError):
        resampled_ratios(np.ones((2, 1)), np.ones((3, 1)))
    with pytest.raises(DataError):
        resampled_ratios(np.ones((0, 1)), np.ones((0, 1)))
    with pytest.raises(ConfigError):
        resampled_ratios(np.ones((2, 1)), np.ones((2, 1)), resamples=0)
    with pytest.raises(ConfigError):
        percentile_intervals(np.ones((2, 1)), confidence=95)
