"""Datasets of the `datasets` library on disk: pictures inside or as paths, read when they are used."""

import io

import pytest
from PIL import Image

from tasks.controlnet.data import load_splits
from tasks.errors import DataError

datasets = pytest.importorskip("datasets")
COUNT = 6


def png(i, condition=False, size=(32, 24)):
    file = io.BytesIO()
    Image.new("RGB", size, (10 * i, 255 if condition else 0, 7)).save(file, "PNG")
    return file.getvalue()


def table(numbers=range(COUNT), wrap=lambda content: {"bytes": content, "path": None}):
    return {
        "image": [wrap(png(i)) for i in numbers],
        "conditioning_image": [wrap(png(i, True)) for i in numbers],
        "text": [f"picture {i}" for i in numbers],
    }


def shown(pairs):
    found = {}
    for row, captions in zip(pairs.rows.tolist(), pairs.captions, strict=True):
        image, condition = pairs.images.load(row), pairs.conditions.load(row)
        assert image.getpixel((0, 0)) == (condition.getpixel((0, 0))[0], 0, 7)
        assert condition.getpixel((0, 0))[1] == 255
        found[image.getpixel((0, 0))[0] // 10] = captions
    return found


ALL = {i: [f"picture {i}"] for i in range(COUNT)}


def as_images(columns):
    made = datasets.Dataset.from_dict(columns)
    for name in ("image", "conditioning_image"):
        made = made.cast_column(name, datasets.Image())
    return made


@pytest.mark.parametrize("form", ["image", "struct", "bytes"])
def test_parquet_with_pictures_inside(tmp_path, form):
    made = table(
        wrap=(lambda content: content) if form == "bytes" else (lambda content: {"bytes": content, "path": None})
    )
    dataset = as_images(made) if form == "image" else datasets.Dataset.from_dict(made)
    dataset.to_parquet(tmp_path / "pairs.parquet")
    splits = load_splits(str(tmp_path / "pairs.parquet"), need=("evaluation",), cache_dir=str(tmp_path / "cache"))
    assert shown(splits.evaluation) == ALL
    assert splits.evaluation.images.where(2).endswith("pairs.parquet, row 3")


def test_parquet_with_paths(tmp_path):
    for i in range(COUNT):
        (tmp_path / f"{i}.png").write_bytes(png(i))
        (tmp_path / f"c{i}.png").write_bytes(png(i, True))
    columns = {"file_name": [f"{i}.png" for i in range(COUNT)], "condition": [f"c{i}.png" for i in range(COUNT)]}
    dataset = datasets.Dataset.from_dict({**columns, "captions": [["a", f"{i}"] for i in range(COUNT)]})
    dataset.to_parquet(tmp_path / "metadata.parquet")
    splits = load_splits(str(tmp_path), need=("evaluation",), cache_dir=str(tmp_path / "cache"))
    assert shown(splits.evaluation) == {i: ["a", str(i)] for i in range(COUNT)}


def test_saved_dataset_with_splits(tmp_path):
    parts = {"train": as_images(table(range(4))), "test": as_images(table(range(3, COUNT)))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    splits = load_splits(str(tmp_path / "saved"))
    assert (sorted(shown(splits.train)), sorted(shown(splits.evaluation))) == ([0, 1, 2, 3], [3, 4, 5])
    assert [line.split(": ")[1] for line in splits.skipped] == ["1 of 3 pictures are in the training split too"]


def test_hold_out_by_content(tmp_path):
    as_images(table([i % 5 for i in range(30)])).save_to_disk(tmp_path / "saved")
    splits = load_splits(str(tmp_path / "saved"), eval_fraction=0.2)
    assert (len(splits.train), len(splits.evaluation)) == (24, 6)
    assert not set(shown(splits.train)) & set(shown(splits.evaluation))


def test_bad_rows(tmp_path):
    made = table()
    made["image"][1] = {"bytes": None, "path": None}
    made["conditioning_image"][2] = {"bytes": b"not a picture", "path": None}
    made["conditioning_image"][3] = {"bytes": png(3, True, (24, 24)), "path": None}
    made["text"][4] = None
    datasets.Dataset.from_dict(made).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError) as error:
        load_splits(str(tmp_path / "saved"))
    for said in (
        "row 2: has no picture",
        "row 3: is not an image file",
        "row 4: the picture is 32x24, its condition 24x24",
        "row 5: has no caption",
    ):
        assert said in str(error.value)
    splits = load_splits(str(tmp_path / "saved"), need=("train",), skip_bad=True)
    assert set(shown(splits.train)) == {0, 5}
    assert len(splits.skipped) == 4


def test_a_column_that_holds_no_pictures(tmp_path):
    datasets.Dataset.from_dict({**table(), "image": list(range(COUNT))}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="the column 'image' holds neither pictures nor paths"):
        load_splits(str(tmp_path / "saved"))
