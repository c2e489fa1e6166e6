"""`tool export onnx`."""

from __future__ import annotations

from typing import Any

from cli.console import result
from cli.lazy import group, lazy_commands
from cli.recipe import recipe_command

FORMS = {
    "onnx": ("cli.export:build_onnx", "As ONNX for onnxruntime, checked against PyTorch before it is kept."),
}


def build(name: str, help: str) -> Any:
    """One command a form."""
    return group(name, help, lazy_commands(FORMS))


def build_onnx(name: str, help: str) -> Any:
    """The command; its options are those of the config."""
    from recipes.export.config import Export

    def run(config: Any) -> None:
        from recipes.export.run import export_onnx

        outcome = export_onnx(config)
        text = outcome.pop("text")
        result(outcome, text)

    return recipe_command(name, help, "export", Export, run)
