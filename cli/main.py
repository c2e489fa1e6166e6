"""The command `tool`: a table of lazy commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from cli.console import State, open_streams
from cli.lazy import Group, lazy_commands
from recipes.process.worker import end_worker
from recipes.terminal.progress import print_line
from tasks.errors import Preempted, ToolError, is_out_of_disk, is_out_of_memory, one_line, printable

VERBS = {
    "train": ("cli.train:build", "Train a model on your data and evaluate it."),
    "backtest": (
        "cli.backtest:build",
        "Forecast a past that is known, window by window, and score it against baselines.",
    ),
    "eval": ("cli.evaluate:build", "Say how good a model or a file of predictions is."),
    "predict": ("cli.predict:build", "Answer for new input."),
    "export": ("cli.export:build", "Write a trained model as ONNX, checked against PyTorch."),
    "quantize": (
        "cli.quantize:build",
        "Make a trained model small and fast without losing more accuracy than allowed.",
    ),
    "data": ("cli.data:build", "Look at a data set, build one, or write a sample."),
    "runs": ("cli.runs:build", "List, show, compare, report on, prune and push runs."),
    "doctor": ("cli.doctor:build", "Say what on this machine would stop a run, and how to mend it."),
}

HELP = """Train, quantize and evaluate models: one command from real data to a measured model.

First steps: `tool train vqa --model tiny --data sample` needs no network and no GPU.
"""

EXIT_CODES = """\b
Exit codes:
  0   done
  1   failed
  2   usage or config
  3   bad data
  4   out of memory
  5   out of disk
  75  preempted, checkpoint saved: run the same command again"""


OUT_OF_MEMORY = "out of memory; use a smaller batch, model or input, or --gradient-checkpointing"

# Characters of a library's own message that are shown; a compiler's runs to pages.
MESSAGE = 600

# The libraries talk on stderr while they are imported; set before any of them is.
QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "ACCELERATE_LOG_LEVEL": "ERROR",
}


def version(value: bool) -> None:
    """Prints the version and ends."""
    if value:
        from importlib.metadata import version as of

        print(f"tool {of('modeltool')}")
        raise typer.Exit


def build() -> TyperGroup:
    """The root group: the table's verbs, `--version`, shell completion."""
    app = typer.Typer(
        cls=Group,
        rich_markup_mode=None,
        add_completion=True,
        no_args_is_help=True,
        context_settings={"help_option_names": ["--help", "-h"]},
    )

    @app.callback(help=HELP, epilog=EXIT_CODES)
    def root(
        show_version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", callback=version, is_eager=True)
        ] = False,
    ) -> None:
        pass

    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    group.commands = dict(lazy_commands(VERBS))
    return group


def main(args: list[str] | None = None) -> None:
    """Runs the command line and exits with a documented code."""
    State.json = State.debug = False
    open_streams()
    # A last search for garbage among all that torch and its like have loaded would take a second, after the last word.
    atexit.register(gc.freeze)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        code = build().main(args=args, prog_name="tool", standalone_mode=False)
    except typer.Abort:
        code = _fail("stopped", 1)
    except ToolError as error:
        if State.debug:
            _show(error)
        code = _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        code = _fail("stopped by Ctrl-C", 130)
    except Exception as error:
        if State.debug:
            _show(error)
        code = _said(error)
    code = code if isinstance(code, int) else 0
    end_worker(code)
    sys.exit(code)


def _show(error: Exception) -> None:
    import traceback

    for line in "".join(traceback.format_exception(error)).splitlines():
        print_line(printable(line))


def _said(error: Exception) -> int:
    try:
        return _unexpected(error)
    except MemoryError:  # not even room to look into the error
        return _fail(OUT_OF_MEMORY, 4)


def _unexpected(error: Exception) -> int:
    message = getattr(error, "format_message", None)
    if message is not None:  # a usage error of the command line
        text = message()
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "tool"
        if type(error).__name__ == "NoArgsIsHelpError":
            print(text, file=sys.stderr)
            return 2
        return _fail(f"{text.rstrip('.')}; see `{where} --help`", getattr(error, "exit_code", 2))
    if isinstance(error, OSError) and is_out_of_disk(error):
        return _fail(f"no space left on the disk ({error.filename or 'a temporary file'}); free some and run again", 5)
    if is_out_of_memory(error):
        return _fail(OUT_OF_MEMORY, 4)
    from tasks.hub import find  # not before: where memory is full it finds no room

    stop = find(error, Preempted)
    if stop is not None:  # a library wrapped it in an error of its own
        return _fail(str(stop), stop.exit_code)
    return _fail(
        f"{type(error).__name__}: {one_line(str(error), limit=MESSAGE)} (run again with --debug for the traceback)", 1
    )


def _fail(message: str, code: int) -> int:
    for line in message.split("\n"):
        print_line(f"error: {printable(line)}")
    return code
