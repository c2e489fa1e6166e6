"""The `Recipe` base class, and the training command that all recipes share: processes, run folder, loop, artefacts."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from recipes.checkpoints import resume
from recipes.config import as_dict, options_of
from recipes.distributed import accelerate_config
from recipes.distributed.device import make_accelerator, silence
from recipes.distributed.launch import as_process, launch, must_launch
from recipes.loop.loop import Loop, Outcome
from recipes.options import ON_CARD, TrainOptions
from recipes.process.interrupts import Interrupts, settle
from recipes.process.memory import peak_memory
from recipes.process.worker import is_worker
from recipes.report.card import Card, known_environment
from recipes.report.content import Headline, Section
from recipes.report.outputs import save_weights, write_outputs
from recipes.runs import on_exit, push, trackers
from recipes.runs import summary as run_summary
from recipes.runs.folder import Run, recording_the_end
from recipes.runs.log import log_to
from recipes.terminal.progress import print_line
from recipes.work import Work
from tasks import verdict as verdicts
from tasks.errors import Preempted, ToolError
from tasks.files import folder_bytes, write_json
from tasks.words import counted

ConfigT = TypeVar("ConfigT", bound=TrainOptions)
PartsT = TypeVar("PartsT")


@dataclass
class Session:
    """A run on its device; `checkpoint` where --resume names one."""

    run: Run
    accelerator: Accelerator
    checkpoint: Path | None = None


class Recipe(ABC, Generic[ConfigT, PartsT]):
    """What one recipe does on the way through a training; `train` calls its methods in the order in which they stand here.

    Attributes:
        name: as in `tool train NAME`, and in the run folder's name.
        config: the options, with the recipe's defaults filled in.
        parts: what `prepare` gave. session: the run on its device; both are there from `header` on.
    """

    name: ClassVar[str]
    parts: PartsT
    session: Session

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @abstractmethod
    def prepare(self) -> PartsT:
        """Reads and checks the data, builds the model; before anything is written."""

    def label(self) -> str:
        """A word for the name of the run folder, after the recipe's."""
        return ""

    def header(self) -> list[str]:
        """The first lines of a run: what is trained on what."""
        return [f"{self.name} · {getattr(self.config, 'model', None) or 'a model of its own'}"]

    @abstractmethod
    def make_work(self) -> Work:
        """What the loop trains."""

    def test(self) -> None:
        """What is measured once, after the last step; on all processes."""

    def score(self, outcome: Outcome) -> str:
        """The run's figure in a few words, for `tool runs list`."""
        return " · ".join(f"{name} {value:.4g}" for name, value in outcome.metrics.items() if isinstance(value, float))

    def write(self, outcome: Outcome) -> dict[str, Any]:
        """Writes evaluation.json, the model with its card, and the report; returns what `--json` prints: {"run", "model", "report",
        "metrics", "verdict", ...}. By default by `save`, `card` and `sections`."""
        run, figures = self.session.run, {**outcome.metrics, "best_step": outcome.best_step}
        figures.pop("pictures", None)  # files of the run, which the trackers have
        card = self.card(outcome)
        verdict = verdict_on(card.headline, self.work.greater_is_better)
        write_json(run.path / "evaluation.json", {**figures, "verdict": verdict})
        sections = self.sections(outcome)
        summary = write_outputs(
            run, self.save, card, title=card.name, headline=card.headline, sections=sections, metrics=figures
        )
        return {**summary, "verdict": verdict}

    def save(self, folder: Path) -> None:
        """Writes the model, as `from_pretrained` or safetensors loads it."""
        save_weights(self.work.model, folder)

    def card(self, outcome: Outcome) -> Card:
        """The model card's content; its name is the report's title, its headline the report's."""
        name, options = self.work.metric, as_dict(self.config)
        shared = {info.name for info in options_of(TrainOptions)} - set(ON_CARD)
        return Card(
            self.name,
            headline=Headline(name, outcome.metrics[name], n=outcome.metrics.get("n"), unit="") if name else None,
            library_name="transformers" if hasattr(self.work.model, "save_pretrained") else "",
            training={key: value for key, value in options.items() if key not in shared and value is not None},
            environment=known_environment(self.session.run.environment()),
        )

    def sections(self, outcome: Outcome) -> list[Section]:
        """What the report shows beside the curves."""
        return []

    def summary(self, outcome: Outcome, summary: dict[str, Any]) -> str:
        """The result on stdout."""
        return run_summary.text(self.session.run, summary, self.score(outcome), f"tool eval {self.name}")

    # -- not for overriding ------------------------------------------------------------------------------------------

    work: Work

    def run(self, interrupts: Interrupts) -> dict[str, Any]:
        """The whole way as one process of the run; returns what the command prints, nothing on the other processes."""
        self.parts = self.prepare()
        self.session = start(self.name, self.config, self.label())
        run, main = self.session.run, self.session.accelerator.is_main_process
        with recording_the_end(run, main=main):
            for line in self.header() if main else []:
                print_line(line)
            self.work = self.make_work()
            loop = Loop(self.work, self.config, run, self.session.accelerator, interrupts, self.session.checkpoint)
            if self.config.dry_run:
                estimate = loop.dry_run()
                return estimate.summary(self.config, run.path) if main else {}
            return self._finish(loop.train())

    def _finish(self, outcome: Outcome) -> dict[str, Any]:
        """The recipe's artefacts, what was measured beside the estimate, the upload."""
        self.test()
        accelerator, summary = self.session.accelerator, {}
        if accelerator.is_main_process:
            summary = self._close(outcome)
            summary["text"] = self.summary(outcome, summary)
        accelerator.wait_for_everyone()
        accelerator.end_training()
        return summary

    def _close(self, outcome: Outcome) -> dict[str, Any]:
        config, run = self.config, self.session.run
        # The report shows it; the run is finished only when that is written too.
        run.update(step=outcome.steps, best_step=outcome.best_step, score=self.score(outcome), **self._taken(outcome))
        summary = self.write(outcome)
        taken = self._taken(outcome)
        if not config.push_to_hub:
            settle()
        line = (summary.get("verdict") or {}).get("line")
        run.update(state="finished", error=None, went_back_to=None, metrics=summary["metrics"], verdict=line, **taken)
        summary |= {
            "steps": outcome.steps,
            "seconds": taken["seconds"],
            "estimated_seconds": run.status().get("estimate", {}).get("seconds"),
            "notes": outcome.notes,
        }
        if config.push_to_hub:
            summary["url"] = upload(run, config)
        return summary

    def _taken(self, outcome: Outcome) -> dict[str, Any]:
        """What the run took until now, for status.json, in the estimate's terms."""
        seconds = round(outcome.seconds + time.monotonic() - outcome.ended, 3)
        cost = self.config.cost(seconds)
        measured = {
            "seconds": seconds,
            "memory_bytes": max(outcome.memory_bytes, peak_memory(self.session.accelerator.device)),
            "disk_bytes": max(outcome.disk_bytes, folder_bytes(self.session.run.path)),
            **cost,
        }
        return {"seconds": seconds, "measured": measured, **cost}


