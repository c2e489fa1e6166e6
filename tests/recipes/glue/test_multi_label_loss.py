"""Tests of the loss of several labels: transformers' own, and R-Drop's divergence of Bernoulli variables."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from recipes.glue.inference import losses
from recipes.glue.r_drop import r_drop_losses


def test_the_loss_is_the_models_own():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=30, num_labels=4, problem_type="multi_label_classification", **sizes)
    model = BertForSequenceClassification(config).eval()
    tokens, labels = torch.randint(0, 30, (5, 7)), torch.randint(0, 2, (5, 4)).float()
    own = model(input_ids=tokens, labels=labels)
    each = losses(own.logits, labels)
    assert each.shape == (5,)
    torch.testing.assert_close(each.mean(), own.loss)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_r_drop_draws_each_label_together(weight):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(10, 3, generator=generator)
    labels = torch.randint(0, 2, (5, 3), generator=generator).float()
    one, other = (torch.distributions.Bernoulli(logits=part) for part in logits.chunk(2))
    apart = sum(torch.distributions.kl_divergence(*pair) for pair in ((one, other), (other, one)))
    plain = (losses(logits[:5], labels) + losses(logits[5:], labels)) / 2
    torch.testing.assert_close(r_drop_losses(logits, labels, weight), plain + weight / 4 * apart.mean(dim=1))
    same = torch.cat([logits[:5], logits[:5]])
    torch.testing.assert_close(r_drop_losses(same, labels, weight), losses(logits[:5], labels))
