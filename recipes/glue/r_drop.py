"""R-Drop (Wu et al. 2021, "R-Drop: Regularized Dropout for Neural Networks"): consistency between two dropout masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recipes.glue.inference import losses
from recipes.work import Batch


def doubled(batch: Batch) -> Batch:
    """The batch [b] with each text once more behind it [2 b], without labels: one pass draws both masks."""
    return {
        name: torch.cat([value, value]) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
        if name != "labels"
    }


def r_drop_losses(logits: torch.Tensor, labels: torch.Tensor, weight: float) -> torch.Tensor:
    """Half the paper's loss, so that it is the plain one where both draws agree: float32 [b].

    Args:
        logits: [2 b, labels] of a doubled batch.
        labels: [b]; of a regression the answers' squared distance takes the place of the divergence. Of several labels
            [b, labels], each a Bernoulli variable; their mean, as the loss is.
        weight: the paper's alpha.
    """
    first, second = logits.float().chunk(2)
    plain = (losses(first, labels) + losses(second, labels)) / 2
    if labels.dim() == 2:
        # Of Bernoulli variables log p - log (1 - p) is the logit, so that both divergences add up to the like.
        return plain + weight / 4 * ((first.sigmoid() - second.sigmoid()) * (first - second)).mean(dim=-1)
    if labels.is_floating_point():
        return plain + weight / 2 * F.mse_loss(first[:, 0], second[:, 0], reduction="none")
    one, other = F.log_softmax(first, dim=-1), F.log_softmax(second, dim=-1)
    # KL(p || q) + KL(q || p) = sum of (p - q) (log p - log q)
    apart = ((one.exp() - other.exp()) * (one - other)).sum(dim=-1)
    return plain + weight / 4 * apart
