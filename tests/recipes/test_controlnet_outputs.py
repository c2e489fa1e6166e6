"""What a ControlNet run shows and leaves behind: grids at each evaluation, pictures in the trackers, model, card and report."""

import contextlib
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from recipes import scores
from recipes.controlnet import artefacts, grids, validation
from recipes.controlnet.config import SCHEDULERS, Train, with_defaults
from recipes.controlnet.validation import Validator, check_files, scenes
from recipes.loop import Outcome
from recipes.report.folder import read_run
from recipes.runs import Run
from recipes.trackers import Trackers
from recipes.work import Evaluator
from tasks.controlnet import gain, generation, pretrained, tiny
from tasks.controlnet.batches import PairBatches, Shapes
from tasks.controlnet.encoding import tokenize
from tasks.controlnet.pairs import Pairs, Splits
from tasks.controlnet.png import read_facts
from tasks.errors import ConfigError, DataError, OutOfDisk, Preempted
from tasks.files import umask
from tasks.images import FileImages

CPU = torch.device("cpu")
PROMPT = "burly wood circle with orange background"


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    base = pretrained.open_base(str(tiny.random_base(tmp_path_factory.mktemp("base") / "base")))
    unet, vae = pretrained.load_unet(base), pretrained.load_vae(base)
    vae.decoder.conv_out.weight.data *= 20  # untrained it makes all but grey
    return SimpleNamespace(
        base=base,
        frozen=SimpleNamespace(unet=unet, vae=vae, text_encoder=pretrained.load_text_encoder(base)),
        controlnet=pretrained.new_controlnet(base, unet),
        tokenizer=pretrained.load_tokenizer(base),
    )


@pytest.fixture(scope="module")
def batches(nets, tmp_path_factory):
    """Six held-out pairs of 32 px; the condition of pair i is of the grey 10 * i."""
    folder = tmp_path_factory.mktemp("pairs")
    paths = {kind: [str(folder / f"{kind}{i}.png") for i in range(6)] for kind in ("image", "condition")}
    for i in range(6):
        Image.new("RGB", (40, 32), (200, 10 * i, 0)).save(paths["image"][i])
        Image.new("RGB", (40, 32), (10 * i,) * 3).save(paths["condition"][i])
    captions = [[f"{PROMPT} {i}", "another"] for i in range(5)] + [[]]
    pairs = Pairs(FileImages(paths["image"]), FileImages(paths["condition"]), captions, np.arange(6), "six")
    return PairBatches(pairs, Shapes(32), seed=0, tokenize=lambda texts: tokenize(nets.tokenizer, texts))


def config_of(**given):
    options = {"model": "tiny", "resolution": 32, "validation_inference_steps": 2, "num_validation_images": 2, **given}
    return with_defaults(Train(**options))


def evaluator(check=lambda: None, step=500, **given):
    options = {"rank": 0, "world": 1, "device": CPU, "batch_size": 8, "gather": lambda items: items, **given}
    return Evaluator(check=check, autocast=contextlib.nullcontext, step=step, **options)


def validator(config, nets, batches, run):
    made = Validator(config, run, nets.base, scenes(config, batches), CPU)
    made.prepare(SimpleNamespace(frozen=nets.frozen, evaluation=batches))
    return made


def pixels(image):
    return np.asarray(image.convert("RGB"))


# -- grids ------------------------------------------------------------------------------------------------------------


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
        check_files(config_of(validation_image=given, validation_prompt=["p"]))
    assert str(told.value) == (
        f"--validation-image {given[0]}: no such image file; --validation-image {given[1]}: is not an image file, "
        "whatever its name says"
    )
    check_files(config_of(validation_image=given, validation_prompt=["p"], num_validation_images=0))


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
    session = SimpleNamespace(
        run=Run(tmp_path), accelerator=SimpleNamespace(num_processes=1, device=CPU, autocast=None)
    )
    parts = SimpleNamespace(base=nets.base, evaluation=batches)
    assert Validator.of(config_of(), parts, session).device == CPU
    with pytest.raises(ConfigError, match="1,000 timesteps"):
        Validator.of(config_of(validation_inference_steps=1001), parts, session)


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


# -- trackers ---------------------------------------------------------------------------------------------------------


