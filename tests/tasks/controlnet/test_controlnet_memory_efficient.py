"""Training with less kept: the same loss and gradients as diffusers' own modules give, and less memory."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch.nn import functional

from tasks.controlnet.memory_efficient import attention, feed_forward, prepare
from tasks.errors import ConfigError

SIZE, WORDS, WIDTH = 16, 5, 12
# Stable Diffusion 1: as many heads everywhere, projections by convolution; 2: heads of one width, linear projections.
KINDS = {
    "sd1": {"attention_head_dim": 2, "use_linear_projection": False},
    "sd2": {"attention_head_dim": (1, 2), "use_linear_projection": True},
}


@pytest.fixture(scope="module", params=list(KINDS))
def networks(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A UNet and a ControlNet whose zero convolutions have learnt something."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIZE,
        block_out_channels=(16, 32),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=WIDTH,
        **KINDS[request.param],
    )
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 8))
    with torch.no_grad():
        for parameter in controlnet.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    unet.requires_grad_(False).eval()
    return unet, controlnet.train()


def inputs(batch: int = 2, height: int = SIZE) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    return {
        "noisy": torch.randn(batch, 4, height, SIZE, generator=chance),
        "target": torch.randn(batch, 4, height, SIZE, generator=chance),
        "timesteps": torch.randint(0, 1000, (batch,), generator=chance),
        "hidden": torch.randn(batch, WORDS, WIDTH, generator=chance),
        "condition": torch.rand(batch, 3, 8 * height, 8 * SIZE, generator=chance),
    }


def forward(unet: Any, controlnet: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """As train_controlnet.py calls them."""
    down, mid = controlnet(
        given["noisy"],
        given["timesteps"],
        encoder_hidden_states=given["hidden"],
        controlnet_cond=given["condition"],
        return_dict=False,
    )
    found: torch.Tensor = unet(
        given["noisy"].to(unet.dtype),
        given["timesteps"],
        encoder_hidden_states=given["hidden"].to(unet.dtype),
        down_block_additional_residuals=[part.to(unet.dtype) for part in down],
        mid_block_additional_residual=mid.to(unet.dtype),
    ).sample
    return found


def trained(unet: Any, controlnet: Any, given: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients."""
    controlnet.zero_grad()
    loss = functional.mse_loss(forward(unet, controlnet, given).float(), given["target"])
    loss.backward()
    return float(loss.detach()), {name: one.grad.clone() for name, one in controlnet.named_parameters()}


def made_memory_efficient(networks: tuple[Any, Any], **settings: Any) -> tuple[Any, Any]:
    unet, controlnet = copy.deepcopy(networks)
    prepare.prepare(unet, controlnet, **settings)
    return unet, controlnet


def close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], tolerance: float) -> None:
    """Every gradient, as a share of the largest part of the whole; each of them is more than nothing."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        scale = float(expected.abs().max())
        # An attention's keys have a bias-free gradient of nearly nothing in places: judged by the largest, not each part.
        assert float((ours[name] - expected).abs().max()) <= tolerance * max(scale, 1e-5), name


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_loss_and_every_gradient_are_those_of_diffusers(networks, gradient_checkpointing, channels_last):
    given = inputs(height=24)
    loss, expected = trained(*networks, given)
    ours = made_memory_efficient(networks, gradient_checkpointing=gradient_checkpointing, channels_last=channels_last)
    found, gradients = trained(*ours, given)
    assert found == pytest.approx(loss, rel=1e-6)
    close(gradients, expected, 1e-4)
    assert all(float(one.abs().max()) > 0 for one in gradients.values())


@pytest.mark.parametrize("rows", [feed_forward.PIECE_ROWS, 7])
def test_in_float64_they_agree_to_twelve_digits(networks, monkeypatch, rows):
    """Rounding aside nothing is left: the functions are the same ones, in however small pieces the feed-forward goes."""
    monkeypatch.setattr(feed_forward, "PIECE_ROWS", rows)
    monkeypatch.setattr(feed_forward, "PIECE_BYTES", 1)
    given = {name: one.double() if one.is_floating_point() else one for name, one in inputs().items()}
    plain = tuple(copy.deepcopy(one).double() for one in networks)

    def whole(unet: Any, controlnet: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        controlnet.zero_grad()
        loss = (forward(unet, controlnet, given) - given["target"]).square().mean()
        loss.backward()
        return loss.detach(), {name: one.grad for name, one in controlnet.named_parameters()}

    ours = copy.deepcopy(plain)
    prepare.prepare(*ours, gradient_checkpointing=True)
    (loss, expected), (found, gradients) = whole(*plain), whole(*ours)
    assert abs(float(found - loss)) < 1e-12
    close(gradients, expected, 1e-10)


def test_under_autocast_with_a_base_in_bf16(networks):
    """As far from diffusers' under autocast as bf16 rounds; in the same types."""
    given = inputs()
    unet, controlnet = copy.deepcopy(networks)
    unet.bfloat16()
    ours = copy.deepcopy((unet, controlnet))
    prepare.prepare(*ours)
    results = []
    for pair in ((unet, controlnet), ours):
        pair[1].zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            prediction = forward(*pair, given)
        loss = functional.mse_loss(prediction.float(), given["target"])
        loss.backward()
        grads = {name: one.grad for name, one in pair[1].named_parameters()}
        results.append((prediction.dtype, float(loss.detach()), grads))
    (kind, loss, expected), (found_kind, found, gradients) = results
    assert found_kind == kind
    assert found == pytest.approx(loss, rel=5e-3)
    for name, grad in gradients.items():
        assert grad.dtype == torch.float32
        cosine = functional.cosine_similarity(grad.flatten(), expected[name].flatten(), dim=0)
        assert cosine > 0.97 or expected[name].abs().max() < 1e-4, name


