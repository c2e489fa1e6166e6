"""Conditions made from pictures: what each kind shows, annotations of landmarks, models made from configs."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tasks.controlnet import conditions
from tasks.controlnet.conditions import depth, segmentation
from tasks.controlnet.conditions.landmark_files import Landmarks
from tasks.errors import ConfigError, DataError


def square(size=96, ground=(40, 40, 40), colour=(220, 200, 60)):
    """A square from 24 to 72 on a ground."""
    picture = Image.new("RGB", (size, size), ground)
    ImageDraw.Draw(picture).rectangle((24, 24, 71, 71), fill=colour)
    return picture


def pixels(picture):
    return np.asarray(picture.convert("L")).astype(int)


@pytest.mark.parametrize("kind", ["canny", "edges", "gray", "blur", "palette", "scribble"])
def test_every_kind_gives_rgb_of_the_picture_s_size_and_leaves_the_picture_alone(kind):
    picture = square().crop((0, 0, 90, 77))
    before = picture.tobytes()
    made = conditions.make(kind, picture)
    assert made.mode == "RGB"
    assert made.size == (90, 77)
    assert picture.tobytes() == before
    assert made.tobytes() == conditions.make(kind, picture).tobytes()


def test_canny_draws_the_outline_alone():
    edges = pixels(conditions.make("canny", square()))
    assert set(np.unique(edges)) == {0, 255}
    rows, columns = np.nonzero(edges)
    on_outline = np.minimum(np.abs(rows - 23.5), np.abs(rows - 71.5)) <= 1
    on_outline |= np.minimum(np.abs(columns - 23.5), np.abs(columns - 71.5)) <= 1
    assert on_outline.all()
    assert 4 * 44 <= len(rows) <= 4 * 50


def test_canny_s_thresholds_decide_and_auto_follows_the_picture_s_brightness():
    faint = square(ground=(20, 20, 20), colour=(26, 26, 26))
    assert not pixels(conditions.make("canny", faint)).any()
    assert pixels(conditions.make("canny", faint, low="auto", high="auto")).any()
    assert not pixels(conditions.make("canny", square(), low=1000, high=1500)).any()


def test_soft_edges_are_strongest_at_the_outline_and_black_where_nothing_is():
    soft = pixels(conditions.make("edges", square()))
    assert soft[24, 40:56].min() > 200
    assert soft[48, 48] < 40
    assert soft[4, 4] < 40
    assert len(np.unique(soft)) > 20
    assert not pixels(conditions.make("edges", Image.new("RGB", (32, 32), (90, 20, 60)))).any()


def test_scribble_is_strokes_of_the_thickness_asked_for():
    thin, thick = (pixels(conditions.make("scribble", square(), thickness=width)) for width in (3, 9))
    assert set(np.unique(thick)) == {0, 255}
    # Down the middle the square's upper and lower side are crossed.
    assert [(column > 0).sum() for column in (thin[:48, 48], thick[:48, 48])] == [3, 9]


def test_gray_and_blur_keep_what_they_say():
    picture = Image.new("RGB", (8, 8), (255, 0, 0))
    assert conditions.make("gray", picture).getpixel((3, 3)) == (76, 76, 76)  # 0.299 of red, by ITU-R 601
    blurred = pixels(conditions.make("blur", square(), sigma=6))
    assert np.abs(np.diff(blurred, axis=1)).max() < np.abs(np.diff(pixels(square()), axis=1)).max() / 4
    assert abs(blurred.mean() - pixels(square()).mean()) < 3


def test_palette_has_few_colours_in_blocks_and_keeps_small_things():
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 60, (64, 96, 3), np.uint8))
    picture.paste((250, 220, 20), (32, 16, 48, 32))
    made = np.asarray(conditions.make("palette", picture, colours=4, block=16))
    blocks = made.reshape(4, 16, 6, 16, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert len(np.unique(made.reshape(-1, 3), axis=0)) <= 4
    assert np.abs(made[20, 40].astype(int) - (250, 220, 20)).max() <= 8


def test_an_unknown_class_count_has_distinct_colours_and_ade20k_its_own():
    assert segmentation.palette(150)[:3].tolist() == [[120, 120, 120], [180, 120, 120], [6, 230, 230]]
    assert segmentation.palette(150)[-1].tolist() == [92, 0, 255]
    # The first colours of PASCAL VOC's colour map.
    assert segmentation.palette(21)[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert len(np.unique(segmentation.palette(200), axis=0)) == 200


def test_depth_is_bright_where_it_is_near():
    values = np.array([[0.0, 1.0], [2.0, 4.0]])
    assert pixels(depth.as_picture(values)).tolist() == [[0, 64], [128, 255]]
    assert pixels(depth.as_picture(values, turned=True)).tolist() == [[255, 191], [128, 0]]
    assert not pixels(depth.as_picture(np.full((2, 2), 3.0))).any()


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Folders of a depth model and of a segmentation model with random weights."""
    import torch
    import transformers

    root = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    shared = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    dpt = transformers.DPTConfig(
        **shared,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
    )
    transformers.DPTForDepthEstimation(dpt).save_pretrained(root / "depth")
    square_of = {"height": 32, "width": 32}
    transformers.DPTImageProcessor(size=square_of, ensure_multiple_of=8).save_pretrained(root / "depth")
    segformer = transformers.SegformerConfig(
        num_labels=150, hidden_sizes=[8] * 4, depths=[1] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=8
    )
    transformers.SegformerForSemanticSegmentation(segformer).save_pretrained(root / "segmentation")
    transformers.SegformerImageProcessor(size=square_of).save_pretrained(root / "segmentation")
    return root


