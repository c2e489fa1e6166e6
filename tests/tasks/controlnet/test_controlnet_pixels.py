"""What pixels of conditions say: one range of values for all of a data set, blank ones, and those that splits share."""

import json

import numpy as np
import pytest
from PIL import Image

from tasks.controlnet.condition_pixels import blankness, parse_range, range_text
from tasks.controlnet.data import Options, load_splits
from tasks.controlnet.inspection import inspect
from tasks.errors import ConfigError, DataError

SIZE = 16


def drawn(number):
    """A line in a place of its own, 0 to 255."""
    values = np.zeros((SIZE, SIZE), np.uint8)
    values[number % SIZE, 2:14] = 255
    return values


def write(folder, conditions, first=0, ending="png"):
    """Pictures from number `first` on, each with a condition (array or picture)."""
    for name in ("images", "conditioning_images"):
        (folder / name).mkdir(parents=True)
    rows = []
    for at, condition in enumerate(conditions):
        Image.new("RGB", (SIZE, SIZE), (first + at, 7, 7)).save(folder / "images" / f"{at}.png")
        path = folder / "conditioning_images" / f"{at}.{ending}"
        if ending == "npy":
            np.save(path, condition)
        else:
            (condition if isinstance(condition, Image.Image) else Image.fromarray(condition)).save(path)
        row = {"file_name": f"images/{at}.png", "conditioning_image": f"conditioning_images/{at}.{ending}", "text": "a"}
        rows.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return str(folder)


def greys(data, **options):
    """The distinct greys of each condition, and the splits."""
    splits = load_splits(Options(data, **options), need=("evaluation",))
    pairs = splits.evaluation
    loaded = [np.asarray(pairs.conditions.load(int(row)))[..., 0] for row in pairs.rows]
    return [np.unique(one).tolist() for one in loaded], splits


def millimetres(near, far):
    return np.where(drawn(near) > 0, near, far).astype(np.uint16)


def test_depth_in_millimetres_has_one_range_in_all_of_the_data(tmp_path):
    data = write(tmp_path, [millimetres(500, 2500), millimetres(1500, 4500)])
    shown, splits = greys(data)
    assert shown == [[0, 128], [64, 255]]
    assert splits.condition_range == (500, 4500)
    note = "2 conditions of more than 8 bits are read with 500,4500 as black,white; --condition-range sets it"
    assert splits.notes == [note]
    assert inspect(Options(data))["notes"] == [note]


@pytest.mark.parametrize(
    ("text", "shown", "found"),
    [
        ("file", [[0, 255], [0, 255]], None),
        ("500,8500", [[0, 64], [32, 128]], (500, 8500)),
        ("4500,500", [[128, 255], [0, 191]], (4500, 500)),
        ("0,65535", [[2, 10], [6, 18]], (0, 65535)),
    ],
)
def test_the_range_is_as_the_option_says(tmp_path, text, shown, found):
    data = write(tmp_path, [millimetres(500, 2500), millimetres(1500, 4500)])
    assert greys(data, condition_range=text)[0] == shown
    assert greys(data, condition_range=text)[1].condition_range == found


@pytest.mark.parametrize("text", ["500", "500,500", "a,b", "1,2,3", "0,inf"])
def test_a_range_that_cannot_be_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="--condition-range"):
        load_splits(Options(write(tmp_path, [drawn(1)]), condition_range=text), need=("evaluation",))


@pytest.mark.parametrize("value_range", [(0.0, 4095.0), (0.5, 3.509999990463257), (4.0, 0.1)])
def test_a_range_is_read_back_as_it_was(value_range):
    assert parse_range(range_text(value_range)) == value_range


@pytest.mark.parametrize("ending", ["npy", "tif"])
def test_depth_in_metres(tmp_path, ending):
    metres = [millimetres(500, 2500).astype(np.float32) / 1000, millimetres(1500, 4500).astype(np.float32) / 1000]
    assert greys(write(tmp_path, metres, ending=ending))[0] == [[0, 128], [64, 255]]


def test_twelve_bits_are_not_nearly_black(tmp_path):
    shown, splits = greys(write(tmp_path, [drawn(n).astype(np.uint16) * 16 for n in range(2)]))
    assert (shown, splits.condition_range) == ([[0, 255], [0, 255]], (0, 4080))


def test_what_has_eight_bits_has_no_range(tmp_path):
    shown, splits = greys(write(tmp_path, [drawn(0), drawn(1)]))
    assert (shown, splits.condition_range, splits.notes) == ([[0, 255], [0, 255]], None, [])


