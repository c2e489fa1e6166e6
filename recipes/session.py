"""What every training run begins with: the device, the processes, the run folder, and where the libraries' words go."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from recipes import runs
from recipes.interrupts import Interrupts
from recipes.options import TrainOptions
from tasks.errors import ConfigError, Preempted

LIBRARIES = ("transformers", "datasets", "accelerate", "huggingface_hub", "torch", "py.warnings", "evaluate", "PIL")


@dataclass
class Session:
    """A run on its device."""

    run: runs.Run
    accelerator: Accelerator


def start(recipe: str, config: TrainOptions, interrupts: Interrupts, label: str = "") -> Session:
    """Sets up the device and finds the unfinished run of the same command, or makes a new one.

    Raises:
        ConfigError: fp16 without a GPU; a --resume that doesn't fit.
    """
    silence()
    accelerator = make_accelerator(config)
    path: list[Any] = [None]
    run: runs.Run | None = None
    if accelerator.is_main_process:
        run = pick_run(recipe, config, label)
        path = [str(run.path)]
    broadcast_object_list(path)
    run = run or runs.Run(runs.Path(path[0]))
    log_to(run, accelerator.is_main_process)
    return Session(run, accelerator)


@contextlib.contextmanager
def noting_the_end(session: Session) -> Iterator[None]:
    """Writes into status.json how the run ended, whatever ended it but SIGKILL."""
    try:
        yield
    except BaseException as error:
        if session.accelerator.is_main_process and session.run.status().get("state") != "finished":
            session.run.update(state="preempted" if isinstance(error, Preempted) else "failed", error=str(error))
        raise


def pick_run(recipe: str, config: TrainOptions, label: str) -> runs.Run:
    """The run that --resume names, else the unfinished one of the same command, else a new one."""
    if config.resume:
        run = runs.open_run(config.resume)
        runs.check_resumable(run, recipe, config)
        run.update(state="running")
        return run
    found = None if config.fresh else runs.find_unfinished(config.output_dir, recipe, config)
    if found is not None:
        found.update(state="running")
        return found
    return runs.create(config.output_dir, recipe, config, label)


def make_accelerator(config: TrainOptions) -> Accelerator:
    """Accelerate on the best device, in the precision asked for."""
    use_cpu = config.cpu or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if config.threads:
        torch.set_num_threads(config.threads)
    if use_cpu:
        keep_memory()
    precision = config.mixed_precision
    if precision == "auto":
        precision = "bf16" if not use_cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    if precision == "fp16" and use_cpu:
        raise ConfigError("--mixed-precision fp16 needs a GPU; use bf16 or no")
    if torch.cuda.is_available() and not use_cpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return Accelerator(mixed_precision=precision, cpu=use_cpu)


def pick_device(cpu: bool, threads: int | None) -> torch.device:
    """The device for inference."""
    if threads:
        torch.set_num_threads(threads)
    if torch.cuda.is_available() and not cpu:
        return torch.device("cuda")
    if torch.backends.mps.is_available() and not cpu:
        return torch.device("mps")
    keep_memory()
    return torch.device("cpu")


def keep_memory() -> None:
    """Tells glibc to keep freed memory: a step frees and asks again for the same large buffers, and mapping them anew each
    time costs a fifth of a small model's step. Other C libraries go without."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        m_mmap_max, m_trim_threshold, m_top_pad = -4, -1, -2
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_top_pad, 64 << 20)


def log_to(run: runs.Run, main: bool) -> None:
    """Sends the libraries' log lines and warnings to the run's log.txt."""
    if not main:
        return
    handler = logging.FileHandler(run.path / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.captureWarnings(True)
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


def silence() -> None:
    """No progress bars of the libraries beside ours; for commands without a run their warnings go nowhere."""
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore")
