"""`tool predict` and `tool eval` of a ControlNet: pictures that can be drawn again from what they say, figures, and wrong input."""

import json
import shlex

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import random_base

from recipes.config import to_yaml
from recipes.controlnet import opening
from recipes.controlnet.config import Eval, Predict, Train, with_defaults
from recipes.controlnet.evaluate import evaluate
from recipes.controlnet.predict import predict, read_inputs
from tasks.controlnet.drawing.png import read_facts
from tasks.controlnet.models import pretrained
from tasks.controlnet.score import gain
from tasks.errors import ConfigError, DataError, OutOfMemory, ToolError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished run over a random base, and conditions."""
    folder = tmp_path_factory.mktemp("place")
    base = pretrained.open_base(str(random_base(folder / "base")))
    unet, vae = pretrained.load_unet(base), pretrained.load_vae(base)
    vae.decoder.conv_out.weight.data *= 20  # untrained it makes all but grey
    vae.save_pretrained(base.folder / "vae")
    controlnet = pretrained.new_controlnet(base, unet)
    torch.manual_seed(0)
    for block in (*controlnet.controlnet_down_blocks, controlnet.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(block.weight, std=0.3)
    run = folder / "runs" / "controlnet-20261123-0100-aaaa"
    controlnet.save_pretrained(run / "model")
    config = Train(model=str(folder / "base"), data="sample", resolution=64, max_samples=30, max_eval_samples=6, seed=3)
    (run / "config.yaml").write_text(to_yaml(with_defaults(config), "controlnet"))
    status = {"recipe": "controlnet", "state": "finished", "started": "2026-11-23T01:00:00"}
    (run / "status.json").write_text(json.dumps(status))
    chance = np.random.default_rng(0)
    Image.fromarray(chance.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(folder / "edges.png")
    (folder / "other").mkdir()
    Image.fromarray(chance.integers(0, 256, (64, 64, 4), dtype=np.uint8)).save(folder / "other" / "edges.png")
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def drawn(here, **given):
    options = {
        "image": ["edges.png"],
        "prompt": ["a circle"],
        "steps": 2,
        "output": str(here / "pictures"),
        "cpu": True,
    }
    return predict(Predict(**{**options, **given}))["predictions"]


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def options_of(command):
    """What a `tool predict` command line says, as the options of `predict`."""
    words = shlex.split(command)
    assert words[:3] == ["tool", "predict", "controlnet"]
    given = {flag[2:].replace("-", "_"): value for flag, value in zip(words[3::2], words[4::2], strict=True)}
    kinds = {"seed": int, "steps": int, "guidance": float, "conditioning_scale": float, "resolution": int}
    given = {name: kinds.get(name, str)(value) for name, value in given.items()}
    return {**given, "image": [given["image"]], "prompt": [given["prompt"]]}


def test_each_picture_says_how_to_draw_it_again(here, capfd):
    given = {
        "image": ["edges.png", "other/edges.png"],
        "prompt": ["a red circle", "ein Kreis, größer"],
        "negative_prompt": "blue",
        "n": 2,
        "steps": 2,
        "seed": 7,
        "guidance": 3.0,
        "conditioning_scale": 0.5,
        "scheduler": "euler-ancestral",
    }
    found = drawn(here, **given)
    names = [entry["picture"].rsplit("/", 1)[-1] for entry in found]
    assert names == ["edges-7-0.png", "edges-7-1.png", "edges-7-0-2.png", "edges-7-1-2.png"]
    assert [entry["seed"] for entry in found] == [7, 8, 7, 8]
    assert "newest controlnet run" in capfd.readouterr().err
    last = found[-1]
    facts = read_facts(last["picture"])
    wanted = {
        "prompt": "ein Kreis, größer",
        "negative_prompt": "blue",
        "seed": "8",
        "steps": "2",
        "scheduler": "euler-ancestral",
        "guidance": "3",
        "conditioning_scale": "0.5",
        "conditioning_image": "other/edges.png",
        "resolution": "64x64",
    }
    assert {name: facts[name] for name in wanted} == wanted
    assert facts["base"].endswith("base")
    assert f"torch {torch.__version__}" in facts["versions"]
    again = predict(Predict(**options_of(facts["command"]), output=str(here / "again"), cpu=True))["predictions"]
    assert np.abs(pixels(again[0]["picture"]).astype(int) - pixels(last["picture"])).max() <= 1


def test_a_condition_keeps_its_shape_and_transparency_lies_over_black(here):
    assert pixels(drawn(here)[0]["picture"]).shape == (48, 64, 3)
    assert pixels(drawn(here, resolution=32)[0]["picture"]).shape == (32, 40, 3)
    flat = Image.new("RGBA", (64, 64), (9, 9, 9, 0))
    flat.save(here / "clear.png")
    Image.new("RGB", (64, 64), "black").save(here / "black.png")
    one, other = drawn(here, image=[str(here / "clear.png"), str(here / "black.png")], batch_size=1)
    assert np.array_equal(pixels(one["picture"]), pixels(other["picture"]))


def test_an_earlier_picture_is_never_lost(here):
    first = drawn(here)[0]["picture"]
    kept = pixels(first)
    other = drawn(here, prompt=["another circle"])[0]["picture"]
    assert other.endswith("edges-0-0-2.png")
    assert np.array_equal(pixels(first), kept)
    assert drawn(here)[0]["picture"] == first  # the very same one takes its own place


def test_a_file_of_inputs_with_any_letters(here):
    """With a mark of its byte order, and with letters that other than JSON take for a line's end."""
    (here / "rows.jsonl").write_text(
        json.dumps({"conditioning_image": "edges.png", "prompt": "one\u2028\x85two"}, ensure_ascii=False), "utf-8-sig"
    )
    ((_, prompt),) = read_inputs(Predict(inputs=[str(here / "rows.jsonl")]))
    assert prompt == "one\u2028\x85two"
    (here / "latin.jsonl").write_bytes('{"conditioning_image": "edges.png", "prompt": "größer"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.jsonl: not UTF-8 text \(byte \d+\); save it as UTF-8"):
        read_inputs(Predict(inputs=[str(here / "latin.jsonl")]))


def test_lines_of_a_file_and_flags_together(here, place):
    rows = [
        {"conditioning_image": "edges.png", "prompt": "one"},
        {"conditioning_image": str(place / "edges.png"), "prompt": "two"},
    ]
    (place / "other" / "in.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    found = drawn(here, inputs=["other/in.jsonl"], image=[], prompt=[])
    assert [(entry["prompt"], entry["width"]) for entry in found] == [("one", 64), ("two", 64)]
    with pytest.raises(ConfigError, match="give its prompt too"):
        drawn(here, inputs=["other/in.jsonl"], prompt=[])


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"image": ["nope.png"]}, DataError, "nope.png: no such image file"),
        ({"image": ["base/model_index.json"]}, DataError, "is not an image file"),
        ({"image": []}, ConfigError, "give a condition and a prompt"),
        ({"prompt": ["a", "b"]}, ConfigError, "2 for 1 image;"),
        ({"resolution": 60}, ConfigError, "not a multiple of 8; take 56 or 64"),
        ({"steps": 1001}, ConfigError, "1,000 timesteps"),
        ({"mixed_precision": "fp16"}, ConfigError, "fp16 needs a GPU"),
        ({"inputs": ["other"]}, ConfigError, "no JSON lines file"),
        ({"output": "edges.png"}, ToolError, "can't write edges.png"),
        ({"model": "base"}, ConfigError, "whole pipeline, not a ControlNet"),
        ({"base": "runs/controlnet-20261123-0100-aaaa/model"}, ConfigError, "--base runs/.* can't be used"),
        ({"output_dir": "nowhere"}, ConfigError, "no finished controlnet run"),
    ],
)
def test_wrong_input_is_told_and_leaves_nothing(here, given, kind, told):
    with pytest.raises(kind, match=told):
        drawn(here, **given)
    assert not list(here.glob("pictures/*"))


