"""The gradients that the fast training step writes by hand, dropout on, against finite differences or plain formulas."""

import pytest
import torch

from tasks.forecast.fast.pytorch import attention, inputs, layers


def doubles(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def mask_of(*shape, dtype=torch.float64):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(9)) > 0.3).to(dtype)


def test_gradients_of_norm_gelu_and_embedding():
    """Against finite differences, masks on."""
    x, branch, weight, bias = doubles(4, 2, 3), doubles(4, 2, 3, seed=1), doubles(4, seed=2), doubles(4, seed=3)
    mask = mask_of(4, 2, 3)

    def norm(x, branch, weight, bias):
        return layers._Norm.apply(x, branch, mask, 0.7, weight, bias, 1e-5)

    assert torch.autograd.gradcheck(norm, (x, branch, weight, bias))
    expected = torch.nn.functional.layer_norm((x + branch * mask / 0.7).permute(1, 2, 0), (4,), weight, bias, 1e-5)
    torch.testing.assert_close(norm(x, branch, weight, bias), expected.permute(2, 0, 1))
    assert torch.autograd.gradcheck(lambda x: layers._Gelu.apply(x, mask.clone(), 0.7), (x,))
    expected = torch.nn.functional.gelu(x) * mask / 0.7
    torch.testing.assert_close(layers._Gelu.apply(x, mask.clone(), 0.7), expected)

    features, positions = doubles(6, 2, 3).detach(), doubles(3, 4).detach()

    def embedding(static, weight):
        return inputs._Embedding.apply(features.clone(), static, weight, positions, 3)

    assert torch.autograd.gradcheck(embedding, (doubles(2, 2), doubles(4, 6)))


def plain_attention(q, k, v, heads, scaling, bias, mask, keep):
    """By the formula, channels first."""
    q, k, v = (x.view(heads, -1, *x.shape[1:]).permute(0, 2, 3, 1) for x in (q, k, v))
    scores = q @ k.transpose(2, 3) * scaling + (0.0 if bias is None else bias.t())
    chances = scores.softmax(-1) * mask.transpose(2, 3) / keep
    return (chances @ v).permute(0, 3, 1, 2).flatten(0, 1)


@pytest.mark.parametrize("size", [1.0, 40.0])  # the second: 2**score would overflow
@pytest.mark.parametrize("itself", [True, False])
def test_gradients_of_attention(itself, size):
    """Against autograd's of the plain formula, with dropout and heads, to itself without the future and to another."""
    heads, scaling, keep, steps, keys = 2, 0.6, 0.7, 5, 5 if itself else 7
    q = (doubles(6, 3, steps) * size).float().detach()
    kv = doubles(12, 3, keys, seed=1).float().detach()
    bias = torch.full((5, 5), -torch.inf).tril(-1) if itself else None
    mask, grad = mask_of(heads, 3, keys, steps, dtype=torch.float32), doubles(6, 3, steps, seed=4).float().detach()
    inputs = [torch.cat((q, kv)).requires_grad_()] if itself else [q.requires_grad_(), kv.requires_grad_()]
    parts = inputs[0].chunk(3) if itself else (inputs[0], *inputs[1].chunk(2))
    expected = plain_attention(*parts, heads, scaling, bias, mask, keep)
    found = attention._Full.apply(*inputs, *[None] * itself, heads, scaling, bias, mask.clone(), keep)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(
        torch.autograd.grad(found, inputs, grad), torch.autograd.grad(expected, inputs, grad), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_of_sparse_attention(causal):
    """Some queries attend, with dropout; the others take the mean, or the sum so far, of the values."""
    heads, scaling, keep, steps = 2, 0.6, 0.7, 5
    qkv = doubles(18, 3, steps).float().detach().requires_grad_()
    chosen = torch.rand(heads, 3, steps, generator=torch.Generator().manual_seed(1)).topk(2, dim=2).indices
    asked = torch.zeros(heads, 3, steps, dtype=torch.bool).scatter_(2, chosen, True)
    whole = mask_of(heads, 3, steps, steps, dtype=torch.float32)
    mask = whole.gather(3, chosen[:, :, None].expand(-1, -1, steps, -1))
    bias = torch.full((steps, steps), -torch.inf).tril(-1) if causal else None
    q, k, v = qkv.chunk(3)
    lazy = v.cumsum(2) if causal else v.mean(2, keepdim=True).expand_as(v)
    attended = plain_attention(q, k, v, heads, scaling, bias, whole, keep)
    expected = torch.where(asked.repeat_interleave(len(q) // heads, 0), attended, lazy)
    found = attention._Sparse.apply(qkv, chosen, heads, scaling, causal, mask.clone(), keep)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    grad = doubles(6, 3, steps, seed=4).float().detach()
    (one,), (other,) = torch.autograd.grad(found, qkv, grad), torch.autograd.grad(expected, qkv, grad)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
