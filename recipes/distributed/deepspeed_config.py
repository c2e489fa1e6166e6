"""`deepspeed_config` of Accelerate's file: DeepSpeed's ZeRO. The shards are cut by torch's FSDP2, as with `fsdp_config`, in the one
loop; DeepSpeed itself is not used.

Fields: https://huggingface.co/docs/accelerate/usage_guides/deepspeed, and those of DeepSpeed's own file,
https://www.deepspeed.ai/docs/config-json/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.distributed.fsdp_config import Fields, FsdpConfig, refuse, section
from tasks.errors import ConfigError

PLACES = {"NONE": False, "CPU": True}
LAUNCHERS = ("STANDARD", "NONE")
# Fields of Accelerate's that change nothing here, and why.
WITHOUT_EFFECT = {
    "zero3_init_flag": "each process reads the model",
    "zero3_save_16bit_model": "model/ holds whole weights",
    "deepspeed_moe_layer_cls_names": "no model here has experts",
}
SIZES = (
    *("gradient_accumulation_steps", "gradient_clipping"),
    *("offload_optimizer_device", "offload_param_device", "zero_stage"),
)
HOSTS = ("deepspeed_hostfile", "deepspeed_exclusion_filter", "deepspeed_inclusion_filter")
NVME = ("offload_optimizer_nvme_path", "offload_param_nvme_path")
KNOWN = (*SIZES, *WITHOUT_EFFECT, *HOSTS, *NVME, "deepspeed_config_file", "deepspeed_multinode_launcher")
# Sections of DeepSpeed's own file that tell how fast or what is printed, not what is computed.
TUNING = (
    "activation_checkpointing",
    "aio",
    "checkpoint",
    "comms_logger",
    "communication_data_type",
    "csv_monitor",
    "dataloader_drop_last",
    "disable_allgather",
    "dump_state",
    "flops_profiler",
    "gradient_predivide_factor",
    "memory_breakdown",
    "prescale_gradients",
    "steps_per_print",
    "tensorboard",
    "wall_clock_breakdown",
    "wandb",
    "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer",
)
READ = (
    *("zero_optimization", "bf16", "bfloat16", "fp16", "optimizer", "scheduler"),
    *("gradient_accumulation_steps", "gradient_clipping", "train_batch_size", "train_micro_batch_size_per_gpu"),
)
# A field of the file's optimizer, and the option that says the same.
RATES = {"lr": "learning_rate", "weight_decay": "weight_decay", "eps": "adam_epsilon"}


@dataclass(frozen=True)
class DeepSpeedConfig:
    """What the file asks for.

    Attributes:
        sharding: how the model is cut; None at stage 0.
        accumulation, micro_batch: micro-batches a step and examples in one, a process, where they are numbers.
        precision: `bf16` or `fp16` where DeepSpeed's own file says so.
        same: option -> (the file's field, its value): where the two differ, the run would not be the one that the file describes.
    """

    sharding: FsdpConfig | None
    accumulation: int | None = None
    micro_batch: int | None = None
    precision: str | None = None
    same: dict[str, tuple[str, Any]] = field(default_factory=dict)


def read(file: str, content: dict[str, Any]) -> DeepSpeedConfig:
    """The `deepspeed_config` in the content of Accelerate's file, with DeepSpeed's own file where it names one.

    Raises:
        ConfigError: every field that is unknown or isn't offered, a line each.
    """
    fields, problems = section(file, content, "deepspeed_config", KNOWN)
    own = fields.get("deepspeed_config_file")
    zero = _Fields(fields, _own_file(file, str(own)) if own else {}, problems).zero()
    refuse(file, problems)
    return zero


def _own_file(file: str, own: str) -> dict[str, Any]:
    where = f"--accelerate-config: {file}: deepspeed_config_file: "
    try:
        content = json.loads(Path(own).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}can't read {own} as JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{where}{own} must hold an object, found {type(content).__name__}")
    return content


class _Fields(Fields):
    """Accelerate's fields, and DeepSpeed's own as they are called there."""

    def __init__(self, given: dict[str, Any], own: dict[str, Any], problems: list[str]) -> None:
        self.own = own
        zero = self._section(own, "zero_optimization", problems)
        for name, value in (
            ("zero_stage", zero.get("stage", 0 if own else None)),
            ("offload_optimizer_device", self._section(zero, "offload_optimizer", problems).get("device")),
            ("offload_param_device", self._section(zero, "offload_param", problems).get("device")),
            *((name, own.get(name)) for name in ("gradient_accumulation_steps", "gradient_clipping")),
        ):
            if value is not None:
                if given.get(name) is not None and given[name] != value:
                    problems.append(
                        f"{name}: {given[name]} here and {value} in deepspeed_config_file: leave it out here"
                    )
                given = {**given, name: value}
        super().__init__(given, problems)
        problems += [
            f"{name} of deepspeed_config_file isn't offered: take it out"
            for name in own
            if name not in (*TUNING, *READ)
        ]

    def zero(self) -> DeepSpeedConfig:
        """All of it."""
        self._machines()
        stage = int(self.of("zero_stage", {"0": 0, "1": 1, "2": 2, "3": 3}, 2))
        offload = self._offload("offload_optimizer_device"), self._offload("offload_param_device")
        sharding = FsdpConfig(
            reshard=stage == 3, wrap="transformer", offload=any(offload), notes=self._notes(stage, *offload)
        )
        same = {option: (name, value) for option, name, value in self._same() if value is not None}
        return DeepSpeedConfig(
            sharding if stage else None,
            self._number("gradient_accumulation_steps", self.given),
            self._number("train_micro_batch_size_per_gpu", self.own),
            self._precision(),
            same,
        )

    def _same(self) -> Iterator[tuple[str, str, Any]]:
        yield "batch_size", "train_batch_size", self._number("train_batch_size", self.own)
        yield "max_grad_norm", "gradient_clipping", self._value("gradient_clipping", self.given)
        optimizer = self._section(self.own, "optimizer", self.problems)
        if optimizer:
            kind = str(optimizer.get("type"))
            if kind.lower() not in ("adam", "adamw", "fusedadam"):
                self.problems.append(f"optimizer: {kind!r} isn't offered: take it out, and give --optimizer")
            yield "optimizer", "optimizer", "adamw"
            params = self._section(optimizer, "params", self.problems)
            for name, option in RATES.items():
                yield option, f"optimizer's {name}", self._value(name, params)
            betas = params.get("betas")
            if isinstance(betas, list) and len(betas) == 2:
                yield "adam_beta1", "optimizer's first beta", self._value("first", {"first": betas[0]})
                yield "adam_beta2", "optimizer's second beta", self._value("second", {"second": betas[1]})
        scheduler = self._section(self.own, "scheduler", self.problems)
        fixed = [name for name, value in self._section(scheduler, "params", self.problems).items() if not _auto(value)]
        if fixed:
            self.problems.append(
                f"scheduler's {fixed[0]}: the schedule is that of --lr-scheduler and --warmup-steps: give these, and take scheduler out"
            )

    def _precision(self) -> str | None:
        for name, word in (("bf16", "bf16"), ("bfloat16", "bf16"), ("fp16", "fp16")):
            if str(self._section(self.own, name, self.problems).get("enabled")).upper() == "TRUE":
                return word
        return None

    def _offload(self, name: str) -> bool:
        if str(self.given.get(name)).upper() == "NVME":
            self.problems.append(f"{name}: nvme isn't offered; take cpu, or more processes")
            return False
        return bool(self.of(name, PLACES, False))

    def _machines(self) -> None:
        name = "deepspeed_multinode_launcher"
        if str(self.given.get(name) or "standard").upper() not in LAUNCHERS or any(
            self.given.get(one) for one in HOSTS
        ):
            self.problems.append(
                f"{name}, hostfile and filters aren't offered: take standard, and start each machine with its --machine-rank"
            )

    def _number(self, name: str, given: dict[str, Any]) -> int | None:
        value = self._value(name, given)
        if value is None or (value >= 1 and value == int(value)):
            return None if value is None else int(value)
        self.problems.append(f"{name}: {value:g} is not a number of 1 or more")
        return None

    def _value(self, name: str, given: dict[str, Any]) -> float | None:
        value = given.get(name)
        if value is None or _auto(value) or str(value).upper() == "NONE":
            return None
        try:
            return float(value)
        except (TypeError, ValueError):
            self.problems.append(f"{name}: {value!r} is neither a number nor auto")
            return None

    def _notes(self, stage: int, optimizer: bool, weights: bool) -> tuple[str, ...]:
        also = {1: ": gradients lie in shards too", 3: ", which reshards after the forward pass"}.get(stage, "")
        notes = [f"ZeRO {stage} of the DeepSpeed file, run by torch's FSDP2{also}"]
        if optimizer != weights:
            notes.append("offload: weights and the optimizer's state go to the host together")
        on = [name for name in WITHOUT_EFFECT if str(self.given.get(name) or False).upper() != "FALSE"]
        idle = [f"{name} ({WITHOUT_EFFECT[name]})" for name in on]
        tuned = [name for name in self.own if name in TUNING]
        zero = self._section(self.own, "zero_optimization", [])
        tuned += [
            f"zero_optimization.{name}" for name in zero if name not in ("stage", "offload_optimizer", "offload_param")
        ]
        idle += [f"{', '.join(tuned)} (DeepSpeed's own)"] if tuned else []
        return (*notes, *([f"without effect: {', '.join(idle)}"] if idle else []))

    @staticmethod
    def _section(content: dict[str, Any], name: str, problems: list[str]) -> dict[str, Any]:
        value = content.get(name)
        if value is not None and not isinstance(value, dict):
            problems.append(f"{name} of deepspeed_config_file must be an object, found {value!r}")
        return value if isinstance(value, dict) else {}


def _auto(value: Any) -> bool:
    return str(value).upper() == "AUTO"
