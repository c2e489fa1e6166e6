"""How pictures are cut, what chance decides, and how pairs become batches."""

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.controlnet import draws
from tasks.controlnet.batches import PairBatches, Shapes
from tasks.controlnet.geometry import Frame, frames, nearest_frame, pixels, view
from tasks.controlnet.pairs import Pairs
from tasks.images import FileImages


@pytest.mark.parametrize(
    ("size", "resized", "left", "top"),
    [
        # torchvision's Resize(512) and CenterCrop(512), worked by hand: int(512 * long / short), round((long - 512) / 2).
        ((640, 480), (682, 512), 85, 0),
        ((480, 640), (512, 682), 0, 85),
        ((512, 512), (512, 512), 0, 0),
        ((1000, 999), (512, 512), 0, 0),
        ((513, 700), (512, 698), 0, 93),
    ],
)
def test_the_shorter_side_is_resized_and_the_middle_is_cut_out(size, resized, left, top):
    seen = view(size, Frame(512, 512))
    assert (seen.resized, seen.left, seen.top) == (resized, left, top)


def test_a_condition_goes_through_its_picture_s_view():
    picture = Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8))
    seen = view(picture.size, Frame(32, 32), (1.0, 0.0), flip=True)
    assert (seen.resized, seen.left, seen.top) == ((42, 32), 10, 0)
    expected = np.asarray(picture.resize((42, 32), Image.Resampling.BILINEAR))[:, 10:][:, ::-1]
    assert np.array_equal(pixels(picture, seen), expected)
    # A condition of half the size ends where the picture does: each column is the same share of both.
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (48, 1, 3)))
    small = ramp.resize((32, 24), Image.Resampling.BOX)
    assert np.abs(pixels(ramp, seen).astype(int) - pixels(small, seen).astype(int)).max() <= 6


def test_frames_have_no_more_pixels_than_the_square_and_hold_any_shape():
    found = frames(512)
    assert Frame(512, 512) in found
    assert all(frame.width * frame.height <= 512 * 512 for frame in found)
    assert all(frame.width % 64 == 0 and frame.height % 64 == 0 for frame in found)
    assert nearest_frame((1000, 1000), 512) == Frame(512, 512)
    assert nearest_frame((1920, 1080), 512) == Frame(640, 384)
    assert nearest_frame((1080, 1920), 512) == Frame(384, 640)
    wide = nearest_frame((4000, 500), 512)
    assert 2 <= wide.width / wide.height <= 2.5


def test_a_picture_of_the_resolution_is_never_made_larger():
    for size in [(512, 512), (512, 900), (1300, 512), (700, 512)]:
        seen = view(size, nearest_frame(size, 512))
        assert seen.resized[0] <= size[0] + 1
        assert seen.resized[1] <= size[1] + 1
        assert seen.resized[0] >= seen.frame.width
        assert seen.resized[1] >= seen.frame.height


def test_draws_depend_on_seed_epoch_and_example_alone():
    options = {"timesteps": 1000, "captions": 3, "variants": 4, "empty_prompts": 0.25}
    one, again = (draws.draw(1, 2, 3, (4, 8, 8), **options) for _ in range(2))
    assert torch.equal(one.noise, again.noise)
    assert (one.timestep, one.caption, one.variant) == (again.timestep, again.caption, again.variant)
    for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)]:
        assert not torch.equal(one.noise, draws.draw(*other, (4, 8, 8), **options).noise)


def test_draws_have_the_law_that_training_needs():
    options = {"timesteps": 1000, "captions": 3, "variants": 2, "empty_prompts": 0.25}
    found = [draws.draw(0, 0, example, (4, 4, 4), **options) for example in range(4000)]
    empty = np.mean([one.caption == -1 for one in found])
    assert empty == pytest.approx(0.25, abs=0.025)
    for caption in range(3):
        assert np.mean([one.caption == caption for one in found]) == pytest.approx(0.25, abs=0.025)
    steps = np.array([one.timestep for one in found])
    assert steps.min() >= 0
    assert steps.max() <= 999
    assert np.histogram(steps, 10, (0, 1000))[0] == pytest.approx(400, abs=80)
    noise = torch.stack([one.noise for one in found])
    posterior = torch.stack([one.posterior for one in found])
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert float((noise * posterior).mean()) == pytest.approx(0, abs=0.01)


