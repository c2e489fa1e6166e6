"""The training loop on a small task of its own: cutting batches changes nothing, and a resumed run is the run itself."""

import dataclasses
import errno
import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from recipes.checkpoints import format as checkpoint
from recipes.checkpoints.resume import pick_run
from recipes.config import option
from recipes.loop.loader import shares
from recipes.loop.loop import Loop
from recipes.options import TrainOptions
from recipes.process import dtensor, worker
from recipes.process.interrupts import Interrupts
from recipes.runs import environment, find
from recipes.runs import folder as run_folder
from recipes.work import Work
from tasks.errors import ConfigError, Preempted, ToolError

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


class Task(Work):
    """A small regression whose losses a test may replace."""

    greater_is_better = False

    def __init__(self, dropout=0.0, stopper=None, seed=0, computed_by=""):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(N, FEATURES, generator=generator)
        self.y = (self.x @ torch.randn(FEATURES, 1, generator=generator)).tanh()
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, 16),
            torch.nn.Dropout(dropout),
            torch.nn.GELU(),
            torch.nn.LayerNorm(16),
            torch.nn.Linear(16, 1),
        )
        shared = Options(seed=seed, learning_rate=0.01, weight_decay=0.1)
        super().__init__(model, shared, examples=N, eval_examples=N, metric="error", computed_by=computed_by)
        self.stopper = stopper

    def collate(self, numbers, epoch):
        if self.stopper is not None:
            self.stopper()
        return {"x": self.x[numbers], "y": self.y[numbers]}

    def losses(self, model, batch):
        return (model(batch["x"]) - batch["y"]).square().squeeze(1)

    def training_step(self, model, batch):
        each = self.losses(model, batch)
        return each.float().sum(), len(each)

    def evaluate(self, model, evaluator):
        parts = [
            float((model(self.x[numbers]) - self.y[numbers]).square().sum())
            for numbers in evaluator.mine(self.plan(evaluator.batch_size, 0))
        ]
        return {"error": sum(evaluator.gather(parts)) / N, "n": N}


def work(**given):
    return Task(**given)


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
    run = run or run_folder.create(config.output_dir, "test", config)
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
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_preempted_and_run_again_gives_the_very_same_weights(tmp_path, stop_at, number):
    _, whole, expected = train(options(tmp_path / "whole"), work(dropout=0.3))
    config = options(tmp_path / "cut", checkpoint_steps=3)
    run = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(Preempted, match=f"stopped by {number.name}; (checkpoint of step|no step was done yet)"):
        train(config, work(dropout=0.3, stopper=Stopper(stop_at, number)), run)
    assert run.status()["state"] == "preempted"
    again, outcome, model = train(config, work(dropout=0.3, seed=0), run)
    assert same(model, expected)
    assert outcome.metrics == whole.metrics
    assert len(losses(again)) == 28


def test_a_time_limit_that_is_over_before_the_first_step_is_told(tmp_path):
    config = options(tmp_path, max_hours=1e-9)
    run = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(ConfigError, match="before a step was done"), Interrupts(max_hours=1e-9) as interrupts:
        Loop(work(), config, run, Accelerator(cpu=True), interrupts).train()
    assert checkpoint.all_in(run.checkpoints) == []


def test_the_time_limit_ends_with_a_checkpoint(tmp_path, monkeypatch):
    config = options(tmp_path)
    run = run_folder.create(config.output_dir, "test", config)
    task = work()
    loss, passes = task.losses, []

    def late(model, batch):
        passes.append(0)
        if len(passes) == 20:
            monkeypatch.setattr(interrupts, "_limit", 1e-6)
        return loss(model, batch)

    task.losses = late
    with Interrupts(max_hours=1.0) as interrupts:
        loop = Loop(task, config, run, Accelerator(cpu=True), interrupts)
        with pytest.raises(Preempted, match=r"stopped by --max-hours"):
            loop.train()
    assert 0 < run.status()["step"] < 20
    _, outcome, _ = train(config, work(), run)
    assert outcome.steps == 28


