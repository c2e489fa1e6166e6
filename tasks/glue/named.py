"""The tasks of GLUE (Wang et al., 2019) by name: columns, labels in their official order, metrics.

Rows of the official files:

    task   train     dev               test
    cola     8,551   1,043             1,063
    sst2    67,349     872             1,821
    mrpc     3,668     408             1,725
    stsb     5,749   1,500             1,379
    qqp    363,846   40,430          390,965
    mnli   392,702   9,815 + 9,832   9,796 + 9,847
    qnli   104,743   5,463             5,463
    rte      2,490     277             3,000
    wnli       635      71               146
    ax                                 1,104
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from tasks.errors import ConfigError

HUB = "nyu-mll/glue"
ENTAILMENT = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Named:
    """One task.

    Attributes:
        folder: as the benchmark writes it, which is what GLUE's own folder is called.
        columns: the names that text columns go by: GLUE's own files first, then the Hub's where they differ.
        label: the same of the label column.
        labels: classes in the order of their numbers; None: a regression.
        metrics: names of `tasks.glue.score`, the headline first.
        title: what to call it where that is another name.
        broken_rows: whether the official file holds rows that can't be read, which the official loader passes over.
    """

    folder: str
    columns: tuple[tuple[str, ...], ...]
    label: tuple[str, ...]
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    title: str = ""
    broken_rows: bool = False


TASKS: dict[str, Named] = {
    "cola": Named("CoLA", (("sentence",),), ("label",), ("unacceptable", "acceptable"), ("matthews_correlation",)),
    "sst2": Named("SST-2", (("sentence",),), ("label",), ("negative", "positive"), ("accuracy",)),
    "mrpc": Named(
        "MRPC",
        (("#1 String", "#2 String"), ("sentence1", "sentence2")),
        ("Quality", "label"),
        ("not_equivalent", "equivalent"),
        ("accuracy", "f1"),
    ),
    "stsb": Named("STS-B", (("sentence1", "sentence2"),), ("score", "label"), None, ("pearson", "spearman")),
    "qqp": Named(
        "QQP",
        (("question1", "question2"),),
        ("is_duplicate", "label"),
        ("not_duplicate", "duplicate"),
        ("accuracy", "f1"),
        broken_rows=True,
    ),
    "mnli": Named(
        "MNLI",
        (("sentence1", "sentence2"), ("premise", "hypothesis")),
        ("gold_label", "label"),
        ENTAILMENT,
        ("accuracy",),
    ),
    "qnli": Named("QNLI", (("question", "sentence"),), ("label",), ("entailment", "not_entailment"), ("accuracy",)),
    "rte": Named("RTE", (("sentence1", "sentence2"),), ("label",), ("entailment", "not_entailment"), ("accuracy",)),
    "wnli": Named("WNLI", (("sentence1", "sentence2"),), ("label",), ("not_entailment", "entailment"), ("accuracy",)),
    "ax": Named(
        "diagnostic",
        (("sentence1", "sentence2"), ("premise", "hypothesis")),
        ("label",),
        ENTAILMENT,
        ("matthews_correlation",),
        title="the diagnostic set",
    ),
}
# Spellings that mean a task: GLUE's folders, with and without punctuation.
_SPELLINGS = {re.sub(r"[\W_]", "", name).lower(): key for key, task in TASKS.items() for name in (key, task.folder)}
_SPELLINGS |= {"sst": "sst2", "sts": "stsb"}


def task_of(name: str) -> str | None:
    """The task that a folder's name or a word means ("STS-B" -> "stsb"), or None."""
    return _SPELLINGS.get(re.sub(r"[\W_]", "", name).lower())


def check_task(name: str) -> str:
    """A task's name as we write it.

    Raises:
        ConfigError: there is no such task.
    """
    task = task_of(name)
    if task is None:
        near = difflib.get_close_matches(name.lower(), TASKS, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"--task {name}: GLUE's tasks are {', '.join(TASKS)}{hint}")
    return task