def with_pixels(count, size=64, colour=255):
    values = np.zeros((size, size), np.uint8)
    values.reshape(-1)[:: size * size // max(1, count)][:count] = colour
    return Image.fromarray(values).convert("RGB")


@pytest.mark.parametrize(
    ("condition", "blank"),
    [
        (Image.new("RGB", (64, 64), "white"), "blank (no pixel differs from the colour 255,255,255)"),
        (with_pixels(4), "nearly blank (4 of 4,096 pixels differ from the colour 0,0,0)"),
        (with_pixels(5), None),
        (with_pixels(2048, colour=8), "blank (no pixel differs from the colour 0,0,0)"),
        (with_pixels(2048, colour=9), None),
        (Image.fromarray(drawn(3)).convert("RGB"), None),
    ],
)
def test_blank_conditions_are_known(condition, blank):
    assert blankness(condition) == (None if blank is None else f"its condition is {blank}")


def test_blank_conditions_are_told_and_left_out_when_asked(tmp_path):
    blank = np.full((SIZE, SIZE), 255, np.uint8)
    data = write(tmp_path, [drawn(0), blank, drawn(2), blank])
    splits = load_splits(Options(data), need=("evaluation",))
    assert len(splits.evaluation) == 4
    assert splits.blank == [
        f"{data}/metadata.jsonl: 2 of 4 conditions are blank or nearly so, and teach nothing; --skip-blank leaves them out; first "
        "row 2: its condition is blank (no pixel differs from the colour 255,255,255)"
    ]
    splits = load_splits(Options(data, skip_blank=True), need=("evaluation",))
    assert (len(splits.evaluation), splits.blank) == (2, [])
    assert splits.skipped == [f"2 pairs left out: blank condition, first {data}/metadata.jsonl, row 2"]
    found = inspect(Options(data))
    assert found["splits"]["all"]["blank_conditions"]["found"] == found["problem_count"] == 2
    assert found["problems"][1].startswith(f"{data}/metadata.jsonl, row 4: its condition is blank")
    with pytest.raises(DataError, match="no pairs left; 2 pairs left out: blank condition"):
        load_splits(Options(write(tmp_path / "all", [blank, blank]), skip_blank=True), need=("evaluation",))


def test_black_lines_on_nothing_are_blank_on_the_ground_that_is_told(tmp_path):
    lines = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
    lines.paste((0, 0, 0, 255), (2, 2, 9, 9))
    splits = load_splits(Options(write(tmp_path, [lines])), need=("evaluation",))
    assert splits.notes[0].endswith("1 condition with an alpha channel, laid on black")
    assert "1 of 1 conditions is blank" in splits.blank[0]


@pytest.fixture
def split(tmp_path):
    """Of three evaluation pairs one has a training picture, another a training condition."""
    write(tmp_path / "train", [drawn(number) for number in range(4)])
    # Picture 3 is in both; its condition isn't, but the next one's is.
    write(tmp_path / "test", [drawn(10), drawn(1), drawn(11)], first=3)
    return str(tmp_path)


def test_shared_pictures_and_conditions_are_counted_and_dropped(split):
    splits = load_splits(Options(split))
    what = (
        "1 of 3 evaluation pairs have {} that are also in the training split: they are not unseen; leave them out with"
    )
    name = f"{split}/test/metadata.jsonl"
    assert splits.leaks == [f"{name}: {what.format(kind)} --drop-leaks" for kind in ("pictures", "conditions")]
    assert (splits.shared, len(splits.evaluation)) == (2, 3)
    assert inspect(Options(split))["leaks"] == splits.leaks
    splits = load_splits(Options(split, drop_leaks=True))
    assert (splits.shared, splits.evaluation.rows.tolist()) == (0, [2])
    assert splits.leaks[1].endswith(
        "1 of 2 evaluation pairs have conditions that are also in the training split, and are left out"
    )


def test_blank_conditions_are_no_leak(tmp_path):
    blank = np.zeros((SIZE, SIZE), np.uint8)
    write(tmp_path / "train", [blank, drawn(1)])
    write(tmp_path / "test", [blank, drawn(2)], first=9)
    assert load_splits(Options(str(tmp_path))).leaks == []


def test_nothing_is_left_where_all_is_shared(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / name, [drawn(1), drawn(2)])
    with pytest.raises(DataError, match="all 2 evaluation pairs have pictures that are also in the training split"):
        load_splits(Options(str(tmp_path), drop_leaks=True))
