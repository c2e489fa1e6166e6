"""Entry point of the command `tool`: imports this installation's packages before any others of the same names.

A `tasks.py` or a folder `recipes` of the user's, on PYTHONPATH, comes first otherwise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PACKAGES = ("cli", "recipes", "tasks")


class OwnPackages:
    """A finder for `sys.meta_path`: the packages beside this file. All else is left to the finders after it."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in PACKAGES:
            return None
        return PathFinder.find_spec(name, [os.path.dirname(os.path.abspath(__file__))])


# On import and not in `main`: a process that multiprocessing spawns imports the command's script, but runs no `main`.
sys.meta_path.insert(0, OwnPackages)


def main() -> None:
    """Runs the command line."""
    from cli.main import main

    main()
