"""The training loop on a small task of its own: cutting batches changes nothing, and a resumed run is the run itself."""

import dataclasses
import os
import signal

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from recipes import checkpoint, runs
from recipes.interrupts import Interrupts
from recipes.loop import Loop
from recipes.optimizers import decay_groups
from recipes.options import TrainOptions
from recipes.steps import shares
from recipes.work import Work
from tasks.errors import Preempted, ToolError

N, FEATURES = 50, 6


@dataclasses.dataclass
class Options(TrainOptions):
    """The shared options alone."""


class Stopper:
    """Asks for a stop by a real signal when a given batch is loaded."""

    def __init__(self, at=None, number=signal.SIGTERM):
        self.at, self.number, self.loaded = at, number, 0

    def __call__(self):
        self.loaded += 1
        if self.at is not None and self.loaded == self.at:
            os.kill(os.getpid(), self.number)


def work(dropout=0.0, stopper=None, seed=0):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, FEATURES, generator=generator)
    y = (x @ torch.randn(FEATURES, 1, generator=generator)).tanh()
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 16),
        torch.nn.Dropout(dropout),
        torch.nn.GELU(),
        torch.nn.LayerNorm(16),
        torch.nn.Linear(16, 1),
    )

    def plan(size, epoch):
        order = np.random.default_rng([seed, epoch]).permutation(N)
        return [order[start : start + size] for start in range(0, N, size)]

    def collate(numbers, epoch):
        if stopper is not None:
            stopper()
        return {"x": x[numbers], "y": y[numbers]}

    def evaluate(model, evaluator):
        parts = [
            float((model(x[numbers]) - y[numbers]).square().sum())
            for numbers in evaluator.mine(plan(evaluator.batch_size, 0))
        ]
        return {"error": sum(evaluator.gather(parts)) / N, "n": N}

    return Work(
        model=model,
        plan=plan,
        collate=collate,
        loss=lambda model, batch: (model(batch["x"]) - batch["y"]).square().squeeze(1),
        evaluate=evaluate,
        metric="error",
        greater_is_better=False,
        parameter_groups=lambda model: decay_groups(model, learning_rate=0.01, weight_decay=0.1),
        save_model=lambda model, folder: None,
        heaviest=lambda size: np.arange(size),
        examples=N,
        eval_examples=N,
    )


def options(tmp_path, **changes):
    settings = {
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 0.01,
        "optimizer": "adamw",
        "cpu": True,
        "log_steps": 1,
        "eval_batch_size": 8,
    }
    return Options(**{**settings, "output_dir": str(tmp_path / "runs"), **changes})


def train(config, task, run=None):
    run = run or runs.create(config.output_dir, "test", config)
    with Interrupts() as interrupts:
        loop = Loop(task, config, run, Accelerator(cpu=True), interrupts)
        outcome = loop.train()
    return run, outcome, task.model


def losses(run):
    return [line["loss"] for line in run.read_metrics() if line["kind"] == "train"]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_run_learns_and_logs_every_step(tmp_path):
    run, outcome, _ = train(options(tmp_path), work())
    assert outcome.steps == 28
    assert len(losses(run)) == 28
    assert outcome.metrics["error"] < losses(run)[0]
    validations = [line for line in run.read_metrics() if line["kind"] == "validation"]
    assert [line["step"] for line in validations] == [7, 14, 21, 28]
    assert outcome.metrics["error"] == pytest.approx(min(line["error"] for line in validations), rel=1e-6)


def test_the_same_seed_gives_the_same_weights(tmp_path):
    first, second = (train(options(tmp_path / str(n)), work(dropout=0.3))[2] for n in range(2))
    assert same(first, second)


def test_cutting_a_batch_into_micro_batches_changes_only_rounding(tmp_path):
    whole, _, _ = train(options(tmp_path / "a"), work())
    cut, _, _ = train(options(tmp_path / "b", gradient_accumulation_steps=4), work())
    assert losses(cut) == pytest.approx(losses(whole), abs=1e-6)


def test_the_schedule_counts_optimizer_steps(tmp_path):
    config = options(tmp_path, gradient_accumulation_steps=4, warmup_ratio=0.25)
    run, _, _ = train(config, work())
    rates = [line["learning_rate"] for line in run.read_metrics() if line["kind"] == "train"]
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) + 1 == 7
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("stop_at", [9, 12, 17, 31])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_preempted_and_run_again_gives_the_very_same_weights(tmp_path, stop_at, number):
    _, whole, expected = train(options(tmp_path / "whole"), work(dropout=0.3))
    config = options(tmp_path / "cut", checkpoint_steps=3)
    run = runs.create(config.output_dir, "test", config)
    with pytest.raises(Preempted, match=f"stopped by {number.name}; (checkpoint of step|no step was done yet)"):
        train(config, work(dropout=0.3, stopper=Stopper(stop_at, number)), run)
    assert run.status()["state"] == "preempted"
    again, outcome, model = train(config, work(dropout=0.3, seed=0), run)
    assert same(model, expected)
    assert outcome.metrics == whole.metrics
    assert len(losses(again)) == 28


