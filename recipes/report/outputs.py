"""Model folder, card and report of a finished training, written alike by all recipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recipes.report.card import Card, write_card
from recipes.report.content import Headline, Section
from recipes.report.html import write_report
from recipes.runs.folder import Run
from tasks.files import write_folder


def write_outputs(
    run: Run,
    save: Callable[[Path], None],
    card: Card | None,
    *,
    title: str,
    headline: Headline | None,
    sections: Sequence[Section] = (),
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """Writes the model by `save`, its card beside it, and report.html.

    Returns:
        The run's summary, as `--json` prints it.
    """

    def fill(folder: Path) -> None:
        save(folder)
        if card is not None:
            write_card(folder, card)

    write_folder(run.model, fill)
    write_report(run.path, state="finished", title=title, headline=headline, sections=list(sections))
    return {"run": str(run.path), "model": str(run.model), "report": str(run.path / "report.html"), "metrics": metrics}


def save_weights(model: Any, folder: Path) -> None:
    """As `from_pretrained` loads a model of transformers; any other module's weights as model.safetensors."""
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)
        return
    from safetensors.torch import save_model

    save_model(model, str(folder / "model.safetensors"))