def test_resume_takes_the_older_checkpoint_where_the_newest_is_torn(tmp_path, capsys):
    _, _, expected = train(options(tmp_path / "whole"), work(dropout=0.3))
    config = options(tmp_path / "cut", checkpoint_steps=3, keep_checkpoints=3)
    run = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(Preempted):
        train(config, work(dropout=0.3, stopper=Stopper(20)), run)
    newest = checkpoint.all_in(run.checkpoints)[-1]
    (newest / "model.safetensors").write_bytes(b"torn")
    _, _, model = train(config, work(dropout=0.3), run)
    assert f"checkpoint {newest} is not whole" in capsys.readouterr().err
    assert same(model, expected)


def test_early_stop_keeps_the_best(tmp_path):
    task = work()
    values = iter([9.0, 9.0, 3.0, 1.0, 2.0, 2.5, 0.5])  # two while the estimate is made
    task.evaluate = lambda model, evaluator: {"error": next(values, 9.0), "n": 1}
    config = options(tmp_path, epochs=10, early_stopping_patience=2)
    run, outcome, model = train(config, task)
    assert outcome.best_step == 14
    assert outcome.steps == 28
    assert outcome.notes == ["stopped early at step 28"]
    best = work().model
    checkpoint.set_weights(best, checkpoint.read(run.checkpoints / "step-00000014").weights)
    assert same(model, best)


def test_a_loss_that_is_not_a_number_ends_the_run(tmp_path):
    task = work()
    task.losses = lambda model, batch: model(batch["x"]).squeeze(1) * float("nan")
    with pytest.raises(ToolError, match="the loss is nan at step 1; lower --learning-rate"):
        train(options(tmp_path), task)


def test_what_does_not_fit_is_cut_smaller_with_the_same_losses(tmp_path):
    whole, _, _ = train(options(tmp_path / "a"), work())
    task = work()
    plain = task.losses

    def hungry(model, batch):
        if len(batch["x"]) > 2:
            raise torch.OutOfMemoryError("as the allocator would")
        return plain(model, batch)

    task.losses = hungry
    cut, _, _ = train(options(tmp_path / "b"), task)
    assert losses(cut) == pytest.approx(losses(whole), abs=1e-6)


def test_one_example_too_much_is_exit_4_with_a_way_out(tmp_path):
    task = work()

    def hungry(model, batch):
        raise torch.OutOfMemoryError("as the allocator would")

    task.losses = hungry
    with pytest.raises(ToolError, match="--gradient-checkpointing") as caught:
        train(options(tmp_path), task)
    assert caught.value.exit_code == 4


def test_a_worker_out_of_memory_asks_its_launcher_for_twice_the_pieces_that_it_is_at(tmp_path, monkeypatch):
    config = options(tmp_path)
    with Interrupts() as interrupts:
        loop = Loop(work(), config, run_folder.Run(tmp_path), Accelerator(cpu=True), interrupts)
    loop.at.accumulation = 4  # found by trying
    loop.accelerator = SimpleNamespace(num_processes=2)
    monkeypatch.setenv(worker.NEEDED, str(tmp_path / "needed"))
    with pytest.raises(worker.SmallerPieces, match="go on from the last checkpoint in 8 pieces"):
        loop._halve(64)
    assert worker.asked_for(tmp_path / "needed") == 8


@pytest.mark.parametrize(("world", "accumulation", "size"), [(1, 1, 8), (2, 1, 8), (2, 3, 7), (3, 2, 4)])
def test_shares_hold_each_example_once(world, accumulation, size):
    batch = np.arange(size) + 100
    cut = shares(batch, world, accumulation)
    assert len(cut) == world
    assert sorted(np.concatenate([piece for rank in cut for piece in rank])) == list(batch)


