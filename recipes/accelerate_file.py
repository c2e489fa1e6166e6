"""`--accelerate-config FILE`: what `accelerate config` wrote, read by Accelerate's own launcher code."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, TypeVar

from recipes.config import read_yaml
from recipes.options import TrainOptions
from tasks.errors import ConfigError

C = TypeVar("C", bound=TrainOptions)


def apply(config: C) -> C:
    """The config with the processes, machines and precision of its Accelerate file, where flags left them open.

    Raises:
        ConfigError: the file is missing, or asks for something that isn't offered.
    """
    if not config.accelerate_config:
        return config
    found = _read(config.accelerate_config)
    changes: dict[str, Any] = {}
    if config.num_processes == 1 and config.num_machines == 1:
        machines = found.num_machines or 1
        # Accelerate counts the processes of all machines.
        changes["num_processes"] = max(1, (found.num_processes or 1) // machines)
        changes["num_machines"] = machines
        changes["machine_rank"] = found.machine_rank or 0
    if config.main_address is None and found.main_process_ip:
        changes["main_address"] = f"{found.main_process_ip}:{found.main_process_port or 29500}"
    if config.mixed_precision == "auto" and found.mixed_precision in ("no", "fp16", "bf16"):
        changes["mixed_precision"] = found.mixed_precision
    return dataclasses.replace(config, **changes)


def settings(config: TrainOptions) -> dict[str, str]:
    """The environment that `accelerate launch` would give its workers: which GPUs, torch's compiler."""
    if not config.accelerate_config:
        return {}
    from accelerate.utils.launch import prepare_multi_gpu_env

    args = _read(config.accelerate_config)
    args.main_process_port = 0
    made = prepare_multi_gpu_env(args)
    # Threads, ranks and addresses are the launcher's; the precision has been taken into the options.
    ours = ("ACCELERATE_", "TORCH_", "CUDA_VISIBLE_DEVICES")
    return {
        name: value
        for name, value in made.items()
        if name.startswith(ours) and name != "ACCELERATE_MIXED_PRECISION" and os.environ.get(name) != value
    }


def _read(file: str) -> Any:
    if not Path(file).is_file():
        raise ConfigError(
            f"--accelerate-config: there is no file {file}; `accelerate config --config_file {file}` writes one"
        )
    kind = str(read_yaml(file).get("distributed_type", "NO")).upper()
    if kind not in ("NO", "MULTI_GPU", "MULTI_CPU", "MULTI_XPU", "MULTI_NPU"):
        raise ConfigError(
            f"--accelerate-config: {file} asks for {kind}, which is not offered yet: checkpoints of a model in shards are not "
            f"written; take distributed_type MULTI_GPU, with --gradient-checkpointing and --optimizer adamw-8bit where memory is short"
        )
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    try:
        args, _, _ = _validate_launch_command(launch_command_parser().parse_args(["--config_file", file, "tool"]))
    except (ValueError, KeyError, TypeError, SystemExit) as error:
        raise ConfigError(f"--accelerate-config: Accelerate can't read {file}: {error}") from None
    return args
