"""8-bit formats by CPU: the fastest one, and the CPU's instruction sets."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tasks.errors import ConfigError

TARGETS = ("this", "avx2", "avx512", "vnni", "amx", "neon")

# Our names of instruction sets, and what Linux and macOS call them.
_LINUX = {
    "avx2": "avx2",
    "avx512f": "avx512",
    "avx_vnni": "avx_vnni",
    "avx512_vnni": "avx512_vnni",
    "amx_int8": "amx_int8",
    "asimd": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}
_MACOS = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512",
    "hw.optional.neon": "neon",
    "hw.optional.arm.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}
# The target that an instruction set makes a CPU, the fastest first.
_TARGET_OF = {"amx_int8": "amx", "avx512_vnni": "vnni", "avx_vnni": "vnni", "avx512": "avx512", "neon": "neon"}


@dataclass(frozen=True)
class Format:
    """How numbers are kept in 8 bits.

    Args:
        activation: "u8" or "s8". Dynamic quantization knows unsigned activations alone.
        weight: "s8" (symmetric about 0) or "u8" (with a zero point).
        per_channel: one scale for each output column of a weight, instead of one for the whole of it.
        reduce_range: weights in 7 bits, so that the sum of two products fits the 16 bits of AVX2's and AVX-512's `vpmaddubsw`;
            with 8 bits it saturates there, silently.
        why: in a few words, for tables.
    """

    activation: str
    weight: str
    per_channel: bool
    reduce_range: bool
    why: str = ""

    @property
    def signs(self) -> str:
        """Such as `u8s8`."""
        return self.activation + self.weight

    @property
    def name(self) -> str:
        """Such as `u8s8`, `u8s8-7bit-channel` or `u8u8-channel`."""
        return f"{self.signs}{'-7bit' if self.reduce_range else ''}{'-channel' if self.per_channel else ''}"


_PLAIN = (
    Format("u8", "s8", True, False, "exact with 8-bit dot products; a scale for each column costs no time"),
    Format("u8", "s8", False, False, "exact with 8-bit dot products"),
    Format("u8", "u8", True, False, "both unsigned, a scale for each column"),
)
_SATURATING = (
    Format("u8", "s8", True, True, "7-bit weights never saturate without VNNI; a scale for each column costs no time"),
    Format("u8", "s8", False, True, "7-bit weights never saturate without VNNI"),
    Format("u8", "u8", True, False, "all 8 bits without saturation, about a quarter slower"),
    Format("u8", "u8", False, False, "all 8 bits without saturation, about a quarter slower"),
)
_SIGNED = (
    Format("s8", "s8", True, False, "signed dot products, as ARM has them; a scale for each column"),
    Format("s8", "s8", False, False, "signed dot products, as ARM has them"),
)


def formats(target: str = "this", approach: str = "dynamic") -> list[Format]:
    """The formats to try on a CPU, the one to prefer first.

    Args:
        target: one of `TARGETS`; "this" looks at the CPU that runs.
        approach: "dynamic" leaves out signed activations, which its operator doesn't know.

    Raises:
        ConfigError: an unknown target.
    """
    kind = target_of(cpu_features()) if target == "this" else target
    if kind not in TARGETS:
        raise ConfigError(f"--target {target}: no such target; one of {', '.join(TARGETS)}")
    if kind in ("avx2", "avx512"):
        return list(_SATURATING)
    if kind == "neon" and approach != "dynamic":
        return [*_SIGNED, *_PLAIN]
    return list(_PLAIN)


def target_of(features: tuple[str, ...]) -> str:
    """The target that a CPU with these instruction sets is; one with none known is taken for the plainest, avx2."""
    return next((target for feature, target in _TARGET_OF.items() if feature in features), "avx2")


@cache
def cpu_features() -> tuple[str, ...]:
    """The instruction sets of this CPU that matter to 8-bit products, by our names, in a fixed order; empty where unknown."""
    found = _of_macos() if platform.system() == "Darwin" else _of_linux()
    return tuple(name for name in dict.fromkeys([*_LINUX.values(), *_MACOS.values()]) if name in found)


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The processors' flags by Linux's names; none where the system doesn't list them."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}


def _of_linux(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    return {ours for theirs, ours in _LINUX.items() if theirs in cpu_flags(path)}


def _of_macos() -> set[str]:
    def answer(key: str) -> str:
        return subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=False).stdout.strip()

    return {ours for key, ours in _MACOS.items() if answer(key) == "1"}
