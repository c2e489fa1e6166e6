"""Commands whose modules are imported only when they are used; help texts stand in a table."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from cli.console import DebugFlag, JsonFlag, State

Table = Mapping[str, tuple[str, str]]


class Command(TyperCommand):
    """A command whose help groups its options by panel in plain text, without loading rich."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "rich_markup_mode": None})

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if param.param_type_name == "argument" else "Options"
                panels.setdefault(getattr(param, "rich_help_panel", None) or default, []).append(record)
        for panel in sorted(panels, key=lambda name: (name == "Options", name != "Arguments")):
            with formatter.section(panel):
                formatter.write_dl(panels[panel])


class Group(TyperGroup):
    """A group whose --help and completion flags are false where not given: None would load pydantic, 80 ms, to be coerced."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and not param.expose_value:
                param.default = False
        return params


class LazyCommand(TyperCommand):
    """Stands in a group with its name and help; it is built when it is run, asked for help or completed."""

    def __init__(self, name: str, help: str, build: Callable[[], Any]) -> None:
        super().__init__(name=name, help=help, short_help=help, rich_markup_mode=None)
        self.build = build

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        try:
            command = self.build()
        except Exception:
            State.debug = "--debug" in args  # not read yet
            raise
        return command.make_context(info_name, args, parent, **extra)


def lazy_commands(table: Table) -> dict[str, LazyCommand]:
    """The commands of a table `name -> ("module:attribute", help)`, none of them imported yet."""
    return {
        name: LazyCommand(name, text, functools.partial(load, target, name, text))
        for name, (target, text) in table.items()
    }


def group(name: str, help: str, commands: Mapping[str, TyperCommand]) -> TyperGroup:
    """A group of lazy commands."""
    return Group(name=name, commands=dict(commands), help=help, rich_markup_mode=None, no_args_is_help=True)


def command(function: Callable[..., Any], name: str, help: str, **settings: Any) -> TyperCommand:
    """Builds a plain function into a command, which has --json and --debug besides."""
    built = _built(function, name=name, help=help, **settings)
    built.params += _built(_flags).params
    return built


def _built(function: Callable[..., Any], **settings: Any) -> TyperCommand:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(cls=Command, **settings)(function)
    built = typer.main.get_command(app)
    assert isinstance(built, TyperCommand)
    return built


def _flags(json_output: Annotated[bool, JsonFlag] = False, debug: Annotated[bool, DebugFlag] = False) -> None:
    """The parameters of every command; their callbacks keep the values."""


def load(target: str, name: str, help: str) -> Any:
    """Imports `module:attribute`, a function that builds the command from its name and help."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)(name, help)
