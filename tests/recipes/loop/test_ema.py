"""The average of the weights: it is what is evaluated and kept, and it survives a stop."""

import pytest
import torch
from test_loop import Stopper, losses, options, same, train, work

from recipes.checkpoints import format as checkpoint
from recipes.runs import folder as run_folder
from recipes.work import Evaluator
from tasks.errors import Preempted

DECAY = 0.9


@torch.no_grad()
def error(task, model):
    """What the task's own evaluation makes of a model."""
    alone = Evaluator.alone(torch.device("cpu"), 50)
    return task.evaluate(model.eval(), alone)["error"]


def test_the_training_itself_is_the_same(tmp_path):
    plain, _, _ = train(options(tmp_path / "plain", epochs=1), work())
    averaged, _, _ = train(options(tmp_path / "ema", epochs=1, ema_decay=DECAY), work())
    assert losses(averaged) == losses(plain)


def test_the_average_is_what_is_evaluated_and_kept(tmp_path):
    constant = {"lr_scheduler": "constant", "warmup_ratio": 0}
    # By hand: the weights of every step, from runs that end there.
    steps = [train(options(tmp_path / f"to{n}", max_steps=n, **constant), work())[2].state_dict() for n in range(1, 8)]
    expected = steps[0]
    for step, now in enumerate(steps[1:], start=2):
        decay = min(DECAY, (1 + step) / (10 + step))
        expected = {name: decay * expected[name] + (1 - decay) * now[name] for name in now}
    task = work()
    _, outcome, kept = train(options(tmp_path / "ema", max_steps=7, ema_decay=DECAY, **constant), task)
    for name, value in kept.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6)
    assert outcome.metrics["error"] == pytest.approx(error(task, kept), rel=1e-5)


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
    raw = work().model
    checkpoint.set_weights(raw, best.weights)
    assert not same(kept, raw)


def test_preempted_and_run_again_gives_the_very_same_average(tmp_path):
    _, whole, expected = train(options(tmp_path / "whole", ema_decay=DECAY), work(dropout=0.3))
    config = options(tmp_path / "cut", checkpoint_steps=3, ema_decay=DECAY)
    run = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(Preempted):
        train(config, work(dropout=0.3, stopper=Stopper(17)), run)
    _, outcome, model = train(config, work(dropout=0.3), run)
    assert same(model, expected)
    assert outcome.metrics["error"] == pytest.approx(whole.metrics["error"], rel=1e-6)
