"""The compiled layers (`lanes.h` and the C files beside it): loaded, and their arguments."""

from __future__ import annotations

import ctypes
import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.lanes import builds, digest

_RUNS = {"AVX512": ("v4", "v3", "any"), "AVX2": ("v3", "any")}
_SWITCH = "MODELTOOL_COMPILED"
WIDEST_HEAD = 128  # as in lanes.h

_counts = ctypes.c_int64
_number = ctypes.c_double
_pointer = ctypes.c_void_p


class Dropout(ctypes.Structure):
    """One use of dropout."""

    _fields_ = (("seed", ctypes.c_uint64), ("threshold", _counts), ("scale", _number))


def _fields(**kinds: str) -> list[tuple[str, Any]]:
    """Fields by their type's name in the order given; C's structs have the same."""
    types = {"counts": _counts, "numbers": _number, "dropouts": Dropout, "pointers": _pointer}
    return [(name, types[kind.rstrip("_")]) for kind, names in kinds.items() for name in names.split()]


class Attention(ctypes.Structure):
    """What `attention_forward` and `attention_backward` take."""

    _fields_ = _fields(
        counts="groups threads d heads queries keys itself causal chosen drawn",
        numbers="scaling eps",
        dropouts="chances branch",
        pointers="x source wq bq wk bk wv bv wo bo gamma beta seen times q k v out most share where normed deviation y "
        "dy dx dsource slots gradients",
    )


class FeedForward(ctypes.Structure):
    """What `feed_forward` and `feed_backward` take."""

    _fields_ = _fields(
        counts="groups threads d inner steps normed_after",
        numbers="eps",
        dropouts="activation branch",
        pointers="x w1 b1 w2 b2 gamma beta hidden normed deviation y dy dx slots gradients",
    )


class Embedding(ctypes.Structure):
    """What `embed_forward` and `embed_backward` take."""

    _fields_ = _fields(
        counts="groups threads d steps dims lags statics times length first begin time_steps",
        numbers="eps",
        dropouts="branch",
        pointers="values given fixed moving lag w positions gamma beta normed deviation y dy dfixed slots gradients",
    )


class Correlation(ctypes.Structure):
    """What `correlation_forward` and `correlation_backward` take."""

    _fields_ = _fields(
        counts="groups threads d steps keys itself",
        pointers="x source wq bq wk bk wv bv q k v correlation dv dcorrelation dx dsource slots gradients",
    )


class Choice(ctypes.Structure):
    """What `choice_forward` and `choice_backward` take."""

    _fields_ = _fields(
        counts="windows steps heads count together",
        pointers="correlation delays shares weight dweight dcorrelation",
    )


class Rolling(ctypes.Structure):
    """What `rolling_forward` and `rolling_backward` take."""

    _fields_ = _fields(
        counts="groups threads d heads steps",
        dropouts="branch",
        pointers="x v weight wo bo rolled y dy dx dv dweight slots gradients",
    )


class Decomposition(ctypes.Structure):
    """What `decomposition_forward` and `decomposition_backward` take."""

    _fields_ = _fields(
        counts="groups threads d steps kernel norm_first demean",
        numbers="eps",
        pointers="x gamma beta normed deviation trend y dy dtrend dx slots gradients",
    )


class Shrink(ctypes.Structure):
    """What `shrink_forward` and `shrink_backward` take."""

    _fields_ = _fields(
        counts="groups threads windows d steps training",
        numbers="eps",
        pointers="x w b gamma beta mean deviation sums normed y dy between dx slots gradients",
    )


class Newest(ctypes.Structure):
    """What `newest_forward` takes."""

    _fields_ = _fields(
        counts="groups threads paths length steps ways heads width active drawn",
        pointers="table way seen times branch input",
    )


class Linear(ctypes.Structure):
    """What `linear_forward` and `linear_backward` take."""

    _fields_ = _fields(counts="groups threads in out steps", pointers="x w b y dy dx slots gradients")


_STRUCTS: dict[str, type[ctypes.Structure]] = {
    "attention": Attention,
    "feed": FeedForward,
    "embedding": Embedding,
    "linear": Linear,
    "newest": Newest,
    "shrink": Shrink,
    "correlation": Correlation,
    "choice": Choice,
    "rolling": Rolling,
    "decomposition": Decomposition,
}


@functools.cache
def library() -> Any | None:
    """The build for this processor; None where none was made.

    The environment's MODELTOOL_COMPILED=0 leaves it unused; v4, v3 or any asks for that build.
    """
    asked = os.environ.get(_SWITCH)
    runs = _RUNS.get(torch.backends.cpu.get_cpu_capability(), ("any",))
    runs = tuple(level for level in runs if asked in (None, level))
    loaded = (_load(path) for level, path in builds().items() if level in runs)
    return next((found for found in loaded if found is not None), None)


def _load(path: Path) -> Any | None:
    """The build, if it loads, was made from the sources beside it, and has these structs."""
    try:
        for openmp in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
            ctypes.CDLL(str(openmp), ctypes.RTLD_GLOBAL)  # loaded by torch; its threads are to be found
        found = ctypes.CDLL(str(path))
        found.made_from.restype = ctypes.c_char_p
        same = found.made_from().decode() == (digest() or found.made_from().decode())
        same &= all(getattr(found, f"{name}_size")() == ctypes.sizeof(kind) for name, kind in _STRUCTS.items())
    except (OSError, AttributeError):
        return None
    return found if same else None


def in_use() -> str:
    """Which layers train: "compiled, 16 lanes" or "PyTorch"."""
    return "PyTorch" if library() is None else f"compiled, {lanes()} lanes"


def lanes() -> int:
    """Windows in a group."""
    found = library()
    assert found is not None
    return int(found.lanes())


def call(name: str, argument: ctypes.Structure) -> None:
    """Calls a function of the library; other threads may use Python meanwhile.

    Raises:
        MemoryError: it found no room to compute in.
    """
    if getattr(library(), name)(ctypes.byref(argument)):
        raise MemoryError(f"no memory left in {name}")


def transpose(name: str, to: Tensor, source: Tensor, windows: int, count: int) -> None:
    """`to_lanes` or `from_lanes` of `count` numbers a window."""
    threads = torch.get_num_threads()
    places = (_pointer(to.data_ptr()), _pointer(source.data_ptr()))
    getattr(library(), name)(*places, _counts(windows), _counts(count), _counts(threads))


def average(to: Tensor, x: Tensor, kernel: int) -> None:
    """The moving average over the steps of inputs [groups, steps, width, lanes]."""
    sizes = (*x.shape[:3], kernel, torch.get_num_threads())
    places = (_pointer(to.data_ptr()), _pointer(x.data_ptr()))
    getattr(library(), "moving_average")(*places, *(_counts(size) for size in sizes))  # noqa: B009


class Space:
    """A buffer for several results of one call, float32."""

    def __init__(self, **sizes: int) -> None:
        self.whole = torch.empty(sum(sizes.values()))
        self.at: dict[str, int] = {}
        place = self.whole.data_ptr()
        for name, size in sizes.items():
            self.at[name] = place
            place += 4 * size


def address(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor lies."""
    return None if tensor is None else tensor.data_ptr()


def split(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of several weights that lie one after the other."""
    sizes = [math.prod(one.shape) for one in like]
    return [part.view(one.shape) for part, one in zip(flat.split(sizes), like, strict=True)]
