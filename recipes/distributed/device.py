"""Choice of the device, number of threads, and silencing of libraries."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import warnings
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from recipes.distributed import accelerate_config
from recipes.options import TrainOptions
from recipes.process import cgroups
from tasks.errors import ConfigError

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def make_accelerator(config: TrainOptions) -> Accelerator:
    """Accelerate on the best device, in the precision asked for."""
    use_cpu = config.cpu or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    set_threads(config.threads)
    sharding = accelerate_config.fsdp_config_of(config)
    if use_cpu and sharding is None:
        keep_memory()
    elif use_cpu:
        give_memory_back()
    precision = resolve_precision(config.mixed_precision, gpu=not use_cpu)
    if torch.cuda.is_available() and not use_cpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    handlers = []
    if "RANK" in os.environ:
        # What lies on the host is exchanged there.
        both = sharding is not None and sharding.offload and not use_cpu
        # The first process may write or upload for long while the others wait. One that dies ends them by the launcher, on its machine.
        patience = timedelta(hours=24) if config.num_machines == 1 else timedelta(hours=1)
        handlers.append(InitProcessGroupKwargs(timeout=patience, **({"backend": "cuda:nccl,cpu:gloo"} if both else {})))
    return Accelerator(mixed_precision=precision, cpu=use_cpu, kwargs_handlers=handlers)


def resolve_precision(mixed_precision: str, *, gpu: bool) -> str:
    """A key of `DTYPES` for --mixed-precision; auto: bf16 on a GPU that has it.

    Raises:
        ConfigError: fp16 without a GPU.
    """
    if mixed_precision == "fp16" and not gpu:
        raise ConfigError("--mixed-precision fp16 needs a GPU; use bf16 or no")
    if mixed_precision != "auto":
        return mixed_precision
    cuda = gpu and torch.cuda.is_available()
    return "bf16" if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "no"


def set_threads(threads: int | None) -> None:
    """As many threads as asked for, else no more than the container's share of the processors lets run at once."""
    if threads:
        torch.set_num_threads(threads)
    elif "OMP_NUM_THREADS" not in os.environ and cgroups.usable_cpus() < torch.get_num_threads():
        torch.set_num_threads(cgroups.usable_cpus())


def pick_device(cpu: bool, threads: int | None) -> torch.device:
    """The device for inference."""
    set_threads(threads)
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
        m_mmap_max, m_trim_threshold, m_top_pad, m_arena_max = -4, -1, -2, -8
        if cgroups.address_space() is not None:
            # What is kept would be missing elsewhere, as would the 64 MB that each thread's arena sets aside.
            libc.mallopt(m_arena_max, 2)
            give_memory_back()  # or the heap holds all there is after a batch that was too large, and oneDNN maps no more code
            return
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_top_pad, 64 << 20)


def give_memory_back() -> None:
    """Tells glibc to keep no large buffer that is freed: weights that a model in shards gathers and lets go would stay otherwise."""
    with contextlib.suppress(OSError, AttributeError):
        m_mmap_threshold = -3
        ctypes.CDLL("libc.so.6").mallopt(m_mmap_threshold, 1 << 20)


def silence() -> None:
    """No progress bars of the libraries beside ours; for commands without a run their warnings go nowhere."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()
    else:  # it brings pyarrow and pandas, 90 MB, and not every run reads its data with it
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    if "diffusers" in sys.modules:
        sys.modules["diffusers"].utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
