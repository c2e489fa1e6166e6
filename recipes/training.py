"""The way through a training command that all recipes share: launcher, run folder, loop, end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from recipes.distributed import accelerate_config
from recipes.distributed.launch import as_process, launch, must_launch
from recipes.loop.estimate import Estimate
from recipes.loop.loop import Outcome
from recipes.process.interrupts import Interrupts
from recipes.process.worker import is_worker
from recipes.runs import on_exit, push, trackers
from recipes.session import Session, noting_the_end, say_estimate, start
from recipes.session import train as session_train
from recipes.work import Work


@dataclass(frozen=True)
class Stages:
    """What a recipe does on the way; `parts` is whatever its `prepare` gives.

    Attributes:
        prepare: config -> parts: data read and checked, model built; before anything is written.
        header: (config, parts, session) says what is trained on what.
        work: (config, parts, session) -> what the loop trains.
        finish: (config, parts, session, outcome) -> what the command prints; closes the run.
        label: parts -> a word for the name of the run folder, after the recipe's.
    """

    recipe: str
    prepare: Callable[[Any], Any]
    header: Callable[[Any, Any, Session], None]
    work: Callable[[Any, Any, Session], Work]
    finish: Callable[[Any, Any, Session, Outcome], dict[str, Any]]
    label: Callable[[Any], str] = field(default=lambda parts: "")


def train(stages: Stages, config: Any) -> dict[str, Any]:
    """Runs the recipe, in as many processes as the config asks for; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    with on_exit.running(stages.recipe, config) as told:
        config = told.config = accelerate_config.apply(config)
        if must_launch(config):
            return launch(config)
        if not is_worker():  # whose launcher has set them
            os.environ.update(accelerate_config.settings(config))
        return run(stages, config)


def run(stages: Stages, config: Any) -> dict[str, Any]:
    """The same as one process of the run."""
    with Interrupts(config.max_hours) as interrupts, as_process(config):
        trackers.check(config.tracker)
        if config.push_to_hub:
            push.check(config.push_to_hub, config.token)
        parts = stages.prepare(config)
        session = start(stages.recipe, config, interrupts, stages.label(parts))
        with noting_the_end(session.run, main=session.accelerator.is_main_process):
            stages.header(config, parts, session)
            ended = session_train(stages.work(config, parts, session), config, session, interrupts)
            if isinstance(ended, Estimate):
                return say_estimate(ended, config, session)
            return stages.finish(config, parts, session, ended)
