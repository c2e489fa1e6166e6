"""The training loop that all recipes share: from a `Work` to a trained model in a run folder."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from recipes.checkpoints import format as checkpoint
from recipes.checkpoints import resume
from recipes.checkpoints.resume import Position
from recipes.checkpoints.writer import CheckpointWriter, check_host
from recipes.distributed import accelerate_config, collectives, fsdp
from recipes.loop.ema import Ema
from recipes.loop.estimate import Estimate, check_disk
from recipes.loop.loader import StepLoader
from recipes.loop.meter import Meter
from recipes.loop.optimizers import make_optimizer, make_scheduler
from recipes.loop.probe import Probe
from recipes.loop.step import OptimizerStep
from recipes.options import AUTO, TrainOptions
from recipes.process import dtensor
from recipes.process.interrupts import TIME_IS_UP, Interrupts
from recipes.process.memory import EVALUATION_OUT_OF_MEMORY, OUT_OF_MEMORY, peak_memory, release
from recipes.process.worker import SmallerPieces, ask_for, goes_on, least_accumulation
from recipes.runs.folder import Run
from recipes.runs.trackers import Trackers
from recipes.terminal.progress import Progress, duration, print_line
from recipes.work import Evaluator, Work
from tasks.errors import ConfigError, OutOfMemory, Preempted, ToolError, is_out_of_memory


@dataclass
class Outcome:
    """What training ends with: at `ended` (`time.monotonic`), after `seconds` in all processes that took part one after the other."""

    metrics: dict[str, Any]
    steps: int
    seconds: float
    best_step: int
    notes: list[str] = field(default_factory=list)
    memory_bytes: int = 0
    disk_bytes: int = 0
    ended: float = field(default_factory=time.monotonic)


class Loop:
    """Trains `work` in `run` as `options` say; goes on by itself from the run's newest whole checkpoint.

    Args:
        start_from: a checkpoint to go on from instead of the newest.
    """

    def __init__(
        self,
        work: Work,
        options: TrainOptions,
        run: Run,
        accelerator: Accelerator,
        interrupts: Interrupts,
        start_from: Path | None = None,
    ) -> None:
        self.work, self.options, self.run = work, options, run
        self.accelerator, self.interrupts, self.start_from = accelerator, interrupts, start_from
        self.main = accelerator.is_main_process
        self.at = Position(accumulation=options.gradient_accumulation_steps)
        self.frozen = dtensor.frozen_digest(work.model)
        if options.compile:
            work.model.compile()  # in place: names of weights and the class stay
        self.shards = fsdp.cut(work, accelerator, accelerate_config.fsdp_config_of(options))
        optimizer = make_optimizer(work.parameter_groups(work.model), options, accelerator.device)
        self.model = accelerator.prepare(work.model) if self.shards is None else work.model
        self.optimizer = accelerator.prepare(optimizer)
        self.plain = accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if self.shards is not None:
            self.shards.optimizer = self.optimizer.optimizer
        self.step = OptimizerStep(work, self.model, self.optimizer, accelerator, options, interrupts, self.shards)
        self.ema = Ema(self.optimizer.optimizer, options.ema_decay) if options.ema_decay else None
        self.saver = CheckpointWriter(run.checkpoints, options.keep_checkpoints, self._saved, self.shards is not None)
        self._began = interrupts.opened
        self._eval_batch_size = int(options.eval_batch_size or 1)
        self._saved_at = time.monotonic()
        self._saved_step = (0, 0)
        self._save_due = False
        self._best_metrics: dict[str, Any] | None = None

    def train(self) -> Outcome:
        """Runs to the end and leaves the best weights in the model.

        Raises:
            Preempted: asked to stop; the checkpoint is saved.
        """
        resumed = self._restore()
        estimate = self._prepare(fresh=not resumed)
        self._announce(estimate, resumed)
        if self.main:
            resume.go_on(self.run, self.at.step, self.start_from)
        began_at = self.at.step
        names = self.options.tracker if self.main else []
        self.trackers = Trackers(names, self.run.path, self.options.project, self.run.config())
        self.progress = Progress("", self.total, done=self.at.step, show=self.main)
        self.meter = Meter(self.options.log_steps or max(1, self.total // 200), self.work.unit)
        self.interrupts.deferred = True
        try:
            with self.progress:
                self._steps()
            self.saver.wait()
            self._stop_if_asked()  # during the last write; what comes now may take long
        except Preempted as stop:
            self._save(wait=True)
            if self.interrupts.requested == TIME_IS_UP and self.at.step == began_at and not goes_on():
                raise ConfigError(
                    f"--max-hours: {self.options.max_hours:g} hours were over before a step was done: preparing alone took "
                    f"{duration(time.monotonic() - self.interrupts.opened)}; allow more"
                ) from None
            self._note("preempted")
            saved = "no step was done yet"
            if self.at.step:
                saved = f"checkpoint of step {self.at.step} of {self.total} saved"
            again = "run the same command again"
            if self.options.fresh:  # the same would begin anew
                again = f"go on with --resume {self.run.path} in place of --fresh"
            raise Preempted(f"{stop}; {saved} in {self.run.path}: {again}") from None
        finally:
            self.saver.close()
            self.trackers.close()
            self.interrupts.deferred = False
        return self._finish()

    def dry_run(self) -> Estimate:
        """What the whole run will take; takes no step and writes nothing."""
        return self._prepare(fresh=True)

    # -- before the first step ---------------------------------------------------------------------------------------

    def _prepare(self, *, fresh: bool) -> Estimate:
        """Settles batch size, pieces, number of steps and schedule, by trying; says what is to come."""
        self.at.accumulation = max(self.at.accumulation, least_accumulation())
        optimizer = self.optimizer.optimizer
        with Probe(
            self.work, self.model, optimizer, self.accelerator, self.options, fresh=fresh, shards=self.shards
        ) as probe:
            if not self.at.batch_size:
                size = self.options.batch_size
                self.at.batch_size = probe.largest_batch(self.work.examples) if size == AUTO else int(size or 1)
            self.at.accumulation = probe.accumulation(self.at.batch_size, self.at.accumulation)
            self.steps_per_epoch = len(self.work.plan(self.at.batch_size, 0))
            self.total = self.options.max_steps or self.steps_per_epoch * (self.options.epochs or 1)
            if self.total < self.at.step:
                name = "max-steps" if self.options.max_steps else "epochs"
                raise ConfigError(
                    f"--{name}: {self.run.path} is at step {self.at.step} already, past the {self.total} asked for"
                )
            left = self.total - self.at.step
            every = self.options.eval_steps or self.steps_per_epoch
            evaluations = math.ceil(left / every)
            estimate = probe.estimate(self.at.batch_size, self.at.accumulation, left, evaluations, self._seconds())
        if self.shards is not None and self.main:
            check_host(estimate.checkpoint_bytes)
        return estimate

    def _announce(self, estimate: Estimate, resumed: bool) -> None:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.scheduler = make_scheduler(self.optimizer, self.options, self.total)
        if resumed:
            self.scheduler.load_state_dict(self._schedule)
            # A new schedule begins by setting the rates of step 0.
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        if not self.main:
            return
        if self.options.batch_size == AUTO:
            print_line(f"batch     {self.at.batch_size} {self.work.unit} a step are the most that fit")
        if self.at.accumulation > self.options.gradient_accumulation_steps:
            print_line(
                f"memory    a batch of {self.at.batch_size} doesn't fit at once: {self.at.accumulation} pieces, the same result"
            )
        left = replace(estimate, seconds=estimate.seconds - self.at.seconds)  # what was taken before is paid already
        print_line(f"estimate  {left.text(self.options)}{' left' if resumed else ''}")
        if self.options.check_disk:
            check_disk(estimate, self.run.path, self.options.keep_checkpoints)
        print_line(f"run       {self.run.path}       interrupted? run the same command again")
        if not resumed:
            cost = self.options.cost(estimate.seconds)
            self.run.update(total_steps=self.total, estimate={**asdict(estimate), **cost})

    # -- the steps ---------------------------------------------------------------------------------------------------

    def _steps(self) -> None:
        if self._due_for_evaluation():
            self._evaluate()
        while self.at.step < self.total and not self.at.stopped_early:
            self.model.train()
            for epoch, size, micro_batches in self._loader():
                self._stop_if_asked()
                self.progress.relabel(f"epoch {epoch + 1}/{math.ceil(self.total / self.steps_per_epoch)}")
                taken = self.step.take(self.at.step, size, micro_batches)
                if taken is None:
                    self._halve(size)
                    break  # out of memory: load this step again, in smaller pieces
                self.scheduler.step()
                self.at.step += 1
                if self.ema is not None:
                    self.ema.update(self.at.step)
                self.meter.add(*taken, size)
                self._after_step()
                if self.at.stopped_early:
                    break

    def _halve(self, size: int) -> None:
        if self.at.accumulation * self.accelerator.num_processes >= size:
            raise OutOfMemory(OUT_OF_MEMORY)
        if self.accelerator.num_processes > 1:
            # The others wait for this one's gradients: all begin anew from the last checkpoint.
            ask_for(2 * self.at.accumulation)
            raise SmallerPieces(2 * self.at.accumulation, self.at.step)
        self.at.accumulation *= 2
        release(self.accelerator.device)

    def _after_step(self) -> None:
        if self.meter.due(self.at.step) or self.at.step == self.total:
            epoch, seconds = round(self.at.step / self.steps_per_epoch, 4), round(self._seconds(), 3)
            line = self.meter.line(self.accelerator, self.at.step, epoch, self.scheduler, seconds)
            if not math.isfinite(line["loss"]):
                raise ToolError(
                    f"the loss is {line['loss']} at step {self.at.step}; lower --learning-rate, raise --warmup-ratio, or use "
                    f"--mixed-precision no"
                )
            self._write(line)
        self.progress.advance(1, **self.meter.facts)
        self.saver.poll()
        every = self.options.checkpoint_steps
        if self._due_for_evaluation():
            began = time.monotonic()
            self._evaluate()
            self.model.train()
            self.meter.pause(time.monotonic() - began)
        elif self._save_due or (every and self.at.step % every == 0):
            self._save()

    # -- evaluation, checkpoints, stopping ---------------------------------------------------------------------------

    def _due_for_evaluation(self) -> bool:
        step = self.at.step
        every = self.options.eval_steps or self.steps_per_epoch
        return step > 0 and step != self.at.evaluated and (step % every == 0 or step == self.total)

    def _evaluate(self) -> None:
        metrics = self._evaluation()
        self.at.evaluated = self.at.step
        value = float(metrics[self.work.metric]) if self.work.metric else 0.0
        better = self._is_better(value)
        if better:
            self.at.best, self.at.best_step, self.at.without_better = value, self.at.step, 0
            self._best_metrics = metrics
        else:
            self.at.without_better += 1
        patience = self.options.early_stopping_patience
        self.at.stopped_early = patience is not None and self.at.without_better >= patience
        line = {"kind": "validation", "step": self.at.step, "epoch": self.at.step / self.steps_per_epoch}
        flat = {key: item for key, item in metrics.items() if isinstance(item, float) or key == "n"}
        self._write({**line, "seconds": round(self._seconds(), 3), **flat})
        for name, path in metrics.get("pictures", {}).items():
            self.trackers.picture(name, path, self.at.step)
        if self.work.metric:
            self.progress.line(
                f"          validation: {self.work.describe(metrics)}{'' if better else ' · not better'}"
            )
        self._save()

    def _is_better(self, value: float) -> bool:
        if not self.work.metric:
            return True  # nothing to choose by: the last weights are the best
        if not math.isfinite(value):
            return False  # an undefined one, of a constant forecast, say, is never the best
        best = self.at.best
        return best is None or (value > best if self.work.greater_is_better else value < best)

    def _save(self, *, wait: bool = False) -> None:
        """Begins a checkpoint of where the run stands, unless there is one; `wait`: until it is on the disk, on all processes."""
        here = self.at.step, self.at.evaluated
        due = self.at.step and self._saved_step != here
        if due and not self.main:
            self.saver.take_part(self.plain, self.optimizer.optimizer)
        elif due:
            self.at.seconds = self._seconds()
            self.at.memory_bytes = self._peak_memory()
            state = resume.state_of(self.at, self.scheduler, self.work, self.accelerator, self.shards, self.frozen)
            also = {self.at.best_step} if self.at.best_step else set()
            self.saver.save(self.at.step, self.plain, self.optimizer.optimizer, state, also)
        self._saved_at, self._saved_step, self._save_due = time.monotonic(), here, False
        if wait:
            self.saver.wait()
            self.accelerator.wait_for_everyone()

    def _saved(self, step: int) -> None:
        """A checkpoint is safe; the last one must fit into --max-hours too."""
        self.interrupts.reserve = 2 * self.saver.seconds
        if self.main:
            self._note("running", step)

    def _restore(self) -> bool:
        """Takes up the newest whole checkpoint; False where there is none."""
        saved = resume.find(self.run, self.work.data, self.start_from, self.accelerator, self.shards, self.frozen)
        if saved is not None:
            checkpoint.set_weights(self.plain, saved.weights)
            checkpoint.unflatten(self.optimizer.optimizer, saved.optimizer, saved.scalars)
            self._schedule = saved.state["scheduler"]
            if "scaler" in saved.state and self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(saved.state["scaler"])
            self.at = Position.of(saved.state)
            self._began -= self.at.seconds
            self._saved_step = (self.at.step, self.at.evaluated)
        self.at.accumulation = max(self.at.accumulation, self.options.gradient_accumulation_steps)
        if self.main and saved is not None:
            resume.say(self.run, saved.state, self.work, self.accelerator, self.shards)
        return saved is not None

    def _stop_if_asked(self) -> None:
        """All processes agree on whether to stop, and on whether a checkpoint is due by the clock."""
        minutes = self.options.checkpoint_minutes
        late = minutes > 0 and time.monotonic() - self._saved_at > minutes * 60
        stop, self._save_due = collectives.any_of(self.accelerator, self.interrupts.stop_asked() is not None, late)
        if stop:
            raise Preempted(f"stopped by {self.interrupts.requested or 'another process'}")

    # -- the ends ----------------------------------------------------------------------------------------------------

    def _finish(self) -> Outcome:
        notes = [f"stopped early at step {self.at.step}"] if self.at.stopped_early else []
        if self.at.best_step and self.at.best_step != self.at.step:
            notes += self._take_best()
        if self.ema is not None:
            self.ema.take()
            self.ema = None
        # After a resume the best evaluation may have been another process's.
        metrics = self._best_metrics or self._evaluation(self.at.best_step)
        self.model.zero_grad(set_to_none=True)
        if self.shards is not None:
            self.shards.dissolve()
        release(self.accelerator.device)  # the report is drawn in what is left
        memory, disk = self._peak_memory(), self.saver.peak_bytes
        return Outcome(metrics, self.at.step, self._seconds(), self.at.best_step, notes, memory, disk)

    def _take_best(self) -> list[str]:
        """Loads the best weights; where their checkpoint was damaged since, those of the end stay, and it is said."""
        best, trouble = resume.best(self.run, self.at.best_step, self.accelerator, self.shards)
        if best is not None:
            checkpoint.set_weights(self.plain, best.weights)
            if self.ema is not None:  # it lies in the optimizer's state
                checkpoint.unflatten(self.optimizer.optimizer, best.optimizer, best.scalars)
            return []
        self.at.best_step, self._best_metrics = self.at.step, None
        return [f"{trouble}: the model is that of step {self.at.step}"]

    def _evaluation(self, step: int = 0) -> dict[str, Any]:
        """The recipe's evaluation over all processes, in inference mode; in smaller batches where memory runs out.

        Args:
            step: whose weights the model has; 0: the last.
        """
        was_training = self.plain.training
        # Each process has gone on with its own since DDP's last pass.
        collectives.broadcast_from_first(self.accelerator, self.step.statistics)
        self.plain.eval()
        try:
            while True:
                try:
                    return self._evaluate_once(step or self.at.step)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    if self._eval_batch_size == 1 or self.accelerator.num_processes > 1:
                        raise OutOfMemory(EVALUATION_OUT_OF_MEMORY) from None
                    self._eval_batch_size //= 2
                    print_line(
                        f"memory    evaluation didn't fit: {self._eval_batch_size} {self.work.unit} at once from here on"
                    )
        finally:
            self.plain.train(was_training)

    def _evaluate_once(self, step: int) -> dict[str, Any]:
        evaluator = Evaluator.over(self.accelerator, self._eval_batch_size, self._stop_if_asked, step=step)
        averaged = self.ema.in_place() if self.ema else nullcontext()
        whole = self.shards.whole() if self.shards else nullcontext()
        with averaged, whole, torch.inference_mode():
            return self.work.evaluate(self.plain, evaluator)

    def _loader(self) -> StepLoader:
        on_gpu = self.accelerator.device.type == "cuda"
        workers = self.options.num_workers
        return StepLoader(
            self.work,
            batch_size=self.at.batch_size,
            start=self.at.step,
            total=self.total,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            accumulation=self.at.accumulation,
            workers=workers if workers is not None else 4 * on_gpu,
            pin=on_gpu,
            alike=self.shards is not None,
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _write(self, line: dict[str, Any]) -> None:
        if self.main:
            self.run.log(line)
            self.trackers.log(line)

    def _peak_memory(self) -> int:
        return max(self.at.memory_bytes, peak_memory(self.accelerator.device))

    def _note(self, state: str, step: int | None = None) -> None:
        if self.main:
            seconds = round(self._seconds(), 3)
            done = {"step": self.at.step if step is None else step, "total_steps": self.total, "seconds": seconds}
            self.run.update(state=state, **done, **self.options.cost(seconds))
