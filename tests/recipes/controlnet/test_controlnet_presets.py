"""Presets by a card's size: what they set, what they leave, and what they are reckoned to need."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from recipes.controlnet import presets
from recipes.controlnet.config import PRESETS, Train
from tasks.controlnet.memory_efficient import feed_forward, prepare
from tasks.controlnet.models import footprint
from tasks.errors import ConfigError

SMALL: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
}


def test_every_preset_that_can_be_asked_for_is_there():
    assert tuple(presets.PRESETS) == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_the_batch(name):
    config, lines = presets.apply(Train(memory=name, batch_size=8))
    assert config.batch_size == 8
    micro = -(-8 // config.gradient_accumulation_steps)
    assert micro == min(8, presets.PRESETS[name].pictures)
    assert lines[0].startswith(f"{name}: --mixed-precision ")


def test_the_smallest_says_all_that_it_sets():
    config, lines = presets.apply(Train(memory="8gb"))
    assert lines == [
        "8gb: --mixed-precision bf16 · --gradient-checkpointing · --optimizer adamw-8bit · --eval-batch-size 1 · --cache disk · "
        "--gradient-accumulation-steps 4"
    ]
    assert (config.optimizer, config.gradient_checkpointing, config.mixed_precision) == ("adamw-8bit", True, "bf16")


def test_what_is_given_stays_and_is_said():
    config, lines = presets.apply(Train(memory="8gb", optimizer="adamw", mixed_precision="no", cache="ram"))
    assert (config.optimizer, config.mixed_precision, config.cache) == ("adamw", "no", "ram")
    assert lines[1] == "as given: --mixed-precision no · --optimizer adamw · --cache ram"
    assert config.gradient_checkpointing


def test_without_one_nothing_changes():
    config = Train()
    assert presets.apply(config) == (config, [])


def test_a_card_that_is_too_small_names_the_preset_to_take():
    with pytest.raises(ConfigError, match=r"--memory 24gb: .*take --memory 12gb"):
        presets.check("24gb", 15_000_000_000, 12_500_000_000)
    with pytest.raises(ConfigError, match="larger card"):
        presets.check("8gb", 7_000_000_000, 4_000_000_000)
    assert "of the card's" in presets.check("8gb", 7_000_000_000, 8_500_000_000)
    assert "no GPU here" in presets.check("8gb", 7_000_000_000, None)


@pytest.mark.parametrize("card", [True, False])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_the_count_is_that_of_a_real_step(gradient_checkpointing, card, monkeypatch):
    """The same operations with values: fake and real tensors come and go alike."""
    monkeypatch.setattr(feed_forward, "PIECE_ROWS", 16)
    monkeypatch.setattr(feed_forward, "PIECE_BYTES", 1)
    whole = prepare.prepare
    monkeypatch.setattr(prepare, "prepare", lambda *nets, **options: whole(*nets, **{**options, "pieces": not card}))
    settings = {"height": 64, "width": 64, "batch_size": 2}
    counted = footprint.footprint(SMALL, gradient_checkpointing=gradient_checkpointing, **settings)
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(SMALL)
    controlnet = ControlNetModel.from_unet(unet)
    prepare.prepare(unet, controlnet, gradient_checkpointing=gradient_checkpointing, channels_last=False)
    with footprint.Tracker() as tracker:
        footprint._step(unet, controlnet, (2, 64, 64), torch.float32, [])
    parameters = sum(one.numel() for net in (unet, controlnet) for one in net.parameters())
    assert counted.weights == 4 * parameters
    assert counted.optimizer == 8 * sum(one.numel() for one in controlnet.parameters())
    assert counted.step == pytest.approx(tracker.peak, rel=0.03)
    assert counted.total == counted.weights + counted.optimizer + counted.step


def test_what_saves_memory_is_counted_as_less(monkeypatch):
    def step(**more: Any) -> int:
        return footprint.footprint(SMALL, height=256, width=256, **more).step

    whole = step()
    with monkeypatch.context() as patched:  # diffusers' own modules
        patched.setattr(prepare, "prepare", lambda unet, controlnet, **_: unet.requires_grad_(False))
        plain = step()
    assert whole < 0.7 * plain
    assert step(precision=torch.bfloat16) < 0.8 * whole
    assert step(batch_size=2) < 0.95 * whole  # the condition's embedding takes a picture at a time
    gradients = 4 * sum(
        one.numel() for one in ControlNetModel.from_unet(UNet2DConditionModel.from_config(SMALL)).parameters()
    )
    assert 0 < step(accumulated=True) - whole <= 1.5 * gradients


def test_the_tracker_sees_memory_that_comes_and_goes():
    with footprint.Tracker() as tracker:
        first = torch.zeros(1000)
        second = first.view(10, 100)
        del first
        second += 1
        del second
        third = torch.zeros(500)
        third.untyped_storage().resize_(0)
        torch.ones(600)
    assert tracker.peak == 4000


def test_an_estimate_follows_the_settings(monkeypatch):
    seen = {}

    def footprint_(unet_config: Any, **settings: Any) -> footprint.Footprint:
        seen.update(settings)
        return footprint.Footprint(1, 2, 3)

    monkeypatch.setattr(footprint, "footprint", footprint_)
    config, _ = presets.apply(Train(memory="8gb", resolution=256))
    assert presets.estimate_bytes(config) == 6 + presets.BESIDES
    assert seen == {
        "height": 256, "width": 256, "batch_size": 1, "accumulated": True, "gradient_checkpointing": True,
        "precision": torch.bfloat16, "eight_bit": True,
    }  # fmt: skip
    presets.estimate_bytes(dataclasses.replace(config, mixed_precision="no", gradient_accumulation_steps=1))
    assert (seen["batch_size"], seen["accumulated"], seen["precision"]) == (4, False, torch.float32)
