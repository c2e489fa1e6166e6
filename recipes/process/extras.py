"""Optional packages: the line that installs the extra of a missing one."""

from __future__ import annotations

from importlib.util import find_spec

from tasks.errors import ConfigError

EXTRAS = {"onnx": ("onnx", "onnxruntime", "onnxscript", "optimum")}


def require(extra: str, what: str) -> None:
    """Refuses what can't run without an extra.

    Args:
        what: the verb or option that needs it.

    Raises:
        ConfigError: a package of it is missing; says how to get it.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{what} needs {', '.join(missing)}, which is not installed: pip install 'modeltool[{extra}]'"
        )
