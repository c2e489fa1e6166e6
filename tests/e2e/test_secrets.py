"""No token reaches a file, a stream or a worker's command line, however the run ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

TOOL = str(Path(sys.executable).with_name("tool"))
SECRETS = {
    "flag": "hf_SECRETFAKEflag0123456789",
    "file": "hf_SECRETFAKEfile0123456789",
    "HF_TOKEN": "hf_SECRETFAKEenvironment0123",
    "WANDB_API_KEY": "SECRETFAKEwandb".ljust(40, "0"),
}
TINY = ["--model", "tiny", "--data", "sample", "--max-samples", "64", "--max-eval-samples", "20", "--batch-size", "8"]
TINY += ["--threads", "1", "--log-steps", "1", "--tracker", "wandb,tensorboard"]
ENVIRONMENT = {
    **os.environ,
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "offline",
    "HF_TOKEN": SECRETS["HF_TOKEN"],
    "WANDB_API_KEY": SECRETS["WANDB_API_KEY"],
}


@pytest.fixture
def place(tmp_path):
    """A folder with a config that holds a token; at the end nothing else below it does."""
    config = tmp_path / "secret.yaml"
    config.write_text(f"token: {SECRETS['file']}\nseed: 3\n")
    yield tmp_path
    config.unlink()
    read = 0
    for path in tmp_path.rglob("*"):
        if path.is_file():
            clean(path.read_bytes(), path)
            read += 1
    assert read > 10


def clean(content, where):
    for name, secret in SECRETS.items():
        assert secret.encode() not in content, f"{name} in {where}"
    assert b"SECRETFAKE" not in content, where


def tool(*args, cwd, code=0):
    done = subprocess.run([TOOL, *args], capture_output=True, cwd=cwd, env=ENVIRONMENT, timeout=200, check=False)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    clean(done.stdout, "stdout")
    clean(done.stderr, "stderr")
    return done


def only_run(place):
    (run,) = (place / "runs").iterdir()
    return run


def test_a_finished_run(place):
    given = ["--config", "secret.yaml", "--token", SECRETS["flag"]]
    shown = tool("train", "vqa", *TINY, *given, "--print-config", cwd=place).stdout.decode()
    assert "seed: 3\n" in shown
    tool("train", "vqa", *TINY, *given, "--max-steps", "2", "--json", cwd=place)
    run = only_run(place)
    assert "seed: 3\n" in (run / "config.yaml").read_text()
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
    assert list(run.glob("tensorboard/events*"))
    assert "train vqa --model tiny" in (run / "environment.json").read_text()
    tool("runs", "show", run.name, "--json", cwd=place)


def test_a_failing_run_and_wrong_options(place):
    given = ["--config", "secret.yaml", f"--token={SECRETS['flag']}"]
    done = tool("train", "vqa", *TINY, *given, "--tokens", SECRETS["flag"], cwd=place, code=2)
    assert b"no such option --tokens" in done.stderr
    (place / "wrong.yaml").write_text("token: [a, b]\n")
    tool("train", "vqa", *TINY, "--config", "wrong.yaml", cwd=place, code=2)
    # The weights fly off; --debug prints the traceback too.
    wild = ["--learning-rate", "1e30", "--warmup-ratio", "0", "--max-grad-norm", "0", "--max-steps", "20"]
    done = tool("train", "vqa", *TINY, *given, *wild, "--debug", cwd=place, code=1)
    assert b"Traceback" in done.stderr
    assert '"state": "failed"' in (only_run(place) / "status.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_preempted_and_resumed_run(place, processes):
    command = [TOOL, "train", "vqa", *TINY, "--config", "secret.yaml", "--token", SECRETS["flag"]]
    command += ["--max-steps", "40", "--checkpoint-steps", "5", "--num-processes", processes]
    process = subprocess.Popen(command, cwd=place, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not list(place.glob("runs/*/checkpoints/step-*")):
        time.sleep(0.05)
    begun = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in begun if "--num-processes" in child.cmdline()]
    for child in begun:
        clean("\0".join(child.cmdline()).encode(), child.cmdline())
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 75, err.decode()
    assert len(workers) == (0 if processes == "1" else 2)
    clean(out, "stdout")
    clean(err, "stderr")
    tool(*command[1:], cwd=place)
    assert '"state": "finished"' in (only_run(place) / "status.json").read_text()
