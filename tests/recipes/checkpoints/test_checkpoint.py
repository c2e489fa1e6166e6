"""A checkpoint is whole or ignored."""

import json
import shutil

import pytest
import torch

from recipes.checkpoints import format as checkpoint
from recipes.loop.optimizers import MuonWithAdamW


def make(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.GELU(), torch.nn.Linear(6, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    return model, optimizer


def step(model, optimizer, seed):
    torch.manual_seed(seed)
    model(torch.randn(5, 8)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def save(folder, number, model, optimizer, state):
    return checkpoint.write(folder, number, checkpoint.content(model, optimizer, state))


def load(path, model, optimizer):
    saved = checkpoint.read(path)
    checkpoint.set_weights(model, saved.weights)
    checkpoint.unflatten(optimizer, saved.optimizer, saved.scalars)
    return saved.state


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_what_is_saved_comes_back_to_the_bit(tmp_path):
    model, optimizer = make()
    for seed in range(3):
        step(model, optimizer, seed)
    path = save(tmp_path, 3, model, optimizer, {"best": 0.5})
    assert sorted(file.name for file in path.iterdir()) == [
        "complete.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    other, other_optimizer = make(seed=9)
    state = load(path, other, other_optimizer)
    assert (state["step"], state["best"]) == (3, 0.5)
    for seed in range(3, 6):
        step(model, optimizer, seed)
        step(other, other_optimizer, seed)
    assert same(model, other)


def test_muon_goes_on_exactly_too(tmp_path):
    def make_muon():
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.GELU(), torch.nn.Linear(6, 3))
        matrices = [model[0].weight, model[2].weight]
        rest = [model[0].bias, model[2].bias]
        settings = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.0}
        groups = [
            {"params": matrices, "lr": 0.01, "weight_decay": 0.0, "matrices": True},
            {"params": rest, "lr": 0.01, "weight_decay": 0.0, "matrices": False},
        ]
        return model, MuonWithAdamW(groups, settings, fused=True)

    model, optimizer = make_muon()
    for seed in range(3):
        step(model, optimizer, seed)
    path = save(tmp_path, 3, model, optimizer, {})
    other, other_optimizer = make_muon()
    step(other, other_optimizer, 7)
    load(path, other, other_optimizer)
    for group in other_optimizer.param_groups:
        group["lr"] = 0.02
    for group in optimizer.param_groups:
        group["lr"] = 0.02
    for seed in range(3, 6):
        step(model, optimizer, seed)
        step(other, other_optimizer, seed)
    assert same(model, other)


def damage_cut(file):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def damage_empty(file):
    file.write_bytes(b"")


def damage_last(file):
    file.write_bytes(file.read_bytes()[:-1])


def damage_flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def damage_gone(file):
    file.unlink()


@pytest.mark.parametrize("damage", [damage_cut, damage_empty, damage_last, damage_flip, damage_gone])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "complete.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_older_one(tmp_path, name, damage):
    model, optimizer = make()
    for number in (1, 2):
        step(model, optimizer, number)
        save(tmp_path, number, model, optimizer, {})
    damage(tmp_path / "step-00000002" / name)
    path, notes = checkpoint.newest_whole(tmp_path)
    assert path == tmp_path / "step-00000001"
    assert len(notes) == 1
    assert str(tmp_path / "step-00000002") in notes[0]


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    model, optimizer = make()
    step(model, optimizer, 0)
    for number in (1, 2, 3, 4):
        save(tmp_path, number, model, optimizer, {})
    (tmp_path / ".step-00000005.abc.part").mkdir()
    checkpoint.prune(tmp_path, 1, {2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000004"]


def test_nothing_whole_means_from_the_start(tmp_path):
    assert checkpoint.newest_whole(tmp_path) == (None, [])
    model, optimizer = make()
    step(model, optimizer, 0)
    path = save(tmp_path, 1, model, optimizer, {})
    (path / "complete.json").write_text(json.dumps({"model.safetensors": {"size": 1}}))
    assert checkpoint.newest_whole(tmp_path)[0] is None
    shutil.rmtree(path)
