"""Datasets of the `datasets` library on disk: pictures inside or as paths, read when they are used."""

import hashlib
import io
import threading
from functools import partial
from http.server import ThreadingHTTPServer

import pytest
from PIL import Image
from test_vqa_hub import SEVERAL, Hub, ask

from tasks.controlnet.data import Options, load_splits
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
    splits = load_splits(
        Options(str(tmp_path / "pairs.parquet"), cache_dir=str(tmp_path / "cache")), need=("evaluation",)
    )
    assert shown(splits.evaluation) == ALL
    assert splits.evaluation.images.where(2).endswith("pairs.parquet, row 3")


def test_parquet_with_paths(tmp_path):
    for i in range(COUNT):
        (tmp_path / f"{i}.png").write_bytes(png(i))
        (tmp_path / f"c{i}.png").write_bytes(png(i, True))
    columns = {"file_name": [f"{i}.png" for i in range(COUNT)], "condition": [f"c{i}.png" for i in range(COUNT)]}
    dataset = datasets.Dataset.from_dict({**columns, "captions": [["a", f"{i}"] for i in range(COUNT)]})
    dataset.to_parquet(tmp_path / "metadata.parquet")
    splits = load_splits(Options(str(tmp_path), cache_dir=str(tmp_path / "cache")), need=("evaluation",))
    assert shown(splits.evaluation) == {i: ["a", str(i)] for i in range(COUNT)}


def test_saved_dataset_with_splits(tmp_path):
    parts = {"train": as_images(table(range(4))), "test": as_images(table(range(3, COUNT)))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    splits = load_splits(Options(str(tmp_path / "saved")))
    assert (sorted(shown(splits.train)), sorted(shown(splits.evaluation))) == ([0, 1, 2, 3], [3, 4, 5])
    said = "1 of 3 evaluation pairs have pictures that are also in the training split"
    assert [line.split(": ")[1] for line in splits.leaks] == [said]


def test_files_of_a_split_are_opened_only_for_it(tmp_path):
    as_images(table()).to_parquet(tmp_path / "train-0.parquet")
    (tmp_path / "test-0.parquet").write_bytes(b"broken")
    splits = load_splits(Options(str(tmp_path), cache_dir=str(tmp_path / "cache")), need=("train",))
    assert shown(splits.train) == ALL
    with pytest.raises(DataError, match=r"test-0\.parquet: can't be read as a dataset"):
        load_splits(Options(str(tmp_path), cache_dir=str(tmp_path / "cache")))


def test_a_split_column_parts_a_saved_dataset(tmp_path):
    made = {**table(), "split": ["train", "val", "train", "train", "val", "train"]}
    datasets.Dataset.from_dict(made).save_to_disk(tmp_path / "saved")
    splits = load_splits(Options(str(tmp_path / "saved")))
    assert (sorted(shown(splits.train)), sorted(shown(splits.evaluation))) == ([0, 2, 3, 5], [1, 4])
    assert splits.evaluation.images.where(int(splits.evaluation.rows[0])).endswith("saved (validation), row 1")


def test_hold_out_by_content(tmp_path):
    as_images(table([i % 5 for i in range(30)])).save_to_disk(tmp_path / "saved")
    splits = load_splits(Options(str(tmp_path / "saved"), eval_fraction=0.2))
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
        load_splits(Options(str(tmp_path / "saved")))
    for said in (
        "row 2: has no picture",
        "row 3: is not an image file",
        "row 4: the picture is 32x24, its condition 24x24",
        "row 5: has no caption",
    ):
        assert said in str(error.value)
    splits = load_splits(Options(str(tmp_path / "saved"), skip_bad=True), need=("train",))
    assert set(shown(splits.train)) == {0, 5}
    assert len(splits.skipped) == 4


def test_a_column_that_holds_no_pictures(tmp_path):
    datasets.Dataset.from_dict({**table(), "image": list(range(COUNT))}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="the column 'image' holds neither pictures nor paths"):
        load_splits(Options(str(tmp_path / "saved")))


LOAD = """
import sys
from tasks.controlnet.data import Options, load_splits
from tasks.errors import ToolError
for name in sys.argv[1:]:
    try:
        splits = load_splits(Options(name))
        row = int(splits.train.rows[1])
        colours = [store.load(row).getpixel((0, 0)) for store in (splits.train.images, splits.train.conditions)]
        print(splits.description, splits.train.captions[1], *colours)
    except ToolError as error:
        print(type(error).__name__, error.exit_code, error)
"""


class Deep(Hub):
    """Lists what is below a folder too, where it is asked to."""

    def tell(self, repo, rest, posted):
        if rest[:1] != ["tree"] or "recursive=true" not in self.path:
            return super().tell(repo, rest, posted)
        under = "/".join(rest[2:])
        files = {path: content for path, content in self.files[repo].items() if path.startswith(under)}
        folders = dict.fromkeys(path.rsplit("/", 1)[0] for path in files if "/" in path)
        entries = [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders]
        return self.reply(
            200,
            entries
            + [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ],
        )


@pytest.fixture
def hub(monkeypatch, tmp_path):
    file = io.BytesIO()
    as_images(table()).to_parquet(file)
    lines = "".join(
        f'{{"file_name": "images/{i}.png", "conditioning_image_file_name": "conditioning_images/{i}.png", "text": "a{i}"}}\n'
        for i in range(COUNT)
    )
    kept = {
        f"{folder}/{i}.png": png(i, folder != "images")
        for folder in ("images", "conditioning_images")
        for i in range(COUNT)
    }
    monkeypatch.setattr(Hub, "files", {
        "some/parquet": {f"data/{name}-00000-of-00001.parquet": file.getvalue() for name in ("train", "test")},
        "some/folder": {"metadata.jsonl": lines.encode(), **kept},
        "some/script": {"script.py": b"import datasets"},
        "some/several": {"README.md": SEVERAL, "a.parquet": file.getvalue(), "b.parquet": file.getvalue()},
    })  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), Deep)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


load = partial(ask, LOAD)


def test_the_hub_and_then_its_cache(hub, tmp_path):
    parquet, folder, script, none = load(
        "some/parquet", "some/folder", "some/script", "some/none", home=tmp_path, endpoint=hub
    )
    wanted = "some/parquet: 6 + 6 pairs ['picture 1'] (10, 0, 7) (10, 255, 7)"
    assert parquet == wanted
    assert folder == "some/folder: 5 + 1 pairs, the second held out by picture ['a2'] (20, 0, 7) (20, 255, 7)"
    assert script.startswith("DataError 3 some/script: needs a loading script (script.py)")
    assert none.startswith("DataError 3 no dataset some/none on the Hub")
    again, unknown = load("some/parquet", "some/other", home=tmp_path, endpoint="http://127.0.0.1:9")
    assert again == wanted
    assert unknown.startswith("ToolError 1 can't reach the Hub for the dataset some/other")


def test_one_of_several_configurations(hub, tmp_path):
    several, b = load("some/several", "some/several:b", home=tmp_path, endpoint=hub)
    assert several.startswith(
        "ConfigError 2 --data some/several: it has 2 configurations (a, b); give one as some/several:a"
    )
    assert b.startswith("some/several: 5 + 1 pairs, the second held out by picture")
