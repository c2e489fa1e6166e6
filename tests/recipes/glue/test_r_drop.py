"""R-Drop: two draws of dropout a text, and what holds them together."""

import pytest
import torch
import torch.nn.functional as F

from recipes.glue.inference import losses
from recipes.glue.r_drop import doubled, r_drop_losses

LABELS = torch.tensor([0, 2, 1, 1])


def logits(seed, width=3):
    return torch.randn(4, width, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_papers_loss_halved():
    first, second = logits(1), logits(2)
    found = r_drop_losses(torch.cat([first, second]), LABELS, 0.7)
    p, q = F.softmax(first, -1), F.softmax(second, -1)
    kl = (p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)
    paper = F.cross_entropy(first, LABELS, reduction="none") + F.cross_entropy(second, LABELS, reduction="none")
    torch.testing.assert_close(found, (paper + 0.7 * kl / 2) / 2)


def test_where_both_draws_agree_it_is_the_plain_loss():
    torch.testing.assert_close(r_drop_losses(torch.cat([logits(1)] * 2), LABELS, 5.0), losses(logits(1), LABELS))


def test_a_regression_holds_the_numbers_together():
    first, second, wanted = logits(1, 1), logits(2, 1), torch.tensor([0.0, 1.0, 2.0, 3.0])
    found = r_drop_losses(torch.cat([first, second]), wanted, 2.0)
    first, second = first[:, 0], second[:, 0]
    expected = ((first - wanted) ** 2 + (second - wanted) ** 2) / 2 + (first - second) ** 2
    torch.testing.assert_close(found, expected)


def test_a_batch_is_doubled_without_its_labels():
    batch = {"input_ids": torch.tensor([[1, 2], [3, 0]]), "attention_mask": None, "labels": torch.tensor([0, 1])}
    found = doubled(batch)
    assert found["input_ids"].tolist() == [[1, 2], [3, 0], [1, 2], [3, 0]]
    assert found["attention_mask"] is None
    assert "labels" not in found


@pytest.mark.parametrize("weight", [0.5, 4.0])
def test_the_divergence_pulls_the_draws_together(weight):
    both = torch.cat([logits(1), logits(2)]).requires_grad_()
    (r_drop_losses(both, LABELS, weight) - r_drop_losses(both, LABELS, 0.0)).sum().backward()
    moved = (both - 0.1 * both.grad).detach()
    gap = [(F.softmax(x, -1)[:4] - F.softmax(x, -1)[4:]).abs().sum().item() for x in (both.detach(), moved)]
    assert gap[1] < gap[0]