@pytest.mark.parametrize("kind", ["depth", "segmentation"])
def test_models_give_pictures_of_the_right_size_whatever_stands_beside_in_the_batch(networks, kind):
    rng = np.random.default_rng(1)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8)) for _ in range(2)]
    network = conditions.module(kind).load(str(networks / kind))
    together = network(pictures)
    assert [one.size for one in together] == [(56, 40)] * 2
    for picture, made in zip(pictures, together, strict=True):
        alone = np.asarray(network([picture])[0]).astype(int)
        assert np.abs(alone - np.asarray(made)).max() <= (1 if kind == "depth" else 0)
    colours = {colour for _, colour in together[0].getcolors(10_000)}
    known = segmentation.palette(150) if kind == "segmentation" else np.repeat(np.arange(256)[:, None], 3, axis=1)
    assert colours <= {tuple(int(value) for value in row) for row in known}


def test_a_model_of_another_sort_is_refused_by_its_name(networks):
    with pytest.raises(ConfigError, match=r"--depth-model .* is a segformer, which does no depth estimation"):
        depth.load(str(networks / "segmentation"))
    with pytest.raises(ConfigError, match=r"--segmentation-model .* is a dpt, which does no semantic segmentation"):
        segmentation.load(str(networks / "depth"))
    with pytest.raises(ConfigError, match="no such file or folder"):
        depth.load("/nowhere/at/all")


# -- landmarks --------------------------------------------------------------------------------------------------------


def face(shift=0.0):
    """68 points on a circle of radius 40 around (50, 50)."""
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    return np.stack([50 + 40 * np.cos(angles), 50 + 40 * np.sin(angles)], axis=1) + shift


def dlib_text(name, points):
    parts = "".join(f'<part name="{i:02d}" x="{x}" y="{y}"/>' for i, (x, y) in enumerate(points))
    return (
        "<?xml version='1.0'?><dataset><images>"
        f"<image file='{name}'><box top='1' left='1' width='9' height='9'>{parts}</box></image></images></dataset>"
    )


def test_all_forms_of_annotations_give_the_same_points(tmp_path):
    points = np.round(face(), 3)
    (tmp_path / "a.xml").write_text(dlib_text("./faces/one.jpg", points))
    (tmp_path / "b.json").write_text(json.dumps({"faces/one.jpg": points.tolist()}))
    (tmp_path / "c.json").write_text(json.dumps([{"file_name": "one.jpg", "landmarks": [points.tolist()]}]))
    lines = "\n".join(f"{x + 1} {y + 1}" for x, y in points)  # a .pts file counts pixels from 1
    for folder in ("pts", "list"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pts" / "one.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    (tmp_path / "list" / "one_ldmks.txt").write_text("\n".join(f"{x} {y}" for x, y in points))
    for source in ("a.xml", "b.json", "c.json", "pts", "list"):
        found = Landmarks(tmp_path / source).of("faces/one.jpg")
        assert len(found) == 1, source
        np.testing.assert_allclose(found[0], points, atol=1e-9, err_msg=source)
    assert Landmarks(tmp_path / "pts").of("faces/two.jpg") == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", json.dumps({"one.jpg": face()[:60].tolist()}), "60 landmarks; there must be 68"),
        ("a.json", "{", "a.json, line 1: not JSON"),
        ("a.json", json.dumps({"one.jpg": [["x", 1]] * 68}), "aren't all two numbers"),
        ("a.xml", "<dataset>", "a.xml, line 1: not XML"),
        ("a.xml", "<!DOCTYPE d [<!ENTITY a 'b'>]><dataset/>", "defines entities"),
        ("a.xml", dlib_text("one.jpg", face()[:5]), "image one.jpg: 5 landmarks"),
        ("a.csv", "x", "known are dlib XML"),
    ],
)
def test_broken_annotations_are_told_by_file(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        Landmarks(tmp_path / name)


def test_landmarks_are_drawn_where_they_are_and_mirror():
    canvas = Image.new("RGB", (100, 100))
    drawn = np.asarray(conditions.make("landmarks", canvas, faces=[face()], thickness=1)).astype(int)
    rows, columns = np.nonzero(drawn.sum(axis=2))
    far = np.abs(np.hypot(rows - 50, columns - 50) - 40)
    assert np.quantile(far, 0.5) < 1.5  # most lines follow the circle, those that close a contour cut across
    assert drawn[50, 90].any()
    assert not drawn[2, 2].any()
    assert not np.asarray(conditions.make("landmarks", canvas, faces=[])).any()