def test_the_same_command_finds_its_unfinished_run_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(find, "HELD_SECONDS", 0.0)
    config = options(tmp_path)
    run = run_folder.create(config.output_dir, "test", config)
    assert find.find_unfinished(config.output_dir, "test", config) is None  # this process holds it
    run.lock.close()
    found = find.find_unfinished(
        config.output_dir, "test", dataclasses.replace(config, log_steps=7, keep_checkpoints=3)
    )
    assert found is not None
    assert found.path == run.path
    found.lock.close()
    assert find.find_unfinished(config.output_dir, "test", dataclasses.replace(config, seed=1)) is None
    assert find.find_unfinished(config.output_dir, "other", config) is None
    run.update(state="finished")
    assert find.find_unfinished(config.output_dir, "test", config) is None


def test_a_resume_that_would_change_the_result_is_refused_with_the_difference(tmp_path):
    config = options(tmp_path)
    run = run_folder.create(config.output_dir, "test", config)
    run.lock.close()
    with pytest.raises(ToolError, match=r"learning-rate: 0\.01 there, 0\.02 here"):
        find.check_resumable(run, "test", dataclasses.replace(config, learning_rate=0.02))
    find.check_resumable(run, "test", dataclasses.replace(config, log_steps=5))


def test_a_run_that_goes_back_to_a_checkpoint_drops_the_later_ones_and_ends_the_same(tmp_path):
    _, _, expected = train(options(tmp_path / "whole"), work(dropout=0.3))
    config = options(tmp_path / "cut", checkpoint_steps=3, keep_checkpoints=9)
    run = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(Preempted):
        train(config, work(dropout=0.3, stopper=Stopper(25)), run)
    older = checkpoint.all_in(run.checkpoints)[1]
    run.lock.close()
    config = dataclasses.replace(config, resume=str(older))
    again, start_from = pick_run("test", config, "")
    assert start_from == older
    task = work(dropout=0.3)
    with Interrupts() as interrupts:
        loop = Loop(task, config, again, Accelerator(cpu=True), interrupts, start_from)
        loop.interrupts.deferred = True
        os.kill(os.getpid(), signal.SIGTERM)  # before its first step
        with pytest.raises(Preempted):
            loop.train()
    assert checkpoint.all_in(run.checkpoints)[-1] == older
    with Interrupts() as interrupts:
        Loop(task, config, again, Accelerator(cpu=True), interrupts).train()
    assert same(task.model, expected)
    again.lock.close()
    assert pick_run("test", config, "")[1] is None  # run again after a stop, it goes on from the newest


def test_more_epochs_go_on_where_the_schedule_does_not_depend_on_them(tmp_path):
    steady = {"lr_scheduler": "constant", "warmup_steps": 2}
    _, _, expected = train(options(tmp_path / "whole", epochs=4, **steady), work(dropout=0.3))
    config = options(tmp_path / "cut", epochs=2, **steady)
    run, _, _ = train(config, work(dropout=0.3))
    run.lock.close()
    longer = dataclasses.replace(config, epochs=4, resume=str(run.path))
    find.check_resumable(run, "test", longer)
    run, outcome, model = train(longer, work(dropout=0.3), run)
    assert outcome.steps == 28
    assert outcome.best_step == 28
    assert same(model, expected)
    shorter = dataclasses.replace(longer, epochs=1)
    with pytest.raises(ToolError, match="is at step 28 already, past the 7 asked for"):
        train(shorter, work(dropout=0.3), run)
    run.lock.close()
    other = options(tmp_path / "other", epochs=4)  # a schedule that ends with the run
    begun = run_folder.create(other.output_dir, "test", other)
    with pytest.raises(ToolError, match="epochs: 4 there, 5 here"):
        find.check_resumable(begun, "test", dataclasses.replace(other, epochs=5))


