"""Forecasting: the tool's training, forecasts and metrics beside the Hugging Face posts' pipeline, on the same models and data.

Both sides start from the same file, weights, batch size and number of steps, in float32 on the CPU, in processes of their own that
take turns. Training is loading and stepping together, without the first step; forecasting is from the data in memory to samples, 100 a
window; the metrics are MASE and sMAPE of the same medians. `--only` takes data sets (exchange_rate, m4_hourly), models
(transformer, informer, autoformer) and parts (train, sample, metrics); `--models` and `--part` are the same option.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import forecast_report
from benchmarks.common import BenchmarkFailed, Options, describe_machine, machine, run, say, settle, tool
from benchmarks.forecast_sets import BATCH, KINDS, SETS, ForecastRequest, Set, by_name, long_sample

PARTS = ("train", "sample", "metrics")
SIDES = ("peer", "ours")
SAME_WINDOW = 1e-6
SAME_LOSS = 1e-5
SAME_GRADIENT = 1e-4
SAME_SCORE = 1e-9
# Standard errors that figures of the two sides' samples may lie apart: chance alone does it once in 16,000 times.
SAME_LAW = 4.0


def bench(options: Options) -> dict[str, Any]:
    """Runs every data set and model and prints its figures.

    Raises:
        BenchmarkFailed: a side failed, or the two don't compute the same.
    """
    asked = choose(options)
    found: dict[str, Any] = {"machine": machine()}
    if asked is None:
        return {}
    say(describe_machine(found["machine"]))
    for one in asked.sets:
        work = options.work / f"forecast-{one.name}"
        shutil.rmtree(work, ignore_errors=True)
        one, file = data_of(one, options, work)
        found[one.name] = bench_set(one, file, asked, work)
        if not options.keep:
            settle(work)
    forecast_report.closing(found)
    return found


def choose(options: Options) -> ForecastRequest | None:
    """By the names that `--only` gives; None where they are all of other benchmarks."""
    names = {"sets": tuple(one.name for one in SETS[:2]), "kinds": KINDS, "parts": PARTS}
    asked = {what: tuple(name for name in known if name in options.only) for what, known in names.items()}
    if options.only and not any(asked.values()):
        return None
    if options.quick:
        names["sets"] = names["sets"][:1]
    sets, kinds, parts = (asked[what] or known for what, known in names.items())
    return ForecastRequest(
        sets=tuple(by_name(name) for name in sets),
        kinds=kinds,
        parts=parts,
        steps=options.steps or (4 if options.quick else 60),
        pairs=options.pairs or (1 if options.quick else 2),
        entries=6 if options.quick else sys.maxsize,
        quick=options.quick,
    )


def data_of(one: Set, options: Options, work: Path) -> tuple[Set, Path]:
    """The set and its file; the tool's sample where it is missing."""
    file = options.data / one.file
    if file.is_file():
        return one, file
    say(f"no {file}: using `tool data sample forecast` in its place; --data names the folder of real data")
    run([tool(), "data", "sample", "forecast", "--output", work / "sample"], work / "making")
    (source,) = (work / "sample").glob("*.csv")
    long_sample(source, work / "sample.csv")
    return dataclasses.replace(by_name("sample"), name=f"sample in place of {one.name}"), work / "sample.csv"


def bench_set(one: Set, file: Path, asked: ForecastRequest, work: Path) -> dict[str, Any]:
    """All models on one data set."""
    given = work / "inputs"
    name = "sample" if one.name.startswith("sample") else one.name
    worker(
        "forecast_inputs", work / "making", "--set", name, "--file", file, "--kinds", *asked.kinds, "--output", given
    )
    forecast_report.header(one, asked)
    found: dict[str, Any] = {}
    for kind in asked.kinds:
        # The metrics know no model: once a data set is enough.
        parts = tuple(part for part in asked.parts if part != "metrics" or kind == asked.kinds[0])
        if parts:
            common = ["--set", name, "--file", file, "--kind", kind, "--model", given / f"model-{kind}"]
            found[kind] = bench_model(kind, parts, common, min(asked.entries, one.entries), asked, work)
    return found


def bench_model(
    kind: str, parts: tuple[str, ...], common: list[Any], entries: int, asked: ForecastRequest, work: Path
) -> dict[str, Any]:
    """All pairs of one model, the checks, and what the time goes to where a target is missed."""
    pairs = [run_pair(number, parts, kind, common, entries, asked, work) for number in range(asked.pairs)]
    draws = [work / f"{side}.npy" for side in SIDES]
    extra = ["--draws", *draws] if "sample" in parts else []
    trained = ["--trained", work / f"trained-{kind}"]
    checks = read_worker("forecast_checks", work / "checks", *common, *trained, *extra)
    agree(kind, pairs, checks)
    found: dict[str, Any] = {"pairs": pairs, "checks": checks, "ratios": ratios(pairs)}
    forecast_report.summary(kind, found)
    for part in () if asked.quick else forecast_report.missed(kind, found["ratios"]):
        if part in PARTS:
            profile = read_worker("forecast_profile", work / "profile", *common, "--part", part)
            found.setdefault("profile", {})[part] = profile
            forecast_report.profile(kind, part, profile)
    return found


