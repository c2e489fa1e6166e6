"""Search of `--approach auto`: approaches and formats, sensitive layers left float, the fastest within the budget kept."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from recipes.quantize.config import Quantize
from recipes.quantize.onnx_context import OnnxContext
from recipes.quantize.trials import SearchResult, Trial, line
from recipes.terminal.progress import print_line
from tasks.quantize.formats import Format, formats
from tasks.quantize.graph import nodes
from tasks.quantize.plan import OPERATORS, Plan
from tasks.quantize.sensitivity import sensitivity

FINALISTS = 3
# Sensitivity is measured on so many calibration batches.
SENSITIVITY_BATCHES = 4
SENSITIVITY_SECONDS = 120.0


def base_plan(config: Quantize, approach: str, form: Format) -> Plan:
    """The plan that the options describe."""
    choices: dict[str, Any] = {"per_channel": config.per_channel, "reduce_range": config.reduce_range}
    form = replace(form, **{name: chosen for name, chosen in choices.items() if chosen is not None})
    return Plan(
        approach=approach,
        format=form,
        operators=tuple(config.operators) or OPERATORS,
        excluded=tuple(config.exclude),
        method=config.calibration if approach == "static" else None,
        percentile=config.percentile,
        moving_average=config.moving_average if approach == "static" else None,
        block_size=config.block_size,
    )


def single(config: Quantize) -> Plan:
    """The one plan of --approach dynamic, static or int4: in the target's best format, or the best with the signs asked for."""
    fitting = [form for form in formats(config.target, config.approach) if config.format in (None, form.signs)]
    asked = Format((config.format or "")[:2], (config.format or "")[2:], True, False, "as asked for")
    return base_plan(config, config.approach, fitting[0] if fitting else asked)


def candidates(config: Quantize) -> list[Plan]:
    """Every approach and format worth a trial on the target, the most promising first."""
    plans = [base_plan(config, "dynamic", form) for form in formats(config.target, "dynamic")]
    static = formats(config.target, "static")[0]
    for method, average in (("minmax", None), ("percentile", None), ("minmax", 0.05), ("entropy", None)):
        plans.append(replace(base_plan(config, "static", static), method=method, moving_average=average))
    plans.append(base_plan(config, "int4", static))
    if config.format is not None:
        plans = [plan for plan in plans if plan.format.signs == config.format]
    return list({plan.name + str(plan.moving_average): plan for plan in plans}.values())


class Search:
    """One search within its budget of time."""

    def __init__(self, context: OnnxContext) -> None:
        self.context, self.config = context, context.config
        self.deadline = time.monotonic() + 60 * context.config.budget_minutes
        self.outcome = SearchResult([], None)

    def run(self) -> SearchResult:
        """Tries, rescues, and times the best again in turns."""
        calibrated = self.context.subject.can_calibrate
        plans = [plan for plan in candidates(self.config) if calibrated or plan.approach != "static"]
        for number, plan in enumerate(plans, start=1):
            self.attempt(plan, f"{number} of {len(plans)} · ")
        if calibrated:
            self.rescue()
        self.finals()
        return self.outcome

    def attempt(self, plan: Plan, number: str = "") -> Trial | None:
        """One trial and its line; None where the time is up and it isn't known from before."""
        known = self.context.key(plan) in self.context.store.known
        if not known and time.monotonic() > self.deadline:
            self.outcome.unfinished.append(plan.name)
            return None
        trial = self.context.try_plan(plan)
        if trial.key not in {one.key for one in self.outcome.trials}:
            self.outcome.trials.append(trial)
            print_line(f"trial     {number}{line(trial, self.config)}{' · from an earlier call' if known else ''}")
        self.context.store.drop_files({one.key for one in self.leaders()})
        return trial

    def leaders(self) -> list[Trial]:
        """The fastest within the drop, fastest first."""
        good = [trial for trial in self.outcome.trials if trial.within(self.config.max_drop)]
        return sorted(good, key=lambda trial: (trial.cost(self.config.optimize_for), trial.name))[:FINALISTS]

    def rescue(self) -> None:
        """Leaves layers float in the plans that are faster than what is within the drop, but lose too much."""
        measured = sorted(
            (t for t in self.outcome.trials if t.measured), key=lambda t: t.cost(self.config.optimize_for)
        )
        done: set[str] = set()
        for trial in measured:
            best = self.leaders()
            if best and trial.cost(self.config.optimize_for) >= best[0].cost(self.config.optimize_for):
                return
            family = trial.plan["approach"]
            if trial.within(self.config.max_drop) or family == "int4" or family in done:
                continue
            done.add(family)
            self.rescue_one(self.context.plan_of(trial))

    def rescue_one(self, plan: Plan) -> None:
        """Leaves 1, 2, 4, ... of the most sensitive layers float until it is within the drop, then as few of them as do."""
        if time.monotonic() > self.deadline:
            self.outcome.unfinished.append(f"layers left float in {plan.name}")
            return
        ranked = [name for name, _ in self.rank(plan)]
        low, high = 0, 1
        while True:
            trial = self.without(plan, ranked[:high])
            if trial is None:
                return
            if trial.within(self.config.max_drop):
                break
            if high >= len(ranked) - 1:
                return
            low, high = high, min(2 * high, len(ranked) - 1)
        while high - low > 1:
            middle = (low + high) // 2
            trial = self.without(plan, ranked[:middle])
            if trial is None:
                return
            low, high = (low, middle) if trial.within(self.config.max_drop) else (middle, high)

    def without(self, plan: Plan, layers: list[str]) -> Trial | None:
        """The plan with these layers float as well."""
        return self.attempt(replace(plan, excluded=(*plan.excluded, *layers)))

    def rank(self, plan: Plan) -> list[tuple[str, float]]:
        """Layers by how much quantizing each of them alone moves the logits, largest first."""
        if plan.name not in self.outcome.sensitivity:
            source = self.context.source
            names = [layer.name for layer in nodes.layers(source, plan.operators) if layer.columns >= plan.narrow]
            batches = self.context.calibration_batches()[:SENSITIVITY_BATCHES]
            print_line(f"layers    measuring how sensitive {len(names)} layers are under {plan.name}")
            ranges = self.context.ranges(plan)
            found = sensitivity(
                source,
                names,
                plan,
                batches,
                ranges=ranges,
                check=self.context.interrupts.check,
                seconds=SENSITIVITY_SECONDS,
            )
            self.outcome.sensitivity[plan.name] = found
            worst = " · ".join(f"{name} {value:.3g}" for name, value in found[:3])
            print_line(f"          most sensitive: {worst}")
        return self.outcome.sensitivity[plan.name]

    def finals(self) -> None:
        """Times the leaders again, in turns, and chooses."""
        best = self.leaders()
        if len(best) > 1:
            # Only those that were timed together can be told apart.
            self.context.time_again(best)
            best.sort(key=lambda trial: (trial.cost(self.config.optimize_for), trial.name))
        self.outcome.chosen = best[0] if best else None
