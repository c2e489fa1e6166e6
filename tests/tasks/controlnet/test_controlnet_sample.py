"""The generated circles: what they show is what is said of them, in memory as on disk."""

import itertools
import json
import math

import numpy as np
import pytest

from tasks.controlnet.data import Options, load_splits
from tasks.controlnet.sample.circles import COLOURS, scene
from tasks.controlnet.sample.sample import TRAIN, VALIDATION, write_sample


@pytest.fixture(scope="module")
def splits():
    return load_splits(Options("sample"))


def test_size_and_splits(splits):
    assert (len(splits.train), len(splits.evaluation)) == (TRAIN, VALIDATION) == (2000, 200)
    assert splits.description == "circles (generated): 2,000 + 200 pairs"
    assert (splits.held_out, splits.skipped) == (False, [])


def test_picture_and_condition_show_the_caption():
    for number in range(40):
        made = scene(3, number, 64)
        colour, ground = made.caption.split(" circle with ")
        picture = np.asarray(made.image).astype(int)
        condition = np.asarray(made.condition).astype(int)
        x, y = made.centre
        distance = [[math.hypot(i + 0.5 - x, j + 0.5 - y) for i in range(64)] for j in range(64)]
        inside = np.array(distance) < made.radius - 1
        outside = np.array(distance) > made.radius + 1
        assert (picture[inside] == COLOURS[colour]).all()
        assert (picture[outside] == COLOURS[ground.removesuffix(" background")]).all()
        on_line = np.abs(np.array(distance) - made.radius) < 0.4
        assert (condition[on_line] == 255).all()
        assert (condition[np.abs(np.array(distance) - made.radius) > 3] == 0).all()
        assert min(x, y, 64 - x, 64 - y) > made.radius


def test_colours_keep_apart():
    assert len(COLOURS) == 12
    assert min(math.dist(a, b) for a, b in itertools.combinations(COLOURS.values(), 2)) > 85


def test_the_same_circle_at_any_size():
    small, large = scene(0, 5, 32), scene(0, 5, 256)
    assert small.caption == large.caption
    assert large.radius == pytest.approx(8 * small.radius)
    assert large.condition.size == large.image.size == (256, 256)


def test_seeds(splits):
    again, other = load_splits(Options("sample")), load_splits(Options("sample", seed=1))
    assert again.train.captions == splits.train.captions
    assert other.train.captions != splits.train.captions
    assert again.train.images.content(7) == splits.train.images.content(7)
    assert len({splits.train.images.content(i) for i in range(100)}) == 100
    assert {caption for (caption,) in splits.train.captions} == {
        f"{a} circle with {b} background" for a, b in itertools.permutations(COLOURS, 2)
    }


def test_on_disk_as_in_memory(tmp_path, splits):
    write_sample(tmp_path / "circles", train=12, validation=4)
    first = json.loads((tmp_path / "circles" / "prompt.json").read_text().splitlines()[0])
    assert first == {"source": "source/0.png", "target": "target/0.png", "prompt": splits.train.captions[0][0]}
    written = load_splits(Options(str(tmp_path / "circles")))
    assert written.description == "circles: 12 + 4 pairs"
    assert written.train.captions == splits.train.captions[:12]
    for i in range(12):
        for store in ("images", "conditions"):
            kept, drawn = getattr(written.train, store), getattr(splits.train, store)
            assert (np.asarray(kept.load(i)) == np.asarray(drawn.load(i))).all()
            assert kept.content(i) == drawn.content(i)


def test_drawn_at_the_resolution():
    drawn = load_splits(Options("sample", resolution=128)).train
    assert drawn.images.size(0) == drawn.images.load(0).size == drawn.conditions.load(0).size == (128, 128)
