"""Checks of Python, the required packages, and those that an option needs or that do harm."""

from __future__ import annotations

import netrc
import os
import platform
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from recipes.doctor.findings import Finding, ok, pip_install, stop, warn
from recipes.doctor.probes import Unanswered
from tasks.forecast.fast import builds
from tasks.hub import one_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "modeltool"
# Parts of Python that one built from source may lack, and that the libraries import: (module, name to the reader).
BUILT_IN = {"_bz2": "bz2", "_ctypes": "ctypes", "_lzma": "lzma", "_ssl": "ssl"}
EXTRAS = {"bnb": "bitsandbytes", "wandb": "wandb", "tensorboard": "tensorboard"}

Answer = Callable[[str], dict[str, Any]]


def probed() -> list[str]:
    """Which libraries are to be imported on trial: those that are there. The likeliest to crash comes last."""
    return [name for name in ("torchvision", "wandb", "tensorboard", "bitsandbytes") if util.find_spec(name)]


def python(version: str | None = None) -> Finding:
    """The interpreter's version, and whether it is whole."""
    from packaging.specifiers import SpecifierSet

    version = version or platform.python_version()
    if installed(DISTRIBUTION) is None:
        return ok("python", version)  # what it needs stands in the distribution; `packages` says that it's missing
    needs = metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
    if not SpecifierSet(needs).contains(version, prereleases=True):
        mend = "make an environment with one that fits: uv venv --python 3.12, or apt install python3.12-venv"
        return stop("python", f"{version}; {DISTRIBUTION} needs {needs}", mend)
    lacking = [name for module, name in BUILT_IN.items() if util.find_spec(module) is None]
    if lacking:
        return stop(
            "python",
            f"{version} was built without {', '.join(lacking)}, which the libraries import",
            "sudo apt install libbz2-dev libffi-dev liblzma-dev libssl-dev, then build it anew; or use another python",
        )
    return ok("python", f"{version} (needs {needs})")


def packages() -> Finding:
    """Every dependency against the versions that the tests ran with."""
    if installed(DISTRIBUTION) is None:
        found = f"{DISTRIBUTION} is not installed in this environment, so workers can't be started"
        return stop("packages", found, "pip install -e . (in its folder)")
    requirements = required()
    missing = [requirement for requirement in requirements if installed(requirement.name) is None]
    if missing:
        names = ", ".join(requirement.name for requirement in missing)
        return stop("packages", f"missing: {names}", pip_install(*map(_plain, missing)))
    foreign = [requirement for requirement in requirements if not _fits(requirement)]
    if foreign:
        return _out_of_bounds("packages", foreign)
    shown = ", ".join(f"{name} {installed(name)}" for name in ("torch", "transformers", "datasets", "huggingface_hub"))
    return ok("packages", f"{len(requirements)} needed, all within the tested versions ({shown})")