@pytest.fixture
def pairs(tmp_path):
    sizes = [(64, 64), (96, 64), (64, 96), (90, 64), (64, 64), (128, 64), (64, 64)]
    for number, size in enumerate(sizes):
        shade = np.full((size[1], size[0], 3), 30 * number + 10, np.uint8)
        shade[:, : size[0] // 2] = 255  # so that left is not right
        Image.fromarray(shade).save(tmp_path / f"{number}.png")
    store = FileImages([str(tmp_path / f"{number}.png") for number in range(len(sizes))])
    captions = [["one"], ["two", "other two"], [], ["four"], ["five"], ["six"], ["one"]]
    return Pairs(store, store, captions, np.arange(len(sizes)), "test")


def tokens(captions):
    return torch.tensor([[len(caption)] for caption in captions])


def test_an_epoch_holds_each_pair_once_and_batches_hold_one_frame(pairs):
    batches = PairBatches(pairs, Shapes(64, buckets=True), seed=1, tokenize=tokens)
    counts = set()
    for epoch in range(5):
        plan = batches.plan(2, epoch)
        counts.add(len(plan))
        assert sorted(np.concatenate(plan).tolist()) == list(range(7))
        assert all(len({batches.frame(int(n)) for n in numbers}) == 1 for numbers in plan)
    assert len(counts) == 1
    assert [n.tolist() for n in batches.plan(2, 0)] != [n.tolist() for n in batches.plan(2, 1)]
    heaviest = batches.heaviest(3)
    largest = max(batches.frame(n).width * batches.frame(n).height for n in range(7))
    assert len(heaviest) == 3
    assert all(batches.frame(int(n)).width * batches.frame(int(n)).height == largest for n in heaviest)
    assert sorted(np.concatenate(batches.in_order(2)).tolist()) == list(range(7))


def test_a_batch_cut_into_pieces_is_the_same_batch(pairs):
    batches = PairBatches(pairs, Shapes(32, flip=True, places=3), seed=1, empty_prompts=0.3, tokenize=tokens)
    whole = batches.collate(np.arange(7), 4)
    assert whole["condition"].shape == whole["pixels"].shape == (7, 3, 32, 32)
    assert whole["noise"].shape == (7, 4, 4, 4)
    cut = [batches.collate(np.array(numbers), 4) for numbers in ([0, 1, 2], [3, 4, 5, 6])]
    for name, value in whole.items():
        assert torch.equal(value, torch.cat([part[name] for part in cut])), name
    # The condition, here the picture itself, is cut and mirrored as the picture is.
    assert torch.equal(whole["condition"], whole["pixels"])
    assert len({batches.view(1, variant) for variant in range(6)}) == 6
    mirrored = {bool(batches.collate(np.array([0]), epoch)["pixels"][0, 0, 0, 0] < 255) for epoch in range(12)}
    assert mirrored == {True, False}


def test_evaluation_meets_the_same_noise_each_time_and_another_pair_s_condition(pairs):
    batches = PairBatches(pairs, Shapes(32), seed=1, tokenize=tokens)
    first, second = (batches.collate_evaluation(np.arange(7)) for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert sorted(batches.partner.tolist()) == list(range(7))
    assert all(batches.partner[number] != number for number in range(7))
    own = batches.collate_evaluation(batches.partner)["condition"]
    assert torch.equal(first["shuffled"], own)
    bands = first["timesteps"] // 200
    assert torch.equal(bands, torch.arange(5).expand(7, 5))
    assert batches.prompts() == ["", "one", "two", "other two", "four", "five", "six"]
