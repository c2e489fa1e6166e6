"""Models in shards, through the command: `--accelerate-config` with FSDP, two processes on the CPU."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from controlnets import RESOLUTION, base, pairs
from running import (
    checkpoints,
    ended,
    gone,
    leftovers,
    losses,
    metrics,
    only_run,
    runs,
    said,
    same,
    start,
    status,
    steps,
    stop,
    tool,
    until,
    weights,
)
from safetensors.torch import load_file

TEXTS = [
    *("train", "glue", "--model", "tiny", "--data", "sample", "--max-samples", "200", "--max-eval-samples", "40"),
    *("--batch-size", "32", "--threads", "1", "--log-steps", "1", "--cpu"),
]


def shards(place: Path, **fields: object) -> Path:
    """What `accelerate config` writes for FSDP, with these fields of `fsdp_config` beside or in place of its own."""
    given = {
        "fsdp_version": 2,
        "fsdp_reshard_after_forward": True,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_state_dict_type": "FULL_STATE_DICT",
        "fsdp_offload_params": False,
        "fsdp_cpu_ram_efficient_loading": False,
        "fsdp_activation_checkpointing": False,
        **fields,
    }
    place.mkdir(parents=True, exist_ok=True)
    path = place / "fsdp.yaml"
    content = {"distributed_type": "FSDP", "num_processes": 2, "num_machines": 1, "mixed_precision": "no"}
    path.write_text(yaml.safe_dump({**content, "fsdp_config": given}))
    return path


def zero(place: Path) -> Path:
    """What it writes for DeepSpeed's ZeRO 2."""
    place.mkdir()
    given = {
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "offload_optimizer_device": "none",
        "offload_param_device": "none",
        "zero3_init_flag": False,
        "zero_stage": 2,
    }
    content = {"distributed_type": "DEEPSPEED", "num_processes": 2, "num_machines": 1, "mixed_precision": "no"}
    path = place / "deepspeed.yaml"
    path.write_text(yaml.safe_dump({**content, "deepspeed_config": given}))
    return path


def both(command: list[object], place: Path, **fields: object) -> tuple[Path, Path, str]:
    """The runs of one process and of two with shards, and what the second said."""
    tool(*command, cwd=place / "one")
    told = tool(*command, "--accelerate-config", shards(place / "two", **fields), cwd=place / "two").stderr
    return only_run(place / "one"), only_run(place / "two"), told


@pytest.fixture(autouse=True)
def places(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()


def agree(one: Path, two: Path) -> None:
    """The losses, the norms of gradients and the evaluations of each step."""
    assert len(losses(one)) == 6
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    norms = [[line["gradient_norm"] for line in metrics(run, "train")] for run in (one, two)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
    evaluated = [[line["loss"] for line in metrics(run, "validation")] for run in (one, two)]
    assert len(evaluated[0]) == 2
    assert evaluated[1] == pytest.approx(evaluated[0], abs=1e-4)
    mine, others = weights(two), weights(one)
    assert {name: value.shape for name, value in mine.items()} == {name: value.shape for name, value in others.items()}
    config = json.loads((two / "model" / "config.json").read_text())
    assert config == json.loads((one / "model" / "config.json").read_text())


SMALL = ["--data", "sample", "--cpu", "--threads", "1", "--max-steps", "6", "--eval-steps", "3", "--log-steps", "1"]


def test_text_classification_in_shards_is_that_of_one_process(tmp_path):
    from transformers import AutoModelForSequenceClassification

    command = ["train", "glue", "--model", "tiny", "--batch-size", "16", "--dropout", "0", *SMALL]
    command += ["--max-samples", "200", "--max-eval-samples", "41", "--ema-decay", "0.9"]
    one, two, told = both(command, tmp_path)
    assert "shards    over 2 processes, gathered 2 layers of 396,544 parameters by themselves" in told
    agree(one, two)
    model = AutoModelForSequenceClassification.from_pretrained(two / "model")
    assert same(dict(model.state_dict()), weights(two))
    for name, value in weights(one).items():
        assert torch.allclose(weights(two)[name], value, atol=1e-3), name
    told = tool(*command, "--accelerate-config", zero(tmp_path / "three"), cwd=tmp_path / "three").stderr
    assert "ZeRO 2 of the DeepSpeed file, run by torch's FSDP2" in told
    agree(one, only_run(tmp_path / "three"))


def test_visual_questions_in_shards_are_those_of_one_process(tmp_path):
    command = ["train", "vqa", "--model", "tiny", "--batch-size", "16", "--dropout", "0", "--augment", "none", *SMALL]
    command += ["--max-samples", "120", "--max-eval-samples", "41", "--gradient-accumulation-steps", "3"]
    one, two, told = both(command, tmp_path, fsdp_activation_checkpointing=True)
    assert "4 layers" in told
    assert yaml.safe_load((two / "config.yaml").read_text())["gradient_checkpointing"] is True
    agree(one, two)


@pytest.mark.parametrize("model", ["tiny", pytest.param("informer", marks=pytest.mark.slow)])
def test_forecasts_in_shards_are_those_of_one_process(tmp_path, model):
    command = ["train", "forecast", "--model", model, "--batch-size", "16", "--dropout", "0", "--layerdrop", "0"]
    one, two, told = both([*command, *SMALL, "--max-eval-series", "21"], tmp_path)
    assert "its layers can't be gathered by themselves" in told
    if model == "tiny":  # Informer draws keys, each process its own
        agree(one, two)
    assert status(two)["state"] == "finished"


@pytest.mark.slow
def test_controlnets_in_shards_are_those_of_one_process(tmp_path):
    command = ["train", "controlnet", "--model", base(tmp_path / "base"), "--data", pairs(tmp_path / "pairs")]
    command += [
        "--resolution",
        RESOLUTION,
        "--batch-size",
        "4",
        "--cache-dir",
        tmp_path / "cache",
        "--num-validation-images",
        1,
    ]
    one, two, told = both([*command, "--validation-inference-steps", "2", *SMALL[2:]], tmp_path)
    assert "3 layers" in told
    agree(one, two)
    assert (two / "validation" / "step-000006.png").exists()


@pytest.mark.slow
def test_muon_and_bfloat16_in_shards(tmp_path):
    command = [
        "train",
        "glue",
        "--model",
        "tiny",
        "--batch-size",
        "15",
        "--dropout",
        "0",
        "--optimizer",
        "muon",
        *SMALL,
    ]
    command += ["--max-samples", "200", "--max-eval-samples", "40", "--mixed-precision", "bf16"]
    one, two, _ = both(command, tmp_path, fsdp_auto_wrap_policy="SIZE_BASED_WRAP", fsdp_min_num_params=1000)
    assert losses(two) == pytest.approx(losses(one), abs=2e-2)
    assert steps(two, "validation") == [3, 6]


# -- stopped and gone on ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with dropout, an average of the weights, odd batches, and evaluations of which the best is kept."""
    place = tmp_path_factory.mktemp("whole")
    command = [*TEXTS, "--batch-size", "37", "--epochs", "3", "--checkpoint-steps", "1", "--ema-decay", "0.9"]
    command += ["--gradient-accumulation-steps", "2", "--accelerate-config", str(shards(place))]
    tool(*command, cwd=place)
    return command, only_run(place)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "stop"])
