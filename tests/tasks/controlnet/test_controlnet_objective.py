"""The denoising objective against diffusers' own schedulers, and the conditioning gain on losses whose gain is known."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from tasks.controlnet.models.diffusion import Diffusion, losses
from tasks.controlnet.score import gain

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TIMES = torch.tensor([0, 1, 250, 600, 999])


def tensors(count=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(len(TIMES), 4, 8, 8, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_noise_and_target_are_those_of_the_scheduler(kind):
    scheduler = DDPMScheduler(**SCHEDULE, prediction_type=kind)
    ours = Diffusion.of(scheduler, 0.18215)
    latents, noise = tensors()
    assert torch.equal(ours.noisy(latents, noise, TIMES), scheduler.add_noise(latents, noise, TIMES))
    expected = noise if kind == "epsilon" else scheduler.get_velocity(latents, noise, TIMES)
    assert torch.equal(ours.target(latents, noise, TIMES), expected)
    assert ours.timesteps == 1000


def test_min_snr_weights_are_the_paper_s():
    for kind in ("epsilon", "v_prediction"):
        scheduler = DDPMScheduler(**SCHEDULE, prediction_type=kind)
        snr = compute_snr(scheduler, TIMES)
        clipped = torch.minimum(snr, torch.full_like(snr, 5.0))
        expected = clipped / snr if kind == "epsilon" else clipped / (snr + 1)
        assert torch.allclose(Diffusion.of(scheduler, 1.0).weights(TIMES, 5.0), expected, rtol=1e-5)
        assert torch.equal(Diffusion.of(scheduler, 1.0).weights(TIMES, None), torch.ones(len(TIMES)))


def test_no_weight_is_infinite_where_nothing_of_the_picture_is_left():
    scheduler = DDPMScheduler(**SCHEDULE, prediction_type="epsilon", rescale_betas_zero_snr=True)
    ours = Diffusion(scheduler.alphas_cumprod.clone(), "epsilon", 1.0)
    ours.alphas_cumprod[-1] = 0.0
    assert float(ours.weights(torch.tensor([999]), 5.0)) == 1.0


def test_losses_are_means_over_an_example():
    prediction, target = tensors()
    expected = [float(torch.nn.functional.mse_loss(one, two)) for one, two in zip(prediction, target, strict=True)]
    assert losses(prediction, target).tolist() == pytest.approx(expected, rel=1e-6)


def test_the_gain_of_known_losses():
    chance = np.random.default_rng(0)
    own = chance.uniform(0.1, 0.3, (400, 5))
    found = np.stack([own, own * 1.25, own * 2.0], axis=2)
    figures = gain.summarise(found, gain.bands(1000))
    assert figures["gain"] == pytest.approx(0.2)
    assert (figures["gain_low"], figures["gain_high"]) == pytest.approx((0.2, 0.2))
    assert figures["gain_none"] == pytest.approx(0.5)
    assert figures["loss"] == pytest.approx(own.mean())
    assert figures["loss_low"] < figures["loss"] < figures["loss_high"]
    assert list(figures["by_band"]) == ["0-199", "200-399", "400-599", "600-799", "800-999"]
    assert figures["by_band"]["200-399"]["own"] == pytest.approx(own[:, 1].mean())
    assert figures["n"] == 400
    assert figures["per_pair"]["own"] == pytest.approx(own.mean(axis=1))


def test_without_any_effect_the_interval_of_the_gain_holds_zero():
    chance = np.random.default_rng(1)
    hits = 0
    for _ in range(40):
        base = chance.uniform(0.1, 0.3, (100, 5, 1))
        found = base + chance.normal(0, 0.01, (100, 5, 3))
        figures = gain.summarise(found, gain.bands(1000))
        hits += figures["gain_low"] <= 0 <= figures["gain_high"]
    assert hits >= 34  # 95 % of 40 are 38


def test_every_pair_is_given_another_s_condition():
    for count in (2, 3, 50):
        partner = gain.derangement(count, 5)
        assert sorted(partner.tolist()) == list(range(count))
        assert (partner != np.arange(count)).all()
