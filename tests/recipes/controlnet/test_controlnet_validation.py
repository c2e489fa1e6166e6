"""Pictures that a ControlNet run draws at each evaluation: which, from what, and what becomes of a stop or a fault meanwhile."""

from types import SimpleNamespace

import numpy as np
import pytest
from controlnet_scenes import CPU, PROMPT, config_of, evaluator, make_batches, make_nets, pixels, validator
from PIL import Image

from recipes.controlnet import grids, validation
from recipes.controlnet.config import SCHEDULERS
from recipes.controlnet.train import make_validator
from recipes.controlnet.validation import from_files, scenes
from tasks.controlnet.drawing import generation
from tasks.controlnet.drawing.png import read_facts
from tasks.errors import ConfigError, DataError, OutOfDisk, Preempted


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    return make_nets(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def batches(nets, tmp_path_factory):
    return make_batches(nets, tmp_path_factory.mktemp("pairs"))


def test_the_first_grid_shows_held_out_pairs_and_says_what_it_was_drawn_with(nets, batches, tmp_path):
    made = validator(config_of(), nets, batches, tmp_path)
    assert made.prompts == [f"{PROMPT} 0", f"{PROMPT} 2", f"{PROMPT} 3", ""]  # pairs 0, 2, 3 and 5, which has none
    drawn = made.draw(nets.controlnet, evaluator())
    assert drawn == {"validation/pictures": tmp_path / "validation" / "step-000500.png"}
    facts = read_facts(drawn["validation/pictures"])
    wanted = {"step": "500", "seed": "0", "scheduler": "unipc", "steps": "2", "guidance": "7.5", "base": "tiny"}
    assert {name: facts[name] for name in wanted} == wanted
    kept = grids.read_kept(drawn["validation/pictures"])
    assert (kept.step, kept.truths, kept.prompts) == (500, True, [f"{PROMPT} 0", f"{PROMPT} 2", f"{PROMPT} 3", ""])
    assert [len(row) for row in kept.rows] == [4, 4, 4, 4]
    for row, pair in zip(kept.rows, (0, 2, 3, 5), strict=True):
        assert {picture.size for picture in row} == {(128, 128)}
        assert (pixels(row[0]) == 10 * pair).all()
        assert (pixels(row[-1]) == (200, 10 * pair, 0)).all()
        assert pixels(row[1]).std() > 0
        assert not np.array_equal(pixels(row[1]), pixels(row[2]))


def test_a_grid_of_hundreds_of_rows_is_cut_again(tmp_path):
    """More than a byte counts."""
    rows = [[Image.new("RGB", (2, 1), (row % 256, row // 256, 9)), None] for row in range(300)]
    grids.write_grid(tmp_path / "grid.png", rows, [""] * 300, {"step": 1}, truths=False)
    kept = grids.read_kept(tmp_path / "grid.png")
    assert [row[0].getpixel((5, 5)) for row in kept.rows] == [(row % 256, row // 256, 9) for row in range(300)]
    assert {row[0].size for row in kept.rows} == {(128, 64)}
    assert {row[1] for row in kept.rows} == {None}


def test_killed_and_resumed_it_draws_the_same(nets, batches, tmp_path):
    found = []
    for number in range(2):
        made = validator(config_of(), nets, batches, tmp_path / str(number))
        (path,) = made.draw(nets.controlnet, evaluator()).values()
        found.append(path.read_bytes())
    assert found[0] == found[1]


def test_several_processes_draw_the_same_between_them(nets, batches, tmp_path):
    """Each draws its share, the first one writes; the shares are joined as the loop's gather does."""
    alone = validator(config_of(), nets, batches, tmp_path / "one")
    (path,) = alone.draw(nets.controlnet, evaluator(batch_size=4)).values()
    shares, checks = [], []
    for rank in (1, 0):
        made = validator(config_of(), nets, batches, tmp_path / "two")
        gather = (lambda items: shares.append(items) or items) if rank else (lambda items: items + shares[0])
        here = evaluator(lambda: checks.append(1), rank=rank, world=2, gather=gather, batch_size=4)
        drawn = made.draw(nets.controlnet, here)
        assert (drawn == {}) == bool(rank)
    assert len(checks) == 2 * 2  # 8 pictures, 2 at once, 2 processes: two rounds each, and nothing asked in between
    (shared,) = drawn.values()
    assert np.abs(pixels(Image.open(shared)).astype(int) - pixels(Image.open(path))).max() <= 1


def test_given_conditions_are_drawn_in_their_own_shape(nets, batches, tmp_path):
    Image.new("RGBA", (100, 61), (255, 255, 255, 0)).save(tmp_path / "a.png")
    Image.new("L", (32, 48)).save(tmp_path / "b.png")
    given = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    config = config_of(validation_image=given, validation_prompt=["one prompt for both"], num_validation_images=1)
    found = scenes(config, batches)
    assert [one.size for one in found.conditions] == [(48, 32), (32, 48)]
    assert (pixels(found.conditions[0]) == 0).all()  # what is transparent lies over black, as in training
    assert (found.prompts, found.truths) == (["one prompt for both"] * 2, [])
    made = validator(config, nets, batches, tmp_path / "run")
    (path,) = made.draw(nets.controlnet, evaluator()).values()
    kept = grids.read_kept(path)
    assert [[picture.size for picture in row] for row in kept.rows] == [[(128, 85)] * 2, [(85, 128)] * 2]


def test_conditions_that_cannot_be_drawn_are_told_together(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    given = [str(tmp_path / "absent.png"), str(tmp_path / "broken.png")]
    with pytest.raises(DataError) as told:
        from_files(config_of(validation_image=given, validation_prompt=["p"]))
    assert str(told.value) == (
        f"--validation-image {given[0]}: no such image file; --validation-image {given[1]}: is not an image file, "
        "whatever its name says"
    )
    assert not len(scenes(config_of(validation_image=given, validation_prompt=["p"], num_validation_images=0), None))


def test_no_pictures_where_none_are_wanted(nets, batches, tmp_path):
    made = validator(config_of(num_validation_images=0), nets, batches, tmp_path)
    assert (made.prompts, made.seconds(nets.controlnet)) == ([], 0.0)
    assert made.draw(nets.controlnet, evaluator()) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_stop_is_obeyed_while_drawing(nets, batches, tmp_path):
    asked = []

    def check():
        asked.append(1)
        if len(asked) == 3:
            raise Preempted("stopped by SIGTERM")

    made = validator(config_of(), nets, batches, tmp_path)
    with pytest.raises(Preempted):
        made.draw(nets.controlnet, evaluator(check))
    assert not (tmp_path / "validation").exists()


def test_without_memory_it_draws_fewer_at_once_or_goes_on_without(nets, batches, tmp_path, monkeypatch, capfd):
    sizes = []
    whole = generation.Painter.draw

    def draw(limit):
        def limited(self, conditions, *rest, **given):
            sizes.append(self.batch_size)
            if self.batch_size > limit:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return whole(self, conditions, *rest, **given)

        return limited

    monkeypatch.setattr(validation.Painter, "draw", draw(1))
    made = validator(config_of(), nets, batches, tmp_path)
    (path,) = made.draw(nets.controlnet, evaluator()).values()
    assert sizes == [4, 2, 1, 1]  # two batches of four pictures
    assert path.exists()
    monkeypatch.setattr(validation.Painter, "draw", draw(0))
    assert made.draw(nets.controlnet, evaluator(step=1000)) == {}
    assert made.draw(nets.controlnet, evaluator(step=1500)) == {}
    assert sizes[4:] == [1]
    (line,) = capfd.readouterr().err.splitlines()
    assert "didn't fit into memory" in line
    assert "training go on" in line


def test_nothing_that_fails_in_drawing_ends_the_training(nets, batches, tmp_path, monkeypatch, capfd):
    def broken(*_, **__):
        raise ValueError("a bug\nof many lines")

    monkeypatch.setattr(validation.Painter, "draw", broken)
    made = validator(config_of(), nets, batches, tmp_path)
    assert made.draw(nets.controlnet, evaluator()) == {}
    (line,) = capfd.readouterr().err.splitlines()
    assert "they failed (ValueError: a bug)" in line


def test_too_many_steps_are_told_before_the_training(nets, batches, tmp_path):
    accelerator = SimpleNamespace(num_processes=1, device=CPU, autocast=None)
    session = SimpleNamespace(accelerator=accelerator, run=SimpleNamespace(path=tmp_path))
    parts = SimpleNamespace(base=nets.base, evaluation=batches)
    assert make_validator(config_of(), parts, session).device == CPU
    with pytest.raises(ConfigError, match="--validation-inference-steps 1,001: the base has 1,000 timesteps"):
        make_validator(config_of(validation_inference_steps=1001), parts, session)


def test_a_full_disk_loses_the_picture_alone(nets, batches, tmp_path, monkeypatch, capfd):
    def full(*_, **__):
        raise OutOfDisk("no space left")

    monkeypatch.setattr(validation, "write_grid", full)
    assert validator(config_of(), nets, batches, tmp_path).draw(nets.controlnet, evaluator()) == {}
    assert "step 500 were not kept: no space left" in capfd.readouterr().err


def test_the_time_of_a_drawing_is_foretold(nets, batches, tmp_path):
    made = validator(config_of(validation_inference_steps=10), nets, batches, tmp_path)
    assert 0 < made.seconds(nets.controlnet) < 60


def test_the_samplers_of_the_options_are_those_that_there_are():
    assert tuple(generation.SCHEDULERS) == SCHEDULERS


def test_one_condition_may_be_drawn_under_several_prompts(tmp_path):
    Image.new("RGB", (32, 32), "white").save(tmp_path / "c.png")
    config = config_of(
        validation_image=[str(tmp_path / "c.png")], validation_prompt=["one", "two"], num_validation_images=1
    )
    assert config.problems() == []
    found = scenes(config, None)
    assert found.prompts == ["one", "two"]
    assert len(found.conditions) == 2