def test_other_data_are_refused(tmp_path):
    config = options(tmp_path, checkpoint_steps=3)
    run = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(Preempted):
        train(config, work(stopper=Stopper(20)), run)
    other = work()
    other.data = "another digest"
    with pytest.raises(ToolError, match="began with other data") as caught:
        train(config, other, run)
    assert caught.value.exit_code == 2


def test_a_damaged_best_checkpoint_is_not_loaded(tmp_path, monkeypatch):
    task = work()
    values = iter([9.0, 9.0, 1.0, 2.0, 3.0])  # two while the estimate is made
    task.evaluate = lambda model, evaluator: {"error": next(values, 4.0), "n": 1}
    config = options(tmp_path, epochs=3)
    run = run_folder.create(config.output_dir, "test", config)
    kept = Loop._take_best

    def damaged(self):
        (run.checkpoints / "step-00000007" / "model.safetensors").write_bytes(b"torn")
        return kept(self)

    monkeypatch.setattr(Loop, "_take_best", damaged)
    _, outcome, _ = train(config, task, run)
    assert outcome.best_step == 21
    assert outcome.metrics["error"] == 4.0  # measured anew: the model is that of the end
    assert "is not whole (model.safetensors has 4 of" in outcome.notes[0]


@pytest.mark.parametrize("limit", [1, 5, 24, 37])
def test_the_largest_batch_that_fits_is_found_and_kept_by_a_resume(tmp_path, limit):
    def hungry(task):
        plain = task.losses

        def loss(model, batch):
            if len(batch["x"]) > limit:
                raise torch.OutOfMemoryError("as the allocator would")
            return plain(model, batch)

        task.losses = loss
        return task

    config = options(tmp_path, batch_size="auto", checkpoint_steps=1)
    run = run_folder.create(config.output_dir, "test", config)
    task = hungry(work())
    plain, calls = task.evaluate, []

    def stopped(model, evaluator):
        calls.append(evaluator)
        if len(calls) > 2:  # two while the estimate is made
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(model, evaluator)

    task.evaluate = stopped
    with pytest.raises(Preempted):
        train(config, task, run)
    found = run.status()["estimate"]["batch_size"]
    assert limit - max(1, limit // 8) < found <= limit
    newest, _ = checkpoint.newest_whole(run.checkpoints)
    run, outcome, _ = train(config, work(), run)  # with room for more, it stays what it was
    assert outcome.steps == 4 * -(-N // found)
    assert newest is not None


def test_an_evaluation_that_does_not_fit_is_taken_in_smaller_batches(tmp_path, capsys):
    _, expected, _ = train(options(tmp_path / "a", epochs=1), work())
    task = work()
    plain = task.evaluate

    def hungry(model, evaluator):
        if evaluator.batch_size > 2:
            raise torch.OutOfMemoryError("as the allocator would")
        return plain(model, evaluator)

    task.evaluate = hungry
    _, outcome, _ = train(options(tmp_path / "b", epochs=1), task)
    assert outcome.metrics["error"] == pytest.approx(expected.metrics["error"], abs=1e-6)
    assert "evaluation didn't fit: 2 examples at once" in capsys.readouterr().err


def test_a_dry_run_changes_and_writes_nothing(tmp_path):
    task, untouched = work(dropout=0.3), work(dropout=0.3).model
    config = options(tmp_path, price_per_hour=3600.0)
    with Interrupts() as interrupts:
        run = run_folder.Run(tmp_path / "none")
        loop = Loop(task, config, run, Accelerator(cpu=True), interrupts)
        estimate = loop.dry_run()
    assert same(task.model, untouched)
    assert not any(value.any() for state in loop.optimizer.optimizer.state.values() for value in state.values())
    assert list(tmp_path.iterdir()) == []
    assert (estimate.steps, estimate.batch_size, estimate.micro_batch_size) == (28, 8, 8)
    weights = sum(parameter.numel() * 4 for parameter in untouched.parameters())
    assert estimate.model_bytes == weights
    assert 3 * weights <= estimate.checkpoint_bytes <= 3 * weights + 64
    assert config.cost(estimate.seconds) == {"cost": pytest.approx(estimate.seconds, abs=1e-4)}


def test_too_small_a_disk_is_exit_5_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.loop.estimate.free_bytes", lambda path: 1000)
    with pytest.raises(
        ToolError, match=r"the run needs 8\.0 MB: 3 checkpoints of .* has 1\.0 kB free\. Free some"
    ) as caught:
        train(options(tmp_path), work())
    assert caught.value.exit_code == 5
    _, outcome, _ = train(options(tmp_path / "b", check_disk=False), work())
    assert outcome.steps == 28


def test_a_disk_that_fills_later_is_exit_5_and_the_last_checkpoint_loads(tmp_path, monkeypatch):
    _, _, expected = train(options(tmp_path / "whole"), work(dropout=0.3))
    config = options(tmp_path / "cut", checkpoint_steps=3)
    run = run_folder.create(config.output_dir, "test", config)
    plain, writes = checkpoint.save_tensors, []

    def full(path, tensors):
        writes.append(path)
        if len(writes) > 4:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(path, tensors)

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    with pytest.raises(ToolError, match="no space left on the disk while writing") as caught:
        train(config, work(dropout=0.3), run)
    assert caught.value.exit_code == 5
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000006"]
    monkeypatch.setattr(checkpoint, "save_tensors", plain)
    assert same(train(config, work(dropout=0.3), run)[2], expected)


def test_a_run_that_a_process_is_about_to_let_go_is_waited_for(tmp_path):
    config = options(tmp_path)
    run = run_folder.create(config.output_dir, "test", config)
    threading.Timer(0.7, run.lock.close).start()
    found = find.find_unfinished(config.output_dir, "test", config)
    assert found is not None
    assert found.path == run.path


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("compiled, 16 lanes", "PyTorch", "layers compiled, 16 lanes before, PyTorch now"),
        ("PyTorch", "compiled, 8 lanes", "layers PyTorch before, compiled, 8 lanes now"),
        ("PyTorch", "PyTorch", ""),
    ],
)
def test_a_resume_by_other_layers_is_not_exact_and_says_so(tmp_path, capsys, before, now, said):
    config = options(tmp_path)
    run = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(Preempted):
        train(config, work(stopper=Stopper(20), computed_by=before), run)
    capsys.readouterr()
    train(config, work(computed_by=now), run)
    told = capsys.readouterr().err
    assert ("no longer exact to the bit" in told) == bool(said)
    assert said in told