def kept_bytes(unet: Any, controlnet: Any, given: dict[str, torch.Tensor]) -> int:
    """What the backward pass holds: every tensor saved by autograd, within functions too."""
    own = {one.untyped_storage().data_ptr() for net in (unet, controlnet) for one in net.parameters()}
    kept = {}
    mine = attention.Attended

    class Counted(mine):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            for one in (self.out, *self.parts):
                note(one)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with pytest.MonkeyPatch.context() as patch, torch.autograd.graph.saved_tensors_hooks(note, lambda one: one):
        patch.setattr(attention, "Attended", Counted)
        held = forward(unet, controlnet, given)
    assert held.requires_grad
    return sum(kept.values())


def test_keeps_less_than_half_and_less_again_with_gradient_checkpointing(networks):
    given = inputs()
    plain = kept_bytes(*networks, given)
    ours = kept_bytes(*made_memory_efficient(networks), given)
    least = kept_bytes(*made_memory_efficient(networks, gradient_checkpointing=True), given)
    assert ours < 0.5 * plain
    assert least < 0.9 * ours


def test_nothing_is_kept_of_the_base_before_the_residuals_come_in(networks):
    unet, _ = made_memory_efficient(networks)
    given = inputs()
    found = unet(given["noisy"], given["timesteps"], encoder_hidden_states=given["hidden"]).sample
    assert not found.requires_grad
    assert torch.allclose(
        found,
        networks[0](given["noisy"], given["timesteps"], encoder_hidden_states=given["hidden"]).sample,
        atol=1e-5,
    )


def test_saved_weights_and_config_are_plain_diffusers(networks, tmp_path):
    unet, controlnet = made_memory_efficient(networks)
    assert list(controlnet.state_dict()) == list(networks[1].state_dict())
    controlnet.save_pretrained(tmp_path)
    loaded = ControlNetModel.from_pretrained(tmp_path)
    assert type(loaded) is ControlNetModel
    given = inputs()
    with torch.no_grad():
        ours, theirs = forward(unet, controlnet.eval(), given), forward(networks[0], loaded.eval(), given)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_weights_read_from_a_file_let_go_of_it(networks, tmp_path):
    """Or else the file's map stays in memory beside the convolutions' copies."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    networks[0].save_pretrained(tmp_path / "unet")
    networks[1].save_pretrained(tmp_path / "controlnet")
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    controlnet = ControlNetModel.from_pretrained(tmp_path / "controlnet")
    if str(tmp_path) not in Path("/proc/self/maps").read_text(encoding="utf-8"):
        pytest.skip("weights are not mapped here")
    prepare.prepare(unet, controlnet)
    for loaded, original in zip((unet, controlnet), networks, strict=True):
        for (name, ours), theirs in zip(loaded.named_parameters(), original.parameters(), strict=True):
            assert torch.equal(ours, theirs), name
    assert str(tmp_path) not in Path("/proc/self/maps").read_text(encoding="utf-8")
    assert all(one.requires_grad for one in controlnet.parameters())


def test_gradients_accumulate_over_micro_batches(networks):
    unet, controlnet = made_memory_efficient(networks)
    given = inputs(4)
    _, whole = trained(unet, controlnet, given)
    controlnet.zero_grad()
    for part in (slice(0, 2), slice(2, 4)):
        piece = {name: one[part] for name, one in given.items()}
        (functional.mse_loss(forward(unet, controlnet, piece), piece["target"]) / 2).backward()
    close({name: one.grad for name, one in controlnet.named_parameters()}, whole, 1e-4)


def test_what_stable_diffusion_does_not_use_runs_as_in_diffusers(networks):
    """A mask over the prompt's words."""
    given = inputs()
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    results = []
    for unet in (networks[0], made_memory_efficient(networks)[0]):
        noisy = given["noisy"].clone().requires_grad_()
        found = unet(
            noisy, given["timesteps"], encoder_hidden_states=given["hidden"], encoder_attention_mask=mask
        ).sample
        results.append((found, torch.autograd.grad(found.square().sum(), noisy)[0]))
    for ours, theirs in zip(results[1], results[0], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_xformers_that_is_not_there_is_said(networks, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="xformers"):
        prepare.prepare(*networks, attention="xformers")


def test_no_autocast_of_ours_outlives_a_function(networks):
    given = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16), nullcontext():
        forward(*made_memory_efficient(networks), given)
        assert torch.is_autocast_enabled("cpu")
