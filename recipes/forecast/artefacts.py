"""Files of a finished forecasting run: the model folder with its card, the back-test's files, and the report."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

from recipes.config import as_dict
from recipes.forecast import outputs, report, testing
from recipes.forecast.config import OWN, Train
from recipes.forecast.parts import Parts
from recipes.forecast.testing import NAIVE, SEASONAL, BacktestResult
from recipes.forecast.verdict import verdict_dict
from recipes.loop.loop import Outcome
from recipes.options import ON_CARD
from recipes.report.card import Card, known_environment
from recipes.report.outputs import write_outputs
from recipes.runs import summary as run_summary
from recipes.runs.folder import Run
from tasks.files import write_folder
from tasks.forecast.models.build import CLASSES, CONFIGS

TRAINING = (
    "model", "epochs", "batches_per_epoch", *ON_CARD[1:], "dropout", "distribution", "scaling", "item_embedding",
    "validation_windows", "seed",
)  # fmt: skip


def write(config: Train, parts: Parts, run: Run, outcome: Outcome, tested: BacktestResult) -> dict[str, Any]:
    """Writes everything and returns the run's summary, as `--json` prints it."""
    outputs.write_all(run.path, tested, data_facts(config, parts))
    parts.training_record().write(run.path)
    summary = write_outputs(
        run,
        functools.partial(save, parts),
        make_card(config, parts, run, tested),
        title=f"Forecast · {config.model} on {config.data}",
        headline=report.headline(tested),
        sections=report.sections(tested),
        metrics={
            **testing.overall(tested, tested.best),
            "baselines": {name: tested.value(name, "mase") for name in (NAIVE, SEASONAL)},
            "best_step": outcome.best_step,
        },
    )
    return {**summary, "verdict": verdict_dict(tested)}


def write_model(parts: Parts, run: Run) -> dict[str, Any]:
    """Only the model folder, for runs whose figures are another's."""
    write_folder(run.model, functools.partial(save, parts))
    return {"run": str(run.path), "model": str(run.model), "metrics": {}}


def save(parts: Parts, folder: Path) -> None:
    """The network as `from_pretrained` loads it, the facts of its data, and what training saw of them."""
    parts.model.save(folder)
    parts.facts.write(folder)
    parts.training_record().write(folder)


def data_facts(config: Train, parts: Parts) -> dict[str, Any]:
    """What the figures are of."""
    return outputs.data_facts(parts.loaded, parts.test, parts.spec.prediction_length, config.data_revision)


def make_card(config: Train, parts: Parts, run: Run, tested: BacktestResult) -> Card:
    """The model card's content."""
    options, spec = as_dict(config), parts.spec
    return Card(
        name=f"{spec.kind.capitalize()} for forecasting {Path(config.data).name}",
        summary=(
            f"Forecasts {spec.prediction_length} steps of series of frequency {parts.facts.freq} from the last "
            f"{spec.past_length}. Trained on {parts.loaded.description}."
        ),
        pipeline_tag="time-series-forecasting",
        headline=report.headline(tested),
        metric="mase",
        usage=usage(parts, folder="."),
        base_model=config.model,
        dataset_id=config.data,
        dataset_name=Path(config.data).name,
        further={
            key: value
            for key in ("wql", "crps", "nd", "smape", "coverage_80")
            if not math.isnan(value := tested.value(tested.best, key))
        },
        data={**data_facts(config, parts), "m of MASE": tested.m, "columns": parts.facts.target_names},
        training={key: options[key] for key in TRAINING if options[key] is not None},
        limits=[
            "Measured on the test windows named above, and on nothing else.",
            *[
                "What the model that it began with was trained on isn't on record: whether it saw the test windows isn't known."
            ]
            * (tested.seen is None),
            *["It has an embedding for each series that it was trained on, and can't forecast others."]
            * parts.facts.item_embedding,
        ],
        environment=known_environment(run.environment()),
    )


def usage(parts: Parts, folder: str) -> str:
    """Python that loads the model and forecasts with transformers alone; DLinear and N-BEATS by the code in their folder."""
    spec = parts.spec
    past, length = spec.past_length, spec.prediction_length
    name, trust, source = CLASSES[CONFIGS[spec.kind].model_type].__name__, "", "this folder, or the Hub id"
    if spec.kind in OWN:
        name, trust = "AutoModel", ", trust_remote_code=True"
        source += f"; runs its modeling_{spec.kind}.py"
    # PatchTST has an axis of dimensions even for one.
    dims = spec.input_size > 1 or spec.kind == "patchtst"
    window = f"[[value] * {spec.input_size} for value in values]" if dims else "values"
    lines = [
        "import torch",
        f"from transformers import {name}",
        "",
        f'model = {name}.from_pretrained("{folder}"{trust}).eval()  # {source}',
        f"values = [float(1 + step % 12) for step in range({past})]  # the last {past} of a series",
        f"past = torch.tensor([{window}])",
        "inputs = {",
        '    "past_values": past,',
        '    "past_observed_mask": torch.ones_like(past),',
    ]
    if spec.takes_features:
        count = spec.num_time_features
        lines += [
            f'    "past_time_features": torch.zeros(1, {past}, {count}),  # gluonts.time_feature of the frequency, then log10(2 + age)',
            f'    "future_time_features": torch.zeros(1, {length}, {count}),',
        ]
        if spec.cardinality:
            lines.append(
                f'    "static_categorical_features": torch.zeros(1, {len(spec.cardinality)}, dtype=torch.long),'
            )
        if spec.num_static_real_features:
            lines.append(f'    "static_real_features": torch.zeros(1, {spec.num_static_real_features}),')
    output = {
        "point": "model(**inputs).prediction_outputs",
        "quantiles": "model(**inputs).quantiles",  # at the levels of model.config.quantile_levels
    }.get(spec.distribution, "model.generate(**inputs).sequences.median(1).values")
    lines += ["}", "with torch.no_grad():", f"    print({output})", ""]
    return "\n".join(lines)


def summary_text(run: Run, tested: BacktestResult, summary: dict[str, Any]) -> str:
    """The result on stdout: scores beside the baselines, time against the estimate, and where things are."""
    baselines = " · ".join(f"{name} {tested.value(name, 'mase'):.4g}" for name in (NAIVE, SEASONAL))
    following = f"tool predict forecast --model {run.path} --output future.csv"
    text = run_summary.text(run, summary, f"{tested.headline()} · {baselines}", following)
    return f"{testing.score_table(tested)}\n          {testing.counts_line(tested)}\n{text}"