def test_the_same_command_goes_on_to_the_bit(tmp_path, whole, number):
    command, expected = whole
    process = start(command, tmp_path)
    assert until(lambda: any(len(steps(run, "train")) > 7 for run in runs(tmp_path)), process)
    if number == signal.SIGKILL:
        process.kill()
        process.wait()
        assert gone(tmp_path, 20)
    else:
        assert stop(process, number, tmp_path) == 75
    told = tool(*command, cwd=tmp_path).stderr
    run = only_run(tmp_path)
    assert "resuming" in told
    assert "no longer exact" not in told
    assert same(weights(run), weights(expected))
    assert steps(run, "train") == steps(expected, "train")
    assert losses(run) == losses(expected)
    assert leftovers(run) == []
    for one, other in zip(checkpoints(run), checkpoints(expected), strict=True):
        assert one.name == other.name
        for name in ("model.safetensors", "optimizer.safetensors"):
            assert same(load_file(one / name), load_file(other / name)), name


@pytest.mark.parametrize("first", ["shards", "one process"])
def test_a_checkpoint_goes_on_with_another_number_of_processes(tmp_path, first):
    cut = ["--accelerate-config", str(shards(tmp_path))]
    command = [*TEXTS, "--dropout", "0", "--max-steps", "8", "--eval-steps", "4", "--keep-checkpoints", "9"]
    command += ["--mixed-precision", "no"]
    tool(*command, *(cut if first == "shards" else []), cwd=tmp_path)
    run = only_run(tmp_path)
    expected, end = losses(run), weights(run)
    middle = checkpoints(run)[0]
    assert middle.name == "step-00000004"
    names = {name: (value.shape, value.dtype) for name, value in load_file(middle / "optimizer.safetensors").items()}
    other = ["--accelerate-config", "none", "--num-processes", "1"] if first == "shards" else cut
    told = tool(*command, *other, "--resume", middle, cwd=tmp_path).stderr
    assert ("shards 2 before, 1 now" if first == "shards" else "shards 1 before, 2 now") in told
    assert losses(run) == pytest.approx(expected, abs=1e-4)
    for name, value in weights(run).items():
        assert torch.allclose(value, end[name], atol=1e-4), name
    last = load_file(checkpoints(run)[-1] / "optimizer.safetensors")
    assert {name: (value.shape, value.dtype) for name, value in last.items()} == names


def test_a_process_that_dies_ends_the_other_and_is_named(tmp_path):
    command = [*TEXTS, "--epochs", "50", "--accelerate-config", str(shards(tmp_path))]
    process = start(command, tmp_path)
    assert until(lambda: any(steps(run, "train") for run in runs(tmp_path)), process)
    (second,) = [worker for worker in psutil.Process(process.pid).children() if worker.environ().get("RANK") == "1"]
    second.kill()
    began = time.monotonic()
    assert ended(process, 15) == 1, said(tmp_path)
    assert said(tmp_path).splitlines()[-1].startswith("error: process 1 failed (killed by SIGKILL"), said(tmp_path)
    assert gone(tmp_path, max(0.0, 15 - (time.monotonic() - began)))


def test_a_dry_run_in_shards_says_what_the_run_will_take(tmp_path):
    done = tool(
        *TEXTS, "--max-steps", "4", "--dry-run", "--json", "--accelerate-config", shards(tmp_path), cwd=tmp_path
    )
    found = json.loads(done.stdout)
    assert found["steps"] == 4
    assert found["micro_batch_size"] == 16
    assert found["checkpoint_bytes"] == pytest.approx(3 * found["model_bytes"], rel=1e-2)
    assert runs(tmp_path) == []
