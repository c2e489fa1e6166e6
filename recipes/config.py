"""Config dataclasses: one declaration of an option gives its flag, its YAML key, `--print-config` and the docs."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from tasks.errors import ConfigError
from tasks.words import did_you_mean

C = TypeVar("C")
MASK = "********"


def option(
    default: Any,
    help: str,
    *,
    panel: str = "Options",
    choices: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    commas: bool = True,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    secret: bool = False,
    affects_result: bool = True,
    shown_default: str | None = None,
) -> Any:
    """One option of a recipe, declared beside its default.

    Args:
        default: the value where neither flag nor file gives one; None: the recipe decides, `shown_default` says how.
        help: one line for --help and the docs.
        panel: the group it stands under in --help.
        choices: the only values allowed.
        words: texts allowed in the place of a number.
        commas: whether a list may be one text with commas; else the flag is given several times.
        minimum, maximum: inclusive bounds; `above`: an exclusive lower bound.
        secret: masked wherever the config is shown or written.
        affects_result: False for what may change on resume (logging, output, rhythm of checkpoints).
        shown_default: what --help says instead of the default.
    """
    metadata = {name: value for name, value in locals().items() if name != "default"}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Panel(str):
    """A group of options under one heading of --help."""

    def option(self, default: Any, help: str, **settings: Any) -> Any:
        """An option of the group; takes what `option` takes."""
        return option(default, help, panel=self, **settings)

    def setting(self, default: Any, help: str, **settings: Any) -> Any:
        """One that may change on resume: the result doesn't depend on it."""
        return option(default, help, panel=self, affects_result=False, **settings)


@dataclasses.dataclass(frozen=True)
class OptionInfo:
    """What the command line and the docs need to know of one option."""

    name: str
    type: type
    optional: bool
    default: Any
    metadata: Mapping[str, Any]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def metavar(self) -> str:
        if self.metadata["choices"]:
            return "|".join(self.metadata["choices"])
        plain = {int: "N", float: "X", str: "TEXT", list: "A,B" if self.metadata["commas"] else "TEXT"}[self.type]
        return "|".join([plain, *self.metadata["words"]])

    @property
    def default_text(self) -> str:
        if self.metadata["shown_default"] is not None:
            return str(self.metadata["shown_default"])
        if self.default is None or self.default == []:
            return ""
        if isinstance(self.default, bool):
            return "on" if self.default else ""
        return str(self.default)


def options_of(cls: type) -> list[OptionInfo]:
    """The options of a config dataclass, in the order of their declaration."""
    hints = typing.get_type_hints(cls)
    # A recipe may fill in by itself what an option left out becomes, and says so in `shown_defaults`.
    shown = getattr(cls, "shown_defaults", {})
    options = []
    for field in dataclasses.fields(cls):
        kind, optional = _plain_type(hints[field.name])
        if kind not in _CONVERT or "help" not in field.metadata:
            raise TypeError(
                f"{cls.__name__}.{field.name} must be declared with recipes.config.option, as bool, int, float, str or list[str]"
            )
        factory = field.default_factory
        default = factory() if factory is not dataclasses.MISSING else field.default
        metadata = {**field.metadata, **({"shown_default": shown[field.name]} if field.name in shown else {})}
        options.append(OptionInfo(field.name, kind, optional, default, metadata))
    return options


# Options that name a place or a model: an empty one would mean something else than what was left out by mistake.
PLACES = ("model", "data", "resume", "output_dir", "accelerate_config", "cache_dir", "output")


def resolve(
    cls: type[C],
    flags: Mapping[str, Any],
    file: str | Path | None = None,
    unknown: list[str] | None = None,
    resumed: Callable[[str], Mapping[str, Any]] = lambda run: {},
) -> C:
    """Joins flags and the YAML file (a flag wins) into a checked config.

    Args:
        flags: name -> text as given on the command line; None: not given.
        file: a YAML file with the same names; `recipe:` in it is let through.
        unknown: flags that no option has, reported with the rest.
        resumed: the options of the run that `resume` names; they hold where nothing else is given.

    Raises:
        ConfigError: all problems at once, a line each.
    """
    infos = {info.name: info for info in options_of(cls)}
    problems = [_unknown_flag(flag, infos) for flag in unknown or []]
    sources: dict[str, tuple[str, Any]] = {}  # name -> where it is from, value
    for key, value in read_yaml(file).items() if file is not None else ():
        name = str(key).replace("-", "_")
        if name in infos:
            sources[name] = (f"{file}: {key}", value)
        elif name != "recipe":
            problems.append(f"{file}: unknown key {key!r}{did_you_mean(name, infos)}")
    sources |= {name: (infos[name].flag, value) for name, value in flags.items() if value is not None}
    run, fresh = (sources.get(name, ("", None))[1] for name in ("resume", "fresh"))
    if run and not fresh and not problems:  # the two exclude each other, which is said below
        earlier = resumed(str(run))
        sources = {name: (f"{run}: {name}", value) for name, value in earlier.items() if name in infos} | sources
    values = {}
    for name, (where, value) in sources.items():
        try:
            if value == "" and name in PLACES:
                raise ValueError("is empty; an unset variable of the shell?")
            values[name] = convert(infos[name], value)
        except ValueError as error:
            problems.append(f"{where}: {error}")
    config = cls(**values)
    if hasattr(config, "problems") and not problems:
        problems += config.problems()
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def read_yaml(file: str | Path, flag: str = "--config") -> dict[str, Any]:
    """Reads a YAML mapping; errors name the flag, the file and the line."""
    import yaml

    try:
        loaded = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{flag}: there is no file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{flag}: can't read {file}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{flag}: {file}{line} is not YAML: {getattr(error, 'problem', error)}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{flag}: {file} must hold `key: value` lines, found {type(loaded).__name__}")
    return loaded


