"""Informer's own layers, compiled: the distilling one of training, and its decoder's last attention in sampling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast.simd import native
from tasks.forecast.fast.simd.kernels import from_lanes, run, to_lanes


def shrink(module: Any, x: Tensor, windows: int) -> Tensor:
    """What `InformerConvLayer` makes of x [groups, steps, d, lanes], half the steps; batch norm's record moves on as in the module."""
    norm, (groups, steps, d, lanes) = module.norm, x.shape
    if norm.momentum is None or not norm.track_running_stats or not norm.affine or windows * steps < 2:
        return to_lanes(module(from_lanes(x, windows)))
    mean, deviation, sums = norm.running_mean.clone(), norm.running_var.clone(), torch.empty(groups, 2 * d)
    a = native.Shrink(groups=groups, windows=windows, d=d, steps=steps, training=norm.training, eps=norm.eps)
    a.hold(mean=mean, deviation=deviation, sums=sums)
    a.allocate(normed=x.numel())
    weights = {"w": module.downConv.weight.permute(0, 2, 1).contiguous(), "b": module.downConv.bias}
    weights |= {"gamma": norm.weight, "beta": norm.bias}
    y = run(a, {"x": x}, weights, {"y": (groups, (steps - 1) // 2 + 1, d, lanes)})
    if norm.training:
        count = windows * steps
        with torch.no_grad():
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(sums.view(-1)[:d] * (count / (count - 1)), norm.momentum)
            norm.num_batches_tracked += 1
    return y


def newest_applies(table: Tensor | None, width: int) -> bool:
    """Whether `newest` is there and reads the table."""
    known = table is not None and table.device.type == "cpu" and table.dtype == torch.float32
    return known and width <= native.WIDEST_HEAD and native.library() is not None


def newest(
    table: Tensor, way: Tensor, heads: int, active: int, keys: tuple[list[int], list[float]]
) -> tuple[Tensor, Tensor]:
    """The attention of the newest position, and the layer's input there, [paths, d] each.

    Args:
        table: float32 [paths, steps, ways, 4 d]: query (for powers of 2), key, value and input of each position, for each way.
        way: int64 [paths, length]: which of them is the position's.
        active: how many queries attend; the others take the values' sum.
        keys: the distinct ones that queries are measured by, and their shares.
    """
    paths, steps, ways, wide = table.shape
    d, seen, way = wide // 4, torch.tensor(keys[0]), way.contiguous()
    a = native.Newest(
        groups=-(-paths // native.lanes()), paths=paths, length=way.shape[1], steps=steps, ways=ways, heads=heads,
        width=d // heads, active=active, drawn=len(seen),
    )  # fmt: skip
    a.hold(table=table, way=way, seen=seen, times=torch.tensor(keys[1]))
    branch, x = a.output("branch", (paths, d)), a.output("input", (paths, d))
    native.call(a.forward, a)
    return branch, x
