"""The memory-efficient modules prove themselves against diffusers' own, or give way to them."""

import pytest
import torch
from diffusers import ControlNetModel
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.nn import functional

from tasks.controlnet.memory_efficient import attention, convolution, feed_forward, library_check, prepare
from tasks.controlnet.models.diffusion import predict
from tasks.controlnet.tiny import pipeline

SETTINGS = [{}, {"gradient_checkpointing": True}]


def networks(fine_attention=True, dtype=torch.float32):
    torch.manual_seed(0)
    unet = pipeline.build_unet((8, 16), 12, groups=4, fine_attention=fine_attention)
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 8))
    return unet.requires_grad_(False).eval().to(dtype), controlnet.train()


def prepared(gradient_checkpointing=False, **given):
    unet, controlnet = networks(**given)
    prepare.prepare(unet, controlnet, gradient_checkpointing=gradient_checkpointing)
    return unet, controlnet


def kinds(*nets):
    return [type(module) for net in nets for module in net.modules()]


def trained(unet, controlnet):
    """Loss and gradients of a batch."""
    generator = torch.Generator().manual_seed(1)
    noisy, target = torch.randn(2, 2, 4, 8, 8, generator=generator)
    hidden, condition = torch.randn(2, 5, 12, generator=generator), torch.rand(2, 3, 64, 64, generator=generator)
    loss = functional.mse_loss(predict(unet, controlnet, noisy, torch.tensor([3, 700]), hidden, condition), target)
    loss.backward()
    return loss.detach(), [one.grad for one in controlnet.parameters()]


@pytest.mark.parametrize("settings", SETTINGS, ids=["kept", "recomputed"])
@pytest.mark.parametrize("fine_attention", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_they_agree_nothing_is_changed(settings, fine_attention, dtype):
    unet, controlnet = prepared(**settings, fine_attention=fine_attention, dtype=dtype)
    before, state = kinds(unet, controlnet), torch.get_rng_state()
    weights = [one.clone() for one in controlnet.parameters()]
    checkpointing = bool(settings)
    assert library_check.keep_if_equal(unet, controlnet, gradient_checkpointing=checkpointing) is None
    assert torch.equal(torch.get_rng_state(), state)
    assert kinds(unet, controlnet) == before
    assert prepare.MemoryEfficientConv2d in before
    assert (unet.training, controlnet.training) == (False, True)
    assert not any(one.requires_grad for one in unet.parameters())
    for one, other in zip(controlnet.parameters(), weights, strict=True):
        assert one.requires_grad
        assert one.grad is None
        assert torch.equal(one, other)


def scaled(function, number):
    """The function with what it gives, or the numbered part of it, five per cent larger."""

    def call(*arguments, **given):
        found = function(*arguments, **given)
        if not isinstance(found, tuple):
            return None if found is None else 1.05 * found
        return tuple(1.05 * one if place == number and one is not None else one for place, one in enumerate(found))

    return call


def newer_resnet(self, input_tensor, temb, *args, **kwargs):
    """Another formula, as a newer version of diffusers might have it."""
    hidden = self.conv1(functional.silu(self.norm1(input_tensor)))
    hidden = hidden + self.time_emb_proj(temb)[:, :, None, None]
    hidden = self.conv2(functional.silu(self.norm2(hidden)))
    return hidden + (input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor))


PLANTED = {
    "attention": (attention, "sdpa", 0),
    "an attention's weights' gradients": (attention, "by_weight", 0),
    "a convolution": (convolution, "convolve", 0),
    "a convolution's input's gradient": (convolution, "convolve_back", 0),
    "a convolution's weight's gradient": (convolution, "convolve_back", 1),
    "a norm's weight's gradient": (attention, "layer_norm_back", 1),
    "a feed-forward": (feed_forward, "project", 0),
    "a feed-forward's second weight's gradient": (feed_forward, "_back", 5),
    "the embedding of conditions": (prepare, "checkpoint", 0),
}


@pytest.mark.parametrize("settings", SETTINGS, ids=["kept", "recomputed"])
@pytest.mark.parametrize("planted", [*PLANTED, "diffusers"])
def test_where_they_differ_diffusers_own_modules_run(monkeypatch, planted, settings):
    if planted == "diffusers":
        monkeypatch.setattr(ResnetBlock2D, "forward", newer_resnet)
    else:
        module, name, number = PLANTED[planted]
        monkeypatch.setattr(module, name, scaled(getattr(module, name), number))
    unet, controlnet = prepared(**settings)
    sentence = library_check.keep_if_equal(unet, controlnet, gradient_checkpointing=bool(settings))
    assert "differs from diffusers " in sentence
    assert sentence.endswith("the library's is used")
    library = networks()
    if settings:
        for network in library:
            network.enable_gradient_checkpointing()
    assert kinds(unet, controlnet) == kinds(*library)
    assert {network.is_gradient_checkpointing for network in (unet, controlnet)} == {bool(settings)}
    (loss, gradients), (expected, theirs) = trained(unet, controlnet), trained(*library)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    for one, other in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_modules_that_fail_give_way_too(monkeypatch):
    unet, controlnet = prepared()
    monkeypatch.setattr(convolution, "aten", nn.Module())
    sentence = library_check.keep_if_equal(unet, controlnet, gradient_checkpointing=False)
    assert "fails beside diffusers" in sentence
    assert torch.isfinite(trained(unet, controlnet)[0])
