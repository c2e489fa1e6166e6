"""Deferred imports: modules of large libraries that others import in passing, loaded only when used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

# What diffusers and the losses of transformers import of it: for object detectors, and for noise schedules by the beta distribution.
SCIPY = ("scipy.integrate", "scipy.optimize", "scipy.stats")


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Keeps what is imported within from loading these modules: 60 MB and a second, for scipy's. What is taken of them by name loads
    them when it is called or asked for anything; classes, which may be inherited from, load them at once.

    Args:
        names: modules below a package that loads its parts by itself, as scipy does.
    """
    waiting = [name for name in names if name not in sys.modules and find_spec(name.partition(".")[0])]
    sys.modules.update({name: _Module(name) for name in waiting})
    try:
        yield
    finally:
        _clear()


class _Module(ModuleType):
    """Stands for a module."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        later = _Later(self.__name__, name)
        return later.real() if name[:1].isupper() else later


class _Later:
    """Stands for something of a module."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def real(self) -> Any:
        _clear()
        return getattr(importlib.import_module(self._place[0]), self._place[1])

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.real()(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real(), name)


def _clear() -> None:
    """Makes room for the modules themselves."""
    for name in [name for name, module in list(sys.modules.items()) if type(module) is _Module]:
        del sys.modules[name]
