"""A model in shards: weights, gradients and the optimizer's state lie in pieces, one a process (torch's FSDP2, `fully_shard`).

Accelerate's file says how; the wrapping is torch's own, because Accelerate also wraps embeddings, last norms and heads by themselves,
and does it on GPUs only. A layer's weights are whole while its own call runs, so only layers whose weights are read within
their call may be gathered by themselves: `Work.fsdp_layers`. The rest is gathered for the model's call.

Whatever else looks at weights (evaluation, the checkpoint, the end of the run) has them whole.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import nn

from recipes.distributed.fsdp_config import FsdpConfig
from recipes.process import dtensor
from recipes.process.dtensor import shard_like, whole
from recipes.terminal.progress import print_line
from recipes.work import Work
from tasks.errors import ConfigError


@dataclass
class _Cut:
    """A module that gathers its weights for its call, with what it was before and what that made of it."""

    module: nn.Module
    plain: dict[str, Any]
    sharded: dict[str, Any] = field(default_factory=dict)


class ShardedModel:
    """The cut model. Its parameters are `DTensor`s, each process holding a piece of each.

    Args:
        model: on the CPU, as the recipe gave it; it is changed in place.
        layers: those of its modules that are gathered by themselves.
    """

    def __init__(
        self, model: nn.Module, layers: list[nn.Module], accelerator: Accelerator, sharding: FsdpConfig
    ) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

        self.model, self.device = model, accelerator.device
        self.optimizer: torch.optim.Optimizer | None = None
        _take_from_first(model, self.device)
        accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)  # mixed precision alone
        mesh = init_device_mesh(self.device.type, (accelerator.num_processes,))
        # On a CPU the shards lie on the host anyway.
        offload = CPUOffloadPolicy() if sharding.offload and self.device.type != "cpu" else OffloadPolicy()
        chosen = {id(layer) for layer in layers}
        self._cuts: list[_Cut] = []
        for module in reversed(list(model.modules())):  # inner ones first
            if module is not model and id(module) not in chosen:
                continue
            cut = _Cut(module, _state(module))
            # What the whole model gathers is needed first in the backward pass, so letting go of it gains nothing.
            reshard = sharding.reshard if module is not model else False
            fully_shard(module, mesh=mesh, reshard_after_forward=reshard, offload_policy=offload)
            cut.sharded = _state(module)
            self._cuts.append(cut)
        self._weights = dtensor.weights(model)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within it the model is the plain one with all its weights, on each process; all must enter together."""
        shards = self._make_whole()
        try:
            yield
        finally:
            for module, name, shard in shards:
                module._parameters[name] = shard
            for cut in self._cuts:
                _become(cut.module, cut.sharded)

    def dissolve(self) -> None:
        """Makes the model the plain one for good."""
        self._make_whole()

    def weight(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """This process's piece of a weight that has come from a checkpoint."""
        return _kept(tensor, self._weights.get(name))

    def state(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The same for a tensor of the optimizer's state, named as in `checkpoint.flatten`."""
        assert self.optimizer is not None
        parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        number = int(name.partition(".")[0])
        return _kept(tensor, parameters[number] if number < len(parameters) else None)

    def _make_whole(self) -> list[tuple[nn.Module, str, nn.Parameter]]:
        made: dict[int, nn.Parameter] = {}
        for cut in self._cuts:
            cut.module.reshard()  # type: ignore[operator]
        shards = [
            (module, name, shard)
            for module in self.model.modules()
            for name, shard in module._parameters.items()
            if shard is not None
        ]
        for module, name, shard in shards:
            if id(shard) not in made:  # a tied one stays tied
                made[id(shard)] = nn.Parameter(whole(shard), requires_grad=shard.requires_grad)
            module._parameters[name] = made[id(shard)]
        for cut in self._cuts:
            _become(cut.module, cut.plain)
        return shards


def cut(work: Work, accelerator: Accelerator, sharding: FsdpConfig | None) -> ShardedModel | None:
    """Cuts the work's model, and says how; None where it stays whole.

    Raises:
        ConfigError: layers are named that the model doesn't have.
    """
    if sharding is None:
        return None
    if accelerator.num_processes == 1:
        print_line("shards    none: there is one process")
        return None
    layers = choose(work.model, work.fsdp_layers(work.model), sharding)
    if accelerator.is_main_process:
        alone = f"{len(layers)} layers of {_count(layers):,} parameters by themselves" if layers else "all at once"
        print_line(f"shards    over {accelerator.num_processes} processes, gathered {alone}")
        if sharding.wrap != "none" and not work.fsdp_layers(work.model):
            print_line("          its layers can't be gathered by themselves: they read each other's weights")
        for note in sharding.notes:
            print_line(f"          {note}")
    return ShardedModel(work.model, layers, accelerator, sharding)


def choose(model: nn.Module, layers: list[nn.Module], sharding: FsdpConfig) -> list[nn.Module]:
    """Which of the layers are to be gathered by themselves.

    Raises:
        ConfigError: layers are named that the model doesn't have.
    """
    if sharding.wrap == "none" or not layers:
        return []
    if sharding.wrap == "size":
        return [layer for layer in layers if _count([layer]) > sharding.least]
    names = sharding.layers or tuple(getattr(model, "_no_split_modules", None) or ())
    there = dict.fromkeys(type(layer).__name__ for layer in layers)
    missing = [name for name in sharding.layers if not any(name in names_of(layer) for layer in layers)]
    if missing:
        raise ConfigError(
            f"--accelerate-config: fsdp_transformer_layer_cls_to_wrap: {missing[0]} can't be gathered by itself in this model; "
            f"these can: {', '.join(there)}"
        )
    return [layer for layer in layers if names_of(layer) & set(names)] or layers


def listed_layers(model: nn.Module) -> list[nn.Module]:
    """The modules that stand in lists: a network's repeated layers, each with a call of its own."""
    layers = [layer for stack in model.modules() if isinstance(stack, nn.ModuleList) for layer in stack]
    containers = (nn.ModuleList, nn.ModuleDict)
    return [layer for layer in layers if not isinstance(layer, containers) and any(True for _ in layer.parameters())]


def names_of(layer: nn.Module) -> set[str]:
    """The names of a layer's class and of those it descends from."""
    return {kind.__name__ for kind in type(layer).__mro__ if kind is not nn.Module}


def _count(layers: list[nn.Module]) -> int:
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters())


def _state(module: nn.Module) -> dict[str, Any]:
    """Its class and the hooks around its call."""
    hooks = {name: OrderedDict(getattr(module, name)) for name in ("_forward_pre_hooks", "_forward_hooks")}
    return {"__class__": type(module), **hooks}


def _become(module: nn.Module, state: dict[str, Any]) -> None:
    for name, value in state.items():
        object.__setattr__(module, name, value)


def _take_from_first(model: nn.Module, device: torch.device) -> None:
    """Gives all processes the first one's weights, as DDP does."""
    for value in dtensor.weights(model).values():
        moved = value.to(device)
        dist.broadcast(moved, 0)
        value.copy_(moved)


def _kept(tensor: torch.Tensor, like: torch.Tensor | None) -> torch.Tensor:
    piece = shard_like(tensor, like)
    return tensor.cpu() if piece is None else piece
