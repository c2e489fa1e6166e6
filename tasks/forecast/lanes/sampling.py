"""Informer's last decoder layer at the newest position, compiled."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.forecast.lanes import library as native
from tasks.forecast.lanes.library import address


def applies(table: Tensor | None, width: int) -> bool:
    """Whether the compiled layer is there and reads the table."""
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
    d, seen, times = wide // 4, torch.tensor(keys[0]), torch.tensor(keys[1])
    branch, x, way = torch.empty(paths, d), torch.empty(paths, d), way.contiguous()
    settings = native.Newest(
        groups=-(-paths // native.lanes()), threads=torch.get_num_threads(), paths=paths, length=way.shape[1], steps=steps,
        ways=ways, heads=heads, width=d // heads, active=active, drawn=len(seen), table=address(table), way=address(way),
        seen=address(seen), times=address(times), branch=address(branch), input=address(x),
    )  # fmt: skip
    native.call("newest_forward", settings)
    return branch, x
