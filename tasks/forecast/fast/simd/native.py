"""The C library (`simd.h` and the C files beside it): loading the build for this processor, and its functions' arguments."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Any, ClassVar

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
    """The arguments of `NAME_forward` and `NAME_backward`.

    The fields, by type and in order, are those of the C struct. For an input x and an output y the gradients are dx and dy.

    Args:
        values: of fields; without `threads` as many as PyTorch takes.

    Attributes:
        held: tensors that stay alive as long as the arguments.
        optional: outputs whose gradient may be missing.
        scratch: buffers of the first input's size that the backward works in.
        saves_inputs: whether the backward reads the inputs again.
    """

    forward: ClassVar[str]
    backward: ClassVar[str]
    optional: ClassVar[tuple[str, ...]] = ()
    scratch: ClassVar[tuple[str, ...]] = ()
    saves_inputs: ClassVar[bool] = True

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"threads": torch.get_num_threads(), **values})
        self.held: list[Tensor] = []

    def hold(self, **tensors: Tensor | None) -> None:
        """Sets pointers to contiguous tensors, and keeps these alive."""
        for name, tensor in tensors.items():
            if tensor is not None:
                setattr(self, name, tensor.data_ptr())
                self.held.append(tensor)

    def output(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A new tensor that the function writes."""
        tensor = torch.empty(shape)
        setattr(self, name, tensor.data_ptr())
        return tensor

    def allocate(self, **sizes: int) -> None:
        """Sets pointers to the parts of one float32 buffer."""
        self.held.append(torch.empty(sum(sizes.values())))
        place = self.held[-1].data_ptr()
        for name, size in sizes.items():
            setattr(self, name, place)
            place += 4 * size


STRUCTS: dict[str, type[Arguments]] = {}


def _struct(name: str, *, attributes: dict[str, Any] | None = None, **fields: str) -> type[Arguments]:
    """A class of arguments with these fields: names by type, in the order of the C struct."""
    typed = [(field, _TYPES[kind]) for kind, names in fields.items() for field in names.split()]
    names = {"forward": f"{name}_forward", "backward": f"{name}_backward", "_fields_": typed}
    STRUCTS[name] = type(name, (Arguments,), names | (attributes or {}))
    return STRUCTS[name]


Attention = _struct(
    "attention",
    counts="groups threads d heads queries keys itself causal chosen drawn",
    numbers="scaling eps",
    dropouts="chances branch",
    pointers="x source wq bq wk bk wv bv wo bo gamma beta seen times q k v out most share where normed deviation y "
    "dy dx dsource slots gradients",
)
Feed = _struct(
    "feed",
    counts="groups threads d inner steps normed_after",
    numbers="eps",
    dropouts="activation branch",
    pointers="x w1 b1 w2 b2 gamma beta hidden normed deviation y dy dx slots gradients",
)
Embedding = _struct(
    "embedding",
    counts="groups threads d steps dims lags statics times length first begin time_steps",
    numbers="eps",
    dropouts="branch",
    pointers="values given fixed moving lag w positions gamma beta normed deviation y dy dfixed slots gradients",
)
Correlation = _struct(
    "correlation",
    counts="groups threads d steps keys itself",
    pointers="x source wq bq wk bk wv bv q k v correlation dv dcorrelation dx dsource slots gradients",
)
Choice = _struct(
    "choice",
    attributes={"saves_inputs": False},
    counts="windows steps heads count together",
    pointers="correlation delays shares weight dweight dcorrelation",
)
Rolling = _struct(
    "rolling",
    counts="groups threads d heads steps",
    dropouts="branch",
    pointers="x v weight wo bo rolled y dy dx dv dweight slots gradients",
)
Decomposition = _struct(
    "decomposition",
    attributes={"optional": ("trend",), "saves_inputs": False},
    counts="groups threads d steps kernel norm_first demean",
    numbers="eps",
    pointers="x gamma beta normed deviation trend y dy dtrend dx slots gradients",
)
Shrink = _struct(
    "shrink",
    attributes={"scratch": ("between",)},
    counts="groups threads windows d steps training",
    numbers="eps",
    pointers="x w b gamma beta mean deviation sums normed y dy between dx slots gradients",
)
Newest = _struct(
    "newest",
    counts="groups threads paths length steps ways heads width active drawn",
    pointers="table way seen times branch input",
)
Linear = _struct("linear", counts="groups threads in out steps", pointers="x w b y dy dx slots gradients")


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
        same &= all(getattr(build, f"{name}_size")() == ctypes.sizeof(kind) for name, kind in STRUCTS.items())
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
