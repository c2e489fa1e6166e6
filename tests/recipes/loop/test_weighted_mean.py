"""Means over something else than examples, and models of which a part is frozen."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_loop import Stopper, Task, options, train

from recipes.runs.folder import create
from tasks.errors import ConfigError, Preempted


class TokenTask(Task):
    """Each example has between 1 and 5 tokens; the loss is the mean over the tokens of a step."""

    def training_step(self, model, batch):
        each = self.losses(model, batch)
        tokens = 1 + (batch["x"][:, 0].abs() * 1000).long() % 5
        return (each * tokens).sum(), tokens.sum()


def trained(tmp_path, **changes):
    task = TokenTask()
    train(options(tmp_path, epochs=1, **changes), task)
    return task.model.state_dict()


def reference(size):
    """The same steps by hand: over each whole batch, the sum of all tokens' losses by the number of tokens."""
    task = TokenTask()
    optimizer = torch.optim.AdamW(task.parameter_groups(task.model), betas=(0.9, 0.999), eps=1e-8)
    batches = task.plan(size, 0)
    steps, warmup = len(batches), round(0.1 * len(batches))
    for step, numbers in enumerate(batches):
        factor = step / max(1, warmup) if step < warmup else max(0.0, (steps - step) / max(1, steps - warmup))
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * factor
        total, weight = task.training_step(task.model, task.collate(numbers, 0))
        (total / weight).backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return task.model.state_dict()


def close(some, others):
    return all(torch.allclose(value, others[name], atol=1e-6) for name, value in some.items())


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_mean_over_tokens_is_exact_however_a_batch_is_cut(tmp_path, pieces):
    assert close(trained(tmp_path, gradient_accumulation_steps=pieces), reference(8))


def frozen_task(scale=1.0):
    task = Task()
    first = task.model[0]
    with torch.no_grad():
        first.weight *= scale
    first.requires_grad_(False)
    return task


def test_a_checkpoint_holds_what_is_trained(tmp_path):
    task = frozen_task()
    before = task.model[0].weight.clone()
    run, _, _ = train(options(tmp_path, epochs=1), task)
    saved = load_file(sorted(run.checkpoints.iterdir())[-1] / "model.safetensors")
    assert set(saved) == {"3.weight", "3.bias", "4.weight", "4.bias"}
    assert torch.equal(task.model[0].weight, before)
    assert np.isfinite(run.last_metrics()["error"])


def test_it_goes_on_with_the_same_frozen_weights_and_no_others(tmp_path):
    whole, _, _ = train(options(tmp_path / "whole", epochs=2), frozen_task())
    config = options(tmp_path / "cut", epochs=2)
    run, stopped = create(config.output_dir, "test", config), frozen_task()
    stopped.stopper = Stopper(20)
    with pytest.raises(Preempted):
        train(config, stopped, run)
    with pytest.raises(ConfigError, match="other weights"):
        train(config, frozen_task(scale=2.0), run)
    train(config, frozen_task(), run)
    expected, found = (load_file(sorted(one.checkpoints.iterdir())[-1] / "model.safetensors") for one in (whole, run))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
