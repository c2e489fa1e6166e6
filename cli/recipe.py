"""A recipe's verb as a command: its flags come from the config dataclass, its values back into it."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.lazy import Group, LazyCommand, command
from recipes.config import OptionInfo, options_of, resolve, to_yaml
from recipes.registry import OURS, VERBS, RecipeEntry, offering, recipes, say_skipped

_File = Annotated[str | None, typer.Option(help="YAML file with the same names; flags win.", metavar="FILE")]
_Show = Annotated[bool, typer.Option("--print-config", help="Print the resolved config as YAML and stop.")]
HELPERS = ("config", "print_config", "ctx")


class RecipeGroup(Group):
    """The commands of one verb, one a recipe. Another package's recipe is imported when it is named, or listed in the help."""

    verb: str
    command_of: Callable[[RecipeEntry], LazyCommand]

    def offer(
        self,
        verb: str,
        present: Callable[[Any], None],
        arguments: tuple[str, ...] = (),
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> RecipeGroup:
        """Sets the verb.

        Args:
            verb: a name of `registry.VERBS`.
            present: prints what the verb's function returns.
            around: a context that is open from before the heavy imports to the end.
        """
        config_part, run_part = VERBS[verb]

        def build(entry: RecipeEntry) -> Any:
            def run(config: Any) -> None:
                with around():
                    say_skipped(entry.name)
                    present(entry.part(run_part)(config))

            return recipe_command(entry.name, entry.help, entry.name, entry.part(config_part), run, arguments)

        self.verb = verb
        self.command_of = lambda entry: LazyCommand(entry.name, entry.help, functools.partial(build, entry))
        self.commands = {name: self.command_of(entry) for name, entry in OURS.items() if entry.offers(verb)}
        return self

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            self._add_others()
        entry = OURS.get(cmd_name)  # one that lacks the verb says so
        return self.commands.get(cmd_name) or (entry and self.command_of(entry))

    def list_commands(self, ctx: Any) -> list[str]:
        if ctx.resilient_parsing:  # a shell completes the line: nothing is imported or said
            self._add_others()
            return list(self.commands)
        return list(offering(self.verb))

    def _add_others(self) -> None:
        """Takes in other packages' recipes, with the verb or without."""
        self.commands.update({name: self.command_of(entry) for name, entry in recipes().items() if name not in OURS})


def recipe_group(name: str, help: str, verb: str, present: Callable[[Any], None], **settings: Any) -> RecipeGroup:
    """A verb with one command a recipe; see `RecipeGroup.offer`."""
    group = RecipeGroup(name=name, help=help, rich_markup_mode=None, no_args_is_help=True)
    return group.offer(verb, present, **settings)


def recipe_command(
    name: str, help: str, recipe: str, config_class: type, run: Callable[[Any], None], arguments: tuple[str, ...] = ()
) -> Any:
    """Builds the command.

    Args:
        config_class: the dataclass whose options become flags.
        run: called with the resolved config.
        arguments: names of list options that are taken from the positional arguments instead of a flag.
    """

    def callback(**given: Any) -> None:
        ctx, file, show = given["ctx"], given["config"], given["print_config"]
        flags = {key: value for key, value in given.items() if key not in HELPERS and value not in (None, [], ())}
        extra = list(ctx.args)
        with_commas = {info.name for info in options_of(config_class) if info.metadata["commas"]}
        for key, value in flags.items():
            if isinstance(value, (list, tuple)) and key not in arguments and key in with_commas:
                flags[key] = ",".join(value)  # --model A --model B is --model A,B
        for key in arguments:
            flags[key] = list(flags.get(key) or ()) or None
        config: Any = resolve(
            config_class,
            flags,
            file,
            _unknown(extra),
            functools.partial(_options_to_resume, recipe=recipe, machine=str(flags.get("machine_rank") or 0)),
        )
        if show:
            print(to_yaml(config, recipe), end="")
            return
        hide_secrets(config)
        run(config)

    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(_parameter(info, info.name in arguments) for info in options_of(config_class)),
        inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_File),
        inspect.Parameter("print_config", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Show),
    ]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    settings = {
        "allow_extra_args": True,
        "ignore_unknown_options": not arguments,
        "help_option_names": ["--help", "-h"],
    }
    return command(callback, name, help, context_settings=settings)


def hide_secrets(config: Any) -> None:
    """Takes secrets out of the command line that trackers record and workers repeat; HF_TOKEN carries the token on."""
    if getattr(config, "token", None) is not None:
        os.environ["HF_TOKEN"] = config.token
    flags = {info.flag for info in options_of(type(config)) if info.metadata["secret"]}
    # A flag, the value behind it, and both in one word.
    words = pairwise(["", *sys.argv])
    sys.argv[:] = [word for before, word in words if not {before, word.partition("=")[0]} & flags]


def _parameter(info: OptionInfo, positional: bool) -> inspect.Parameter:
    text = info.metadata["help"]
    # A list is one text with commas, or the flag given several times.
    kind: Any = {list: list[str], bool: bool}.get(info.type, str)
    if positional:
        option = typer.Argument(help=text, metavar=f"[{info.name.upper()}]...", show_default=False)
    else:
        declared = f"{info.flag}/--no-{info.name.replace('_', '-')}" if kind is bool else info.flag
        option = typer.Option(
            declared,
            help=f"{text}  [default: {info.default_text}]" if info.default_text else text,
            rich_help_panel=info.metadata["panel"],
            metavar=None if kind is bool else info.metavar,
            show_default=False,
        )
    return inspect.Parameter(
        info.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _options_to_resume(run: str, recipe: str, machine: str) -> dict[str, Any]:
    from recipes.runs.find import options_to_resume

    if machine != "0" and not Path(run).exists():  # only the first machine need see it; the options are given here too
        return {}
    return options_to_resume(run, recipe)


def _unknown(extra: list[str]) -> list[str]:
    """Flags that no option has; the value behind an unknown flag is not an error of its own."""
    unknown, after_flag = [], False
    for word in extra:
        if word.startswith("--") or not after_flag:
            unknown.append(word.split("=")[0] if word.startswith("--") else word)
        after_flag = word.startswith("--") and "=" not in word
    return unknown
