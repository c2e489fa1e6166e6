"""The one training loop: every recipe gives it a `Work`, and it gives back a trained model in a run folder."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from recipes import checkpoint
from recipes.estimate import Estimate, probe
from recipes.interrupts import Interrupts
from recipes.memory import OUT_OF_MEMORY, is_out_of_memory, to_device
from recipes.meter import Meter
from recipes.optimizers import make_optimizer, make_scheduler
from recipes.options import TrainOptions
from recipes.progress import Progress, print_line
from recipes.runs import Run
from recipes.steps import Steps, seed_everything
from recipes.trackers import Trackers
from recipes.work import Batch, Evaluator, Work
from tasks.errors import OutOfMemory, Preempted, ToolError


@dataclass
class Position:
    """Where a run stands; everything of it is in each checkpoint."""

    step: int = 0
    evaluated: int = 0
    best: float | None = None
    best_step: int = 0
    without_better: int = 0
    seconds: float = 0.0
    stopped_early: bool = False
    accumulation: int = 1


@dataclass
class Outcome:
    """What training ends with."""

    metrics: dict[str, Any]
    steps: int
    seconds: float
    best_step: int
    notes: list[str] = field(default_factory=list)


class Loop:
    """Trains `work` in `run` as `options` say; resumes by itself from the run's newest whole checkpoint."""

    def __init__(
        self, work: Work, options: TrainOptions, run: Run, accelerator: Accelerator, interrupts: Interrupts
    ) -> None:
        self.work, self.options, self.run = work, options, run
        self.accelerator, self.interrupts = accelerator, interrupts
        self.main = accelerator.is_main_process
        self.at = Position(accumulation=options.gradient_accumulation_steps)
        self.steps_per_epoch = len(work.plan(0))
        self.total = options.max_steps or self.steps_per_epoch * (options.epochs or 1)
        optimizer = make_optimizer(work.parameter_groups(work.model), options, accelerator.device)
        self.scheduler = make_scheduler(optimizer, options, self.total)
        self.model, self.optimizer = accelerator.prepare(work.model, optimizer)
        self.plain = accelerator.unwrap_model(self.model, keep_torch_compile=False)
        self.estimate: Estimate | None = None
        self._saved_at = time.monotonic()
        self._saved_step = (0, 0)
        self._best_metrics: dict[str, Any] | None = None

    def train(self) -> Outcome:
        """Runs to the end and leaves the best weights in the model.

        Raises:
            Preempted: asked to stop; the checkpoint is saved.
        """
        self.interrupts.deferred = True
        resumed = self._restore()
        self._say_estimate(resumed)
        trackers = Trackers(
            self.options.tracker if self.main else [], self.run.path, self.options.project, self.run.config()
        )
        self._began = time.monotonic() - self.at.seconds
        progress = Progress("", self.total, done=self.at.step, unit=self.work.unit, show=self.main)
        try:
            with progress:
                self._steps(progress, trackers)
        except Preempted as stop:
            if self._saved_step != (self.at.step, self.at.evaluated):
                self._save()
            self._note("preempted")
            saved = (
                f"checkpoint of step {self.at.step} of {self.total} saved" if self.at.step else "no step was done yet"
            )
            raise Preempted(f"{stop}; {saved} in {self.run.path}: run the same command again") from None
        finally:
            trackers.close()
            self.interrupts.deferred = False
        return self._finish()

    # -- the steps ---------------------------------------------------------------------------------------------------

    def _steps(self, progress: Progress, trackers: Trackers) -> None:
        meter = Meter(self.options.log_steps or max(1, self.total // 200))
        if self._due_for_evaluation():
            self._evaluate(progress, trackers)
        while self.at.step < self.total and not self.at.stopped_early:
            self.model.train()
            for epoch, size, micro_batches in self._loader():
                self._stop_if_asked()
                progress.relabel(f"epoch {epoch + 1}/{math.ceil(self.total / self.steps_per_epoch)}")
                if not self._step(size, micro_batches, meter):
                    break  # out of memory: load this step again, in smaller pieces
                self._after_step(epoch, size, meter, progress, trackers)
                if self.at.stopped_early:
                    break

    def _step(self, size: int, micro_batches: list[tuple[Batch, int]], meter: Meter) -> bool:
        """One optimizer step. False where it didn't fit into memory and the micro-batches were halved."""
        seed_everything(self.options.seed, self.at.step, self.accelerator.process_index)
        loss = torch.zeros((), device=self.accelerator.device)
        try:
            for number, (batch, count) in enumerate(micro_batches):
                loss += self._backward(batch, count, size, last=number == len(micro_batches) - 1)
        except RuntimeError as error:
            if not is_out_of_memory(error) or self.accelerator.num_processes > 1:
                raise
            self._halve(size)
            return False
        norm = self._clip()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.at.step += 1
        meter.add(loss, norm, size)
        return True

    def _backward(self, batch: Batch, count: int, size: int, *, last: bool) -> torch.Tensor:
        world = self.accelerator.num_processes
        batch = to_device(batch, self.accelerator.device)
        with self.accelerator.autocast():
            losses = self.work.loss(self.model, batch)
        # DDP averages over processes; the factor makes it the mean over the whole batch, however it is cut.
        share = losses.float().sum() * ((1.0 if count else 0.0) / size)
        if last:
            self.accelerator.backward(share * world)
        else:
            with self.accelerator.no_sync(self.model):
                self.accelerator.backward(share * world)
        return share.detach()

    def _clip(self) -> torch.Tensor | None:
        if self.options.max_grad_norm <= 0:
            return None
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
        return norm.detach() if norm is not None else None

    def _halve(self, size: int) -> None:
        self.optimizer.zero_grad()
        if self.at.accumulation * self.accelerator.num_processes >= size:
            raise OutOfMemory(OUT_OF_MEMORY)
        self.at.accumulation *= 2
        if self.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()

    def _after_step(self, epoch: int, size: int, meter: Meter, progress: Progress, trackers: Trackers) -> None:
        if meter.due(self.at.step) or self.at.step == self.total:
            line = meter.line(
                self.accelerator, self.at.step, self.scheduler, self._seconds(), self.at.step / self.steps_per_epoch
            )
            if not math.isfinite(line["loss"]):
                raise ToolError(
                    f"the loss is {line['loss']} at step {self.at.step}; lower --learning-rate, raise --warmup-ratio, or use "
                    f"--mixed-precision no"
                )
            self._write(line, trackers)
        progress.advance(1, **meter.facts(self.work.unit))
        if self._due_for_evaluation():
            began = time.monotonic()
            self._evaluate(progress, trackers)
            self.model.train()
            meter.pause(time.monotonic() - began)
        elif self._due_for_checkpoint():
            self._save()

    # -- evaluation, checkpoints, stopping ---------------------------------------------------------------------------

    def _due_for_evaluation(self) -> bool:
        step = self.at.step
        every = self.options.eval_steps or self.steps_per_epoch
        return step > 0 and step != self.at.evaluated and (step % every == 0 or step == self.total)

    def _evaluate(self, progress: Progress, trackers: Trackers) -> None:
        metrics = evaluate(self.work, self.model, self.accelerator, self.interrupts)
        self.at.evaluated = self.at.step
        value = float(metrics[self.work.metric])
        better = self.at.best is None or (value > self.at.best if self.work.greater_is_better else value < self.at.best)
        if better:
            self.at.best, self.at.best_step, self.at.without_better = value, self.at.step, 0
            self._best_metrics = metrics
        else:
            self.at.without_better += 1
        patience = self.options.early_stopping_patience
        self.at.stopped_early = patience is not None and self.at.without_better >= patience
        flat = {key: item for key, item in metrics.items() if isinstance(item, float) or key == "n"}
        self._write(
            {
                "kind": "validation",
                "step": self.at.step,
                "epoch": self.at.step / self.steps_per_epoch,
                "seconds": round(self._seconds(), 3),
                **flat,
            },
            trackers,
        )
        progress.line(f"          validation: {self.work.describe(metrics)}{'' if better else ' · not better'}")
        self._save()

    def _due_for_checkpoint(self) -> bool:
        every, minutes = self.options.checkpoint_steps, self.options.checkpoint_minutes
        if every and self.at.step % every == 0:
            return True
        late = minutes > 0 and time.monotonic() - self._saved_at > minutes * 60
        return self._agree(late) if minutes > 0 and self.accelerator.num_processes > 1 else late

    def _save(self) -> None:
        self.at.seconds = self._seconds()
        self._saved_at, self._saved_step = time.monotonic(), (self.at.step, self.at.evaluated)
        if self.main and self.at.step:
            state = {
                **vars(self.at),
                "scheduler": self.scheduler.state_dict(),
                "processes": self.accelerator.num_processes,
            }
            scaler = self.accelerator.scaler
            if scaler is not None:
                state["scaler"] = scaler.state_dict()
            checkpoint.save(self.run.checkpoints, self.at.step, self.plain, self.optimizer.optimizer, state)
            also = {self.at.best_step} if self.at.best_step else set()
            checkpoint.prune(self.run.checkpoints, self.options.keep_checkpoints, also)
            self._note("running")
        self.accelerator.wait_for_everyone()

    def _restore(self) -> bool:
        path, notes = checkpoint.newest_whole(self.run.checkpoints)
        if self.main:
            for note in notes:
                print_line(note)
        if path is None:
            if self.main:
                self.run.cut_metrics(0)
            return False
        state, _ = checkpoint.load(path, self.plain, self.optimizer.optimizer)
        self.scheduler.load_state_dict(state.pop("scheduler"))
        scaler = state.pop("scaler", None)
        if scaler is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(scaler)
        processes = state.pop("processes")
        self.at = Position(**state)
        self._saved_step = (self.at.step, self.at.evaluated)
        if self.main:
            self.run.cut_metrics(self.at.step)
            print_line(f"resuming  {self.run.path} at step {self.at.step} of {self.total}")
            if processes != self.accelerator.num_processes:
                print_line(
                    f"          it ran on {processes} processes before: the batches stay the same, the sums differ in rounding "
                    f"and dropout draws anew"
                )
        return True

    def _stop_if_asked(self) -> None:
        if self.accelerator.num_processes == 1:
            self.interrupts.check()
        elif self._agree(self.interrupts.stop_asked() is not None):
            raise Preempted(f"stopped by {self.interrupts.requested or 'another process'}")

    def _agree(self, mine: bool) -> bool:
        """Whether any process says yes."""
        flag = torch.tensor(int(mine), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, reduction="sum").item())

    # -- the ends ----------------------------------------------------------------------------------------------------

    def _say_estimate(self, resumed: bool) -> None:
        self.estimate, self.at.accumulation = probe(
            self.work,
            self.model,
            self.accelerator,
            self.options,
            self.total - self.at.step,
            self.at.accumulation,
            optimizer=None if resumed else self.optimizer.optimizer,
            evaluations=math.ceil((self.total - self.at.step) / (self.options.eval_steps or self.steps_per_epoch)),
        )
        if self.main:
            print_line(f"estimate  {self.estimate.text(self.options.price_per_hour)}")
            print_line(f"run       {self.run.path}       interrupted? run the same command again")
            if not resumed:
                self.run.update(total_steps=self.total, estimate=self.estimate.as_dict())

    def _finish(self) -> Outcome:
        seconds = self._seconds()
        if self.at.best_step and self.at.best_step != self.at.step:
            checkpoint.load_weights(self.run.checkpoints / checkpoint.name_of(self.at.best_step), self.plain)
        # After a resume the best evaluation may have been another process's.
        metrics = self._best_metrics or evaluate(self.work, self.model, self.accelerator, self.interrupts)
        notes = [f"stopped early at step {self.at.step}"] if self.at.stopped_early else []
        return Outcome(metrics, self.at.step, seconds, self.at.best_step, notes)

    def _loader(self) -> Steps:
        workers = self.options.num_workers
        if workers is None:
            workers = 4 if self.accelerator.device.type == "cuda" else 0
        return Steps(
            self.work,
            start=self.at.step,
            total=self.total,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            accumulation=self.at.accumulation,
            workers=workers,
            pin=self.accelerator.device.type == "cuda",
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _write(self, line: dict[str, Any], trackers: Trackers) -> None:
        if self.main:
            self.run.log(line)
            trackers.log(line)

    def _note(self, state: str) -> None:
        if self.main:
            seconds = round(self._seconds(), 3)
            price = self.options.price_per_hour
            cost = {"cost": round(seconds / 3600 * price, 4)} if price is not None else {}
            self.run.update(state=state, step=self.at.step, total_steps=self.total, seconds=seconds, **cost)


def evaluate(work: Work, model: torch.nn.Module, accelerator: Accelerator, interrupts: Interrupts) -> dict[str, Any]:
    """Runs the recipe's evaluation over all processes, in inference mode."""
    plain = accelerator.unwrap_model(model, keep_torch_compile=False)
    was_training = plain.training
    plain.eval()
    evaluator = Evaluator(
        accelerator.process_index,
        accelerator.num_processes,
        accelerator.device,
        interrupts.check if accelerator.num_processes == 1 else lambda: None,
        lambda items: gather_object(items),
        accelerator.autocast,
    )
    try:
        with torch.inference_mode():
            return work.evaluate(plain, evaluator)
    finally:
        plain.train(was_training)
