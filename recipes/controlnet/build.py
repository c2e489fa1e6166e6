"""`tool data build controlnet`: pictures, their conditions and captions, as a folder that `datasets` loads."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.config import result_options
from recipes.controlnet.build_config import OF_KIND, Build, condition_options
from recipes.controlnet.build_passes import BuildPasses
from recipes.controlnet.build_report import Outcome, closing_text, draw_contact_sheet, write_report
from recipes.process.cgroups import usable_cpus
from recipes.process.interrupts import Interrupts, settle
from recipes.terminal.progress import print_line, size
from tasks.controlnet import conditions
from tasks.controlnet.building import folder as building
from tasks.controlnet.building.captions import reader
from tasks.controlnet.building.scan import DUPLICATE, Left, Picture, digest, find_files, scan
from tasks.controlnet.score.agreement import BUILT
from tasks.errors import ConfigError, DataError, OutOfDisk, Preempted, data_errors
from tasks.files import free_bytes, remove_leftovers, write_json
from tasks.words import are, counted

HINT = "Mend them, or leave them out with --skip-bad"


def build(config: Build) -> dict[str, Any]:
    """Makes the folder, or goes on with it.

    Returns:
        folder, pairs, train, validation, left_out (reason -> how many), blank, made, seconds, sheet, report, and "text".

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    import cv2

    cv2.setNumThreads(1)  # the workers are parallel enough
    started = time.monotonic()
    output = Path(config.output).expanduser()
    with Interrupts() as interrupts:
        options = conditions.resolved(config.condition, condition_options(config))
        used, left = look(config, output)
        splits = building.splits_of(used, config.eval_fraction, config.seed)
        items = building.items_of(
            used, splits, output, resolution=config.resolution, crop=config.crop, image_format=config.image_format
        )
        passes = BuildPasses(config, options, output, interrupts, config.workers or usable_cpus())
        note = check_folder(config, options, items, output)
        passes.open_models(items)
        begin(config, note, items, output)
        try:
            broken, captions, made = passes.run(items)
        except Preempted:
            done = sum(passes.is_made(item) for item in items)
            raise Preempted(
                f"stopped by {interrupts.requested}; {done} of {counted(len(items), 'pair')} {are(len(items))} in {output}: "
                "run the same command again"
            ) from None
        if broken and not config.skip_bad:
            raise data_errors([f"{one.relative}: {one.detail}" for one in broken], None, f"{HINT}; what is made stays")
        bad = {one.relative for one in broken}
        kept = [item for item in items if item.picture.relative not in bad]
        if not kept:
            raise DataError(
                f"--images {config.images}: no picture is left to make a pair of; {reasons([*left, *broken])}"
            )
        seconds = time.monotonic() - started
        left_out = sorted([*left, *broken], key=lambda one: one.relative)
        outcome = Outcome(kept, captions, left_out, made, seconds, output, passes.blank(kept))
        building.write_metadata(kept, captions)
        draw_contact_sheet(outcome)
        write_report(config, outcome)
        settle()
    return result(config, outcome)


def look(config: Build, output: Path) -> tuple[list[Picture], list[Left]]:
    """The pictures that can be used, by their headers, captions and landmarks.

    Raises:
        DataError: faults, where they aren't to be left out; or nothing is left.
    """
    images = Path(str(config.images)).expanduser()
    files = find_files(images, output)
    texts = None
    if config.caption != "blip":
        texts = reader(config.caption, images, config.caption_column, config.caption_template)
    faces = None
    if config.condition == "landmarks":
        from tasks.controlnet.conditions.landmark_files import Landmarks

        faces = Landmarks(str(config.landmarks)).of
    used, left = scan(files, texts, faces, config.resolution)
    faults = [one for one in left if one.reason != DUPLICATE]
    if faults and not config.skip_bad:
        told = [f"{images / one.relative}: {': '.join(filter(None, (one.reason, one.detail)))}" for one in faults]
        raise data_errors(told, None, HINT)
    if not used:
        raise DataError(f"--images {config.images}: no picture is left to make a pair of; {reasons(left)}")
    return used, left


def reasons(left: Sequence[Left]) -> str:
    """How many were left out for which reason, in a line."""
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(one.reason for one in left).most_common())


def check_folder(config: Build, options: dict[str, Any], items: list[building.Item], output: Path) -> dict[str, Any]:
    """What is to be noted in the folder; an earlier note there must be the same.

    Raises:
        ConfigError: something else is in the folder, or a build with other options or of other pictures.
    """
    # The kind's own options stand resolved beside the others.
    shared = {name: value for name, value in result_options(config).items() if name not in OF_KIND}
    if config.condition in conditions.BY_MODEL:
        shared["model"] = getattr(config, f"{config.condition}_model") or conditions.module(config.condition).DEFAULT
    note = {
        "recipe": "controlnet",
        "condition": config.condition,
        "condition_options": options,
        "options": shared,
        "pictures": {
            "count": len(items),
            "digest": digest([item.picture for item in items], [item.split for item in items]),
        },
    }
    known = read_note(output)
    if known is None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output: {output} holds something else; give a new folder")
    differences = [] if known is None or not building.anything_made(output) else differing(known, note)
    if differences:
        raise ConfigError(
            f"--output {output} was begun otherwise: {'; '.join(differences)}; run it as then, or give a new --output"
        )
    return note


def begin(config: Build, note: dict[str, Any], items: list[building.Item], output: Path) -> None:
    """Sees whether there is room, and notes in the folder what is built there.

    Raises:
        OutOfDisk: too little room.
    """
    missing = [item for item in items if not item.condition.is_file()]
    need = building.estimate_bytes(missing, config.condition, config.image_format)
    free = free_bytes(output)
    if need > free:
        raise OutOfDisk(
            f"--output {output}: {counted(len(missing), 'pair')} will take about {size(need)}, and {size(free)} are free; take "
            "a smaller --resolution, --image-format jpeg, or another disk"
        )
    for folder in sorted({item.folder for item in items}):
        for below in ("", building.IMAGES, building.CONDITIONS):
            remove_leftovers(folder / below)
    write_json(output / BUILT, note)
    made = len(items) - len(missing)
    there = f" · {made:,} {are(made)} made already" if made else ""
    print_line(f"build     {counted(len(items), 'pair')} · {config.condition} · about {size(need)} to write{there}")


def read_note(output: Path) -> dict[str, Any] | None:
    """What `begin` wrote there, or None."""
    try:
        told = json.loads((output / BUILT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("recipe") == "controlnet" else None


def differing(known: dict[str, Any], note: dict[str, Any]) -> list[str]:
    """What is other now, a clause each."""
    differences = []
    for part in ("options", "condition_options"):
        old, new = known.get(part, {}), json.loads(json.dumps(note[part]))
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                differences.append(f"{name.replace('_', '-')} {old.get(name)} then, {new.get(name)} now")
    before, now = known.get("pictures", {}), note["pictures"]
    if not differences and before != now:
        then = counted(int(before.get("count", 0)), "picture")
        differences.append(f"of {then} then, {now['count']:,} now, which aren't the same")
    return differences


def result(config: Build, outcome: Outcome) -> dict[str, Any]:
    """What the command prints."""
    return {
        "folder": str(outcome.folder),
        **outcome.counts,
        "made": outcome.made,
        "left_out": dict(Counter(one.reason for one in outcome.left)),
        "blank": len(outcome.blank),
        "seconds": round(outcome.seconds, 2),
        "sheet": str(outcome.folder / "sheet.png"),
        "report": str(outcome.folder / "report.json"),
        "text": closing_text(config, outcome),
    }