def convert(info: OptionInfo, value: Any) -> Any:
    """Turns a flag's text or a YAML value into the option's type and checks its bounds.

    Raises:
        ValueError: with what was wrong and what is allowed.
    """
    if value is None or (isinstance(value, str) and info.optional and value.lower() in {"none", "null"}):
        if info.optional:
            return None
        raise ValueError("needs a value")
    if isinstance(value, str) and value.lower() in info.metadata["words"]:
        return value.lower()
    if info.type is list and isinstance(value, str) and not info.metadata["commas"]:
        value = [value]
    converted = _CONVERT[info.type](value)
    choices = info.metadata["choices"]
    for item in converted if isinstance(converted, list) else [converted]:
        if choices and item not in choices:
            raise ValueError(f"{item!r} is not one of {', '.join(choices)}{did_you_mean(str(item), choices)}")
    if info.type in (int, float):
        _check_bounds(converted, info.metadata)
    return converted


def as_dict(config: Any, *, masked: bool = True) -> dict[str, Any]:
    """The config as plain values in the order of declaration; secrets masked unless asked otherwise."""
    values = {info.name: getattr(config, info.name) for info in options_of(type(config))}
    secret = [info.name for info in options_of(type(config)) if info.metadata["secret"] and values[info.name]]
    return values | dict.fromkeys(secret if masked else [], MASK)


def to_yaml(config: Any, recipe: str) -> str:
    """The config as the YAML that `--config` reads, without its secrets."""
    import yaml

    values = {info.name: getattr(config, info.name) for info in options_of(type(config)) if not info.metadata["secret"]}
    return yaml.safe_dump({"recipe": recipe, **values}, sort_keys=False, allow_unicode=True)


def result_options(config: Any) -> dict[str, Any]:
    """The options that a run's result depends on: what must be equal to go on with it."""
    may_grow = config.may_grow() if hasattr(config, "may_grow") else set()
    return {
        info.name: getattr(config, info.name)
        for info in options_of(type(config))
        if info.metadata["affects_result"] and not info.metadata["secret"] and info.name not in may_grow
    }


def filled(config: C, defaults: Mapping[str, Any]) -> C:
    """The config with every option that is open still filled in from `defaults`."""
    still_open = {name: value for name, value in defaults.items() if getattr(config, name) in (None, [])}
    return dataclasses.replace(cast(Any, config), **still_open)


def default_options(cls: type) -> dict[str, Any]:
    """What each option is where nothing is given."""
    return as_dict(cls(), masked=False)


def nearest(name: str, known: list[str]) -> str:
    """'; did you mean x?' where a known name is near, else the known names."""
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"


def _unknown_flag(flag: str, infos: Mapping[str, OptionInfo]) -> str:
    if not flag.startswith("-"):
        return f"unexpected argument {flag!r}"
    return f"no such option {flag}{did_you_mean(flag, [info.flag for info in infos.values()])}"


def _plain_type(hint: Any) -> tuple[type, bool]:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        optional = len(inner) < len(typing.get_args(hint))
        hint = inner[0]
    return (typing.get_origin(hint) or hint), optional


def _to_int(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a whole number")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return int(str(value).replace("_", ""))
    except ValueError:
        raise ValueError(f"{value!r} is not a whole number") from None


def _to_float(value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
    if str(value).lower() not in words:
        raise ValueError(f"{value!r} is not true or false")
    return words[str(value).lower()]


def _to_list(value: Any) -> list[str]:
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    raise ValueError(f"{value!r} is not a list")


def _to_str(value: Any) -> str:
    if isinstance(value, (dict, list)):
        raise ValueError("must be one text")
    return str(value)


_CONVERT: dict[type, Any] = {int: _to_int, float: _to_float, bool: _to_bool, list: _to_list, str: _to_str}


def _check_bounds(value: float, metadata: Mapping[str, Any]) -> None:
    minimum, maximum, above = metadata["minimum"], metadata["maximum"], metadata["above"]
    if minimum is not None and value < minimum:
        raise ValueError(f"{value} is below {minimum}")
    if above is not None and value <= above:
        raise ValueError(f"{value} must be above {above}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{value} is above {maximum}")
