"""`fsdp_config` of Accelerate's file: how a model is sharded by FSDP2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recipes.config import nearest
from tasks.errors import ConfigError

RESHARD = {"FULL_SHARD": True, "1": True, "SHARD_GRAD_OP": False, "2": False, "TRUE": True, "FALSE": False}
WRAP = {"TRANSFORMER_BASED_WRAP": "transformer", "SIZE_BASED_WRAP": "size", "NO_WRAP": "none"}
# Fields that change nothing here, and why.
WITHOUT_EFFECT = {
    "fsdp_state_dict_type": "checkpoints hold whole tensors",
    "fsdp_cpu_ram_efficient_loading": "each process reads the model",
    "fsdp_sync_module_states": "the first process's weights always count",
    "fsdp_backward_prefetch": "version 2 prefetches by itself",
    "fsdp_forward_prefetch": "version 2 prefetches by itself",
    "fsdp_use_orig_params": "version 2 always does",
}
AS_IT_IS = ("FALSE", "NO_PREFETCH", "FULL_STATE_DICT")
KNOWN = (
    "fsdp_version",
    "fsdp_reshard_after_forward",
    "fsdp_sharding_strategy",
    "fsdp_auto_wrap_policy",
    "fsdp_transformer_layer_cls_to_wrap",
    "fsdp_min_num_params",
    "fsdp_offload_params",
    "fsdp_activation_checkpointing",
    *WITHOUT_EFFECT,
)
# Accelerate's own, where the file says nothing.
LEAST = 100_000_000


@dataclass(frozen=True)
class FsdpConfig:
    """How a model is cut.

    Attributes:
        reshard: let go of a layer's gathered weights after its forward pass, and gather them anew for the backward pass.
        wrap: which layers are gathered one by one: `transformer`: those named, `size`: large ones, `none`: all at once.
        layers: class names with `transformer`; (): the recipe's own.
        least: a layer with `size` has more parameters than this.
        offload: shards lie on the host, and the optimizer works there.
        checkpointing: activations are computed again in the backward pass.
        notes: what the reader of the file should know.
    """

    reshard: bool = True
    wrap: str = "none"
    layers: tuple[str, ...] = ()
    least: int = LEAST
    offload: bool = False
    checkpointing: bool = False
    notes: tuple[str, ...] = ()


def read(file: str, content: dict[str, Any]) -> FsdpConfig:
    """The `fsdp_config` in the content of Accelerate's file.

    Raises:
        ConfigError: every field that is unknown, contradicts another or isn't offered, a line each.
    """
    fields, problems = section(file, content, "fsdp_config", KNOWN)
    if content.get("parallelism_config"):
        problems.append("parallelism_config isn't offered: take it out, the shards go over all processes")
    sharding = _Fields(fields, problems).sharding()
    refuse(file, problems)
    return sharding


def section(file: str, content: dict[str, Any], name: str, known: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """A section of Accelerate's file, and a problem for each field of it that is unknown.

    Raises:
        ConfigError: it is not a mapping.
    """
    fields = content.get(name) or {}
    if not isinstance(fields, dict):
        raise ConfigError(f"--accelerate-config: {file}: {name} must hold `key: value` lines")
    return fields, [
        f"unknown field {field}{nearest(field, list(known))}" for field in map(str, fields) if field not in known
    ]


def refuse(file: str | None, problems: list[str]) -> None:
    """Raises ConfigError for the problems of Accelerate's file, a line each; nothing where there are none."""
    if problems:
        raise ConfigError("\n".join(f"--accelerate-config: {file}: {problem}" for problem in problems))


class Fields:
    """Reads values; what is wrong with them is added to `problems`."""

    def __init__(self, given: dict[str, Any], problems: list[str]) -> None:
        self.given, self.problems = given, problems

    def of(self, name: str, words: dict[str, Any], default: Any) -> Any:
        """What the field's word stands for; the default where it isn't given."""
        value = self.given.get(name)
        if value is None:
            return default
        word = str(value).strip().upper()
        if word not in words:
            self.problems.append(f"{name}: {value!r} is not one of {', '.join(words)}")
            return default
        return words[word]

    def true(self, name: str) -> bool:
        """Whether the field says so."""
        return bool(self.of(name, {"TRUE": True, "FALSE": False}, False))


class _Fields(Fields):
    def sharding(self) -> FsdpConfig:
        version = self.of("fsdp_version", {"1": 1, "2": 2}, 1)
        wrap = str(self.of("fsdp_auto_wrap_policy", WRAP, "none"))
        return FsdpConfig(
            reshard=self._reshard(),
            wrap=wrap,
            layers=self._layers(wrap),
            least=self._least(wrap),
            offload=self.true("fsdp_offload_params"),
            checkpointing=self.true("fsdp_activation_checkpointing"),
            notes=self._notes(version),
        )

    def _reshard(self) -> bool:
        names = ("fsdp_reshard_after_forward", "fsdp_sharding_strategy")
        choices = []
        for name in names:
            word = str(self.given.get(name)).upper()
            if word in ("NO_SHARD", "3"):
                self.problems.append(f"{name}: NO_SHARD cuts nothing; that is distributed_type MULTI_GPU")
            elif word in ("HYBRID_SHARD", "4", "HYBRID_SHARD_ZERO2", "5"):
                self.problems.append(f"{name}: {word} isn't offered; take FULL_SHARD, over all processes")
            elif self.given.get(name) is not None:
                choices.append(bool(self.of(name, RESHARD, True)))
        if len(set(choices)) > 1:
            self.problems.append(f"{names[0]} and {names[1]} contradict each other: leave one out")
        return choices[0] if choices else True

    def _layers(self, wrap: str) -> tuple[str, ...]:
        name = "fsdp_transformer_layer_cls_to_wrap"
        value = self.given.get(name) or ()
        names = value.split(",") if isinstance(value, str) else map(str, value)
        layers = tuple(layer.strip() for layer in names if layer.strip())
        if layers and wrap != "transformer":
            self.problems.append(f"{name} goes with fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP")
        return layers

    def _least(self, wrap: str) -> int:
        name = "fsdp_min_num_params"
        value = self.given.get(name)
        if not value:
            return LEAST if value is None else 0
        try:
            least = int(float(value))
        except (TypeError, ValueError):
            least = -1
        if least < 0:
            self.problems.append(f"{name}: {value!r} is not a number of parameters")
        elif wrap != "size":
            self.problems.append(f"{name} goes with fsdp_auto_wrap_policy: SIZE_BASED_WRAP")
        return least

    def _notes(self, version: int) -> tuple[str, ...]:
        notes = ["fsdp_version 1 runs as version 2: the same weights, cut one by one"] if version == 1 else []
        asked = {name: str(self.given.get(name) or False).upper() for name in WITHOUT_EFFECT}
        idle = [f"{name} ({WITHOUT_EFFECT[name]})" for name, word in asked.items() if word not in AS_IT_IS]
        return (*notes, *([f"without effect: {', '.join(idle)}"] if idle else []))
