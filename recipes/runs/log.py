"""The log lines and warnings of libraries, kept in a run's log.txt."""

from __future__ import annotations

import logging

from recipes.runs.folder import Run

LIBRARIES = (
    "transformers",
    "datasets",
    "accelerate",
    "huggingface_hub",
    "torch",
    "diffusers",
    "py.warnings",
    "evaluate",
    "PIL",
)


def log_to(run: Run) -> None:
    """Sends the libraries' log lines and warnings to the run's log.txt."""
    logging.raiseExceptions = False  # a full disk is told by what matters, not by a log line
    handler = logging.FileHandler(run.path / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.captureWarnings(True)
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.WARNING)
