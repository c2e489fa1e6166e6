"""`--accelerate-config FILE`: what `accelerate config` wrote, read by Accelerate's own launcher code."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, TypeVar

from recipes import sharding
from recipes.config import read_yaml
from recipes.options import AUTO, TrainOptions
from recipes.sharding import Sharding
from tasks.errors import ConfigError

C = TypeVar("C", bound=TrainOptions)


def apply(config: C) -> C:
    """The config with the processes, machines and precision of its Accelerate file, where flags left them open.

    Raises:
        ConfigError: the file is missing, or asks for something that isn't offered.
    """
    for name, kind in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if os.environ.get(name, "false").lower() == "true":
            raise ConfigError(f"{name} is set: start tool by itself, with --accelerate-config FILE for {kind}")
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
    shards = sharding_of(config)
    if shards is not None and shards.checkpointing:
        changes["gradient_checkpointing"] = True
    config = dataclasses.replace(config, **changes)
    if shards is not None:
        _check_sharded(config, shards)
    return config


def sharding_of(config: TrainOptions) -> Sharding | None:
    """How the file has the model cut into shards; None where it doesn't.

    Raises:
        ConfigError: as `sharding.read`.
    """
    if not config.accelerate_config:
        return None
    content = _content(config.accelerate_config)
    return sharding.read(config.accelerate_config, content) if _kind(content) == "FSDP" else None


def _check_sharded(config: TrainOptions, shards: Sharding) -> None:
    """Raises for what can't be kept on shards."""
    problems = []
    if config.optimizer == "adamw-8bit":
        problems.append("--optimizer adamw-8bit keeps its state in blocks of whole tensors: take adamw")
    if config.compile:
        problems.append("--compile isn't offered on shards: leave it out")
    if config.batch_size == AUTO:
        problems.append("--batch-size auto isn't offered on shards: give a number, it is cut into pieces that fit")
    if shards.offload and config.mixed_precision == "fp16":
        problems.append("fsdp_offload_params can't go with --mixed-precision fp16: take bf16")
    if problems:
        raise ConfigError("\n".join(f"--accelerate-config: {config.accelerate_config}: {line}" for line in problems))


def settings(config: TrainOptions) -> dict[str, str]:
    """The environment that `accelerate launch` would give its workers: which GPUs, torch's compiler."""
    if not config.accelerate_config:
        return {}
    from accelerate.utils.launch import prepare_multi_gpu_env

    args = _read(config.accelerate_config)
    args.main_process_port, args.use_fsdp = 0, False  # shards are cut by the loop
    made = prepare_multi_gpu_env(args)
    # Threads, ranks and addresses are the launcher's; the precision has been taken into the options.
    ours = ("ACCELERATE_", "TORCH_", "CUDA_VISIBLE_DEVICES")
    return {
        name: value
        for name, value in made.items()
        if name.startswith(ours) and name != "ACCELERATE_MIXED_PRECISION" and os.environ.get(name) != value
    }


def _content(file: str) -> dict[str, Any]:
    if not Path(file).is_file():
        raise ConfigError(
            f"--accelerate-config: there is no file {file}; `accelerate config --config_file {file}` writes one"
        )
    return read_yaml(file)


def _kind(content: dict[str, Any]) -> str:
    return str(content.get("distributed_type", "NO")).upper()


def _read(file: str) -> Any:
    kind = _kind(_content(file))
    if kind not in ("NO", "MULTI_GPU", "MULTI_CPU", "MULTI_XPU", "MULTI_NPU", "FSDP"):
        raise ConfigError(
            f"--accelerate-config: {file} asks for {kind}, which is not offered; DeepSpeed's ZeRO 2 (ZeRO 3) is the same as "
            f"`distributed_type: FSDP` with `fsdp_config: {{fsdp_version: 2, fsdp_reshard_after_forward: false}}` (true)"
        )
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    try:
        args, _, _ = _validate_launch_command(launch_command_parser().parse_args(["--config_file", file, "tool"]))
    except (ValueError, KeyError, TypeError, SystemExit) as error:
        raise ConfigError(f"--accelerate-config: Accelerate can't read {file}: {error}") from None
    return args