def required(extra: str = "") -> list[Requirement]:
    """What the distribution's metadata asks for, here; with an extra's name that extra's alone."""
    from packaging.requirements import Requirement

    def applies(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({"extra": extra})

    every = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    return [each for each in every if applies(each, extra) and not (extra and applies(each, ""))]


def installed(name: str) -> str | None:
    """The version that is there."""
    try:
        return metadata.version(name) or None
    except (metadata.PackageNotFoundError, KeyError):  # KeyError: what a broken uninstall leaves
        return None


def compiled_layers() -> Finding:
    """Forecasting's training on the CPU: an optional part, built at installation."""
    found = list(builds())
    if found:
        return ok("layers", f"forecasting trains with compiled layers ({', '.join(found)})")
    return ok(
        "layers",
        "forecasting trains with PyTorch's layers on the CPU; with a C compiler (apt-get install gcc) a new installation builds "
        "faster ones",
    )


def extras(answer: Answer, gpu: bool) -> list[Finding]:
    """A finding for each that is there; one for all that are not."""
    checks = {
        "torchvision": lambda: torchvision(answer),
        "bitsandbytes": lambda: bitsandbytes(answer, gpu),
        "wandb": lambda: wandb(answer),
        "tensorboard": lambda: tensorboard(answer),
    }
    there = probed()
    found = [checks[name]() for name in checks if name in there]
    absent = [extra for extra, package in EXTRAS.items() if package not in there]
    if absent:
        found.append(ok("extras", f"not installed: {', '.join(absent)}; where wanted: {_extra(*absent)}"))
    return found


def torchvision(answer: Answer) -> Finding:
    """Not needed here, but transformers imports it where it is there, and fails if it doesn't fit torch."""
    error = _error(answer, "torchvision")
    if error:
        found = f"{installed('torchvision') or ''} can't be imported, and so neither can transformers: {error}"
        return stop("torchvision", found.strip(), "pip uninstall -y torchvision (nothing here needs it)")
    return ok("torchvision", f"{installed('torchvision') or ''} fits torch".strip())


def bitsandbytes(answer: Answer, gpu: bool) -> Finding:
    """Only --optimizer adamw-8bit needs it."""
    mend = f"{pip_install('--upgrade', *map(_plain, required('bnb')))}; or leave out --optimizer adamw-8bit"
    error = _error(answer, "bitsandbytes")
    if not error and not answer("bitsandbytes")["native"]:
        why = one_line(answer("bitsandbytes")["reason"], limit=120)
        error = f"without its native library{' for this GPU' if gpu else ''} ({why})"
    if error:
        return warn("bitsandbytes", f"--optimizer adamw-8bit would fail: {error}", mend)
    return _bounded("bitsandbytes", "bnb") or ok("bitsandbytes", f"{installed('bitsandbytes')}, for adamw-8bit")


def wandb(answer: Answer) -> Finding:
    """Only --tracker wandb needs it, and then a login."""
    error = _error(answer, "wandb")
    if error:
        return warn("wandb", f"--tracker wandb would fail: {error}", _extra("wandb"))
    mode = os.environ.get("WANDB_MODE", "")
    if mode in {"offline", "dryrun", "disabled"}:
        return ok("wandb", f"{installed('wandb')}, WANDB_MODE={mode}")
    if not _wandb_login():
        return warn("wandb", "no login, which --tracker wandb asks for", "wandb login (or: export WANDB_MODE=offline)")
    return _bounded("wandb", "wandb") or ok("wandb", f"{installed('wandb')}, logged in")


def tensorboard(answer: Answer) -> Finding:
    """Only --tracker tensorboard needs it."""
    error = _error(answer, "tensorboard")
    if error:
        return warn("tensorboard", f"--tracker tensorboard would fail: {error}", _extra("tensorboard"))
    return _bounded("tensorboard", "tensorboard") or ok("tensorboard", f"{installed('tensorboard')}")


def _error(answer: Answer, name: str) -> str:
    try:
        return one_line(answer(name).get("error") or "", limit=160)
    except Unanswered as error:
        return str(error)


def _wandb_login() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    names = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    path = next((path for name in names if (path := Path(name).expanduser()).is_file()), None)
    try:
        return path is not None and netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _bounded(package: str, extra: str) -> Finding | None:
    foreign = [each for each in required(extra) if each.name == package and not _fits(each)]
    return _out_of_bounds(package, foreign) if foreign else None


def _out_of_bounds(name: str, foreign: list[Requirement]) -> Finding:
    found = ", ".join(f"{each.name} {installed(each.name)} (tested: {each.specifier})" for each in foreign)
    return warn(name, f"other versions than tested: {found}", pip_install(*map(_plain, foreign)))


def _fits(requirement: Requirement) -> bool:
    return requirement.specifier.contains(installed(requirement.name) or "0", prereleases=True)


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _extra(*names: str) -> str:
    return pip_install(f"{DISTRIBUTION}[{','.join(names)}]")
