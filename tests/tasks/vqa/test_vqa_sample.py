"""The generated data: the same in memory and on disk, right, balanced, and with annotators who differ."""

from collections import Counter

import numpy as np
import pytest

from tasks.vqa.data import Options, load_splits
from tasks.vqa.sample.sample import IMAGES, questions_of, write_sample
from tasks.vqa.sample.scenes import COLOURS, draw, make_scene
from tasks.vqa.score import normalize
from tasks.vqa.vocabulary import build_vocabulary, ceiling


@pytest.fixture(scope="module")
def splits():
    return load_splits(Options("sample"))


def consensus(answers):
    return Counter(normalize(answer) for answer in answers).most_common(1)[0][0]


def test_size_and_splits(splits):
    assert len(splits.train.images) == IMAGES * 4 // 5
    assert len(splits.evaluation.images) == IMAGES // 5
    assert not splits.held_out
    assert splits.description.startswith("sample: ")
    assert not set(splits.train.question_id) & set(splits.evaluation.question_id)


def test_same_seed_same_data(splits):
    again, other = questions_of("train", 0), questions_of("train", 1)
    assert again.question == splits.train.question
    assert again.answers == splits.train.answers
    assert other.question != again.question
    assert load_splits(Options("sample", seed=1)).train.question == other.question


def test_on_disk_as_in_memory(tmp_path):
    write_sample(tmp_path / "shapes", seed=3, images=20)
    written = load_splits(Options(str(tmp_path / "shapes")))
    assert not written.held_out
    for split, part in (("train", written.train), ("validation", written.evaluation)):
        made = questions_of(split, 3, images=20)
        assert part.question_id == made.question_id
        assert part.question == made.question
        assert part.answers == made.answers
        assert part.question_type == made.question_type
        assert part.answer_type == made.answer_type
        for a, b in zip(part.image, made.image, strict=True):
            pair = [np.asarray(store.load(int(i))) for store, i in ((part.images, a), (made.images, b))]
            assert (pair[0] == pair[1]).all()


def test_answers_and_priors(splits):
    truths = Counter(map(consensus, splits.train.answers))
    assert 13 <= len(truths) <= 16
    assert max(truths.values()) / len(splits.train) < 0.35
    vocabulary = build_vocabulary(splits.train)
    assert set(vocabulary.answers) == set(truths)
    assert ceiling(splits.evaluation, vocabulary) > 0.999


def test_annotators_sometimes_differ(splits):
    answers = splits.train.answers
    assert all(len(given) == 10 for given in answers)
    assert 0.2 < np.mean([len({normalize(a) for a in given}) > 1 for given in answers]) < 0.5
    odd = np.mean([[normalize(answer) != consensus(given) for answer in given] for given in answers])
    assert 0.03 < odd < 0.06
    assert any(normalize(answer) != answer for given in answers for answer in given)


def test_the_picture_bears_out_the_answers():
    for number in range(200):
        scene = make_scene(0, number, 5)
        picture = np.asarray(draw(scene, 64)).astype(int)
        for thing in scene.things:
            at = picture[round(thing.y * 64) + 2, round(thing.x * 64)]
            assert tuple(at) == COLOURS[thing.colour]
        shapes = Counter(thing.shape for thing in scene.things)
        by_colour = {thing.colour: thing for thing in scene.things}
        assert len(by_colour) == len(scene.things)
        for asked in scene.asked:
            words = asked.question.rstrip("?").split()
            if asked.kind == "colour":
                assert shapes[words[-1]] == 1
                assert by_colour[asked.truth].shape == words[-1]
            elif asked.kind == "shape":
                assert by_colour[words[-1]].shape == asked.truth
            elif asked.kind == "count":
                wanted = words[2][:-1]
                assert int(asked.truth) == (len(scene.things) if wanted == "shape" else shapes[wanted])
            elif asked.kind == "presence":
                there = any(thing.name == " ".join(words[3:]) for thing in scene.things)
                assert asked.truth == ("yes" if there else "no")


def test_shapes_keep_apart():
    for number in range(100):
        scene = make_scene(1, number, 1)
        blank = np.array(scene.ground)
        picture = np.asarray(draw(scene, 64)).astype(int)
        lines = [line for at in (0, 32) for line in (picture[at], picture[:, at])]
        assert all((line == blank).all() for line in lines)


def test_sizes_and_images_without_files(splits):
    store = splits.train.images
    assert store.size(0) == store.load(0).size == (64, 64)
    assert store.where(0) == "sample, image 1"
    assert splits.evaluation.images.where(0) == f"sample, image {IMAGES * 4 // 5 + 1}"
