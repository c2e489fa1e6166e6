"""The agreement of a picture with its condition: right at both ends, with a baseline, robust on small pictures."""

import json
from itertools import permutations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tasks.controlnet import conditions
from tasks.controlnet.drawing.contact_sheet import default_font, grid, wrapped
from tasks.controlnet.sample.circles import scene
from tasks.controlnet.score import agreement
from tasks.errors import ConfigError, DataError


def photos(count=12, size=64):
    """Pictures of shapes on shaded grounds, with edges and colours."""
    found = []
    for number in range(count):
        rng = np.random.default_rng(number)
        ramp = np.linspace(0, 80, size)[None, :, None] + rng.integers(0, 150, 3)
        picture = Image.fromarray(np.broadcast_to(ramp, (size, size, 3)).astype(np.uint8))
        draw = ImageDraw.Draw(picture)
        for _ in range(4):
            (x, y), side = rng.integers(0, size - size // 4, 2).tolist(), int(rng.integers(size // 6, size // 2))
            shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
            shape((x, y, x + side, y + side), fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
        found.append(picture)
    return found


def redrawn(picture, noise=12.0):
    """The picture as a net may draw it: a little soft, and noisy."""
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.6)), float)
    noisy = soft + np.random.default_rng(0).normal(0, noise, soft.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [64, 256])
def test_a_circle_s_centre_and_radius_are_found_to_half_a_pixel(size):
    for number in range(20):
        drawn = scene(3, number, size)
        x, y, radius = agreement.find_circle(drawn.condition)
        assert max(abs(x - drawn.centre[0]), abs(y - drawn.centre[1]), abs(radius - drawn.radius)) < 0.5


def test_a_circle_cut_by_the_frame_is_found_too():
    canvas = Image.new("RGB", (64, 64))
    ImageDraw.Draw(canvas).ellipse((40, 12, 80, 52), outline=(255, 255, 255), width=2)
    x, y, radius = agreement.find_circle(canvas)
    assert abs(x - 60.5) < 1
    assert abs(y - 32.5) < 1
    assert abs(radius - 19.5) < 1.5


def test_circles_obeyed_score_near_one_and_the_intersection_is_exact():
    drawn = scene(0, 1, 64)
    assert agreement.score("circles", drawn.condition, drawn.image) > 0.98
    assert agreement.score("circles", drawn.condition, redrawn(drawn.image)) > 0.9
    assert agreement.score("circles", drawn.condition, Image.new("RGB", (64, 64), (9, 90, 200))) == 0
    # Half of the radius and the same centre is a quarter of the area.
    condition, picture = Image.new("RGB", (128, 128)), Image.new("RGB", (128, 128), (200, 30, 30))
    ImageDraw.Draw(condition).ellipse((24, 24, 104, 104), outline=(255, 255, 255), width=1)
    ImageDraw.Draw(picture).ellipse((44, 44, 84, 84), fill=(20, 220, 60))
    assert abs(agreement.score("circles", condition, picture) - 0.25) < 0.02


def test_canny_counts_edges_within_two_pixels():
    condition, near, far = (Image.new("RGB", (64, 64)) for _ in range(3))
    ImageDraw.Draw(condition).line((30, 0, 30, 63), fill=(255, 255, 255))
    ImageDraw.Draw(near).rectangle((32, 0, 63, 63), fill=(255, 255, 255))
    ImageDraw.Draw(far).rectangle((40, 0, 63, 63), fill=(255, 255, 255))
    assert agreement.score("canny", condition, near) == 1
    assert agreement.score("canny", condition, far) == 0
    assert agreement.score("canny", Image.new("RGB", (64, 64)), Image.new("RGB", (64, 64), (5, 5, 5))) == 1
    assert agreement.score("canny", condition, Image.new("RGB", (64, 64))) == 0
    # Two lines wanted, one of them drawn: precision 1, recall 1/2.
    ImageDraw.Draw(condition).line((10, 0, 10, 63), fill=(255, 255, 255))
    assert abs(agreement.score("canny", condition, near) - 2 / 3) < 0.02


def test_palette_is_one_less_the_distance_of_the_colours():
    condition = conditions.make("palette", photos(1)[0], colours=4, block=16)
    assert agreement.score("palette", condition, condition) == 1
    black, white = Image.new("RGB", (64, 64)), Image.new("RGB", (64, 64), (255, 255, 255))
    assert agreement.score("palette", black, white, block=16) == pytest.approx(0)
    assert agreement.score("palette", black, Image.new("RGB", (64, 64), (51, 51, 51)), block=16) == pytest.approx(0.8)