def test_the_base_is_the_runs_the_cards_or_the_one_given(here, place):
    config = Predict(cpu=True)
    run = "runs/controlnet-20261123-0100-aaaa"
    for model in (run, f"{run}/model"):  # the folder of the model itself knows its run
        name, was = opening.choose(Predict(model=model))
        assert opening.find_base(config, name, was).folder == place / "base"
    lone = here / "lone"
    lone.mkdir()
    for path in (place / run / "model").iterdir():
        (lone / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match="--base ID_OR_FOLDER"):
        opening.find_base(config, str(lone), {})
    (lone / "README.md").write_text(f"---\nbase_model: {place / 'base'}\n---\n# A card\n")
    assert opening.find_base(config, str(lone), {}).folder == place / "base"
    (lone / "README.md").write_text("---\nbase_model: [broken\n---\n")
    with pytest.raises(ConfigError, match="--base ID_OR_FOLDER"):
        opening.find_base(config, str(lone), {})
    assert opening.find_base(Predict(base=str(place / "base")), str(lone), {}).folder == place / "base"


def test_out_of_memory_draws_fewer_at_once_and_names_the_ways_out(here, monkeypatch, capfd):
    whole, most = opening.Painter.draw, [1]

    def limited(self, conditions, *rest, **given):
        if self.batch_size > most[0]:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return whole(self, conditions, *rest, **given)

    monkeypatch.setattr(opening.Painter, "draw", limited)
    assert len(drawn(here, n=3)) == 3
    assert "1 picture at once from here on" in capfd.readouterr().err
    most[0] = 0
    with pytest.raises(OutOfMemory, match="one picture of 64 x 48; lower --resolution"):
        drawn(here)


