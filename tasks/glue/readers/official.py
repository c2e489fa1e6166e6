"""GLUE's own folders of tab-separated files, recognised by file names and headers, and the MRPC corpus as first published."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from tasks.errors import ConfigError, DataError
from tasks.glue.named import TASKS, task_of
from tasks.glue.readers import tables
from tasks.glue.readers.source import Load, Options, Raw, Source
from tasks.readers.paths import listing
from tasks.readers.problems import Problems

SPLITS = ("train", "dev", "dev_matched", "dev_mismatched", "test", "test_matched", "test_mismatched", "diagnostic")
COLA = ("source", "label", "mark", "sentence")
# Columns that tell a task from the others.
_MARKS = {
    "mnli": {"gold_label", "promptid"},
    "mrpc": {"#1 string"},
    "stsb": {"old_index", "score"},
    "qqp": {"is_duplicate", "question1"},
}
_MSR = ("msr_paraphrase_train.txt", "msr_paraphrase_test.txt")


def recognise(path: Path, options: Options) -> Source | None:
    """A folder of one task, the folder with all of them, or one of a task's files; None where it is something else.

    Raises:
        ConfigError: several tasks lie there and none is named.
    """
    if path.is_file():
        return _of_file(path, options)
    files = _files(path)
    task = options.task or _task(path.resolve().name, files)
    if task is not None and files:
        return _source(task, files, options)
    if (path / _MSR[0]).is_file() and options.task in (None, "mrpc"):
        return _first_published(path, options)
    return _collection(path, options)


def _of_file(path: Path, options: Options) -> Source | None:
    if path.suffix.lower() != ".tsv" or path.stem not in SPLITS:
        return None
    task = options.task or _task(path.resolve().parent.name, {path.stem: path})
    return None if task is None else _source(task, {path.stem: path}, options)


def _files(folder: Path) -> dict[str, Path]:
    """The splits' files, in the order of `SPLITS`."""
    paths = {name: folder / f"{name}.tsv" for name in SPLITS}
    return {name: path for name, path in paths.items() if path.is_file()}


def _source(task: str, files: dict[str, Path], options: Options) -> Source:
    with_task = replace(options, task=task)

    def load(name: str) -> Load:
        header = COLA if task == "cola" and "sentence" not in tables.columns(files[name]) else None
        return partial(tables.read, files[name], with_task, header=header)

    hidden = frozenset(name for name in files if name.startswith("test"))
    title = TASKS[task].title or TASKS[task].folder
    return Source(f"GLUE's files of {title}", task, {name: load(name) for name in files}, hidden, task)


def _task(folder: str, files: dict[str, Path]) -> str | None:
    """The task whose files these are, by the first lines of one; the folder's name where those leave a choice."""
    called = task_of(folder)
    if not files:
        return None
    first = next(iter(files))
    head = [cells for _, (_, cells) in zip(range(2), tables.plain_rows(files[first]), strict=False)]
    if not head:
        return called
    header, row = [name.lower() for name in head[0]], head[-1]
    for task, names in _MARKS.items():
        if names <= set(header):
            return task
    if len(header) == 4 and header[1] in ("0", "1") and header[2] in ("", "*"):
        return "cola"
    pair = ["index", "sentence1", "sentence2"]
    if header == ["index", "question", "sentence", "label"]:
        return "qnli"
    if header == [*pair, "label"] and row[-1] in ("entailment", "not_entailment"):
        return "rte"
    fits = {"sst2": [["sentence", "label"], ["index", "sentence"]], "wnli": [[*pair, "label"], pair]}
    if header == ["sentence", "label"] and "test" in files and tables.columns(files["test"]) == ["index", "sentence"]:
        return "sst2"
    if called in fits:
        return called if header in fits[called] else None
    only_tests = all(name.startswith(("test", "diagnostic")) for name in files)
    return called if only_tests else None


def _collection(path: Path, options: Options) -> Source | None:
    """The folder above the tasks' own."""
    folders = {}
    for entry in listing(path):
        task = task_of(entry.name)
        if task is not None and entry.is_dir() and (_files(Path(entry.path)) or (Path(entry.path) / _MSR[0]).is_file()):
            folders[task] = Path(entry.path)
    if options.task in folders:
        return recognise(folders[options.task], options)
    if folders and options.task is None:
        have = [task for task in TASKS if task in folders]
        raise ConfigError(f"{path} holds the tasks {', '.join(have)}; say which with --task, or give its folder")
    if folders and not any(not entry.is_dir() for entry in listing(path)):
        raise DataError(f"{path}: no files of {options.task}; it holds {', '.join(folders)}")
    return None


def _first_published(path: Path, options: Options) -> Source:
    """Microsoft's two files; with GLUE's list dev_ids.tsv beside them the training file is parted as GLUE does."""
    with_task = replace(options, task="mrpc")
    train, test = (path / name for name in _MSR)
    listed = path / "dev_ids.tsv"

    splits: dict[str, Load] = {"train": partial(tables.read, train, with_task)}
    if listed.is_file():
        splits = {name: partial(_by_ids, train, listed, name == "dev", with_task) for name in ("train", "dev")}
    if test.is_file():
        splits["test"] = partial(tables.read, test, with_task)
    return Source("Microsoft's files of MRPC", "mrpc", splits, task="mrpc")


def _by_ids(file: Path, listed: Path, dev: bool, options: Options, problems: Problems) -> Raw:
    """The rows whose pair of ids is in the list, or the others."""
    ids = {tuple(cells[:2]) for _, cells in tables.plain_rows(listed)}
    names = tables.columns(file)
    raw = tables.read(file, options, problems)
    first, second = names.index("#1 ID"), names.index("#2 ID")
    wanted = {
        number
        for number, cells in tables.plain_rows(file)
        if len(cells) == len(names) and ((cells[first], cells[second]) in ids) == dev
    }
    keep = [i for i, number in enumerate(raw.rows) if number in wanted]
    return raw.take(keep)
