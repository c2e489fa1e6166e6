"""Accelerate's config file (`--accelerate-config`), read by Accelerate's own launcher code."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from recipes.config import read_yaml
from recipes.distributed import deepspeed_config, fsdp_config
from recipes.distributed.deepspeed_config import DeepSpeedConfig
from recipes.distributed.fsdp_config import FsdpConfig, refuse
from recipes.options import AUTO, TrainOptions
from tasks.errors import ConfigError

PRECISIONS = ("no", "fp16", "bf16")

C = TypeVar("C", bound=TrainOptions)
R = TypeVar("R")


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
    args = _read(config.accelerate_config)
    changes: dict[str, Any] = {}
    if config.num_processes == 1 and config.num_machines == 1:
        machines = args.num_machines or 1
        # Accelerate counts the processes of all machines.
        changes["num_processes"] = max(1, (args.num_processes or 1) // machines)
        changes["num_machines"] = machines
        changes["machine_rank"] = args.machine_rank or 0
    if config.main_address is None and args.main_process_ip:
        changes["main_address"] = f"{args.main_process_ip}:{args.main_process_port or 29500}"
    deepspeed = _read_as("DEEPSPEED", config, deepspeed_config.read)
    precision = (deepspeed and deepspeed.precision) or args.mixed_precision
    if config.mixed_precision == "auto" and precision in PRECISIONS:
        changes["mixed_precision"] = precision
    config = dataclasses.replace(config, **changes)
    if deepspeed is not None:
        config = _as_deepspeed(config, deepspeed)
    shards = fsdp_config_of(config)
    if shards is not None:
        if shards.checkpointing:
            config = dataclasses.replace(config, gradient_checkpointing=True)
        _check_sharded(config, shards)
    return config


def fsdp_config_of(config: TrainOptions) -> FsdpConfig | None:
    """How the file has the model cut into shards; None where it doesn't.

    Raises:
        ConfigError: as `fsdp_config.read` and `deepspeed_config.read`.
    """
    deepspeed = _read_as("DEEPSPEED", config, deepspeed_config.read)
    return deepspeed.sharding if deepspeed is not None else _read_as("FSDP", config, fsdp_config.read)


def _read_as(kind: str, config: TrainOptions, read: Callable[[str, dict[str, Any]], R]) -> R | None:
    """What a file of that kind asks for; None without one."""
    if not config.accelerate_config:
        return None
    content = _content(config.accelerate_config)
    return read(config.accelerate_config, content) if _kind(content) == kind else None


def _as_deepspeed(config: C, deepspeed: DeepSpeedConfig) -> C:
    """The config with the pieces of DeepSpeed's file.

    Raises:
        ConfigError: the file says otherwise than an option on which the result depends.
    """
    problems = []
    for option, (name, value) in deepspeed.same.items():
        ours = getattr(config, option)
        if ours != value and ours != AUTO:
            flag = f"--{option.replace('_', '-')}"
            shown = f"{value:g}" if isinstance(value, float) else value
            problems.append(
                f"{name} is {shown} there, and {flag} is {ours}: give {flag} {shown}, or leave it out there"
            )
    refuse(config.accelerate_config, problems)
    pieces = deepspeed.accumulation
    if pieces is None and deepspeed.micro_batch and isinstance(config.batch_size, int):
        pieces = math.ceil(config.batch_size / (deepspeed.micro_batch * config.num_processes * config.num_machines))
    if pieces and config.gradient_accumulation_steps == 1:
        config = dataclasses.replace(config, gradient_accumulation_steps=pieces)
    return config


def _check_sharded(config: TrainOptions, shards: FsdpConfig) -> None:
    """Raises for what can't be kept on shards."""
    problems = []
    if config.optimizer == "adamw-8bit":
        problems.append("--optimizer adamw-8bit keeps its state in blocks of whole tensors: take adamw")
    if config.compile:
        problems.append("--compile isn't offered on shards: leave it out")
    if config.batch_size == AUTO:
        problems.append("--batch-size auto isn't offered on shards: give a number, it is cut into pieces that fit")
    if shards.offload and config.mixed_precision == "fp16":
        problems.append("shards on the host can't go with --mixed-precision fp16: take bf16")
    refuse(config.accelerate_config, problems)


def settings(config: TrainOptions) -> dict[str, str]:
    """The environment that `accelerate launch` would give its workers: which GPUs, torch's compiler."""
    if not config.accelerate_config:
        return {}
    from accelerate.utils.launch import prepare_multi_gpu_env

    args = _read(config.accelerate_config)
    args.main_process_port, args.use_fsdp, args.use_deepspeed = 0, False, False  # shards are cut by the loop
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
    return read_yaml(file, flag="--accelerate-config")


def _check_types(file: str, content: dict[str, Any]) -> None:
    problems = [] if content else ["it is empty"]
    for name, least in (("num_processes", 1), ("num_machines", 1), ("machine_rank", 0), ("main_process_port", 0)):
        value = content.get(name)
        if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and value >= least):
            problems.append(f"{name}: {value!r} is not a whole number from {least} on")
    precision = content.get("mixed_precision")
    if precision not in (None, False, *PRECISIONS):  # YAML reads a bare `no` as false
        problems.append(f"mixed_precision: {precision!r} is not one of {', '.join(PRECISIONS)}")
    refuse(file, problems)


def _kind(content: dict[str, Any]) -> str:
    return str(content.get("distributed_type", "NO")).upper()


def _read(file: str) -> Any:
    content = _content(file)
    kind = _kind(content)
    if kind not in ("NO", "MULTI_GPU", "MULTI_CPU", "MULTI_XPU", "MULTI_NPU", "FSDP", "DEEPSPEED"):
        raise ConfigError(
            f"--accelerate-config: {file} asks for {kind}, which is not offered; `distributed_type: FSDP` cuts a model too large for "
            f"one GPU into shards"
        )
    _check_types(file, content)
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    try:
        args, _, _ = _validate_launch_command(launch_command_parser().parse_args(["--config_file", file, "tool"]))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, SystemExit) as error:
        raise ConfigError(f"--accelerate-config: Accelerate can't read {file}: {error}") from None
    return args