def test_the_time_limit_ends_with_a_checkpoint(tmp_path):
    config = options(tmp_path)
    run = runs.create(config.output_dir, "test", config)
    task = work()
    with pytest.raises(Preempted, match=r"stopped by --max-hours"), Interrupts(max_hours=1e-9) as interrupts:
        Loop(task, config, run, Accelerator(cpu=True), interrupts).train()
    _, outcome, _ = train(config, work(), run)
    assert outcome.steps == 28


def test_resume_takes_the_older_checkpoint_where_the_newest_is_torn(tmp_path, capsys):
    _, _, expected = train(options(tmp_path / "whole"), work(dropout=0.3))
    config = options(tmp_path / "cut", checkpoint_steps=3, keep_checkpoints=3)
    run = runs.create(config.output_dir, "test", config)
    with pytest.raises(Preempted):
        train(config, work(dropout=0.3, stopper=Stopper(20)), run)
    newest = checkpoint.all_in(run.checkpoints)[-1]
    (newest / "model.safetensors").write_bytes(b"torn")
    _, _, model = train(config, work(dropout=0.3), run)
    assert f"checkpoint {newest} is not whole" in capsys.readouterr().err
    assert same(model, expected)


def test_early_stop_keeps_the_best(tmp_path):
    task = work()
    values = iter([3.0, 1.0, 2.0, 2.5, 0.5])
    task.evaluate = lambda model, evaluator: {"error": next(values, 9.0), "n": 1}
    config = options(tmp_path, epochs=10, early_stopping_patience=2)
    run, outcome, model = train(config, task)
    assert outcome.best_step == 14
    assert outcome.steps == 28
    assert outcome.notes == ["stopped early at step 28"]
    best = work().model
    checkpoint.load_weights(run.checkpoints / "step-00000014", best)
    assert same(model, best)


def test_a_loss_that_is_not_a_number_ends_the_run(tmp_path):
    task = work()
    task.loss = lambda model, batch: model(batch["x"]).squeeze(1) * float("nan")
    with pytest.raises(ToolError, match="the loss is nan at step 1; lower --learning-rate"):
        train(options(tmp_path), task)


def test_what_does_not_fit_is_cut_smaller_with_the_same_losses(tmp_path):
    whole, _, _ = train(options(tmp_path / "a"), work())
    task = work()
    plain = task.loss

    def hungry(model, batch):
        if len(batch["x"]) > 2:
            raise torch.OutOfMemoryError("as the allocator would")
        return plain(model, batch)

    task.loss = hungry
    cut, _, _ = train(options(tmp_path / "b"), task)
    assert losses(cut) == pytest.approx(losses(whole), abs=1e-6)


def test_one_example_too_much_is_exit_4_with_a_way_out(tmp_path):
    task = work()

    def hungry(model, batch):
        raise torch.OutOfMemoryError("as the allocator would")

    task.loss = hungry
    with pytest.raises(ToolError, match="--gradient-checkpointing") as caught:
        train(options(tmp_path), task)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(("world", "accumulation", "size"), [(1, 1, 8), (2, 1, 8), (2, 3, 7), (3, 2, 4)])
def test_shares_hold_each_example_once(world, accumulation, size):
    batch = np.arange(size) + 100
    cut = shares(batch, world, accumulation)
    assert len(cut) == world
    assert sorted(np.concatenate([piece for rank in cut for piece in rank])) == list(batch)


def test_the_same_command_finds_its_unfinished_run_and_no_other(tmp_path):
    config = options(tmp_path)
    run = runs.create(config.output_dir, "test", config)
    assert runs.find_unfinished(config.output_dir, "test", config) is None  # this process holds it
    run.lock.close()
    found = runs.find_unfinished(
        config.output_dir, "test", dataclasses.replace(config, log_steps=7, keep_checkpoints=3)
    )
    assert found is not None
    assert found.path == run.path
    found.lock.close()
    assert runs.find_unfinished(config.output_dir, "test", dataclasses.replace(config, seed=1)) is None
    assert runs.find_unfinished(config.output_dir, "other", config) is None
    run.update(state="finished")
    assert runs.find_unfinished(config.output_dir, "test", config) is None


def test_a_resume_that_would_change_the_result_is_refused_with_the_difference(tmp_path):
    config = options(tmp_path)
    run = runs.create(config.output_dir, "test", config)
    run.lock.close()
    with pytest.raises(ToolError, match=r"learning-rate: 0\.01 there, 0\.02 here"):
        runs.check_resumable(run, "test", dataclasses.replace(config, learning_rate=0.02))
    runs.check_resumable(run, "test", dataclasses.replace(config, log_steps=5))
