"""Every form of pairs gives the same pairs; splits are parted by picture; what is read is what lies on the disk."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tasks.controlnet.data import Options, load_splits
from tasks.controlnet.inspection import inspect
from tasks.errors import ConfigError, DataError

COUNT = 6


def picture(i, size=(32, 24), condition=False):
    """Picture or condition `i`, which its red channel tells."""
    return Image.new("RGB", size, (10 * i, 255 if condition else 0, 7))


def number(image):
    return image.getpixel((0, 0))[0] // 10


def draw(folder, name, numbers=range(COUNT), condition=False, ending="png"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    for i in numbers:
        picture(i, condition=condition).save(folder / name / f"{i}.{ending}")


def both(folder, numbers=range(COUNT), images="images", conditions="conditioning_images"):
    draw(folder, images, numbers)
    draw(folder, conditions, numbers, condition=True)
    return folder


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(numbers=range(COUNT), image="image", condition="conditioning_image", text="text", under=True):
    names = ("images/", "conditioning_images/") if under else ("", "")
    return [{image: f"{names[0]}{i}.png", condition: f"{names[1]}{i}.png", text: f"picture {i}"} for i in numbers]


def shown(pairs):
    """{number: captions}, having seen that each condition is of its picture."""
    found = {}
    for row, captions in zip(pairs.rows.tolist(), pairs.captions, strict=True):
        image, condition = pairs.images.load(row), pairs.conditions.load(row)
        assert number(image) == number(condition)
        assert image.getpixel((0, 0))[1:] == (0, 7)
        assert condition.getpixel((0, 0))[1:] == (255, 7)
        found[number(image)] = captions
    return found


def whole(data, **options):
    """All pairs of data of one split."""
    splits = load_splits(Options(str(data), **options), need=("evaluation",))
    return shown(splits.evaluation)


ALL = {i: [f"picture {i}"] for i in range(COUNT)}
BARE = {i: [] for i in range(COUNT)}


@pytest.mark.parametrize(
    ("image", "condition", "text", "under"),
    [
        ("file_name", "conditioning_image", "text", True),
        ("file_name", "conditioning_image_file_name", "caption", False),
        ("image", "condition", "prompt", True),
        ("target", "source", "prompt", True),
    ],
)
def test_metadata_folder(tmp_path, image, condition, text, under):
    write(both(tmp_path) / "metadata.jsonl", rows(range(COUNT), image, condition, text, under))
    assert whole(tmp_path) == ALL


def test_metadata_without_conditions_takes_those_of_the_same_name(tmp_path):
    both(tmp_path, conditions="conditions")
    write(tmp_path / "metadata.jsonl", [{"file_name": f"images/{i}.png", "text": f"picture {i}"} for i in range(COUNT)])
    assert whole(tmp_path) == ALL


def test_conditions_called_as_their_pictures_lie_in_their_own_folder(tmp_path):
    draw(tmp_path, ".")
    draw(tmp_path, "conditions", condition=True)
    write(tmp_path / "metadata.jsonl", rows(under=False))
    assert whole(tmp_path) == ALL
    (tmp_path / "conditions").rename(tmp_path / "elsewhere")
    assert whole(tmp_path, conditioning_dir=str(tmp_path / "elsewhere")) == ALL
    with pytest.raises(DataError, match="row 1: its condition is the picture itself"):
        load_splits(Options(str(tmp_path)))


def test_several_captions(tmp_path):
    table = rows()
    table[2]["text"] = ["one", " two ", ""]
    write(both(tmp_path) / "metadata.jsonl", table)
    assert whole(tmp_path) == {**ALL, 2: ["one", "two"]}


def test_folder_a_split(tmp_path):
    for name, numbers in (("train", range(4)), ("val", range(4, COUNT))):
        write(both(tmp_path / name, numbers) / "metadata.jsonl", rows(numbers))
    splits = load_splits(Options(str(tmp_path)))
    assert not splits.held_out
    assert splits.description == f"{tmp_path.name}: 4 + 2 pairs"
    assert set(shown(splits.train)) == set(range(4))
    assert set(shown(splits.evaluation)) == {4, 5}


def test_splits_by_the_folders_of_one_list(tmp_path):
    both(tmp_path, range(4), "train", "conditioning_images")
    both(tmp_path, range(4, COUNT), "test", "conditioning_images")
    table = rows()
    for i, row in enumerate(table):
        row["image"] = f"{'train' if i < 4 else 'test'}/{i}.png"
    write(tmp_path / "metadata.jsonl", table)
    splits = load_splits(Options(str(tmp_path)))
    assert (sorted(shown(splits.train)), sorted(shown(splits.evaluation))) == ([0, 1, 2, 3], [4, 5])


def test_split_column(tmp_path):
    table = [{**row, "split": "train" if i % 2 else "dev"} for i, row in enumerate(rows())]
    write(both(tmp_path) / "metadata.jsonl", table)
    splits = load_splits(Options(str(tmp_path)))
    assert (sorted(shown(splits.train)), sorted(shown(splits.evaluation))) == ([1, 3, 5], [0, 2, 4])


def test_chosen_splits(tmp_path):
    for name, numbers in (("train", range(3)), ("validation", range(3, 5)), ("test", range(5, 6))):
        write(both(tmp_path / name, numbers) / "metadata.jsonl", rows(numbers))
    assert set(shown(load_splits(Options(str(tmp_path))).evaluation)) == {3, 4}
    assert set(shown(load_splits(Options(str(tmp_path), eval_split="test")).evaluation)) == {5}
    assert set(shown(load_splits(Options(str(tmp_path), train_split="val")).train)) == {3, 4}
    with pytest.raises(ConfigError, match=r"--eval-split tset: .* did you mean test\?"):
        load_splits(Options(str(tmp_path), eval_split="tset"))


@pytest.mark.parametrize("folders", [("images", "conditioning_images"), ("target", "source"), ("image", "conditions")])
def test_parallel_folders(tmp_path, folders):
    draw(tmp_path, folders[0], ending="bmp")
    draw(tmp_path, folders[1], condition=True)
    assert whole(tmp_path) == BARE
    (tmp_path / "captions.json").write_text(json.dumps({str(i): f"picture {i}" for i in range(COUNT)}))
    assert whole(tmp_path) == ALL
    assert whole(tmp_path, caption_column="none") == BARE


def test_captions_in_text_files(tmp_path):
    both(tmp_path)
    for i in range(COUNT):
        (tmp_path / "images" / f"{i}.txt").write_text(f"picture {i}\n\n  again \n")
    assert whole(tmp_path) == {i: [f"picture {i}", "again"] for i in range(COUNT)}


def test_captions_in_lines(tmp_path):
    both(tmp_path)
    write(tmp_path / "captions.jsonl", [{"file_name": f"{i}.png", "text": f"picture {i}"} for i in range(COUNT)])
    assert whole(tmp_path) == ALL


def test_folder_of_conditions_by_flag(tmp_path):
    draw(tmp_path, "photos/a")
    draw(tmp_path, "edges/a", condition=True, ending="bmp")
    for i in range(COUNT):
        (tmp_path / "photos" / "a" / f"{i}.txt").write_text(f"picture {i}")
    assert whole(tmp_path / "photos", conditioning_dir=str(tmp_path / "edges")) == ALL


def test_parallel_folders_a_split(tmp_path):
    both(tmp_path / "train", range(4))
    both(tmp_path / "validation", range(4, COUNT))
    splits = load_splits(Options(str(tmp_path)))
    assert (sorted(shown(splits.train)), sorted(shown(splits.evaluation))) == ([0, 1, 2, 3], [4, 5])


@pytest.mark.parametrize("as_list", [False, True])
def test_fill50k(tmp_path, as_list):
    both(tmp_path, images="target", conditions="source")
    table = [{"source": f"source/{i}.png", "target": f"target/{i}.png", "prompt": f"picture {i}"} for i in range(COUNT)]
    if as_list:
        (tmp_path / "prompt.json").write_text(json.dumps(table))
    else:
        write(tmp_path / "prompt.json", table)
    assert whole(tmp_path) == ALL
    assert whole(tmp_path / "prompt.json") == ALL
    assert inspect(Options(str(tmp_path)))["format"] == "fill50k layout"


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl"])
def test_tables_with_columns_of_any_name(tmp_path, ending):
    table = rows(range(COUNT), "photo", "sketch", "words")
    file = both(tmp_path) / f"pairs.{ending}"
    if ending in ("csv", "tsv"):
        with open(file, "w", newline="") as handle:
            writer = csv.DictWriter(handle, list(table[0]), delimiter="\t" if ending == "tsv" else ",")
            writer.writeheader()
            writer.writerows(table)
    elif ending == "json":
        file.write_text(json.dumps(table))
    else:
        write(file, table)
    columns = {"image_column": "photo", "conditioning_image_column": "sketch", "caption_column": "words"}
    assert whole(file, **columns) == ALL
    with pytest.raises(ConfigError, match=r"--caption-column word: .* has no such column, only photo, sketch, words"):
        load_splits(Options(str(file), **{**columns, "caption_column": "word"}))


def test_paths_from_another_root(tmp_path):
    both(tmp_path / "elsewhere")
    write(tmp_path / "pairs.jsonl", rows())
    assert whole(tmp_path / "pairs.jsonl", image_root=str(tmp_path / "elsewhere")) == ALL


def test_no_captions_are_said(tmp_path):
    write(both(tmp_path) / "metadata.jsonl", [{**row, "text": None} for row in rows()])
    splits = load_splits(Options(str(tmp_path)))
    assert splits.description.endswith("the second held out by picture, without captions")
    assert splits.notes == [f"{tmp_path / 'metadata.jsonl'}: no captions; every pair trains with the empty prompt"]


def test_hold_out_parts_by_picture(tmp_path):
    both(tmp_path, range(20))
    for i in range(20):  # the same bytes under another name
        (tmp_path / "images" / f"copy-{i}.png").write_bytes((tmp_path / "images" / f"{i}.png").read_bytes())
    copies = [{**row, "image": f"images/copy-{i}.png", "text": "a copy"} for i, row in enumerate(rows(range(20)))]
    write(tmp_path / "metadata.jsonl", rows(range(20)) + copies)
    splits = load_splits(Options(str(tmp_path), eval_fraction=0.25))
    assert splits.held_out
    assert (len(splits.train), len(splits.evaluation)) == (30, 10)
    assert not set(shown(splits.train)) & set(shown(splits.evaluation))
    again = load_splits(Options(str(tmp_path), eval_fraction=0.25))
    assert (again.evaluation.rows == splits.evaluation.rows).all()
    assert not np.array_equal(
        load_splits(Options(str(tmp_path), eval_fraction=0.25, seed=1)).evaluation.rows, again.evaluation.rows
    )


def test_subsets_by_seed(tmp_path):
    write(both(tmp_path, range(20)) / "metadata.jsonl", rows(range(20)))
    chosen = [load_splits(Options(str(tmp_path), max_samples=5, max_eval_samples=1, seed=seed)) for seed in (0, 0, 1)]
    assert [(len(splits.train), len(splits.evaluation)) for splits in chosen] == [(5, 1)] * 3
    assert (chosen[0].train.rows == chosen[1].train.rows).all()
    assert (chosen[0].train.rows != chosen[2].train.rows).any()
    assert all(captions == [f"picture {i}"] for i, captions in shown(chosen[0].train).items())


def test_pictures_in_both_splits_are_said(tmp_path):
    for name, numbers in (("train", range(4)), ("test", range(3, COUNT))):
        write(both(tmp_path / name, numbers) / "metadata.jsonl", rows(numbers))
    splits = load_splits(Options(str(tmp_path)))
    line = "test/metadata.jsonl: 1 of 3 evaluation pairs have pictures that are also in the training split"
    assert splits.leaks[0].endswith(f"{line}: they are not unseen; leave them out with --drop-leaks")
    assert splits.shared == 1


def test_alpha_shows_white_under_pictures_and_black_under_conditions(tmp_path):
    both(tmp_path)
    for folder in ("images", "conditioning_images"):
        Image.new("RGBA", (32, 24), (99, 99, 99, 0)).save(tmp_path / folder / "0.png")
    write(tmp_path / "metadata.jsonl", rows())
    splits = load_splits(Options(str(tmp_path)), need=("train",))
    assert splits.train.images.load(0).getpixel((0, 0)) == (255, 255, 255)
    assert splits.train.conditions.load(0).getpixel((0, 0)) == (0, 0, 0)
    assert [line.split(": ")[-1] for line in splits.notes] == [
        "1 picture with an alpha channel, laid on white",
        "1 condition with an alpha channel, laid on black",
    ]


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "CMYK", "LA", "RGBA"])
def test_conditions_of_any_mode_become_rgb(tmp_path, mode):
    both(tmp_path)
    image = Image.new("L", (32, 24))
    image.paste(255, (8, 8, 16, 16))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    assert image.mode == mode
    ending = "tif" if mode == "CMYK" else "png"
    image.save(tmp_path / "conditioning_images" / f"0.{ending}")
    table = rows()
    table[0]["conditioning_image"] = f"conditioning_images/0.{ending}"
    write(tmp_path / "metadata.jsonl", table)
    pairs = load_splits(Options(str(tmp_path)), need=("train",)).train
    condition = pairs.conditions.load(int(pairs.rows[0]))
    assert (condition.mode, condition.getpixel((0, 0)), condition.getpixel((10, 10))) == ("RGB", (0,) * 3, (255,) * 3)
    modes = inspect(Options(str(tmp_path)))["splits"]["all"]["conditions"]["modes"]
    assert modes == {"RGB": COUNT - 1, mode: 1}


def test_smaller_condition_of_the_same_shape(tmp_path):
    both(tmp_path)
    Image.new("RGB", (16, 12)).save(tmp_path / "conditioning_images" / "3.png")
    Image.new("RGB", (15, 12)).save(tmp_path / "conditioning_images" / "4.png")  # a pixel off
    write(tmp_path / "metadata.jsonl", rows())
    (line,) = load_splits(Options(str(tmp_path)), need=("train",)).notes
    assert line.endswith("2 conditions are smaller than the picture and enlarged")


def test_one_of_a_sort_is_told_in_the_singular(tmp_path):
    both(tmp_path)
    Image.new("RGB", (16, 12)).save(tmp_path / "conditioning_images" / "3.png")
    Image.new("P", (32, 24)).save(tmp_path / "conditioning_images" / "4.png")
    write(tmp_path / "metadata.jsonl", rows())
    odd, smaller = load_splits(Options(str(tmp_path)), need=("train",)).notes
    assert odd.endswith(": 1 condition of mode P, made RGB")
    assert smaller.endswith(": 1 condition is smaller than the picture and enlarged")
    one = load_splits(Options(str(tmp_path), max_eval_samples=1), need=("evaluation",))
    assert one.description.endswith(": 1 pair")


def test_inspection(tmp_path):
    both(tmp_path)
    Image.new("L", (64, 48)).save(tmp_path / "images" / "0.png")
    Image.new("L", (64, 48)).save(tmp_path / "conditioning_images" / "0.png")
    lines = picture(1, condition=True)
    lines.putpixel((3, 3), (255, 255, 255))
    lines.save(tmp_path / "conditioning_images" / "1.png")
    (tmp_path / "images" / "5.png").write_bytes((tmp_path / "images" / "4.png").read_bytes())
    table = [*rows(), rows()[3]]
    table[2]["text"] = ["one", "two words", "two words"]
    write(tmp_path / "metadata.jsonl", table)
    found = inspect(Options(str(tmp_path), resolution=32))
    split = found["splits"]["all"]
    assert split["pairs"] == 7
    assert (split["different_pictures"], split["different_conditions"], split["repeated_pairs"]) == (5, 6, 1)
    assert split["shorter_side"] == {"min": 24, "median": 24, "max": 48}
    assert split["sizes"] == {"32x24": 6, "64x48": 1}
    assert split["aspect_ratios"] == {"1.33": 7}
    assert split["below_resolution"] == 6
    assert split["pictures"]["modes"] == {"RGB": 6, "L": 1}
    assert split["blank_conditions"]["looked_at"] == 7
    assert split["blank_conditions"]["found"] == 6
    assert split["captions"]["per_pair"] == {"1": 6, "3": 1}
    assert split["captions"]["words"] == {"min": 1, "median": 2, "max": 2}
    assert split["captions"]["most_repeated"] == {"two words": 2, "picture 3": 2}
    said = "row 2: the picture is 32x24, below the resolution of 32, and so are 5 of the other 6; lower --resolution"
    problems = [line.removeprefix(f"{tmp_path}/metadata.jsonl, ") for line in found["problems"]]
    assert problems[:3] == [
        "row 1: its condition is blank (no pixel differs from the colour 0,0,0); --skip-blank leaves it out",
        said,
        "row 3: its condition is blank (no pixel differs from the colour 20,255,7); --skip-blank leaves it out",
    ]
    assert found["problem_count"] == 7