def verdict_on(headline: Headline | None, greater_is_better: bool) -> dict[str, Any] | None:
    """The verdict on a headline by its interval and baselines, which it then says too; None where it has no baseline."""
    if headline is None or not headline.baselines:
        return None
    best = verdicts.best_of([verdicts.Baseline(*one) for one in headline.baselines.items()], greater_is_better)
    evidence = verdicts.against_point(headline.value, headline.low, headline.high, best.value, greater_is_better)
    examples = "the figure" if headline.n is None else counted(headline.n, "example")
    found = verdicts.judge(headline.name, headline.value, best, evidence, examples=examples, unit=headline.unit)
    headline.verdict = found.line or ""
    return found.as_dict()


def train(recipe: Recipe[Any, Any]) -> dict[str, Any]:
    """Runs the recipe, in as many processes as its config asks for; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    with on_exit.running(recipe.name, lambda: recipe.config):
        config = recipe.config = accelerate_config.apply(recipe.config)
        if must_launch(config):
            return launch(config)
        if not is_worker():  # whose launcher has set them
            os.environ.update(accelerate_config.settings(config))
        with Interrupts(config.max_hours) as interrupts, as_process(config):
            trackers.check(config.tracker)
            if config.push_to_hub:
                push.check(config.push_to_hub, config.token)
            return recipe.run(interrupts)


def start(recipe: str, config: TrainOptions, label: str = "") -> Session:
    """Sets up the device and finds the unfinished run of the same command, or makes a new one; a dry run makes none.

    Raises:
        ConfigError: fp16 without a GPU; a --resume that doesn't fit.
    """
    silence()
    accelerator = make_accelerator(config)
    if config.dry_run:
        return Session(Run(Path(config.output_dir) / "dry-run"), accelerator)
    if not accelerator.is_main_process:
        return Session(Run(Path(broadcast_object_list([None])[0])), accelerator)
    run, checkpoint = resume.pick_run(recipe, config, label)
    broadcast_object_list([str(run.path)])
    log_to(run)
    return Session(run, accelerator, checkpoint)


def upload(run: Run, config: TrainOptions) -> str:
    """Pushes the finished run's model to the Hub; returns its address.

    Raises:
        ToolError: stopped while uploading: not with the code of a preemption, since the same command would train anew.
    """
    assert config.push_to_hub is not None
    try:
        url = push.push(run.model, config.push_to_hub, private=config.private, token=config.token, run=run.path)
    except Preempted as stop:
        raise ToolError(
            f"{str(stop).partition(';')[0]} while uploading; the run is finished: "
            f"tool runs push {run.path} --to {config.push_to_hub}"
        ) from None
    settle()
    run.update(pushed=url)
    return url