def log(run, trackers, steps):
    """As the loop does, with a grid at every evaluation."""
    for step in steps:
        line = {"kind": "validation", "step": step, "seconds": step / 10, "gain": 0.1}
        path = run.path / "validation" / f"step-{step:06d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 4), (step, 0, 0)).save(path)
        run.log(line)
        trackers.log(line)
        trackers.picture("validation/pictures", path, step)


def test_tensorboard_has_each_grid_once_over_a_resume(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(tmp_path)
    trackers = Trackers(["tensorboard"], tmp_path, "p", {})
    log(run, trackers, [10, 20, 30])
    trackers.close()
    run.cut_metrics(20)
    trackers = Trackers(["tensorboard"], tmp_path, "p", {})
    log(run, trackers, [30, 40])
    trackers.close()
    reader = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    reader.Reload()
    assert reader.Tags()["images"] == ["validation/pictures"]
    images = reader.Images("validation/pictures")
    assert [(event.step, event.width, event.height) for event in images] == [(step, 8, 4) for step in (10, 20, 30, 40)]


def test_wandb_has_each_grid_in_the_row_of_its_step(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb_files import offline_folders, rows

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "controlnet-20261123-0100-a1b2"
    folder.mkdir()
    run = Run(folder)
    for steps in ([10, 20], [20, 30]):
        run.cut_metrics(10)
        trackers = Trackers(["wandb"], folder, "p", {})
        log(run, trackers, steps)
        trackers.close()
    (kept,) = offline_folders(folder)
    found = rows(kept)
    assert [row["_step"] for row in found] == [10, 20, 30]
    for row in found:
        told = {key: row[f"validation/pictures/{key}"] for key in ("_type", "width", "height")}
        assert told == {"_type": "image-file", "width": 8, "height": 4}
        assert row["validation/gain"] == 0.1
        with Image.open(kept / "files" / row["validation/pictures/path"]) as picture:
            assert picture.getpixel((0, 0)) == (row["_step"], 0, 0)


def test_a_picture_that_was_lost_does_not_stop_a_resume(tmp_path):
    pytest.importorskip("tensorboard")
    run = Run(tmp_path)
    trackers = Trackers(["tensorboard"], tmp_path, "p", {})
    log(run, trackers, [10, 20])
    trackers.close()
    (tmp_path / "validation" / "step-000010.png").write_bytes(b"")
    (tmp_path / "validation" / "step-000020.png").unlink()
    Trackers(["tensorboard"], tmp_path, "p", {}).close()


# -- what is left at the end ------------------------------------------------------------------------------------------


def measured(level):
    """Figures as the evaluation gives them, of six pairs; own conditions lower the loss by `level`."""
    chance = np.random.default_rng(0)
    losses = chance.uniform(0.1, 0.2, (6, gain.BANDS, 3))
    losses[:, :, 0] = losses[:, :, 1] * (1 - level)
    return gain.summarise(losses, gain.bands(1000))


@pytest.fixture(scope="module")
def trained(nets, batches, tmp_path_factory):
    """A run as the loop leaves it: three evaluations with their grids, the second of which is the best."""
    run = Run(tmp_path_factory.mktemp("runs") / "controlnet-20261123-0100-a1b2")
    run.path.mkdir()
    made = validator(config_of(validation_guidance=1.0), nets, batches, run.path)
    for step, level in ((10, 0.0), (20, 0.3), (30, 0.2)):
        made.draw(nets.controlnet, evaluator(step=step))
        flat = {key: value for key, value in measured(level).items() if isinstance(value, float) or key == "n"}
        run.log({"kind": "validation", "step": step, "epoch": step / 10, "seconds": 1.0, **flat})
    run.update(recipe="controlnet", state="running", started="2026-11-23T01:00:00+00:00", step=30)
    return run.path, made


@pytest.fixture
def finished(trained, nets, batches, tmp_path):
    """A copy of it, with what the recipe knows at its end."""
    path, made = trained
    run = Run(tmp_path / "runs" / path.name)
    shutil.copytree(path, run.path)
    parts = SimpleNamespace(
        splits=Splits(batches.pairs, batches.pairs, "six pairs of 40 x 32 px", True),
        base=nets.base,
        controlnet=nets.controlnet,
        validator=made,
        train_pairs=batches.pairs,
        eval_pairs=batches.pairs,
    )
    outcome = Outcome(measured(0.3), 30, 12.0, 20, ["the weights of step 20 are kept"])
    return config_of(data=str(tmp_path / "six")), parts, run, outcome


def test_a_run_leaves_model_card_figures_and_report(finished, nets):
    from diffusers import ControlNetModel
    from huggingface_hub import ModelCard

    config, parts, run, outcome = finished
    summary = artefacts.write(config, parts, run, outcome)
    assert summary["metrics"]["gain"] == pytest.approx(0.3)
    assert summary["pictures"].endswith("validation/step-000020.png")
    figures = json.loads((run.path / "evaluation.json").read_text())
    assert list(figures["by_band"]) == ["0-199", "200-399", "400-599", "600-799", "800-999"]
    assert figures["best_step"] == 20
    found = scores.read(run.path)
    assert np.mean(found.scores) == pytest.approx(outcome.metrics["gain"])
    assert (found.metric, found.greater_is_better) == ("gain", True)
    assert found.ids == [f"image{i}.png" for i in range(6)]
    loaded = ControlNetModel.from_pretrained(run.model)
    assert all(path.stat().st_mode & 0o777 == 0o666 & ~umask() for path in run.model.iterdir())
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in nets.controlnet.state_dict().items())
    assert sorted(path.name for path in run.model.iterdir()) == [
        "README.md",
        "condition.png",
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "pictures.png",
    ]
    card = ModelCard.load(run.model / "README.md")
    assert card.data.library_name == "diffusers"
    assert card.data.license is None
    assert "base_model" not in card.data.to_dict()  # tiny is nowhere to be found
    assert {"controlnet", "stable-diffusion"} <= set(card.data.tags)
    assert card.text.index("## Pictures") < card.text.index("## Use")
    assert "](pictures.png)" in card.text
    text = artefacts.closing_text(parts, run, outcome, {**summary, "seconds": 12, "estimated_seconds": 10})
    assert text.splitlines()[:2] == [
        "done      conditioning gain 30.0 % (30.0 to 30.0, n 6) · 12 s (estimated 10 s)",
        "          the weights of step 20 are kept",
    ]


def test_the_cards_code_draws_with_the_base_and_the_kept_net(finished, monkeypatch, tmp_path):
    config, parts, run, outcome = finished
    artefacts.write(config, parts, run, outcome)
    code = (run.model / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(run.model)
    exec(code.replace("num_inference_steps=20", "num_inference_steps=2"), {})
    with Image.open("picture.png") as picture:
        assert picture.size == (32, 32)


def test_the_report_shows_the_gain_and_the_pictures_of_the_kept_step(finished):
    config, parts, run, outcome = finished
    artefacts.write(config, parts, run, outcome)
    page = (run.path / "report.html").read_text()
    words = [
        "Drawn under their conditions",
        "At step 20, from the same seeds",
        "validation/step-000020.png",
        "step 10",
        "Denoising loss over steps",
        "Conditioning gain by timestep",
        "Against the base alone",
        "Pairs whose condition helped most and least",
        "30.0 %",
    ]
    assert [word for word in words if word not in page] == []
    assert page.count("data:image/") == 4 * 4 + 3 * 2 + 6 * 2
    assert not read_run(run.path).problems


def test_without_pictures_or_with_figures_that_are_not_finite_everything_is_written(finished):
    config, parts, run, outcome = finished
    for path in (run.path / "validation").iterdir():
        path.write_bytes(b"torn")
    outcome.metrics["gain_none_low"] = math.nan
    summary = artefacts.write(config, parts, run, outcome)
    assert (summary["pictures"], summary["metrics"]["gain_none_low"]) == (None, None)
    assert not (run.model / "pictures.png").exists()
    assert "Drawn under their conditions" not in (run.path / "report.html").read_text()


def test_one_condition_may_be_drawn_under_several_prompts(tmp_path):
    Image.new("RGB", (32, 32), "white").save(tmp_path / "c.png")
    config = config_of(
        validation_image=[str(tmp_path / "c.png")], validation_prompt=["one", "two"], num_validation_images=1
    )
    assert config.problems() == []
    found = scenes(config, None)
    assert found.prompts == ["one", "two"]
    assert len(found.conditions) == 2
