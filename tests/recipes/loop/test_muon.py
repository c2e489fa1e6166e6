"""Our Muon is torch's, but for the precision of its products."""

import pytest
import torch
from torch.optim import _muon

from recipes.loop.muon import Muon

SHAPES = [(8, 8), (8, 8), (16, 8), (8, 24), (16, 8), (5, 1)]


def in_float32(grad, coefficients, steps, eps):
    """torch's iteration without its bfloat16, matrix by matrix."""
    a, b, c = coefficients
    x = grad.T if grad.size(0) > grad.size(1) else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if grad.size(0) > grad.size(1) else x


@pytest.mark.parametrize("adjust", ["match_rms_adamw", "original", None])
@pytest.mark.parametrize("nesterov", [True, False])
def test_ten_steps_are_those_of_torch(monkeypatch, adjust, nesterov):
    monkeypatch.setattr(_muon, "_zeropower_via_newtonschulz", in_float32)
    found = []
    for kind in (torch.optim.Muon, Muon):
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
        optimizer = kind(parameters, lr=0.02, weight_decay=0.1, adjust_lr_fn=adjust, nesterov=nesterov)
        generator = torch.Generator().manual_seed(1)
        for _ in range(10):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        found.append([parameter.detach() for parameter in parameters])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_bfloat16_of_torch_is_near():
    steps = []
    for kind in (torch.optim.Muon, Muon):
        torch.manual_seed(0)
        parameter = torch.nn.Parameter(torch.zeros(16, 8))
        parameter.grad = torch.randn(16, 8)
        kind([parameter], lr=1.0, weight_decay=0.0).step()
        steps.append(parameter.detach())
    torch.testing.assert_close(steps[1], steps[0], rtol=0.05, atol=0.02)