def test_the_conditions_name_the_device_that_is_computed_on_whatever_else_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")
    assert environment.conditions(1, torch.device("cuda", 1))["device"] == "card cuda:1"
    assert environment.conditions(1, torch.device("cpu"))["device"] == environment.environment()["processor"]


class Wrapped(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_a_compiled_model_is_what_is_trained_and_gives_the_same_losses(tmp_path, monkeypatch):
    plain, _, _ = train(options(tmp_path / "plain"), work())
    graphs = []
    compiled_by = torch.nn.Module.compile

    def eager(graph, inputs):  # the tracing is real, the code that a C++ compiler would make of it is not needed here
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled_by(module, backend=eager))
    task = work()
    # Of torch's own containers the tracer looks at the parts alone.
    task.model = Wrapped(task.model)
    run, _, model = train(options(tmp_path / "compiled", compile=True), task)
    assert graphs
    assert losses(run) == pytest.approx(losses(plain), abs=1e-6)
    assert set(dtensor.weights(model)) == {f"inner.{name}" for name in dtensor.weights(work().model)}


def test_eight_bit_adam_is_resumed_to_the_same_weights(tmp_path):
    pytest.importorskip("bitsandbytes")

    def wide(stopper=None):
        task = work(stopper=stopper)
        torch.manual_seed(0)
        # Only tensors of 4,096 values and more have their state in 8 bits.
        task.model = torch.nn.Sequential(torch.nn.Linear(FEATURES, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 1))
        return task

    given = {"optimizer": "adamw-8bit", "checkpoint_steps": 3}
    run, _, expected = train(options(tmp_path / "whole", **given), wide())
    saved = checkpoint.read(checkpoint.all_in(run.checkpoints)[-1])
    assert any(value.dtype == torch.uint8 for value in saved.optimizer.values())
    config = options(tmp_path / "cut", **given)
    cut = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(Preempted):
        train(config, wide(Stopper(17)), cut)
    _, _, model = train(config, wide(), cut)
    assert same(model, expected)