def run_pair(
    number: int, parts: tuple[str, ...], kind: str, common: list[Any], entries: int, asked: ForecastRequest, work: Path
) -> dict[str, Any]:
    """One run of each side; which goes first changes from pair to pair. The first of all leaves the weights to forecast with."""
    pair: dict[str, Any] = {}
    for side in SIDES if number % 2 == 0 else SIDES[::-1]:
        folder = work / "side"
        settle(folder)
        command = [
            sys.executable, "-m", f"benchmarks.forecast_{side}", *common, "--trained", work / f"trained-{kind}", "--parts", *parts,
            "--steps", asked.steps, "--entries", entries, "--seed", 2 * number + SIDES.index(side), "--draws", work / f"{side}.npy",
            "--samples", work / "inputs" / "samples.npy", "--output", folder / "found.json",
        ]  # fmt: skip
        process = run([str(part) for part in command], folder)
        pair[side] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
        pair[side] |= {"peak_bytes": process.peak_bytes, "private_bytes": process.private_bytes}
        forecast_report.row(number, kind, side, pair[side])
    return pair


def worker(module: str, folder: Path, *arguments: Any) -> None:
    """Runs a module of this package in a process of its own."""
    run([sys.executable, "-m", f"benchmarks.{module}", *(str(argument) for argument in arguments)], folder)


def read_worker(module: str, folder: Path, *arguments: Any) -> dict[str, Any]:
    """The same, and the JSON that it writes."""
    output = folder / "found.json"
    worker(module, folder, *arguments, "--output", output)
    return dict(json.loads(output.read_text(encoding="utf-8")))


def ratios(pairs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Peer over tool, pair by pair, of what was run: above 1 the tool takes less."""
    found: dict[str, list[float]] = {}
    for pair in pairs:
        peer, ours = (pair[side] for side in SIDES)
        values = {"memory": peer["peak_bytes"] / ours["peak_bytes"]}
        if "train" in peer:
            values["train"] = per(peer["train"], "steps") / per(ours["train"], "steps")
            values["first step"] = peer["train"]["first_seconds"] / ours["train"]["first_seconds"]
        if "sample" in peer:
            values["sample"] = per(peer["sample"], "entries") / per(ours["sample"], "entries")
        if "metrics" in peer:
            values["metrics"] = peer["metrics"]["seconds"] / ours["metrics"]["seconds"]
            values["metrics without evaluate"] = peer["metrics"]["alone_seconds"] / ours["metrics"]["seconds"]
            values["metrics, all of ours"] = peer["metrics"]["seconds"] / ours["metrics"]["all_seconds"]
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return found


def per(part: dict[str, Any], what: str) -> float:
    """Seconds a step or an entry."""
    return float(part["seconds"] / part[what])


def agree(kind: str, pairs: list[dict[str, Any]], checks: dict[str, Any]) -> None:
    """
    Raises:
        BenchmarkFailed: the sides did other work, or came to other results, than each other.
    """
    wrong = [*unequal(checks), *other_draws(checks.get("draws", {}))]
    for pair in pairs:
        peer, ours = (pair[side] for side in SIDES)
        for part, what in (("train", "steps"), ("sample", "entries")):
            if part in peer and peer[part][what] != ours[part][what]:
                wrong.append(f"{peer[part][what]} and {ours[part][what]} {what}")
        for name in ("mase", "smape") if "metrics" in peer else ():
            first, second = peer["metrics"][name], ours["metrics"][name]
            if not abs(first - second) <= SAME_SCORE * abs(first):
                wrong.append(f"{name} of the same samples {first} and {second}")
    if wrong:
        raise BenchmarkFailed(f"the sides disagree on {kind}: " + "; ".join(dict.fromkeys(wrong)))


def unequal(checks: dict[str, Any]) -> Iterator[str]:
    """A line for each field, loss and gradient that differs."""
    for name, apart in checks["windows"].items():
        if not apart <= SAME_WINDOW:
            yield f"the windows' {name} lie {apart:.1e} apart"
    loss = checks["loss"]
    if not abs(loss["peer"] - loss["tool"]) <= SAME_LOSS * max(1.0, abs(loss["peer"])):
        yield f"the same {BATCH} windows and weights give loss {loss['peer']} and {loss['tool']}"
    if not loss["gradients_apart"] <= SAME_GRADIENT:
        yield f"their gradients lie {loss['gradients_apart']:.1e} apart"
    if loss["one_side_only"]:
        yield f"only one of them trains {', '.join(loss['one_side_only'])}"


def other_draws(draws: dict[str, Any]) -> Iterator[str]:
    """A line for each figure of the samples that differs by more than chance."""
    for name, one in draws.items():
        if not abs(one["peer"] - one["tool"]) <= SAME_LAW * one["standard_error"]:
            yield (
                f"{name} of the samples {one['peer']:.5g} and {one['tool']:.5g}, standard error {one['standard_error']:.2g}"
            )
