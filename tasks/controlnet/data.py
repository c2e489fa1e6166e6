"""Pictures with conditions and captions, from whatever form they come in to checked training and evaluation splits."""

from __future__ import annotations

from typing import Any

from tasks.controlnet.checks import check, check_some, notes, shared_note
from tasks.controlnet.holdout import hold_out, subset
from tasks.controlnet.pairs import Pairs, Splits
from tasks.controlnet.readers import Options, Read, Source, recognise
from tasks.controlnet.readers.columns import Overrides
from tasks.errors import DataError
from tasks.readers.choice import choose
from tasks.readers.problems import Problems
from tasks.words import counted

__all__ = ["Pairs", "Splits", "inspect", "load_splits"]


def load_splits(
    data: str,
    *,
    image_root: str | None = None,
    conditioning_dir: str | None = None,
    image_column: str | None = None,
    conditioning_image_column: str | None = None,
    caption_column: str | None = None,
    train_split: str | None = None,
    eval_split: str | None = None,
    max_samples: int | None = None,
    max_eval_samples: int | None = None,
    eval_fraction: float = 0.1,
    resolution: int | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | None = None,
    need: tuple[str, ...] = ("train", "evaluation"),
) -> Splits:
    """Reads, parts and checks the data.

    The evaluation split is the one named, else validation, else test, else a hold-out by picture of `eval_fraction`.
    With `need` = ("evaluation",) data of a single split are taken whole; so a run's own hold-out comes back only with
    both needed and the run's seed and fraction.

    Args:
        data: a file or folder here, a Hub id, or "sample" (drawn at `resolution`, 64 pixels without).
        conditioning_dir: a folder of conditions named as the pictures.
        caption_column: "none" trains without captions.
        max_samples, max_eval_samples: a random subset, drawn from `seed`.
        resolution: what each picture's shorter side must have; None: any.
        skip_bad: leave out pairs that can't be used, and say so in `Splits.skipped`; every file is decoded once for it.
        need: "train", "evaluation" or both.

    Raises:
        ConfigError: a split, a column or a number that can't be.
        DataError: unusable data; up to ten problems with file and row.
        ToolError: a Hub id without a network.
    """
    columns = Overrides(image_column, conditioning_image_column, caption_column)
    options = Options(image_root, conditioning_dir, columns, revision, token, cache_dir, resolution, seed)
    source = recognise(data, options)
    problems = Problems(skip=skip_bad, noun="pair")
    train, evaluation, held_out = _parts(source, need, train_split, eval_split, eval_fraction, seed, problems)
    if train is not None:
        train = subset(train, max_samples, seed)
    if evaluation is not None:
        evaluation = subset(evaluation, max_eval_samples, seed, "--max-eval-samples")
    parts = [part if part is None else check(part, problems, resolution, skip_bad) for part in (train, evaluation)]
    problems.raise_if_any()
    sound = [check_some(part, problems) for part in parts if part is not None]
    remarks = list(dict.fromkeys(line for part in sound for line in notes(part)))
    if len(sound) == 2 and not held_out:
        remarks += shared_note(*sound)
    pairs = [None if part is None else part.pairs for part in parts]
    described = _describe(source, parts, held_out)
    return Splits(pairs[0], pairs[1], described, held_out, problems.summary(), remarks)


def inspect(
    data: str,
    *,
    image_root: str | None = None,
    conditioning_dir: str | None = None,
    image_column: str | None = None,
    conditioning_image_column: str | None = None,
    caption_column: str | None = None,
    train_split: str | None = None,
    eval_split: str | None = None,
    max_samples: int | None = None,
    max_eval_samples: int | None = None,
    resolution: int | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | None = None,
) -> dict[str, Any]:
    """Describes the data as they are; takes what `load_splits` takes. See `tasks.controlnet.inspection.inspect`."""
    from tasks.controlnet.inspection import inspect as look

    columns = Overrides(image_column, conditioning_image_column, caption_column)
    options = Options(image_root, conditioning_dir, columns, revision, token, cache_dir, resolution, seed)
    return look(data, options, train_split=train_split, eval_split=eval_split, max_samples=max_samples, decode=skip_bad)


def _parts(
    source: Source,
    need: tuple[str, ...],
    train_split: str | None,
    eval_split: str | None,
    fraction: float,
    seed: int,
    problems: Problems,
) -> tuple[Read | None, Read | None, bool]:
    """(training split, evaluation split, whether the second was held out of the first)."""
    train_name, eval_name = choose(source, need, train_split, eval_split, unit="picture")
    evaluation = source.splits[eval_name](problems) if eval_name is not None else None
    if train_name is None:
        return None, evaluation, False
    train = source.splits[train_name](problems)
    if evaluation is not None or "evaluation" not in need:
        return train, evaluation, False
    try:
        return (*hold_out(check_some(train, problems), fraction, seed), True)
    except DataError:
        problems.raise_if_any()  # then they are why too little is left
        raise


def _describe(source: Source, parts: list[Read | None], held_out: bool) -> str:
    """One line: 'circles (generated): 2,000 + 200 pairs'."""
    sizes = [len(part.pairs) for part in parts if part is not None]
    pairs = counted(sizes[0], "pair") if len(sizes) == 1 else f"{' + '.join(f'{size:,}' for size in sizes)} pairs"
    bare = ", without captions" if any(part is not None and not part.captioned for part in parts) else ""
    return f"{source.name}: {pairs}{', the second held out by picture' if held_out else ''}{bare}"
