"""Each side's step beside its matrix products alone, measured in one process. Writes one JSON object.

python -m benchmarks.vqa_arithmetic --inputs FOLDER --batch-size 4 --steps 3 --output FILE [--profile]
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import ViltForQuestionAnswering

from benchmarks import arithmetic, vqa_checks


def guide_step(inputs: Path, batch_size: int, steps: int) -> Callable[[], None]:
    """A step as the guide's side takes it, over batches that are ready in memory."""
    model = ViltForQuestionAnswering.from_pretrained(inputs / "model").train()
    batches = itertools.cycle(vqa_checks.guide_batches(inputs, batch_size, steps))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    return training_step(model, lambda: model(**next(batches)).loss, optimizer)


def our_step(inputs: Path, batch_size: int, steps: int) -> Callable[[], None]:
    """A step as the tool takes it; its batches are made anew from its cache of images each time, as in training."""
    from recipes.distributed.device import keep_memory

    keep_memory()
    parts, work = vqa_checks.our_parts(inputs, batch_size)
    parts.model.train()
    plan = itertools.cycle(work.plan(batch_size, 0)[:steps])
    optimizer = torch.optim.AdamW(parts.model.parameters(), lr=1e-5, fused=True)
    return training_step(parts.model, lambda: vqa_checks.mean_loss(work, work.collate(next(plan), 0)), optimizer)


def training_step(
    model: torch.nn.Module, loss: Callable[[], torch.Tensor], optimizer: torch.optim.Optimizer
) -> Callable[[], None]:
    """Forward, backward, clipping and update."""

    def step() -> None:
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(step: Callable[[], None], steps: int, profile: bool) -> dict[str, Any]:
    """The step's time, that of its products, and what they are, as means over `steps` batches."""
    seconds = arithmetic.median_seconds(step, steps)
    products: Counter[arithmetic.Product] = Counter()
    for _ in range(steps):
        products += arithmetic.record(step)
    alone = arithmetic.seconds_alone(products) / steps
    operations = arithmetic.flops(products) / steps
    found = {
        "step_seconds": seconds,
        "matmul_seconds": alone,
        "gflop": operations / 1e9,
        "gflop_per_second": operations / 1e9 / alone,
        "share": alone / seconds,
    }
    return {**found, "profile": arithmetic.profile(step, steps)} if profile else found


def main() -> None:
    """Writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    # The guide's first: the tool's tells the allocator to keep memory, for the rest of the process.
    guide = measure(guide_step(options.inputs, options.batch_size, options.steps), options.steps, options.profile)
    ours = measure(our_step(options.inputs, options.batch_size, options.steps), options.steps, options.profile)
    options.output.write_text(json.dumps({"guide": guide, "tool": ours}), encoding="utf-8")


if __name__ == "__main__":
    main()
