"""From pictures to pairs: what is used and what is left out, sizes and cuts, captions, files."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tasks.controlnet.building import folder as building
from tasks.controlnet.building.captions import reader
from tasks.controlnet.building.scan import Picture, find_files, scan
from tasks.errors import ConfigError, DataError


def photo(number=0, size=(40, 30), mode="RGB"):
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).convert(mode)


def picture(size=(40, 30), relative="a.png", **more):
    return Picture(relative, f"/nowhere/{relative}", 1000, size, None, ("x",), **more)


def relatives(pictures):
    return [one.relative for one in pictures]


def test_pictures_are_found_in_all_folders_by_name_but_not_in_the_result(tmp_path):
    for name in ("b/2.PNG", "b/10.jpg", "a.webp", ".hidden/x.png", "out/images/no.txt", "out/0.png", "paper.pdf"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert relatives_of(find_files(tmp_path, tmp_path / "out")) == ["a.webp", "b/10.jpg", "b/2.PNG"]
    with pytest.raises(DataError, match="no pictures in it"):
        find_files(tmp_path / "out" / "images", tmp_path / "else")


def test_a_link_that_leads_back_up_is_passed_over(tmp_path):
    (tmp_path / "b").mkdir()
    photo().save(tmp_path / "b" / "1.png")
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert relatives_of(find_files(tmp_path, tmp_path / "out")) == ["b/1.png", "c/1.png"]


def relatives_of(files):
    return [relative for relative, _ in files]


def test_each_reason_for_leaving_out_is_named(tmp_path):
    photo(1, (64, 48)).save(tmp_path / "a.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "broken.jpg").write_text("no picture")
    photo(2, (64, 20)).save(tmp_path / "small.png")
    photo(3, (64, 48)).save(tmp_path / "wordless.png")
    photo(4, (64, 48)).save(tmp_path / "faceless.png")
    used, left = scan(
        find_files(tmp_path, tmp_path / "out"),
        lambda relative: [] if relative == "wordless.png" else ["words"],
        lambda relative: [] if relative == "faceless.png" else [np.zeros((68, 2))],
        32,
    )
    assert relatives(used) == ["a.png"]
    assert {one.relative: (one.reason, one.detail) for one in left} == {
        "broken.jpg": ("broken", "is not an image file, whatever its name says"),
        "copy.png": ("same file twice", "as a.png"),
        "faceless.png": ("no landmarks", ""),
        "small.png": ("below the resolution", "64 x 20"),
        "wordless.png": ("no caption", ""),
    }


def test_a_turned_photograph_counts_by_its_upright_size(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    photo(1, (64, 20)).save(tmp_path / "turned.jpg", exif=exif)
    used, _ = scan(find_files(tmp_path, tmp_path / "out"), None, None, None)
    assert used[0].size == (20, 64)
    assert used[0].plain is None  # copied, its file would have to be turned by every reader


@pytest.mark.parametrize(
    ("size", "resolution", "crop", "frame"),
    [
        ((640, 480), None, "center", (640, 480)),
        ((641, 479), None, "none", (641, 479)),
        ((640, 480), 256, "center", (256, 256)),
        ((640, 480), 256, "none", (336, 256)),  # 341.3 to a multiple of 8
        ((480, 640), 256, "none", (256, 336)),
        ((300, 300), 256, "none", (256, 256)),
        ((256, 2560), 256, "none", (256, 2560)),
    ],
)
def test_frames(size, resolution, crop, frame):
    assert building.frame_of(size, resolution, crop) == frame


def test_the_middle_is_cut_without_stretching_and_landmarks_move_with_it():
    # A disc in the middle of a wide picture stays a disc.
    at_y, at_x = np.mgrid[:100, :300] + 0.5
    inside = np.hypot(at_x - 130, at_y - 40) < 30
    wide = Image.fromarray((inside * 255).astype(np.uint8)).convert("RGB")
    cut = np.asarray(building.framed(wide, (50, 50)).convert("L")) > 127
    rows, columns = np.nonzero(cut)
    moved = building.moved(np.array([[130.0, 40.0]]), (300, 100), (50, 50))[0]
    np.testing.assert_allclose(moved, [15, 20])
    assert abs(rows.mean() + 0.5 - moved[1]) < 0.3
    assert abs(columns.mean() + 0.5 - moved[0]) < 0.6  # a little of the disc's left is outside
    assert abs(cut.sum() - np.pi * 15**2) < 15
    assert building.framed(wide, wide.size) is wide


def test_the_validation_share_is_drawn_by_name_and_seed():
    pictures = [picture(relative=f"{number}.png") for number in range(50)]
    splits = building.splits_of(pictures, 0.2, 0)
    assert splits.count("validation") == 10
    backwards = building.splits_of(pictures[::-1], 0.2, 0)[::-1]
    assert backwards == splits
    assert building.splits_of(pictures, 0.2, 1) != splits
    assert set(building.splits_of(pictures, 0.0, 0)) == {"train"}
    assert building.splits_of(pictures[:1], 0.5, 0) == ["train"]


def test_plain_files_are_copied_and_all_others_written_anew(tmp_path):
    source = tmp_path / "photos"
    source.mkdir()
    photo(1).save(source / "a.jpg", quality=70)
    photo(2, mode="RGBA").save(source / "b.png")
    used, _ = scan(find_files(source, tmp_path / "out"), lambda relative: ["x"], None, None)
    items = building.items_of(
        used, ["train", "train"], tmp_path / "out", resolution=None, crop="center", image_format="png"
    )
    for item in items:
        building.make_pair(item, "gray", {}, "png")
    assert items[0].image.read_bytes() == (source / "a.jpg").read_bytes()
    assert items[0].image_name == "images/000000.jpg"
    with Image.open(items[1].image) as second:
        assert second.mode == "RGB"
        assert second.size == (40, 30)
    with Image.open(items[0].condition) as condition, Image.open(source / "a.jpg") as original:
        assert condition.convert("RGB").tobytes() == original.convert("L").convert("RGB").tobytes()
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == [
        *["000000.jpg", "000000.png", "000001.png", "000001.png"],
        *["conditioning_images", "images"],
    ]


def test_a_condition_is_made_of_the_picture_as_jpeg_left_it(tmp_path):
    photo(1, (48, 48)).save(tmp_path / "a.png")
    used, _ = scan(find_files(tmp_path, tmp_path / "out"), lambda relative: ["x"], None, 32)
    (item,) = building.items_of(used, ["train"], tmp_path / "out", resolution=32, crop="center", image_format="jpeg")
    building.make_pair(item, "gray", {}, "jpeg")
    with Image.open(item.image) as image, Image.open(item.condition) as condition:
        assert (image.format, image.size) == ("JPEG", (32, 32))
        assert condition.tobytes() == image.convert("L").convert("RGB").tobytes()


def test_landmarks_are_drawn_in_the_pixels_of_the_pair(tmp_path):
    photo(1, (120, 80)).save(tmp_path / "a.png")
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    face = np.stack([70 + 20 * np.cos(angles), 30 + 20 * np.sin(angles)], axis=1)
    used, _ = scan(find_files(tmp_path, tmp_path / "out"), lambda relative: ["x"], lambda relative: [face], 32)
    (item,) = building.items_of(used, ["train"], tmp_path / "out", resolution=40, crop="center", image_format="png")
    building.make_pair(item, "landmarks", {"thickness": 1}, "png")
    with Image.open(item.condition) as condition:
        rows, columns = np.nonzero(np.asarray(condition).sum(axis=2))
    # Half the size, and 20 pixels (10 now) cut off at the left: the circle is at (25, 15), of radius 10.
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == pytest.approx([5, 25, 15, 35], abs=1.5)


# -- captions ---------------------------------------------------------------------------------------------------------


def table(folder, rows, name="metadata.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")


def test_captions_by_folder_by_column_and_by_text_file(tmp_path):
    images = tmp_path / "images"
    table(tmp_path, [{"file_name": "images/dogs/a.jpg", "title": " A  dog ", "class": "guard_dog"}])
    (images / "dogs").mkdir(parents=True)
    (images / "dogs" / "a.txt").write_text("first line\n\nsecond  line\n")
    assert reader("none", images)("dogs/a.jpg") == [""]
    assert reader("column", images, "title")("dogs/a.jpg") == ["A dog"]
    assert reader("column", tmp_path, "title")("images/dogs/a.jpg") == ["A dog"]
    assert reader("column", images, "title")("dogs/b.jpg") == []
    assert reader("class", images)("dogs/a.jpg") == ["guard dog"]
    assert reader("txt", images)("dogs/a.jpg") == ["first line", "second line"]
    assert reader("txt", images, template="a photo of {caption}")("dogs/b.jpg") == []
    (tmp_path / "metadata.jsonl").unlink()
    assert reader("class", images, template="a photo of a {caption}")("big_dogs/a.jpg") == ["a photo of a big dogs"]
    assert reader("class", images)("a.jpg") == []


def test_captions_from_a_file_elsewhere_several_of_a_picture(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    rows = [
        {"file_name": "a.jpg", "text": "one"},
        {"file_name": "a.jpg", "text": "two"},
        {"file_name": "b.jpg", "text": ["three", "four"]},
    ]
    table(tmp_path / "else", rows, "words.jsonl")
    found = reader(str(tmp_path / "else" / "words.jsonl"), images)
    assert [found(name) for name in ("a.jpg", "b.jpg", "c.jpg")] == [["one", "two"], ["three", "four"], []]
    (tmp_path / "words.csv").write_text('file,caption\na.jpg,"red, and ""blue"""\n', encoding="utf-8-sig")
    assert reader(str(tmp_path / "words.csv"), images)("a.jpg") == ['red, and "blue"']


