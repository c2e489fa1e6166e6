"""The metrics: a literal table of ours, what installed packages add, and then those of `evaluate` by name."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.errors import ConfigError, ToolError
from tasks.words import did_you_mean

# name -> (module:class, one-line help). The classes are `evaluate.Metric`; nothing is imported before `load`.
METRICS: dict[str, tuple[str, str]] = {
    "accuracy": ("tasks.metrics.accuracy:Accuracy", "Share of predictions equal to their reference, numbers or text."),
    "f1": ("tasks.metrics.glue:F1", "F1 of class 1, of the classes 0 and 1."),
    "macro_f1": ("tasks.metrics.glue:MacroF1", "Mean over classes of the F1 of each, numbers or text."),
    "multilabel": (
        "tasks.metrics.glue:Multilabel",
        "Micro and macro F1 and exact match of texts with several labels each.",
    ),
    "matthews_correlation": ("tasks.metrics.glue:MatthewsCorrelation", "Correlation of predicted and true classes."),
    "pearsonr": ("tasks.metrics.glue:Pearsonr", "Pearson's correlation of numbers."),
    "spearmanr": ("tasks.metrics.glue:Spearmanr", "Spearman's correlation of ranks."),
    "glue": ("tasks.metrics.glue:Glue", "The official metrics of a GLUE task, named by --config-name."),
    "mase": ("tasks.metrics.forecast:Mase", "Absolute error over that of the seasonal naive on the training values."),
    "smape": ("tasks.metrics.forecast:Smape", "Symmetric absolute percentage error, 0 to 2."),
    "mape": ("tasks.metrics.forecast:Mape", "Absolute percentage error, in parts of 1."),
    "rmse": ("tasks.metrics.forecast:Rmse", "Root of the mean squared error."),
    "nd": ("tasks.metrics.forecast:Nd", "Sum of absolute errors over the sum of absolute values."),
    "wql": ("tasks.metrics.forecast:Wql", "Weighted quantile loss, over 0.1 to 0.9."),
    "crps": ("tasks.metrics.forecast:Crps", "Continuous ranked probability score of samples."),
    "msis": ("tasks.metrics.forecast:Msis", "Scaled score of the 95 % interval."),
    "coverage": ("tasks.metrics.forecast:Coverage", "Share of values within an interval, and its width."),
    "anls": (
        "tasks.metrics.vqa_accuracy:Anls",
        "DocVQA's: similarity by edit distance to the nearest accepted answer.",
    ),
    "vqa_accuracy": ("tasks.metrics.vqa_accuracy:VqaAccuracy", "The official VQA accuracy against ten human answers."),
}
# Those of the table that have variants, by `config_name`.
VARIANTS = ("glue",)
ENTRY_POINTS = "modeltool.metrics"

# What the `evaluate` library offers under the Hub's organisation `evaluate-metric`: told apart from a slip of the pen
# where there is no network to ask.
_LIBRARY = (
    "bertscore", "bleu", "bleurt", "brier_score", "cer", "character", "charcut_mt", "chrf", "code_eval", "comet",
    "competition_math", "confusion_matrix", "coval", "cuad", "exact_match", "f1", "frugalscore", "glue", "google_bleu",
    "indic_glue", "mae", "mahalanobis", "mape", "mase", "matthews_correlation", "mauve", "mean_iou", "meteor", "mse",
    "nist_mt", "pearsonr", "perplexity", "poseval", "precision", "r_squared", "recall", "rl_reliability", "roc_auc",
    "rouge", "sacrebleu", "sari", "seqeval", "smape", "spearmanr", "squad", "squad_v2", "super_glue", "ter",
    "trec_eval", "wer", "wiki_split", "xnli", "xtreme_s",
)  # fmt: skip


def names() -> list[str]:
    """The metrics that need no network: ours, then those of installed packages, each in alphabetical order."""
    ours = sorted(METRICS)
    return ours + sorted(name for name in _installed() if name not in METRICS)


def load(name: str, config_name: str | None = None) -> Any:
    """The metric of that name, an `evaluate.Metric` with `compute(predictions=..., references=...)`.

    Ours come first and work without a network; then those of installed packages; any other plain name is asked of
    `evaluate`, which runs the library's own script for it, downloaded or cached. Nobody else's script is run.

    Args:
        name: a plain name.
        config_name: the variant, where a metric has several (the task of `glue`).

    Raises:
        ConfigError: there is no such metric (names the nearest), or it has no variants.
        ToolError: the metric exists, but needs the network or a package that isn't installed.
    """
    if name in METRICS:
        if config_name is not None and name not in VARIANTS:
            raise ConfigError(f"the metric {name} has no variants, got {config_name!r}")
        target = METRICS[name][0]
    elif name in (installed := _installed()):
        target = installed[name]
    elif not name.isidentifier():
        raise ConfigError(
            f"the metric {name!r} is not a plain name; scripts from paths and repositories are not run, "
            f"there are {', '.join(names())}, or add one by the entry point {ENTRY_POINTS}"
        )
    else:
        return _from_library(name, config_name)
    module, _, attribute = target.partition(":")
    metric = getattr(importlib.import_module(module), attribute)
    try:
        return metric(config_name=config_name, keep_in_memory=True)
    except OSError:  # it makes a cache folder even to keep everything in memory, and a home may be read-only
        folder = os.path.join(tempfile.gettempdir(), "modeltool-metrics")
        return metric(config_name=config_name, keep_in_memory=True, cache_dir=folder)


def _installed() -> dict[str, str]:
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}


def _from_library(name: str, config_name: str | None) -> Any:
    import evaluate
    from huggingface_hub import constants

    from tasks.hub import reachable

    online = not constants.HF_HUB_OFFLINE and reachable()
    try:
        with _quiet(online):
            # With the organisation in the name, a folder of that name where the user stands can't take its place.
            return evaluate.load(f"evaluate-metric/{name}", config_name)
    except ImportError as error:
        raise ToolError(f"the metric {name} needs a package that isn't installed: {_first_line(error)}") from error
    except (KeyError, ValueError) as error:
        raise ConfigError(f"the metric {name} refuses the variant {config_name}: {_first_line(error)}") from error
    except OSError as error:
        if name in _LIBRARY:
            raise ToolError(
                f"the metric {name} has to be fetched from the Hub, which can't be reached; "
                f"without a network there are {', '.join(names())}{did_you_mean(name, names())}"
            ) from error
        hint = did_you_mean(name, [*names(), *_LIBRARY]) or f"; there are {', '.join(names())}"
        raise ConfigError(f"there is no metric {name!r}{hint}") from error


@contextmanager
def _quiet(online: bool) -> Iterator[None]:
    """No bars and warnings of the library on the user's terminal; its cache only where the Hub is out of reach."""
    import evaluate

    log, offline = evaluate.logging, evaluate.config.HF_EVALUATE_OFFLINE
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    evaluate.config.HF_EVALUATE_OFFLINE = offline or not online
    try:
        yield
    finally:
        evaluate.config.HF_EVALUATE_OFFLINE = offline
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _first_line(error: Exception) -> str:
    text = str(error.args[0]) if error.args else ""
    return text.strip().partition("\n")[0] or type(error).__name__
