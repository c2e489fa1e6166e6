"""Files of forecasts and of what came true are paired by when their stamps are, whatever zone or number wrote them."""

import numpy as np
import pandas as pd
import pytest

from tasks.errors import DataError
from tasks.forecast.score.pairing import pair
from tasks.forecast.score.result_files import read_results

BERLIN = "Europe/Berlin"


def table(stamps, values, item="NA"):
    return pd.DataFrame({"item_id": item, "timestamp": stamps, "target": values})


def paired(folder, predictions, references, freq=None):
    """(forecast, actual) of the rows, in the order of time."""
    for name, frame in (("predictions", predictions), ("references", references)):
        frame.to_csv(folder / f"{name}.csv", index=False)
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    found = [
        pair(read_results(folder / f"predictions.{one}"), read_results(folder / f"references.{other}"), None, 1, freq)
        for one in (("parquet",) if freq == "D" else ("csv", "parquet"))  # by the name of their zone
        for other in ("csv", "parquet")
    ]
    for pairs in found[1:]:
        np.testing.assert_array_equal(pairs.actual, found[0].actual)
    return found[0].actual[0]


@pytest.mark.parametrize("freq", ["D", "h"])
@pytest.mark.parametrize("start", ["2024-03-29", "2024-10-26"])
def test_a_zone_on_both_sides_across_a_change_of_clocks(tmp_path, freq, start):
    stamps = pd.date_range(start, periods=60, freq=freq, tz=BERLIN)
    values = np.arange(60.0)
    actual = paired(tmp_path, table(stamps[50:], values[50:]), table(stamps, values), freq)
    np.testing.assert_array_equal(actual, values[50:])
    if freq == "h":
        actual = paired(tmp_path, table(stamps[50:], values[50:]), table(stamps.tz_convert("UTC"), values))
        np.testing.assert_array_equal(actual, values[50:])


def test_numbers_beside_dates_are_what_they_count(tmp_path):
    stamps = pd.date_range("2020-01-01", periods=30, freq="MS")
    values = np.arange(30.0)
    for numbers in (stamps.strftime("%Y%m").astype(int), stamps.asi8 // 10**6):
        actual = paired(tmp_path, table(stamps[25:], values[25:]), table(numbers, values))
        np.testing.assert_array_equal(actual, values[25:])
    with pytest.raises(DataError, match="some files have time stamps and some whole numbers"):
        paired(tmp_path, table(stamps[25:], values[25:]), table(np.arange(30), values))


def test_a_series_is_its_name_whether_written_as_number_or_text(tmp_path):
    stamps = pd.date_range("2024-06-01", periods=30, freq="D")
    values = np.arange(30.0)
    table(stamps[25:], values[25:], item=1).to_csv(tmp_path / "p.csv", index=False)
    table(stamps, values, item=1.0).to_parquet(tmp_path / "r.parquet", index=False)
    found = pair(read_results(tmp_path / "p.csv"), read_results(tmp_path / "r.parquet"), None, 1, None)
    np.testing.assert_array_equal(found.actual[0], values[25:])
