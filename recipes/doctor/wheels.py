"""Which published torch wheel fits a driver and its GPUs (pytorch/pytorch, RELEASE.md, the CUDA support matrix)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

Version = tuple[int, int]

_OLD = (50, 60, 70, 75, 80, 86, 90)
_NEW = (75, 80, 86, 90, 100, 120)
# torch release -> CUDA release -> architectures in its Linux wheels; newest first.
_WHEELS: dict[Version, dict[Version, tuple[int, ...]]] = {
    (2, 13): {(13, 2): _NEW, (13, 0): _NEW, (12, 6): _OLD},
    (2, 12): {(13, 2): _NEW, (13, 0): _NEW, (12, 6): _OLD},
    (2, 11): {(13, 0): _NEW, (12, 8): _NEW, (12, 6): _OLD},
    (2, 10): {(13, 0): _NEW, (12, 8): (70, *_NEW), (12, 6): _OLD},
    (2, 9): {(13, 0): _NEW, (12, 8): (70, *_NEW), (12, 6): _OLD},
}
AGAIN = f"pip install --force-reinstall 'torch=={'.'.join(map(str, next(iter(_WHEELS))))}.*'"


def covers(arch: str, capability: Version, ptx: bool = True) -> bool:
    """Whether code for `arch` (`sm_80`, `sm_90a`, `compute_90`) runs on a GPU of that compute capability.

    Args:
        ptx: whether the driver can compile PTX (`compute_`) of this build for newer GPUs.
    """
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if found is None:
        return False
    built = (int(found[2]), int(found[3]))
    if found[4] == "a":  # for that one architecture only
        return built == capability
    if found[1] == "compute" and found[4] == "":
        return ptx and built <= capability
    return built[0] == capability[0] and built[1] <= capability[1]


def install(torch: str | None, driver_cuda: Version | None, capabilities: Sequence[Version] = ()) -> str:
    """The pip command for a build that the driver runs and that has code for these GPUs, or else what to do.

    Args:
        torch: the installed version, kept where one of its wheels fits.
        driver_cuda: the newest CUDA that the driver knows; None where nobody says.
    """
    if driver_cuda is not None and driver_cuda < (12, 0):
        return "update the NVIDIA driver to 580 or newer (525 at least), or rent a machine with a newer image"
    release, number = _release(torch)
    for candidate in [release, *(older for older in _WHEELS if older < release)]:
        cuda = _choose(_WHEELS[candidate], driver_cuda, capabilities)
        if cuda is not None:
            tag = f"cu{cuda[0]}{cuda[1]}"
            # With its local tag: pip takes 2.13.0+cpu for 2.13.0 and would change nothing.
            wanted = f"torch=={number}+{tag}" if candidate == release and number else f"torch=={_dotted(candidate)}.*"
            return f"{shlex.join(['pip', 'install', wanted])} --index-url https://download.pytorch.org/whl/{tag}"
    if driver_cuda is not None and any(_choose(built, None, capabilities) for built in _WHEELS.values()):
        return "update the NVIDIA driver to 580 or newer: the builds for this GPU need it"
    return "no published torch build has code for this GPU: rent a newer one, or build torch from source"


def _choose(
    built: dict[Version, tuple[int, ...]], driver_cuda: Version | None, capabilities: Sequence[Version]
) -> Version | None:
    """The newest CUDA that the driver has itself; else one of the same major, which it runs as well."""
    fitting = [
        cuda
        for cuda, archs in built.items()
        if all(any(covers(f"sm_{arch}", capability) for arch in archs) for capability in capabilities)
    ]
    if driver_cuda is None:
        return max(fitting, default=None)
    known = [cuda for cuda in fitting if cuda <= driver_cuda]
    return max(known) if known else min((cuda for cuda in fitting if cuda[0] == driver_cuda[0]), default=None)


def _release(torch: str | None) -> tuple[Version, str]:
    """(the table's row, the version without its local tag); the newest row for a torch that is not in the table."""
    found = re.match(r"((\d+)\.(\d+)\.\d+)", torch or "")
    release = (int(found[2]), int(found[3])) if found else (0, 0)
    return (release, found[1]) if found and release in _WHEELS else (next(iter(_WHEELS)), "")


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
