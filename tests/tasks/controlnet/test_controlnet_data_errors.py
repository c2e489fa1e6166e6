"""Pairs that can't be used: one error that names file and row, or, with skip_bad, left out and counted."""

import json

import pytest
from PIL import Image

from tasks.controlnet.data import Options, load_splits
from tasks.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Six pairs of 32 x 24 in a folder with metadata.jsonl."""
    for name in ("images", "conditioning_images"):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.new("RGB", (32, 24), (10 * i, 0, 0)).save(tmp_path / name / f"{i}.png")
    write(tmp_path, rows())
    return tmp_path


def rows():
    return [
        {"image": f"images/{i}.png", "conditioning_image": f"conditioning_images/{i}.png", "text": f"picture {i}"}
        for i in range(6)
    ]


def write(folder, table):
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))


def refused(data, need=("train", "evaluation"), **options):
    with pytest.raises(DataError) as error:
        load_splits(Options(str(data), **options), need)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(data), "DIR")


def skipped(data, **options):
    splits = load_splits(Options(str(data), skip_bad=True, **options), need=("train",))
    return len(splits.train), [line.replace(str(data), "DIR") for line in splits.skipped]


def cut(path):
    """Leaves a header and a part of the pixels."""
    Image.effect_noise((32, 24), 90).convert("RGB").save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def cells(i, **changed):
    table = rows()
    table[i].update(changed)
    return table


@pytest.mark.parametrize(
    ("spoil", "said", "kind"),
    [
        (lambda d: (d / "images/2.png").unlink(), "DIR/images/2.png: no such image file", "picture missing or broken"),
        (
            lambda d: (d / "conditioning_images/2.png").unlink(),
            "DIR/conditioning_images/2.png: no such image file",
            "condition missing or broken",
        ),
        (
            lambda d: (d / "images/2.png").write_text("text"),
            "DIR/images/2.png: is not an image file, whatever its name says",
            "picture missing or broken",
        ),
        (
            lambda d: Image.new("RGB", (32, 32)).save(d / "conditioning_images/2.png"),
            "the picture is 32x24, its condition 32x32; cut or resize one to the other's shape",
            "condition of another shape",
        ),
        (
            lambda d: [
                Image.new("RGB", (20, 15)).save(d / name / "2.png") for name in ("images", "conditioning_images")
            ],
            "the picture is 20x15, below the resolution of 24; lower --resolution",
            "picture below the resolution",
        ),
        (
            lambda d: write(d, cells(2, text=" ")),
            "has no caption (--caption-column none trains without any)",
            "no caption",
        ),
        (lambda d: write(d, cells(2, image=None)), "has no picture", "no picture"),
        (lambda d: write(d, cells(2, conditioning_image="")), "has no condition", "no condition"),
    ],
)
def test_a_bad_pair(folder, spoil, said, kind):
    spoil(folder)
    message = refused(folder, resolution=24)
    assert message == f"DIR/metadata.jsonl, row 3: {said}. Mend them, or leave them out with --skip-bad"
    assert skipped(folder, resolution=24) == (5, [f"1 pair left out: {kind}, first DIR/metadata.jsonl, row 3"])


def test_a_file_cut_short_is_found_when_it_may_be_left_out(folder):
    cut(folder / "images/4.png")
    assert load_splits(Options(str(folder)), need=("train",)).train.images.problem(4) is None
    assert skipped(folder) == (5, ["1 pair left out: picture missing or broken, first DIR/metadata.jsonl, row 5"])


def test_all_problems_at_once(folder):
    (folder / "images/1.png").unlink()
    (folder / "conditioning_images/5.png").unlink()
    table = cells(3, text=None)
    write(folder, table)
    with open(folder / "metadata.jsonl", "a") as lines:
        lines.write("{\n")
    message = refused(folder)
    places = [message.index(f"row {row}:") for row in (2, 4, 6, 7)]
    assert places == sorted(places)
    assert len(skipped(folder)[1]) == 4


def test_below_the_resolution_only_where_asked(folder):
    assert len(load_splits(Options(str(folder), resolution=24), need=("train",)).train) == 6
    (folder / "images/4.png").unlink()
    message = refused(folder, resolution=32, need=("train",))
    assert "row 1: the picture is 32x24, below the resolution of 32; lower --resolution" in message
    table = rows() * 2
    write(folder, table[:4] + table[6:])
    message = refused(folder, resolution=32, need=("train",))
    assert "row 1: the picture is 32x24, below the resolution of 32, and so are 8 of the other 9; lower" in message
    assert "row 9: DIR/images/4.png: no such image file" in message
    assert "row 2" not in message


def parallel(folder):
    (folder / "metadata.jsonl").unlink()
    return folder


def test_folders_that_do_not_match(folder):
    (parallel(folder) / "images/3.png").unlink()
    (folder / "conditioning_images/1.png").rename(folder / "conditioning_images/one.png")
    assert refused(folder) == (
        "DIR: 5 images in DIR/images, 6 conditions in DIR/conditioning_images; without condition: 1.png; "
        "without image: 3.png, one.png. Mend them, or leave them out with --skip-bad"
    )
    count, lines = skipped(folder)
    assert count == 4
    assert lines[0] == "3 pairs left out: image or condition without the other (1), first DIR"


def test_one_name_twice(folder):
    Image.new("RGB", (32, 24)).save(parallel(folder) / "images/3.bmp")
    assert "DIR/images/3.png: has the name of 3.bmp; which of them belongs to 3?" in refused(folder)
    assert skipped(folder)[0] == 5


def test_a_caption_file_missing(folder):
    for i in (0, 1, 2, 4, 5):
        (parallel(folder) if i == 0 else folder).joinpath(f"images/{i}.txt").write_text("words")
    assert "DIR/images/3.png: has no caption: no 3.txt beside it" in refused(folder)
    assert skipped(folder)[0] == 5
    assert len(load_splits(Options(str(folder), caption_column="none"), need=("train",)).train) == 6


def test_a_caption_file_empty(folder):
    for i in range(6):
        (parallel(folder) if i == 0 else folder).joinpath(f"images/{i}.txt").write_text("words" if i != 3 else " \n")
    assert "DIR/images/3.png: has no caption: 3.txt is empty" in refused(folder)


def test_no_condition_named_as_the_picture(folder):
    write(folder, [{"file_name": f"images/{i}.png", "text": "words"} for i in range(6)])
    (folder / "conditioning_images/5.png").unlink()
    said = "row 6: no condition in DIR/conditioning_images is named as images/5.png"
    assert said in refused(folder)
    assert skipped(folder)[0] == 5


def test_no_column_of_conditions(folder):
    write(folder, [{"file_name": f"images/{i}.png", "text": "words"} for i in range(6)])
    (folder / "conditioning_images").rename(folder / "others")
    assert refused(folder) == (
        "DIR/metadata.jsonl: no column of conditions among file_name, text; "
        "name it with --conditioning-image-column, give their folder as --conditioning-dir, "
        "or make them with `tool data build controlnet`"
    )
    splits = load_splits(Options(str(folder), conditioning_dir=str(folder / "others")), need=("train",))
    assert len(splits.train) == 6


def test_nothing_to_read(tmp_path):
    assert refused(tmp_path).startswith("no pairs found in the folder DIR (it is empty); give a folder with metadata")
    (tmp_path / "metadata.jsonl").write_text("")
    assert refused(tmp_path).startswith("DIR/metadata.jsonl: no rows")
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "notes.md").write_text("words")
    assert "(it holds notes.md)" in refused(tmp_path)
    assert refused(tmp_path / "notes.md").startswith("DIR: not a format known here")
    assert "no file or folder DIR; did you mean" in refused(tmp_path / "notes.mdd")


def test_a_folder_of_conditions_that_is_not_there(folder):
    with pytest.raises(DataError, match=r"--conditioning-dir .*nowhere: no such folder"):
        load_splits(Options(str(folder), conditioning_dir=str(folder / "nowhere")))


def test_one_picture_can_not_be_held_out(folder):
    write(folder, rows()[:1])
    assert "one picture only, so none can be held out; give more, or an --eval-split" in refused(folder)


def test_nothing_left(folder):
    for i in range(6):
        (folder / f"images/{i}.png").unlink()
    assert refused(folder, skip_bad=True) == (
        "DIR/metadata.jsonl: no pairs left; 6 pairs left out: picture missing or broken, first DIR/metadata.jsonl, row 1"
    )


def test_pictures_without_conditions(folder):
    assert refused(folder / "images") == (
        "no conditions found for the pictures in the folder DIR; give their folder as --conditioning-dir, "
        "or make them with `tool data build controlnet --images DIR`"
    )
