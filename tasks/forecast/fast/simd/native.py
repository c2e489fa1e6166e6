"""The C library (`simd.h` and the C files beside it): loading the build for this processor, and its functions' arguments."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from tasks.forecast.fast.simd import builds, digest

_RUNS = {"AVX512": ("v4", "v3", "any"), "AVX2": ("v3", "any")}
WIDEST_HEAD = 128  # as in simd.h

_count = ctypes.c_int64
_pointer = ctypes.c_void_p


class Dropout(ctypes.Structure):
    """One use of dropout."""

    _fields_ = (("seed", ctypes.c_uint64), ("threshold", _count), ("scale", ctypes.c_double))


_TYPES: dict[str, Any] = {"counts": _count, "numbers": ctypes.c_double, "dropouts": Dropout, "pointers": _pointer}


class Arguments(ctypes.Structure):
    """The arguments of `NAME_forward` and `NAME_backward`, NAME being the class's in small letters.

    The fields, by type and in order, are those of the C struct. For an input x and an output y the gradients are dx and dy.

    Args:
        values: of fields; tensors are kept alive, and their addresses passed. Without `threads`: as many as PyTorch takes.

    Attributes:
        optional: outputs whose gradient may be missing.
        scratch: buffers of the first input's size that the backward works in.
        saves_inputs: whether the backward reads the inputs again.
    """

    optional: ClassVar[tuple[str, ...]] = ()
    scratch: ClassVar[tuple[str, ...]] = ()
    saves_inputs: ClassVar[bool] = True

    def __init__(self, **values: Any) -> None:
        self.held: list[Tensor] = []
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        super().__init__(**{"threads": torch.get_num_threads()} | {n: v for n, v in values.items() if n not in tensors})
        self.hold(tensors)

    def hold(self, tensors: Mapping[str, Tensor | None]) -> None:
        """Sets pointers to contiguous tensors, and keeps these alive."""
        self.held += [tensor for tensor in tensors.values() if tensor is not None]
        self.point(tensors)

    def allocate(self, **sizes: int) -> None:
        """Sets pointers to the parts of one float32 buffer."""
        self.held.append(torch.empty(sum(sizes.values())))
        place = self.held[-1].data_ptr()
        for name, size in sizes.items():
            setattr(self, name, place)
            place += 4 * size

    def point(self, tensors: Mapping[str, Tensor | None]) -> None:
        """As `hold`, for tensors that the caller keeps alive."""
        for name, tensor in tensors.items():
            setattr(self, name, None if tensor is None else tensor.data_ptr())


A = TypeVar("A", bound=Arguments)
_structs: dict[str, type[Arguments]] = {}


def _struct(**fields: str) -> Callable[[type[A]], type[A]]:
    """Gives a class its fields: names by type, in the order of the C struct."""

    def complete(cls: type[A]) -> type[A]:
        cls._fields_ = [(name, _TYPES[kind]) for kind, names in fields.items() for name in names.split()]
        _structs[cls.__name__.lower()] = cls
        return cls

    return complete


@_struct(
    counts="groups threads d heads queries keys itself causal chosen drawn",
    numbers="scaling eps",
    dropouts="chances branch",
    pointers="x source wq bq wk bk wv bv wo bo gamma beta seen times q k v out most share where normed deviation y "
    "dy dx dsource slots gradients",
)
class Attention(Arguments): ...


@_struct(
    counts="groups threads d inner steps normed_after",
    numbers="eps",
    dropouts="activation branch",
    pointers="x w1 b1 w2 b2 gamma beta hidden normed deviation y dy dx slots gradients",
)
class Feed(Arguments): ...


@_struct(
    counts="groups threads d steps dims lags statics times length first begin time_steps",
    numbers="eps",
    dropouts="branch",
    pointers="values given fixed moving lag w positions gamma beta normed deviation y dy dfixed slots gradients",
)
class Embedding(Arguments): ...


@_struct(
    counts="groups threads d steps keys itself",
    pointers="x source wq bq wk bk wv bv q k v correlation dv dcorrelation dx dsource slots gradients",
)
class Correlation(Arguments): ...


@_struct(counts="windows steps heads count together", pointers="correlation delays shares weight dweight dcorrelation")
class Choice(Arguments):
    saves_inputs = False


@_struct(
    counts="groups threads d heads steps",
    dropouts="branch",
    pointers="x v weight wo bo rolled y dy dx dv dweight slots gradients",
)
class Rolling(Arguments): ...


@_struct(
    counts="groups threads d steps kernel norm_first demean",
    numbers="eps",
    pointers="x gamma beta normed deviation trend y dy dtrend dx slots gradients",
)
class Decomposition(Arguments):
    optional, saves_inputs = ("trend",), False


@_struct(
    counts="groups threads windows d steps training",
    numbers="eps",
    pointers="x w b gamma beta mean deviation sums normed y dy between dx slots gradients",
)
class Shrink(Arguments):
    scratch = ("between",)


@_struct(
    counts="groups threads paths length steps ways heads width active drawn",
    pointers="table way seen times branch input",
)
class Newest(Arguments): ...


@_struct(counts="groups threads in out steps", pointers="x w b y dy dx slots gradients")
class Linear(Arguments): ...


@functools.cache
def library() -> Any | None:
    """The build for this processor; None where none was made.

    The environment's MODELTOOL_KERNELS=off leaves it unused; v4, v3 or any asks for that build. MODELTOOL_COMPILED is its old name.
    """
    wanted = os.environ.get("MODELTOOL_KERNELS", os.environ.get("MODELTOOL_COMPILED"))
    runs = _RUNS.get(torch.backends.cpu.get_cpu_capability(), ("any",))
    loaded = (_load(path) for level, path in builds().items() if level in runs and wanted in (None, level))
    return next((build for build in loaded if build is not None), None)


def _load(path: Path) -> Any | None:
    """The build, if it loads, was made from the sources beside it, and has these structs."""
    try:
        for openmp in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
            ctypes.CDLL(str(openmp), ctypes.RTLD_GLOBAL)  # loaded by torch; its threads are to be found
        build = ctypes.CDLL(str(path))
        build.made_from.restype = ctypes.c_char_p
        same = build.made_from().decode() == (digest() or build.made_from().decode())
        same &= all(getattr(build, f"{name}_size")() == ctypes.sizeof(kind) for name, kind in _structs.items())
    except (OSError, AttributeError):
        return None
    return build if same else None


def lanes() -> int:
    """Windows in a group."""
    build = library()
    assert build is not None
    return int(build.lanes())


def call(name: str, arguments: Arguments) -> None:
    """Calls a function of the library; other threads may use Python meanwhile.

    Raises:
        MemoryError: it found no room to compute in.
    """
    if getattr(library(), name)(ctypes.byref(arguments)):
        raise MemoryError(f"no memory left in {name}")


def call_plain(name: str, to: Tensor, source: Tensor, *counts: int) -> None:
    """Calls a function that takes two addresses, several counts and the number of threads."""
    places = (_pointer(to.data_ptr()), _pointer(source.data_ptr()))
    getattr(library(), name)(*places, *(_count(count) for count in (*counts, torch.get_num_threads())))