def test_eval_gives_the_figures_of_the_runs_own_pairs(here, place):
    from recipes.controlnet.step import Frozen
    from tasks.controlnet.batches import PairBatches, Shapes
    from tasks.controlnet.cache.encoding import tokenize
    from tasks.controlnet.data import Options, load_splits
    from tasks.controlnet.models.diffusion import Diffusion

    output = here / "drawn"
    found = evaluate(Eval(cpu=True, draw=3, steps=1, output=str(output), seed=5))
    base = pretrained.open_base(str(place / "base"))
    pairs = load_splits(Options("sample", seed=3, resolution=64, max_samples=30, max_eval_samples=6)).evaluation
    tokenizer = pretrained.load_tokenizer(base)
    batches = PairBatches(pairs, Shapes(64), seed=3, tokenize=lambda texts: tokenize(tokenizer, texts))
    frozen = Frozen(
        pretrained.load_unet(base),
        Diffusion.of(pretrained.load_scheduler(base), base.scaling_factor),
        torch.device("cpu"),
        pretrained.load_vae(base),
        pretrained.load_text_encoder(base),
    )
    net = pretrained.load_controlnet(str(place / "runs" / "controlnet-20261123-0100-aaaa"), base=base)
    with torch.inference_mode():
        wanted = frozen.measure(net, batches.collate_evaluation(np.arange(6)))
    wanted = gain.summarise(wanted, batches.bands)
    for key in ("loss", "shuffled", "none", "gain", "gain_low", "gain_none"):
        assert found[key] == pytest.approx(wanted[key], rel=1e-4, abs=1e-6)
    assert found["n"] == 6
    assert found["gain"] != 0
    agreement = found["agreement"]
    assert (agreement["kind"], agreement["n"]) == ("circles", 3)
    assert agreement["true_pictures"] > 0.9 > agreement["score"]
    assert f"true pictures {100 * agreement['true_pictures']:.1f}" in found["text"]
    assert sorted(path.name for path in output.iterdir()) == [
        *(f"000{i}{kind}.png" for i in (1, 2, 3) for kind in ("-condition", "")),
        "grid.png",
    ]
    kept = read_facts(output / "0002.png")
    assert (kept["seed"], kept["steps"]) == ("5", "1")
    json.dumps({key: value for key, value in found.items() if key != "text"}, allow_nan=False)


def test_eval_without_drawing(here, capfd):
    found = evaluate(Eval(cpu=True, data="sample", max_eval_samples=2, resolution=32, draw=0))
    assert (found["n"], "agreement" in found) == (2, False)
    with pytest.raises(ConfigError, match="not a multiple of 8"):
        evaluate(Eval(cpu=True, resolution=63))
