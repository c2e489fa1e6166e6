"""A recipe of another package whose loss is a mean over tokens and whose model is partly frozen: over processes and in shards."""

from __future__ import annotations

import json

import pytest
import running
from safetensors.torch import load_file
from test_sharded_run import shards

PACKAGE = {
    "__init__.py": """
PARTS = {"Train": "tokens.config:Train", "train": "tokens.recipe:train"}
""",
    "config.py": """
from dataclasses import dataclass
from recipes.config import option
from recipes.options import TrainOptions

@dataclass
class Train(TrainOptions):
    batch_size: int | str | None = option(9, "Sequences a step.")
    epochs: int | None = option(1, "Passes.")
    learning_rate: float | None = option(0.01, "Rate.")
    optimizer: str | None = option("adamw", "The optimizer.", choices=("adamw",))
    eval_batch_size: int | None = option(16, "Sequences at once.")
""",
    "recipe.py": """
import numpy as np
import torch
from torch import nn
from recipes import training
from recipes.work import Work

class Adapted(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Embedding(50, 16)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.head = nn.Linear(16, 50)
        self.base.requires_grad_(False)

    def forward(self, ids):
        x = self.base(ids)
        for layer in self.layers:
            x = x + layer(x).tanh()
        return self.head(x)

class Tokens(Work):
    unit = "sequences"
    greater_is_better = False

    def __init__(self, config):
        torch.manual_seed(0)
        super().__init__(Adapted(), config, examples=40, eval_examples=40, metric="loss")
        draw = np.random.default_rng(0)
        self.texts = [draw.integers(1, 50, draw.integers(2, 20)) for _ in range(40)]

    def collate(self, numbers, epoch):
        ids = np.zeros((len(numbers), 20), np.int64)
        for row, number in enumerate(numbers):
            ids[row, : len(self.texts[number])] = self.texts[number]
        return {"ids": torch.from_numpy(ids)}

    def sums(self, model, batch):
        ids = batch["ids"]
        logits = model(ids[:, :-1])
        each = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        counts = (ids[:, 1:] > 0).flatten()
        return (each * counts).sum(), counts.sum()

    def training_step(self, model, batch):
        return self.sums(model, batch)

    def evaluate(self, model, evaluator):
        found = [
            [float(value) for value in self.sums(model, self.collate(numbers, 0))]
            for numbers in evaluator.mine(np.array_split(np.arange(40), 4))
        ]
        total, count = np.sum(evaluator.gather(found), 0)
        return {"loss": total / count, "n": int(count)}

    def fsdp_layers(self, model):
        return list(model.layers)

class Language(training.Recipe):
    name = "tokens"

    def prepare(self):
        return None

    def make_work(self):
        return Tokens(self.config)

def train(config):
    return training.train(Language(config))
""",
}
TRAIN = ("train", "tokens", "--cpu", "--threads", "1", "--log-steps", "1")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for name, text in PACKAGE.items():
        path = folder / "tokens" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    info = folder / "tokens-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tokens\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[modeltool.recipes]\ntokens = tokens\n")
    return str(folder)


@pytest.fixture(scope="module")
def alone(site, tmp_path_factory):
    """The run of one process."""
    place = tmp_path_factory.mktemp("alone")
    running.tool(*TRAIN, cwd=place, PYTHONPATH=site)
    return running.only_run(place)


def figures(run):
    lines = running.metrics(run, "train")
    return [line["loss"] for line in lines], [line["gradient_norm"] for line in lines]


@pytest.mark.parametrize("way", ["pieces", "processes", "shards"])
def test_a_mean_over_tokens_is_the_same_however_the_batch_is_parted(alone, site, tmp_path, way):
    how = {
        "pieces": ["--gradient-accumulation-steps", "4"],
        "processes": ["--num-processes", "2"],
        "shards": ["--accelerate-config", str(shards(tmp_path))],
    }[way]
    running.tool(*TRAIN, *how, cwd=tmp_path, PYTHONPATH=site)
    run = running.only_run(tmp_path)
    expected, norms = figures(alone)
    assert len(expected) == 5
    assert figures(run)[0] == pytest.approx(expected, abs=1e-5)
    assert figures(run)[1] == pytest.approx(norms, rel=1e-4)
    assert running.metrics(run, "validation")[-1]["loss"] == pytest.approx(
        running.metrics(alone, "validation")[-1]["loss"], abs=1e-5
    )


def test_its_checkpoints_hold_what_is_trained_and_a_digest_of_the_rest(alone):
    (folder,) = running.checkpoints(alone)
    assert "base.weight" not in load_file(folder / "model.safetensors")
    assert len(json.loads((folder / "state.json").read_text())["frozen"]) == 64
    assert "base.weight" in load_file(alone / "model" / "model.safetensors")
