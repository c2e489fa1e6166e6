"""The benchmark harness: it measures what it says, both sides run and agree. No test compares times."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"benchmarks.{name}")

    return load


def test_process_is_measured(module, tmp_path):
    common = module("common")
    code = "import time; block = bytearray(300_000_000); open('mark', 'wb').write(bytes(1000)); time.sleep(0.5)"
    process = common.run([sys.executable, "-c", code], tmp_path / "run", watch=(tmp_path / "run" / "mark").exists)
    assert process.peak_bytes > 300_000_000
    assert process.private_bytes > 300_000_000
    assert process.began < process.seen <= process.began + process.seconds
    assert common.folder_bytes(tmp_path / "run") == 1000
    assert common.folder_bytes(tmp_path / "run", leave_out=("mark",)) == 0


def test_memory_of_children_counts(module, tmp_path):
    common = module("common")
    child = "import time; block = bytearray(200_000_000); time.sleep(0.7)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert common.run([sys.executable, "-c", code], tmp_path / "run").private_bytes > 200_000_000


def test_failed_process_shows_its_output(module, tmp_path):
    common = module("common")
    with pytest.raises(common.BenchmarkFailed, match="no such luck"):
        common.run([sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path / "run")


def test_spread_is_median_and_range(module):
    assert module("common").spread([1.5, 3.0, 2.0]) == (2.0, 1.5, 3.0)


def test_unknown_benchmark_names_those_there_are():
    done = subprocess.run([sys.executable, SCRIPTS / "bench.py", "vqua"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "vqua" in done.stderr
    assert "there are: vqa" in done.stderr


def test_recorded_products_are_those_of_the_model(module):
    """Against torch's own counter, over forward and backward of the library's ViLT."""
    import torch
    import transformers
    from torch.utils.flop_counter import FlopCounterMode

    arithmetic = module("arithmetic")
    config = transformers.ViltConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8,
        num_labels=3, hidden_dropout_prob=0.0,
    )  # fmt: skip
    model = transformers.ViltForQuestionAnswering(config)
    inputs = {
        "input_ids": torch.ones(2, 6, dtype=torch.long),
        "attention_mask": torch.ones(2, 6, dtype=torch.long),
        "pixel_values": torch.rand(2, 3, 32, 32),
        "pixel_mask": torch.ones(2, 32, 32, dtype=torch.long),
        "labels": torch.rand(2, 3),
    }

    def step() -> None:
        model(**inputs).loss.backward()

    products = arithmetic.record(step)
    with FlopCounterMode(display=False) as counter:
        step()
    assert arithmetic.flops(products) == counter.get_total_flops()
    assert arithmetic.seconds_alone(products) > 0


def test_both_sides_train_on_the_same_and_agree(module, tmp_path):
    vqa, common = module("vqa"), module("common")
    (size,) = (size for size in vqa.SIZES if size.name == "tiny")
    options = common.Options(data=tmp_path / "missing", work=tmp_path, steps=4, batch_size=16, pairs=1)
    size = vqa.sized(size, options)
    inputs = vqa.make_inputs(size, options, tmp_path / "work")
    pair, models = vqa.run_pair(size, inputs, tmp_path / "pair", 0)
    assert {name: (side.steps, side.questions) for name, side in pair.items()} == {"guide": (4, 64), "tool": (4, 64)}
    assert all((folder / "model.safetensors").is_file() for folder in models)
    # Of each question the guide stores 64 x 64 pixels of three float32 and a mask of int64.
    assert pair["guide"].disk_bytes > 64 * 64 * 64 * (3 * 4 + 8)
    assert pair["tool"].disk_bytes < 64 * 64 * 64 * 3
    forward = module("vqa_checks").forward(inputs)
    assert forward["questions"] == 32
    assert forward["guide"] == pytest.approx(forward["tool"], abs=1e-4)


def test_disagreement_is_told(module):
    vqa = module("vqa")
    (size,) = (size for size in vqa.SIZES if size.name == "tiny")
    rows = size.steps * size.batch_size
    guide = vqa.Side(10.0, 0.1, size.steps, rows, 1.0, 1000, 1000, 1000, [3.0, 2.0, 1.0])
    ours = vqa.Side(5.0, 0.1, size.steps, rows - 1, 1.0, 10, 1000, 1000, [3.0, 2.0, 1.5])
    order = {"guide": [3.0, 2.0], "tool": [3.0, 2.01]}
    checks = {"held_out": [1.0, 1.01], "forward": {"questions": 32, "guide": 1.0, "tool": 1.001}, "same_order": order}
    with pytest.raises(
        vqa.BenchmarkFailed, match=r"tool: 9599 questions.*training loss.*loss of step 2.*the same 32 questions"
    ):
        vqa.agree(size, [{"guide": guide, "tool": ours}], checks)
    same = {
        "held_out": [1.0, 1.01],
        "forward": {"questions": 32, "guide": 1.0, "tool": 1.00001},
        "same_order": {"guide": [3.0, 2.0], "tool": [3.0, 2.0001]},
    }
    vqa.agree(size, [{"guide": guide, "tool": guide}], same)


@pytest.mark.slow
def test_the_command_prints_and_writes_its_figures(tmp_path):
    command = [
        sys.executable, SCRIPTS / "bench.py", "vqa", "--only", "tiny", "--steps", "4", "--batch-size", "16", "--pairs", "1", "--data",
        tmp_path / "missing", "--json", tmp_path / "figures.json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "using `tool data sample vqa` in its place" in done.stdout
    assert "time from start to last step" in done.stdout
    found = json.loads((tmp_path / "figures.json").read_text())["vqa"]["tiny"]
    assert found["arithmetic"]["guide"]["gflop"] > found["arithmetic"]["tool"]["gflop"] > 0
    assert len(found["ratios"]["questions_per_second"]) == 1


def test_a_stopped_run_ends_its_child(module, tmp_path):
    common = module("common")
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    folder = tmp_path / "run"

    def stop() -> bool:
        if (folder / "pid").exists() and (folder / "pid").read_text():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        common.run([sys.executable, "-c", code], folder, watch=stop)
    assert not common.psutil.pid_exists(int((folder / "pid").read_text()))


def test_the_cost_of_checkpoints_is_a_share_of_a_minute(module):
    checkpoint = module("checkpoint")
    with_, without = {"seconds": 153.0, "saved": [40, 80]}, {"seconds": 150.0, "saved": []}
    assert checkpoint._cost(with_, without) == pytest.approx(1.5 / 60)