def with_normalisation():
    made = work()
    torch.manual_seed(0)
    nn = torch.nn
    made.model = nn.Sequential(
        nn.Linear(FEATURES, 8), nn.Unflatten(1, (2, 4)), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(8, 1)
    )
    return made


def test_a_stop_within_a_step_leaves_no_trace_in_running_means(tmp_path):
    """The passes of the dropped half have moved them."""
    config = options(tmp_path / "b", gradient_accumulation_steps=4)
    whole = train(options(tmp_path / "a", gradient_accumulation_steps=4), with_normalisation())[2]
    task = with_normalisation()
    loss, passes = task.losses, []

    def stopping(model, batch):
        passes.append(model)
        if len(passes) == 63:  # within a step's four
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(model, batch)

    task.losses = stopping
    run = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(Preempted):
        train(config, task, run)
    assert 0 < run.status()["step"] < 28
    resumed = train(config, with_normalisation(), run)[2]
    assert same(resumed, whole)


@pytest.mark.parametrize("undefined", [float("nan"), float("inf")])
def test_an_undefined_metric_is_never_the_best_and_ends_nothing(tmp_path, undefined):
    task = work()
    evaluate, seen = task.evaluate, []

    def sometimes(model, evaluator):
        if evaluator.step is not None:
            seen.append(evaluator.step)
        return evaluate(model, evaluator) | ({"error": undefined} if len(seen) == 1 else {})

    task.evaluate = sometimes
    run, outcome, _ = train(options(tmp_path), task)
    assert outcome.steps == 28
    assert outcome.best_step in (14, 21, 28)
    assert np.isfinite(outcome.metrics["error"])
    assert checkpoint.newest_whole(run.checkpoints)[0] is not None


def test_with_all_metrics_undefined_the_last_weights_stay(tmp_path):
    task = work()
    task.evaluate = lambda model, evaluator: {"error": float("nan"), "n": N}
    run, outcome, _ = train(options(tmp_path), task)
    assert (outcome.steps, outcome.best_step) == (28, 0)
    assert len(list(run.checkpoints.glob("step-*"))) == 1


def test_a_signal_within_the_last_write_is_answered_before_the_end(tmp_path, monkeypatch):
    write = checkpoint.write

    def slow(folder, step, saved):
        if step == 28:
            os.kill(os.getpid(), signal.SIGTERM)
        return write(folder, step, saved)

    monkeypatch.setattr(checkpoint, "write", slow)
    config = options(tmp_path)
    run = run_folder.create(config.output_dir, "test", config)
    with pytest.raises(Preempted, match="checkpoint of step 28 of 28 saved"):
        train(config, work(), run)
    monkeypatch.undo()
    assert train(config, work(), run)[1].steps == 28


def test_muon_with_a_schedule_that_asks_the_optimizer_for_its_rate(tmp_path):
    _, outcome, _ = train(options(tmp_path, optimizer="muon", lr_scheduler="polynomial", lr_power=2.0), work())
    assert outcome.steps == 28


def test_config_yaml_says_nothing_of_one_start(tmp_path):
    config = options(tmp_path, fresh=True)
    run = run_folder.create(config.output_dir, "test", config)
    assert (run.config()["fresh"], run.config()["resume"]) == (False, None)


