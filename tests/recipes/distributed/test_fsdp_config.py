"""Cutting a model: which layers, and as many micro-batches on each process."""

import numpy as np
import pytest
import torch
from torch import nn

from recipes.distributed.fsdp import choose, listed_layers
from recipes.distributed.fsdp_config import FsdpConfig
from recipes.loop.loader import micro_batches
from tasks.errors import ConfigError


class Layer(nn.Linear):
    pass


class Wide(Layer):
    pass


class Stack(nn.Module):
    _no_split_modules = ("Embeddings", "Wide")

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Layer(2, 2), Wide(2, 9), nn.Dropout(0.1)])
        self.head = nn.Linear(9, 1)


@pytest.mark.parametrize(
    ("sharding", "expected"),
    [
        (FsdpConfig(wrap="none"), []),
        (FsdpConfig(wrap="transformer"), [1]),  # those that the model itself calls whole
        (FsdpConfig(wrap="transformer", layers=("Layer",)), [0, 1]),
        (FsdpConfig(wrap="size", least=6), [1]),
        (FsdpConfig(wrap="size", least=5), [0, 1]),
        (FsdpConfig(wrap="size"), []),
    ],
)
def test_the_layers_that_the_file_asks_for(sharding, expected):
    model = Stack()
    assert choose(model, listed_layers(model), sharding) == [model.layers[number] for number in expected]


def test_a_layer_that_is_not_there_is_named_with_those_that_are():
    model = Stack()
    with pytest.raises(ConfigError, match=r"to_wrap: Deep can't be gathered by itself in this model; .*: Layer, Wide$"):
        choose(model, listed_layers(model), FsdpConfig(wrap="transformer", layers=("Wide", "Deep")))


@pytest.mark.parametrize("size", [1, 3, 4, 5, 8])
@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_each_process_has_as_many_micro_batches_and_each_example_counts_once(size, accumulation):
    batch = np.arange(size)
    mine = [micro_batches(batch, rank, 2, accumulation, alike=True) for rank in range(2)]
    assert len(mine[0]) == len(mine[1])
    counted = [number for part in mine for numbers, count in part if count for number in numbers]
    assert sorted(counted) == list(range(size))
    for rank in range(2):  # beside those that count nothing the same as ever
        plain = micro_batches(batch, rank, 2, accumulation, alike=False)
        assert [list(numbers) for numbers, _ in mine[rank]][: len(plain)] == [list(numbers) for numbers, _ in plain]


def test_whole_tensors_pass_through():
    from recipes.process.dtensor import local, shard_like, whole

    tensor = torch.ones(3)
    assert local(tensor) is tensor
    assert whole(tensor) is tensor
    assert shard_like(tensor, tensor) is None
