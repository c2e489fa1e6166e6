"""The average of the weights: it is what is evaluated and kept, and it survives a stop."""

import copy

import pytest
import torch
from test_loop import Stopper, losses, options, same, train, work

from recipes import checkpoint, runs
from tasks.errors import Preempted

DECAY = 0.9


def test_the_average_is_what_is_evaluated_and_kept(tmp_path):
    plain, _, _ = train(options(tmp_path / "plain", epochs=1), work())
    run, _, _ = train(options(tmp_path / "ema", epochs=1, ema_decay=DECAY), work())
    assert losses(run) == losses(plain)  # the training itself is the same
    # By hand: the weights of every step, from runs that end there.
    expected = None
    for step in range(1, 8):
        _, _, at = train(
            options(tmp_path / f"to{step}", max_steps=step, lr_scheduler="constant", warmup_ratio=0), work()
        )
        decay = min(DECAY, (1 + step) / (10 + step))
        now = copy.deepcopy(at.state_dict())
        expected = now if expected is None else {k: decay * expected[k] + (1 - decay) * now[k] for k in now}
    constant = options(tmp_path / "constant", max_steps=7, lr_scheduler="constant", warmup_ratio=0, ema_decay=DECAY)
    _, outcome, kept = train(constant, work())
    for name, value in kept.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6)
    reference = work()
    reference.model.load_state_dict(kept.state_dict())
    assert outcome.metrics["error"] == pytest.approx(float(error(reference)), rel=1e-5)


def error(task):
    class Whole:
        batch_size = 50

        @staticmethod
        def mine(batches):
            return iter(batches)

        @staticmethod
        def gather(parts):
            return parts

    task.model.eval()
    return task.evaluate(task.model, Whole)["error"]


def test_the_best_step_s_average_is_kept_not_its_weights(tmp_path):
    task = work()
    values = iter([9.0, 9.0, 3.0, 1.0, 2.0, 2.5])  # two while the estimate is made
    task.evaluate = lambda model, evaluator: {"error": next(values, 9.0), "n": 1}
    run, outcome, kept = train(options(tmp_path, epochs=4, ema_decay=DECAY), task)
    assert outcome.best_step == 14
    best = checkpoint.read(run.checkpoints / "step-00000014")
    averages = {name: value for name, value in best.optimizer.items() if name.endswith(".ema")}
    assert len(averages) == len(list(kept.parameters()))
    for parameter in kept.parameters():
        assert any(value.shape == parameter.shape and torch.equal(value, parameter) for value in averages.values())
    assert not same(kept, _raw(best))


def _raw(content):
    model = work().model
    checkpoint.set_weights(model, content.weights)
    return model


def test_preempted_and_run_again_gives_the_very_same_average(tmp_path):
    _, whole, expected = train(options(tmp_path / "whole", ema_decay=DECAY), work(dropout=0.3))
    config = options(tmp_path / "cut", checkpoint_steps=3, ema_decay=DECAY)
    run = runs.create(config.output_dir, "test", config)
    with pytest.raises(Preempted):
        train(config, work(dropout=0.3, stopper=Stopper(17)), run)
    _, outcome, model = train(config, work(dropout=0.3), run)
    assert same(model, expected)
    assert outcome.metrics["error"] == pytest.approx(whole.metrics["error"], rel=1e-6)
