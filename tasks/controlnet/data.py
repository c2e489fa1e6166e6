"""Pictures with conditions and captions, from whatever form they come in to checked training and evaluation splits."""

from __future__ import annotations

from tasks.controlnet import condition_pixels
from tasks.controlnet.checks import check, check_some, notes, without_blank
from tasks.controlnet.holdout import hold_out
from tasks.controlnet.leaks import without_leaks
from tasks.controlnet.pairs import Pairs, Splits
from tasks.controlnet.readers import Options, Read, Source, recognise
from tasks.readers.choice import choose
from tasks.readers.holdout import parted, subsets
from tasks.readers.problems import Problems
from tasks.words import counted

__all__ = ["Options", "Pairs", "Splits", "load_splits"]


def load_splits(
    options: Options, need: tuple[str, ...] = ("train", "evaluation"), *, decode: bool | None = False
) -> Splits:
    """Reads, parts and checks the data.

    The evaluation split is the one named, else validation, else test, else a hold-out by picture of `eval_fraction`.
    With `need` = ("evaluation",) data of a single split are taken whole; so a run's own hold-out comes back only with
    both needed and the run's seed and fraction.

    Args:
        options: with `skip_bad` every file is decoded once, with `skip_blank` every condition.
        need: "train", "evaluation" or both.
        decode: as `ImageStore.problems`; all are with `skip_bad`.

    Raises:
        ConfigError: a split, a column or a number that can't be.
        DataError: unusable data; up to ten problems with file and row.
        ToolError: a Hub id without a network.
    """
    source = recognise(options)
    problems = Problems(skip=options.skip_bad, noun="pair")
    train, evaluation, held_out = _parts(source, options, need, problems)
    parts = [
        part if part is None else check(part, problems, options.resolution, options.skip_bad or decode)
        for part in subsets(train, evaluation, options)
    ]
    problems.raise_if_any()
    sound = [check_some(part, problems) for part in parts if part is not None]
    value_range = condition_pixels.set_range(sound, options.condition_range, options.seed)
    if options.skip_blank:
        parts = [None if part is None else check_some(without_blank(part, problems), problems) for part in parts]
    leaks: list[str] = []
    shared = 0
    if parts[0] is not None and parts[1] is not None:
        parts[1], leaks, shared = without_leaks(parts[0], parts[1], drop=options.drop_leaks)
    sound = [part for part in parts if part is not None]
    remarks = list(dict.fromkeys(line for part in sound for line in notes(part)))
    blank = [] if options.skip_blank else [condition_pixels.blank_line(part, options.seed) for part in sound]
    pairs = [None if part is None else part.pairs for part in parts]
    return Splits(
        pairs[0],
        pairs[1],
        _describe(source, parts, held_out),
        held_out,
        problems.summary(),
        leaks,
        notes=remarks + condition_pixels.range_notes(sound, value_range),
        blank=list(filter(None, blank)),
        condition_range=value_range,
        shared=shared,
    )


def _parts(
    source: Source, options: Options, need: tuple[str, ...], problems: Problems
) -> tuple[Read | None, Read | None, bool]:
    """(training split, evaluation split, whether the second was held out of the first)."""
    train_name, eval_name = choose(source, options, need, unit="picture")
    evaluation = source.splits[eval_name](problems) if eval_name is not None else None
    train = source.splits[train_name](problems) if train_name is not None else None

    def part(whole: Read) -> tuple[Read, Read]:
        return hold_out(check_some(whole, problems), options.eval_fraction, options.seed)

    return parted(train, evaluation, need, problems, part)


def _describe(source: Source, parts: list[Read | None], held_out: bool) -> str:
    """One line: 'circles (generated): 2,000 + 200 pairs'."""
    sizes = [len(part.pairs) for part in parts if part is not None]
    pairs = counted(sizes[0], "pair") if len(sizes) == 1 else f"{' + '.join(f'{size:,}' for size in sizes)} pairs"
    bare = ", without captions" if any(part is not None and not part.captioned for part in parts) else ""
    return f"{source.name}: {pairs}{', the second held out by picture' if held_out else ''}{bare}"