@pytest.mark.parametrize(
    ("text", "way", "column", "error", "message"),
    [
        ('{"file_name": "a.jpg", "title": 3}\n', "column", "title", DataError, "row 1: the caption must be a text"),
        ('{"file_name": "a.jpg"}\n{', "column", None, DataError, "row 2: not JSON"),
        ('{"file_name": "a.jpg", "title": "x"}\n', "column", "titel", ConfigError, "there are file_name, title"),
        ('{"name": "a.jpg", "text": "x"}\n', "column", None, DataError, "no column with the pictures' names"),
        ("", "nothing.csv", None, DataError, "no file or folder nothing.csv"),
        ("", "nothing", None, ConfigError, "neither a file nor one of none, class, column, txt, blip"),
    ],
)
def test_broken_captions_are_told_by_file_and_row(tmp_path, text, way, column, error, message):
    (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(error, match=message):
        reader(way, tmp_path, column)
    (tmp_path / "metadata.jsonl").unlink()
    with pytest.raises(DataError, match=r"no metadata\.jsonl or metadata\.csv"):
        reader("column", tmp_path)


def test_room_is_counted_near_what_is_written(tmp_path):
    smooth = Image.linear_gradient("L").resize((128, 128)).convert("RGB")
    smooth.save(tmp_path / "a.png")
    used, _ = scan(find_files(tmp_path, tmp_path / "out"), lambda relative: ["x"], None, 64)
    items = building.items_of(used, ["train"], tmp_path, resolution=64, crop="center", image_format="png")
    buffer = io.BytesIO()
    photo(5, (64, 64)).save(buffer, "PNG")  # noise, more than any photograph
    estimate = building.estimate_bytes(items, "canny", "png")
    assert 64 * 64 < estimate < buffer.tell()