def test_workers_begun_anew_go_on_with_their_run_also_with_fresh(tmp_path, monkeypatch):
    config = options(tmp_path, fresh=True)
    run, _ = pick_run("test", config, "")
    run.let_go()
    monkeypatch.setenv(worker.AGAIN, "1")
    assert pick_run("test", config, "")[0].path == run.path


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def none(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(ToolError, match=r"keeps no locks \(No locks available\).*--output-dir"):
        run_folder.create(str(tmp_path / "runs"), "test", options(tmp_path))


def test_a_run_that_is_finished_while_it_is_looked_for_is_left_alone(tmp_path, monkeypatch):
    config = options(tmp_path)
    run = run_folder.create(config.output_dir, "test", config)
    run.let_go()
    acquire = run_folder.Run.acquire

    def late(self):
        self.update(state="finished")
        return acquire(self)

    monkeypatch.setattr(run_folder.Run, "acquire", late)
    assert find.find_unfinished(config.output_dir, "test", config) is None
    monkeypatch.undo()
    assert run.acquire()


def resuming(run, config, start_from=None, task=None):
    with Interrupts() as interrupts:
        return Loop(task or work(), config, run, Accelerator(cpu=True), interrupts, start_from).train()


def test_a_refused_resume_leaves_the_run_as_it_was(tmp_path):
    config = options(tmp_path, checkpoint_steps=3, keep_checkpoints=9)
    run, _, _ = train(config, work())
    run.update(state="finished")
    run.let_go()
    before = checkpoint.all_in(run.checkpoints), run.status(), run.config(), run.metrics.read_text()
    older = before[0][1]
    other = work()
    other.data = "others"
    for asked, task in (
        ({"resume": str(older)}, other),
        ({"resume": str(run.path), "max_steps": 5, "epochs": None}, None),
    ):
        asked = dataclasses.replace(config, lr_scheduler="constant", warmup_ratio=0.0, **asked)
        again = run_folder.Run(run.path)
        again.taken_up = "test", asked
        with pytest.raises(ConfigError), run_folder.recording_the_end(again):
            resuming(again, asked, older if task else None, task)
    assert (checkpoint.all_in(run.checkpoints), run.status(), run.config(), run.metrics.read_text()) == before


def test_options_that_a_newer_version_added_are_their_defaults_in_an_older_run(tmp_path):
    config = options(tmp_path)
    run = run_folder.create(config.output_dir, "test", config)
    run.let_go()
    text = (run.path / "config.yaml").read_text()
    assert "ema_decay: null" in text
    (run.path / "config.yaml").write_text("".join(line for line in text.splitlines(True) if "adam_" not in line))
    find.check_resumable(run, "test", config)

    @dataclasses.dataclass
    class Newer(Options):
        added: float = option(0.5, "New.")

    newer = Newer(**dataclasses.asdict(config))
    assert run_folder.identity("test", newer) == run_folder.identity("test", config)
    assert run_folder.identity("test", dataclasses.replace(newer, added=0.6)) != run_folder.identity("test", config)


def test_status_files_that_are_none_hinder_nobody(tmp_path):
    config = options(tmp_path)
    run = run_folder.create(config.output_dir, "test", config)
    for number, text in enumerate((b"null", b"[1]", b"\xff\xfe", b"", b'{"started": 5}')):
        folder = tmp_path / "runs" / f"broken-{number}"
        folder.mkdir()
        (folder / "status.json").write_bytes(text)
    run.let_go()
    assert find.find_unfinished(config.output_dir, "test", config).path == run.path
    assert len(list(find.runs_in(config.output_dir))) == 6
    run.metrics.write_bytes(b'{"kind": "train", "step": 1, "loss": 2.0}\n5\n{"kind": "x"}\n\xff\n')
    run.cut_metrics(3)
    assert run.read_metrics() == [{"kind": "train", "step": 1, "loss": 2.0}]
