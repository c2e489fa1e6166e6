"""Report sections of a ControlNet run: conditioning gain by step and by timestep, and the pictures drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from recipes.controlnet.grids import Kept, kept_steps, read_kept
from recipes.report.content import BarChart, Example, Headline, Line, LineChart, Section, Table
from recipes.report.folder import read_run
from recipes.runs.folder import Run
from recipes.runs.trackers import PICTURES, picture_name
from tasks import seen
from tasks.controlnet.pairs import Pairs
from tasks.controlnet.score.verdict import judge
from tasks.errors import DataError

STEPS_SHOWN = 8
PAIRS_SHOWN = 4
SCENES_ON_THE_WAY = 2
CARDS = 4  # as many as lie side by side on a page of usual width
SIDE = 224

MEANING = (
    "Noise is added to the latents of each held-out pair at one timestep of every band, always the same noise. The denoising "
    "loss is then measured three times: with the pair's own condition, with another pair's (shuffled), and without the "
    "ControlNet (the base alone). The conditioning gain is how much lower the loss is with the own condition than with "
    "shuffled ones, as a share of the latter. A net that ignores its condition gains nothing, whatever its pictures look like."
)
LEARNING = (
    "ControlNets often begin to follow their condition all at once: until then the own and the shuffled line run together, "
    "then they part."
)


def headline_of(metrics: dict[str, Any]) -> Headline:
    """The conditioning gain with its interval; nothing is what a net that ignores its condition gains."""
    line = judge(metrics).line or ""
    return Headline("gain", metrics["gain"], metrics["gain_low"], metrics["gain_high"], metrics["n"], verdict=line)


def gain_text(metrics: dict[str, Any]) -> str:
    """'conditioning gain 3.1 % (2.2 to 4.0, n 200)', and how many of the pairs training saw, where it saw any."""
    value, low, high = (percent(metrics[name]) for name in ("gain", "gain_low", "gain_high"))
    saw = metrics.get("seen")
    mark = seen.mark(saw["count"], saw["of"]) if saw else ""
    return f"conditioning gain {value} % ({low} to {high}, n {metrics['n']:,}){mark}"


def percent(share: float) -> str:
    """A share times 100 with one decimal, and no sign before nothing."""
    text = f"{100 * share:.1f}"
    return text.lstrip("-") if float(text) == 0 else text


def sections(pairs: Pairs, run: Run, metrics: dict[str, Any], best_step: int) -> list[Section]:
    """All of them, the pictures first."""
    validation = read_run(run.path).validation
    best = run.path / PICTURES / picture_name(best_step)
    paths = kept_steps(run.path)
    shown = [path for path in paths if path in spread(paths) or path == best]
    kept = [found for path in shown if (found := read_kept(path)) is not None]
    return [
        *drawn_sections(kept, run, best_step),
        Section(
            "How far the condition counts",
            MEANING,
            charts=[*gain_charts(metrics, validation)],
            tables=[by_band(metrics)],
        ),
        against_base(metrics),
        *extremes(pairs, metrics),
    ]


def gain_charts(metrics: dict[str, Any], validation: list[dict[str, Any]]) -> list[BarChart | LineChart]:
    """The losses over steps where there are several evaluations, and the gain by timestep."""
    charts: list[BarChart | LineChart] = []
    known = [
        line for line in validation if all(isinstance(line.get(key), float) for key in ("loss", "shuffled", "none"))
    ]
    if len(known) > 1:
        charts.append(losses_by_step(known))
    bands = metrics["by_band"]
    charts.append(
        BarChart(
            "Conditioning gain by timestep",
            [f"timesteps {band}" for band in bands],
            [100 * part["gain"] for part in bands.values()],
            [100 * part["low"] for part in bands.values()],
            [100 * part["high"] for part in bands.values()],
            baseline=0.0,
            baseline_name="a net that ignores its condition",
            unit="%",  # by their own scale, not from 0 to 100
            note="Early timesteps hold little noise: there the picture itself shows what the condition says.",
        )
    )
    return charts


def losses_by_step(lines: list[dict[str, Any]]) -> LineChart:
    """Denoising loss with the own condition, with shuffled ones and of the base alone."""
    steps = [float(line["step"]) for line in lines]
    return LineChart(
        "Denoising loss over steps",
        [
            Line("own condition", steps, [line["loss"] for line in lines]),
            Line("shuffled conditions", steps, [line["shuffled"] for line in lines], look="plain"),
            Line("base alone", steps, [line["none"] for line in lines], look="dashed"),
        ],
        "step",
        note=LEARNING,
    )


def by_band(metrics: dict[str, Any]) -> Table:
    """Losses and gain of each band of timesteps."""
    rows = [
        [band, part["own"], part["shuffled"], part["none"], 100 * part["gain"], 100 * part["low"], 100 * part["high"]]
        for band, part in metrics["by_band"].items()
    ]
    columns = ["timesteps", "own", "shuffled", "base alone", "gain %", "95 % from", "to"]
    return Table("Denoising loss by timestep", columns, rows)


def against_base(metrics: dict[str, Any]) -> Section:
    """What the ControlNet gives beyond the base, and in how many pairs."""
    own, shuffled, none = (np.asarray(metrics["per_pair"][kind]) for kind in ("own", "shuffled", "none"))
    value, low, high = (percent(metrics[name]) for name in ("gain_none", "gain_none_low", "gain_none_high"))
    change = float(shuffled.mean() / none.mean() - 1) if none.mean() else 0.0
    meaning = (
        "so far does a wrong condition lead astray"
        if change > 0
        else "so much has the net learnt of the pictures at large, whatever the condition"
    )
    text = (
        f"The gain over the base alone, measured in the same way, is {value} % (95 % interval {low} to {high}). With another "
        f"pair's condition the loss is {percent(abs(change))} % {'above' if change > 0 else 'below'} that of the base: {meaning}."
    )
    rows: list[list[str | float | int | None]] = [
        ["own condition", float(own.mean()), None, None],
        ["shuffled", float(shuffled.mean()), int((own < shuffled).sum()), 100 * float((own < shuffled).mean())],
        ["base alone", float(none.mean()), int((own < none).sum()), 100 * float((own < none).mean())],
    ]
    columns = ["condition", "mean loss", "pairs in which the own is better", "in %"]
    return Section("Against the base alone", text, tables=[Table("Pair by pair", columns, rows)])


def drawn_sections(kept: list[Kept], run: Run, best_step: int) -> list[Section]:
    """What the kept weights draw, and how the first pictures came to be."""
    if not kept:
        return []
    final = next((one for one in kept if one.step == best_step), kept[-1])
    here = final.path.relative_to(run.path)
    found = [
        Section(
            "Drawn under their conditions",
            f"At step {final.step:,}, from the same seeds as at every evaluation. All pictures are in {here}.",
            examples=[example for row in range(len(final.rows)) for example in scene_examples(final, row)],
        )
    ]
    if len(kept) > 1:
        found.append(
            Section(
                "On the way",
                "The first picture of the first conditions, from the same noise, at "
                f"{'all' if len(kept) <= STEPS_SHOWN else 'some'} evaluations.",
                examples=[
                    Example(
                        [picture for row in one.rows[:SCENES_ON_THE_WAY] if (picture := row[1]) is not None],
                        f"step {one.step:,}",
                    )
                    for one in kept
                ],
            )
        )
    return found


def scene_examples(kept: Kept, row: int) -> list[Example]:
    """A scene in cards of one picture each, four where there are as many: condition, drawn, true picture."""
    pictures, prompt = kept.rows[row], kept.prompts[row] or "(empty prompt)"
    drawn = pictures[1:-1] if kept.truths else pictures[1:]
    shown = drawn[: CARDS - 1 - kept.truths]
    named = [("condition", pictures[0]), *((f"drawn {at + 1}", one) for at, one in enumerate(shown))]
    named += [("true picture", pictures[-1])] if kept.truths else []
    lines = {"condition": [("prompt", prompt)]}
    return [Example(one, title, lines.get(title, [])) for title, one in named if one is not None]


def spread(paths: list[Any]) -> list[Any]:
    """At most `STEPS_SHOWN`, evenly, the first and the last among them."""
    if len(paths) <= STEPS_SHOWN:
        return paths
    return [paths[at] for at in np.linspace(0, len(paths) - 1, STEPS_SHOWN).round().astype(int)]


def extremes(pairs: Pairs, metrics: dict[str, Any]) -> list[Section]:
    """The held-out pairs whose condition helped most and least."""
    own, shuffled = (np.asarray(metrics["per_pair"][kind]) for kind in ("own", "shuffled"))
    gains = (shuffled - own) / shuffled.mean()
    order = np.argsort(-gains, kind="stable")
    if len(order) < 2:
        return []
    count = min(PAIRS_SHOWN, len(order) // 2)
    chosen = [*order[:count], *order[-count:]]
    return [
        Section(
            "Pairs whose condition helped most and least",
            "Condition and true picture; the gain is the pair's own, as a share of the mean shuffled loss.",
            examples=[_pair(pairs, int(number), float(gains[number])) for number in chosen],
        )
    ]


def _pair(pairs: Pairs, number: int, gain: float) -> Example:
    row = int(pairs.rows[number])
    images: list[Image.Image] = []
    for store in (pairs.conditions, pairs.images):
        try:
            image = store.load(row)
        except DataError:
            continue
        image.thumbnail((SIDE, SIDE))
        images.append(image)
    captions = pairs.captions[number]
    return Example(images, captions[0] if captions else "(empty prompt)", [("gain", f"{100 * gain:+.1f} %")])