@pytest.mark.parametrize("kind", ["canny", "palette", "circles"])
def test_pictures_that_obey_are_told_from_pictures_that_do_not(kind):
    if kind == "circles":
        scenes = [scene(1, number, 64) for number in range(12)]
        made, drawn = [one.condition for one in scenes], [redrawn(one.image) for one in scenes]
    else:
        drawn = photos()
        made = [conditions.make(kind, one, **({"block": 16} if kind == "palette" else {})) for one in drawn]
        drawn = [redrawn(one, 3.0) for one in drawn]
    found = agreement.evaluate(kind, made, drawn, seed=0)
    assert found["low"] <= found["score"] <= found["high"] <= 1
    assert found["baseline_low"] <= found["baseline"] <= found["baseline_high"]
    assert found["score"] == pytest.approx(
        np.mean([agreement.score(kind, condition, picture) for condition, picture in zip(made, drawn, strict=True)])
    )
    assert found["difference"] == pytest.approx(found["score"] - found["baseline"])
    assert found["difference_low"] > 0.05
    assert found["n"] == 12
    # A net that ignores its condition: the same pictures under conditions that aren't theirs.
    ignored = agreement.evaluate(kind, made, drawn[3:] + drawn[:3], seed=0)
    assert abs(ignored["difference"]) < found["difference"] / 2
    assert agreement.evaluate(kind, made, drawn, seed=0) == found


def test_several_pictures_of_a_condition_are_one_group_and_no_baseline_of_each_other():
    scenes = [scene(1, number, 64) for number in range(3)]
    twice = [one for one in scenes for _ in range(2)]
    found = agreement.evaluate("circles", [one.condition for one in twice], [one.image for one in twice])
    others = [agreement.score("circles", one.condition, other.image) for one, other in permutations(scenes, 2)]
    assert found["baseline"] == pytest.approx(np.mean(others))
    assert max(others) < 0.8
    alone = agreement.evaluate("circles", [scenes[0].condition] * 3, [scenes[0].image] * 3)
    assert alone["score"] > 0.98
    assert alone["baseline"] is None
    assert alone["p"] is None


def test_the_kind_is_seen_in_the_pixels_or_read_from_the_folder(tmp_path):
    pictures = photos(8, 128)
    for kind in ("canny", "palette", "edges", "gray", "blur", "scribble"):
        made = [conditions.make(kind, one) for one in pictures]
        assert agreement.kind_of(made) == (kind if kind in agreement.SCORES else None), kind
    # Blocks that were made smaller are still known; strokes that were are not taken for thin lines.
    smaller = {
        kind: [conditions.make(kind, one).resize((96, 96), Image.Resampling.BILINEAR) for one in pictures]
        for kind in ("palette", "scribble", "edges")
    }
    assert [agreement.kind_of(made) for made in smaller.values()] == ["palette", None, None]
    assert {agreement.block_size(one) for one in smaller["palette"]} == {24}
    assert agreement.kind_of([scene(0, number, 64).condition for number in range(8)]) == "circles"
    assert agreement.kind_of([]) is None
    note = {"condition": "canny", "condition_options": {"low": 20, "high": 60}}
    (tmp_path / "build.json").write_text(json.dumps(note))
    (tmp_path / "validation").mkdir()
    assert agreement.built_with(tmp_path / "validation") == ("canny", {"low": 20, "high": 60})
    assert agreement.kind_of([conditions.make("gray", pictures[0])], tmp_path) == "canny"
    assert agreement.built_with(tmp_path / "a" / "b") is None


def test_what_cannot_be_compared_is_told():
    picture = Image.new("RGB", (8, 8))
    with pytest.raises(ConfigError, match="no way to recompute 'depth'"):
        agreement.score("depth", picture, picture)
    with pytest.raises(DataError, match="1 picture for 2 conditions"):
        agreement.evaluate("canny", [picture, picture], [picture])


def test_captions_are_wrapped_and_cut_to_their_width():
    font = default_font(12)
    lines = wrapped("a photo of a red teapot " * 20, 120, font, 3)
    assert len(lines) == 3
    assert lines[2].endswith("...")
    assert all(font.getlength(line) <= 120 for line in lines)
    assert wrapped("short", 120, font) == ["short"]
    assert "".join(wrapped("x" * 60, 100, font, 10)) == "x" * 60


def test_a_grid_holds_every_picture_and_its_words():
    red, blue = Image.new("RGB", (64, 64), (255, 0, 0)), Image.new("L", (30, 90), 7)
    plain, boxes = grid([[red, blue], [red, None]], cell=96)
    told, _ = grid([[red, blue], [red, None]], ["condition", "picture"], ["one caption", ["two", "three"]], cell=96)
    assert plain.mode == told.mode == "RGB"
    assert plain.width == told.width
    assert told.height > plain.height + 30
    counted = {colour: count for count, colour in told.getcolors(1 << 20)}
    assert counted[(255, 0, 0)] == 2 * 96 * 96
    assert counted[(7, 7, 7)] == 32 * 96
    assert plain.crop(boxes[0][0]).getcolors() == [(96 * 96, (255, 0, 0))]
    assert plain.crop(boxes[0][1]).getcolors() == [(32 * 96, (7, 7, 7))]
    assert boxes[1][1] is None
    assert grid([], ["nothing"])[0].height > 0
