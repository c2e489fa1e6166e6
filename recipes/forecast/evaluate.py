"""`tool eval forecast`: a back-test whose figures are printed, without a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.distributed.device import pick_device, silence
from recipes.forecast import testing
from recipes.forecast.config import Eval
from recipes.forecast.data import notes
from recipes.forecast.networks import place
from recipes.forecast.setup import forecast_request, score, set_up
from recipes.forecast.verdict import verdict_dict
from recipes.runs.summary import verdict_lines
from recipes.terminal.progress import print_line
from tasks.files import write_json


def evaluate(config: Eval) -> dict[str, Any]:
    """Scores models on the data's test windows; returns the figures and the text to print."""
    silence()
    config, setup = set_up(config)
    print_line(f"forecast · {', '.join(model.name for model in setup.models)} · {setup.loaded.description}")
    for line in [*notes(setup.loaded), *(f"note      {line}" for line in setup.seen.notes)]:
        print_line(line)
    networks = [model for model in setup.models if model.network is not None]
    if networks:
        device = pick_device(config.cpu, config.threads)
        place(networks, device)
        request = forecast_request(config, setup.loaded.panel, setup.loaded.test, setup.horizon, device)
        tested = testing.measure(setup.models, request, setup.m, seen=setup.seen)
    else:
        tested = score(setup, {})
    verdict = verdict_dict(tested)
    figures = {**testing.figures(tested), "verdict": verdict}
    if config.output:
        write_json(Path(config.output), figures)
    lines = [testing.score_table(tested), testing.counts_line(tested), *verdict_lines(verdict)]
    return {**figures, "text": "\n".join(lines)}
