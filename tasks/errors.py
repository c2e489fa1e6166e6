"""The errors of the tool: one family, each with a message for the user and an exit code."""

from __future__ import annotations

import errno
import re


class ToolError(Exception):
    """Anything that ends a command on purpose: one line for the user, one documented exit code.

    Args:
        message: what happened, where (file, row, flag) and how to mend it, in one line.
    """

    exit_code = 1


class ConfigError(ToolError):
    """A wrong flag, key or value. Several may be joined, one a line."""

    exit_code = 2


class DataError(ToolError):
    """Input that can't be used as it is; the message names the file and row."""

    exit_code = 3


class OutOfMemory(ToolError):
    """Not even one example fits; the message says what to change, most useful first."""

    exit_code = 4


# How torch's allocator, oneDNN, the C++ runtime and the loader of libraries say that memory is full.
_FULL = (
    "DefaultCPUAllocator",
    "bad_alloc",
    "could not create a memory",
    "could not create a primitive",
    "Cannot allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_SUPPORTED",  # where the workspace that it would take has no room
    "out of memory",
    "failed to map segment",
    "can't start new thread",  # whose stack finds no room
    "error return without exception set",  # Python's own, where the exception found none
)


# What a terminal would obey rather than show.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """`text` with a space for each control character."""
    return _CONTROL.sub(" ", text)


def one_line(text: str, secret: str | None = None, limit: int = 240) -> str:
    """`text` without line breaks, control characters and `secret`, cut to `limit` characters."""
    if secret:
        text = text.replace(secret, "***")
    text = " ".join(printable(text).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library's error says so: CUDA and Python have a type for it, the CPU's libraries and Python's own compiler words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, (RuntimeError, ImportError, SystemError)) and any(word in str(error) for word in _FULL)


def is_out_of_disk(error: BaseException) -> bool:
    """Whether the system says so."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class OutOfDisk(ToolError):
    """Too little room, seen before the start or at the moment of writing."""

    exit_code = 5


class Preempted(ToolError):
    """The process was asked to stop. What could be saved is saved; the same command goes on."""

    exit_code = 75


def exit_code_of(error: BaseException) -> int:
    """The code that the command ends with."""
    if isinstance(error, ToolError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 130
    if is_out_of_disk(error):
        return OutOfDisk.exit_code
    return OutOfMemory.exit_code if is_out_of_memory(error) else ToolError.exit_code


def data_errors(problems: list[str], total: int | None = None, hint: str = "") -> DataError:
    """Joins up to ten problems of one input into one error, saying how many there were in all."""
    total = len(problems) if total is None else total
    shown = "; ".join(problems[:10])
    more = f"; and {total - 10} more" if total > 10 else ""
    return DataError(f"{shown}{more}{'. ' + hint if hint else ''}")
