"""Pictures under a ControlNet: those of the library's own pipeline, whatever they are drawn beside, and nothing else is touched."""

import dataclasses

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from untrained import random_base

from tasks.controlnet.cache import encoding
from tasks.controlnet.drawing.generation import (
    SCHEDULERS,
    Decoder,
    Painter,
    as_picture,
    fit,
    frame_for,
    make_scheduler,
    of_one_length,
    picture_seed,
)
from tasks.controlnet.models import pretrained
from tasks.errors import ConfigError, Preempted

PROMPTS = ["burly wood circle with orange background", "a circle"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A base, its modules, a ControlNet that says something, conditions and hidden states."""
    base = pretrained.open_base(str(random_base(tmp_path_factory.mktemp("base") / "base")))
    unet, vae = pretrained.load_unet(base), pretrained.load_vae(base)
    vae.decoder.conv_out.weight.data *= 20  # untrained it makes all but grey, in which eight bits show no difference
    vae.save_pretrained(base.folder / "vae")
    controlnet = pretrained.new_controlnet(base, unet)
    torch.manual_seed(0)
    for block in (
        *controlnet.controlnet_down_blocks,
        controlnet.controlnet_mid_block,
        controlnet.controlnet_cond_embedding.conv_out,
    ):
        torch.nn.init.normal_(block.weight, std=0.5)
    tokenizer, encoder = pretrained.load_tokenizer(base), pretrained.load_text_encoder(base)
    hidden = encoding.encode_prompts(encoder, encoding.tokenize(tokenizer, PROMPTS))
    empty = encoding.encode_prompts(encoder, encoding.tokenize(tokenizer, [""]))
    chance = np.random.default_rng(0)
    conditions = [Image.fromarray(chance.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in PROMPTS]
    return base, unet, controlnet, vae, conditions, hidden, empty


def painter(parts, scheduler="unipc", **given):
    base, unet, controlnet, vae = parts[:4]
    return Painter(base, unet, controlnet, Decoder(vae), CPU, scheduler, **given)


def draw(parts, pen=None, n=1, seed=5, pairs=(0, 1), seeds=None, **given):
    """n pictures for each of the pairs, a list of them each."""
    conditions, hidden, empty = parts[4:]
    rows = [pair for pair in pairs for _ in range(n)]
    options = {"steps": 3, "guidance": 7.5, "seeds": seeds, **given}
    if seeds is None:
        options["seeds"] = [picture_seed(seed, pair, picture) for pair in pairs for picture in range(n)]
    drawn = (pen or painter(parts)).draw([conditions[row] for row in rows], hidden[rows], empty, **options)
    return [drawn[start : start + n] for start in range(0, len(drawn), n)]


def same(one, other):
    return np.array_equal(np.asarray(one), np.asarray(other))


def apart(one, other):
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max())


@pytest.fixture(scope="module")
def whole(parts):
    """The library's pipeline from disk, with its text encoder and the whole VAE."""
    from diffusers import StableDiffusionControlNetPipeline

    found = StableDiffusionControlNetPipeline.from_pretrained(parts[0].folder, controlnet=parts[2], safety_checker=None)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_pictures_are_those_of_the_whole_pipeline_from_disk(parts, whole, scheduler):
    whole.scheduler = make_scheduler(scheduler, parts[0].scheduler_config, parts[0].prediction_type)
    drawn = draw(parts, painter(parts, scheduler), scale=0.7, seeds=[11, 12])
    for condition, prompt, seed, picture in zip(parts[4], PROMPTS, (11, 12), drawn, strict=True):
        wanted = whole(
            prompt,
            condition,
            num_inference_steps=3,
            guidance_scale=7.5,
            controlnet_conditioning_scale=0.7,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        assert apart(picture[0], wanted) <= 1  # one at a time or two at once round apart


def test_a_picture_is_the_same_alone_and_in_company(parts):
    """Its seed is that of (seed, pair, picture)."""
    together = draw(parts, n=3)
    one_by_one = draw(parts, painter(parts, batch_size=1), n=3)
    assert [len(row) for row in together] == [3, 3]
    assert (
        max(
            apart(a, b)
            for row, other in zip(together, one_by_one, strict=True)
            for a, b in zip(row, other, strict=True)
        )
        <= 1
    )
    second = draw(parts, painter(parts, batch_size=1), n=3, pairs=[1])
    assert all(same(a, b) for a, b in zip(second[0], one_by_one[1], strict=True))
    assert len({picture.tobytes() for row in one_by_one for picture in row}) == 6
    assert not same(one_by_one[0][0], draw(parts, painter(parts, batch_size=1), seed=6)[0][0])


def test_condition_prompt_scale_and_negative_prompt_count(parts):
    conditions, hidden, empty = parts[4:]
    pen, options = painter(parts, batch_size=1), {"steps": 2, "guidance": 5.0, "seeds": [picture_seed(0, 0, 0)]}
    first = pen.draw(conditions[:1], hidden[:1], empty, **options)[0]
    assert same(first, pen.draw(conditions[:1], hidden[:1], empty, **options)[0])
    others = [
        pen.draw(conditions[1:], hidden[:1], empty, **options),
        pen.draw(conditions[:1], hidden[1:], empty, **options),
        pen.draw(conditions[:1], hidden[:1], empty, **options, scale=0.0),
        pen.draw(conditions[:1], hidden[:1], hidden[1:], **options),
    ]
    assert all(not same(first, other[0]) for other in others)


def test_without_guidance_there_is_no_second_pass(parts):
    rows = []
    handle = parts[1].register_forward_pre_hook(
        lambda module, args, given: rows.append(len(given.get("sample", args[0] if args else None))), with_kwargs=True
    )
    try:
        draw(parts, guidance=1.0, steps=1)
        draw(parts, guidance=1.5, steps=1)
    finally:
        handle.remove()
    assert rows == [2, 4]


def test_a_run_in_training_finds_everything_as_it_was(parts):
    controlnet = parts[2]
    controlnet.train()
    controlnet.mid_block.eval()
    controlnet.enable_gradient_checkpointing()
    before = (
        [part.training for part in controlnet.modules()],
        {k: v.clone() for k, v in controlnet.state_dict().items()},
    )
    state = torch.get_rng_state()
    try:
        with torch.inference_mode():  # as the loop evaluates
            drawn = draw(parts, steps=2)
        assert [part.training for part in controlnet.modules()] == before[0]
        assert controlnet.is_gradient_checkpointing
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(value, before[1][name]) for name, value in controlnet.state_dict().items())
    finally:
        controlnet.disable_gradient_checkpointing()
        controlnet.eval()
    assert same(drawn[0][0], draw(parts, steps=2)[0][0])


def test_a_stop_ends_the_drawing_between_two_steps(parts):
    asked = []

    def check():
        asked.append(1)
        if len(asked) == 2:
            raise Preempted("stopped by SIGTERM")

    parts[2].train()
    with pytest.raises(Preempted):
        draw(parts, steps=9, check=check)
    assert len(asked) == 2
    assert parts[2].training
    parts[2].eval()


def test_progress_counts_every_picture_at_every_step(parts):
    counted = []
    draw(parts, painter(parts, "ddim", batch_size=3), steps=4, n=2, done=counted.append)
    assert counted == [3, 3, 3, 3, 1, 1, 1, 1]


def test_sizes_go_by_the_condition(parts):
    conditions, hidden, empty = parts[4:]
    wide = conditions[1].resize((91, 40))
    drawn = painter(parts).draw([conditions[0], wide], hidden, empty, seeds=[1, 2], steps=1, guidance=1.0)
    assert [picture.size for picture in drawn] == [(64, 64), (88, 40)]


@pytest.mark.parametrize(
    ("size", "resolution", "wanted"),
    [
        ((512, 512), None, (512, 512)),
        ((515, 700), None, (512, 696)),
        ((640, 480), 512, (680, 512)),
        ((5, 9), None, (8, 8)),
    ],
)
def test_frames_are_of_the_conditions_shape_in_multiples_of_eight(size, resolution, wanted):
    frame = frame_for(size, resolution)
    assert (frame.width, frame.height) == wanted
    assert fit(Image.new("RGB", size), frame).size == wanted


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_samplers_keep_the_bases_prediction_and_schedule(parts, scheduler):
    config = make_scheduler(scheduler, {**parts[0].scheduler_config, "clip_sample": True}, "v_prediction").config
    assert config.prediction_type == "v_prediction"
    assert (config.beta_start, config.beta_end, config.beta_schedule) == (0.00085, 0.012, "scaled_linear")
    assert not config.get("clip_sample", False)


def test_more_steps_than_timesteps_are_told(parts):
    with pytest.raises(ConfigError, match="1,000 timesteps"):
        draw(parts, steps=1001)


def test_a_base_of_half_precision_draws_nearly_the_same(parts):
    base, _, controlnet, vae, conditions, hidden, empty = parts
    half = pretrained.load_unet(base, torch.bfloat16)
    pen = Painter(base, half, controlnet, Decoder(vae), CPU, autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    small = [condition.resize((32, 32)) for condition in conditions[:1]]
    drawn = pen.draw(small, hidden[:1], empty, seeds=[3], steps=2, guidance=1.0)
    exact = painter(parts).draw(small, hidden[:1], empty, seeds=[3], steps=2, guidance=1.0)
    spread = np.abs(np.asarray(drawn[0]).astype(int) - np.asarray(exact[0]))
    assert 0 < spread.mean() < 4
    assert half.dtype == torch.bfloat16


def test_the_decoder_alone_decodes_as_the_vae(parts):
    vae = parts[3]
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    wanted = vae.decode(latents / vae.config.scaling_factor).sample
    decoder = Decoder(vae)
    assert decoder.factor == 8
    assert torch.equal(decoder(latents), wanted)
    assert [same(a, as_picture(b)) for a, b in zip(decoder.pictures(latents), wanted, strict=True)] == [True, True]
    assert sum(part.numel() for part in decoder.parameters()) < sum(part.numel() for part in vae.parameters())


def test_a_vae_of_another_factor(tmp_path, parts):
    base = pretrained.open_base(str(random_base(tmp_path / "base", vae_factor=4, prediction_type="v_prediction")))
    unet = pretrained.load_unet(base)
    pen = Painter(base, unet, pretrained.new_controlnet(base, unet), Decoder(pretrained.load_vae(base)), CPU)
    drawn = pen.draw(parts[4], parts[5], parts[6], seeds=[1, 2], steps=2, guidance=3.0)
    assert [picture.size for picture in drawn] == [(64, 64), (64, 64)]
    epsilon = dataclasses.replace(base, prediction_type="epsilon")
    other = Painter(epsilon, unet, pen.controlnet, pen.decoder, CPU).draw(
        *parts[4:], seeds=[1, 2], steps=2, guidance=3.0
    )
    assert not same(drawn[0], other[0])


def test_a_compiled_base_is_not_compiled_anew_for_drawing(parts):
    wanted = draw(parts, steps=1)
    compiled = pretrained.load_unet(parts[0])
    compiled.compile(backend=lambda graph, inputs: pytest.fail("was compiled"))
    pen = Painter(parts[0], compiled, parts[2], Decoder(parts[3]), CPU)
    assert same(draw(parts, pen, steps=1)[0][0], wanted[0][0])


def test_a_long_prompt_beside_a_short_negative_is_drawn_as_the_library_draws_it(parts):
    base, _, controlnet, _, conditions, _, empty = parts
    tokenizer, encoder = pretrained.load_tokenizer(base), pretrained.load_text_encoder(base)
    long = "burly wood circle with orange background " * 4
    (hidden,) = encoding.encode_captions(encoder, tokenizer, [long], encoding.CHUNK)
    assert len(hidden) == 2 * empty.shape[1]
    (ours,) = painter(parts).draw(conditions[:1], [hidden], empty, seeds=[1], steps=3, guidance=7.5)
    pipeline = diffusers.StableDiffusionControlNetPipeline.from_pretrained(
        base.folder, controlnet=controlnet, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = make_scheduler("unipc", base.scheduler_config, base.prediction_type)
    prompt, negative = of_one_length(hidden[None], empty)
    generator = torch.Generator().manual_seed(1)
    its = pipeline(
        prompt_embeds=prompt,
        negative_prompt_embeds=negative,
        image=conditions[0],
        num_inference_steps=3,
        generator=generator,
    ).images[0]
    assert np.abs(np.asarray(ours, int) - np.asarray(its, int)).max() <= 1
    (short,) = painter(parts).draw(conditions[:1], [hidden[:16]], empty, seeds=[1], steps=3, guidance=7.5)
    assert not same(ours, short)
