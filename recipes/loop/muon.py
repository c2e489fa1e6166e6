"""Muon with its matrices of one shape taken together, in the precision that the device computes fast.

torch.optim.Muon goes matrix by matrix in bfloat16, which a CPU without instructions for it does ten times slower than float32.
"""

from __future__ import annotations

from typing import Any

import torch

from recipes.process.dtensor import shard_like, whole


class Muon(torch.optim.Muon):
    """torch's Muon, the same update: momentum, Nesterov, Newton-Schulz, decoupled decay; float32 on a CPU, bfloat16 on a GPU."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step over all groups."""
        for group in self.param_groups:
            params: list[torch.Tensor] = []
            grads: list[torch.Tensor] = []
            momenta: list[torch.Tensor] = []
            self._init_group(group, params, grads, momenta)
            shapes: dict[torch.Size, list[int]] = {}
            for number, param in enumerate(params):
                shapes.setdefault(param.shape, []).append(number)
            for numbers in shapes.values():
                self._step_alike(group, [(params[n], grads[n], momenta[n]) for n in numbers])

    def _step_alike(self, group: dict[str, Any], alike: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> None:
        rate, momentum = float(group["lr"]), group["momentum"]
        updates = []
        for _, grad, buffer in alike:
            buffer.lerp_(grad, 1 - momentum)
            updates.append(grad.lerp(buffer, momentum) if group["nesterov"] else buffer)
        # Of matrices in shards each process computes the whole update and takes its piece.
        made = orthogonal(
            torch.stack([whole(update) for update in updates]),
            group["ns_coefficients"],
            group["ns_steps"],
            group["eps"],
        )
        rows, columns = made.shape[1:]
        adjusted = rate * 0.2 * max(rows, columns) ** 0.5
        if group["adjust_lr_fn"] != "match_rms_adamw":
            adjusted = rate * max(1, rows / columns) ** 0.5
        for (param, _, _), update in zip(alike, made, strict=True):
            param.mul_(1 - rate * group["weight_decay"])
            piece = shard_like(update, param)
            param.add_(update if piece is None else piece, alpha=-adjusted)


def orthogonal(
    matrices: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """Near-orthogonal matrices with the same row and column spaces, by a quintic Newton-Schulz iteration.

    Args:
        matrices: [k, m, n].

    Returns:
        [k, m, n], in float32 on a CPU and bfloat16 elsewhere. Source: Jordan et al. 2024, as torch.optim.Muon does it.
    """
    a, b, c = coefficients
    x = matrices.float() if matrices.device.type == "cpu" else matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x
