"""One side of the checkpoint benchmark: a model of 350 MB trained for some steps, checkpoints saved in one of three ways.

    python checkpoint_side.py WAY STEPS EVERY_SECONDS OUTPUT.json

WAY: `none`; `tool`, the loop's own; `accelerate`, `Accelerator.save_state` from within the step, as the usual scripts do.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recipes.distributed.device import make_accelerator
from recipes.loop.loop import Loop
from recipes.options import TrainOptions
from recipes.process.interrupts import Interrupts
from recipes.runs import folder as run_folder
from recipes.work import Batch, Evaluator, Work

WIDTH, LAYERS, TOKENS, EXAMPLES, BATCH = 1024, 7, 32, 4096, 4


class Encoder(nn.Module):
    """A plain transformer encoder of 88 M parameters with a linear head."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 16, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """float32 [b, t, WIDTH] -> [b]."""
        return self.head(self.encoder(tokens).mean(1)).squeeze(1)


class SignWork(Work):
    """Random sequences and the sign of their mean."""

    greater_is_better = False

    def __init__(self, options: TrainOptions) -> None:
        torch.manual_seed(0)
        super().__init__(Encoder(), options, examples=EXAMPLES, metric="loss")

    def plan(self, batch_size: int, epoch: int) -> list[np.ndarray]:
        return list(np.arange(EXAMPLES).reshape(-1, batch_size))

    def collate(self, numbers: np.ndarray, epoch: int) -> Batch:
        generator = torch.Generator().manual_seed(int(numbers[0]))
        x = torch.randn(len(numbers), TOKENS, WIDTH, generator=generator)
        return {"x": x, "y": x.mean((1, 2)).sign()}

    def training_step(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        return (model(batch["x"]) - batch["y"]).square().sum(), len(batch["y"])

    def evaluate(self, model: nn.Module, evaluator: Evaluator) -> dict[str, Any]:
        return {"loss": 0.0, "n": 0}


def save_by_accelerate(loop: Loop, folder: Path) -> None:
    """Lets the loop save as the usual scripts do: the state of everything, at once, the older one removed first."""

    def save(step: int, *rest: Any) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        loop.accelerator.save_state(str(folder / f"checkpoint-{step}"))

    loop.saver.save = save  # type: ignore[method-assign, assignment]


def main() -> None:
    """Trains and writes what it took."""
    way, steps, every, output = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    config = TrainOptions(
        max_steps=steps,
        batch_size=BATCH,
        learning_rate=1e-4,
        weight_decay=0.01,
        optimizer="adamw",
        cpu=True,
        log_steps=1,
        checkpoint_minutes=0 if way == "none" else every / 60,
        output_dir=str(output.parent / "runs"),
    )
    run = run_folder.create(config.output_dir, "bench", config)
    saved: list[int] = []
    with Interrupts() as interrupts:
        accelerator = make_accelerator(config)
        loop = Loop(SignWork(config), config, run, accelerator, interrupts)
        if way == "accelerate":
            save_by_accelerate(loop, output.parent / "state")
        inner = loop.saver.save

        def save(step: int, *rest: Any) -> None:
            if step < steps:
                saved.append(step)
                inner(step, *rest)

        loop.saver.save = save  # type: ignore[method-assign, assignment]
        loop.train()
    lines = [line for line in run.read_metrics() if line["kind"] == "train"]
    digest = hashlib.sha256()
    for value in loop.plain.state_dict().values():
        digest.update(value.contiguous().numpy().tobytes())
    result = {
        "seconds": lines[-1]["seconds"] - lines[0]["seconds"],
        "saved": saved,
        "weights": digest.hexdigest(),
        "model_bytes": sum(value.numel() * 4 for value in loop.plain.state_dict().values()),
        "ended": time.time(),
    }
    output.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
