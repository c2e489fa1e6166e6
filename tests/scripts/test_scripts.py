"""The scripts for rented machines: each runs here from its first line to its last, with stand-ins for what a cluster has."""

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

SCRIPTS = Path(__file__).parents[2] / "scripts"
TOOL = str(Path(sys.executable).with_name("tool"))

# Stands for the tool: notes its arguments, ends with the next code of a list; `wait`: only when a signal comes, which it notes.
COMMAND = """#!{python}
import fcntl, json, os, pathlib, signal, sys
place = pathlib.Path({place!r})
with open(place / "calls", "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(json.dumps(sys.argv[1:]) + "\\n")
    codes = (place / "codes").read_text().split()
    (place / "codes").write_text(" ".join(codes[1:]))
if codes[0] == "wait":
    def stop(number, frame):
        with open(place / "signals", "a") as file:
            file.write(signal.Signals(number).name + "\\n")
        raise SystemExit(75)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, stop)
    (place / f"waits-{{os.getpid()}}").touch()
    while True:
        signal.pause()
sys.exit(int(codes[0]))
"""

# Stands for srun: notes its own options, then runs the command once a node and hands signals on; the highest code is its own.
SRUN = """#!{python}
import json, os, pathlib, signal, subprocess, sys
place = pathlib.Path({place!r})
at = next(number for number, part in enumerate(sys.argv) if number and not part.startswith("--"))
(place / "srun").write_text(json.dumps(sys.argv[1:at]))
tasks = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda got, frame: [task.send_signal(got) for task in tasks])
for node in range(int(os.environ["SLURM_NNODES"])):
    tasks.append(subprocess.Popen(sys.argv[at:], env={{**os.environ, "SLURM_NODEID": str(node)}}))
    if "wait" not in (place / "codes").read_text().split()[:1]:
        tasks[-1].wait()
sys.exit(max(task.wait() for task in tasks))
"""

SCONTROL = """#!{python}
import pathlib, sys
if sys.argv[1:3] == ["show", "hostnames"]:
    print("gpu-07\\ngpu-11")
else:
    with open(pathlib.Path({place!r}) / "scontrol", "a") as file:
        file.write(" ".join(sys.argv[1:]) + "\\n")
"""


@pytest.fixture
def place(tmp_path):
    """A folder with stand-ins on the PATH; `codes` says with which codes the command ends."""
    (tmp_path / "bin").mkdir()
    for name, text in (("tool", COMMAND), ("srun", SRUN), ("scontrol", SCONTROL)):
        file = tmp_path / "bin" / name
        file.write_text(text.format(python=sys.executable, place=str(tmp_path)))
        file.chmod(0o755)
    yield tmp_path
    for process in STARTED:  # a test that failed may leave some
        if process.poll() is None:
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                one.kill()
    STARTED.clear()


STARTED = []


def start(place, script, *arguments, codes, how=(), **environment):
    (place / "codes").write_text(codes)
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", str(SCRIPTS / script), *arguments],
        cwd=place,
        env={**os.environ, "PATH": path, "SPOT_PAUSE": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **dict(how),
    )
    STARTED.append(process)
    return process


def ended(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def calls(place):
    return [json.loads(line) for line in (place / "calls").read_text().splitlines()]


def signals(place):
    return (place / "signals").read_text().split()


def waiting(place):
    return len(list(place.glob("waits-*")))


def when(found):
    """Waits until it is so."""
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- the spot loop ----------------------------------------------------------------------------------------------------


def test_the_spot_loop_goes_on_after_75_until_it_is_done(place):
    arguments = ["tool", "train", "vqa", "--data", "my photos/*.json", "--name", "a 'b' \"c\" $d \\e", ""]
    code, _, err = ended(start(place, "spot.sh", *arguments, codes="75 75 0"))
    assert code == 0
    assert calls(place) == [arguments[1:]] * 3
    assert [line.split(" (")[1] for line in err.splitlines()] == ["restart 1)", "restart 2)"]


def test_the_spot_loop_begins_anew_once_alone(place):
    code, _, _ = ended(start(place, "spot.sh", "tool", "train", "--fresh", "--data", "--fresh", "a b", codes="75 75 0"))
    assert code == 0
    first, *others = calls(place)
    assert first == ["train", "--fresh", "--data", "--fresh", "a b"]
    assert others == [["train", "--data", "a b"]] * 2


@pytest.mark.parametrize("code", ["3", "137"])
def test_the_spot_loop_ends_with_any_other_code(place, code):
    assert ended(start(place, "spot.sh", "tool", codes=f"75 {code} 0"))[0] == int(code)
    assert len(calls(place)) == 2


def test_the_spot_loop_goes_on_as_often_as_it_may(place):
    code, _, err = ended(start(place, "spot.sh", "tool", codes="75 75 75 75 0", SPOT_RESTARTS="2"))
    assert code == 75
    assert len(calls(place)) == 3
    assert "preempted again after 2 restarts" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_to_the_spot_loop_reaches_the_command_once_and_ends_both(place, number):
    process = start(place, "spot.sh", "tool", codes="75 wait 0")
    when(lambda: waiting(place))
    process.send_signal(number)
    assert ended(process)[0] == 75
    assert signals(place) == [number.name]
    assert len(calls(place)) == 2


def test_ctrl_c_on_the_terminal_reaches_the_command_once(place):
    """The terminal sends SIGINT to all of its foreground group; a second one would end the tool without a checkpoint."""
    process = start(place, "spot.sh", "tool", codes="wait 0", how={"start_new_session": True})
    when(lambda: waiting(place))
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process)[0] == 75
    assert signals(place) == ["SIGINT"]


def test_a_signal_between_two_runs_ends_the_spot_loop(place):
    process = start(place, "spot.sh", "tool", codes="75 0", SPOT_PAUSE="60")
    assert process.stderr.readline().startswith("preempted; going on in 60 s")
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 75
    assert len(calls(place)) == 1


def test_the_spot_loop_alone_says_how_it_is_used(place):
    code, _, err = ended(start(place, "spot.sh", codes=""))
    assert (code, err.startswith("usage: ")) == (2, True)


# -- Slurm ------------------------------------------------------------------------------------------------------------

JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "gpu-[07,11]",
    "SLURM_NNODES": "2",
    "SLURM_GPUS_ON_NODE": "8",
    "SLURM_CPUS_PER_TASK": "32",
}


def requeued(place):
    return (place / "scontrol").read_text().splitlines() if (place / "scontrol").exists() else []


def test_slurm_starts_one_launcher_a_node(place):
    assert ended(start(place, "slurm.sh", codes="0 0", **JOB))[0] == 0
    assert requeued(place) == []
    first, second = calls(place)
    assert first[:2] == ["train", "vqa"]
    assert first[-2:] == ["--machine-rank", "0"]
    assert second == [*first[:-1], "1"]
    joined = " ".join(first)
    assert "--num-processes 8 --num-machines 2 --main-address gpu-07:24711" in joined
    options = json.loads((place / "srun").read_text())
    assert {"--ntasks-per-node=1", "--cpus-per-task=32", "--kill-on-bad-exit=0"} <= set(options)
    accepts(first, place)
    accepts(second, place)


def test_slurm_runs_the_command_that_it_is_given(place):
    given = ["tool", "train", "vqa", "--data", "my photos", "--output-dir", "$HOME/a 'b'"]
    assert ended(start(place, "slurm.sh", *given, codes="0 0", **JOB))[0] == 0
    assert calls(place)[0][: len(given) - 1] == given[1:]


def test_a_preempted_slurm_job_goes_back_into_the_queue(place):
    code, _, err = ended(start(place, "slurm.sh", codes="75 75", **JOB))
    assert code == 75
    assert requeued(place) == ["requeue 4711"]
    assert "back into the queue" in err


def test_slurm_passes_the_warning_before_its_limit_on_and_the_job_goes_back(place):
    process = start(place, "slurm.sh", codes="wait wait", **JOB)
    when(lambda: waiting(place) == 2)
    process.send_signal(signal.SIGUSR1)
    assert ended(process)[0] == 75
    assert signals(place) == ["SIGUSR1", "SIGUSR1"]
    assert requeued(place) == ["requeue 4711"]


def test_a_cancelled_slurm_job_saves_and_stays_out_of_the_queue(place):
    process = start(place, "slurm.sh", codes="wait wait", **JOB)
    when(lambda: waiting(place) == 2)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 75
    assert signals(place) == ["SIGUSR1", "SIGUSR1"]
    assert requeued(place) == []


@pytest.mark.parametrize(("codes", "code"), [("0 3", 3), ("4 4", 4)])
def test_a_failed_slurm_job_stays_out_of_the_queue(place, codes, code):
    assert ended(start(place, "slurm.sh", codes=codes, **JOB))[0] == code
    assert requeued(place) == []


def test_a_slurm_job_goes_back_as_often_as_it_may(place):
    code, _, err = ended(
        start(place, "slurm.sh", codes="75 75", **JOB, SLURM_RESTART_COUNT="100", SLURM_RESTARTS="100")
    )
    assert (code, requeued(place)) == (75, [])
    assert "sbatch it again" in err


def test_what_slurm_is_asked_for():
    lines = (SCRIPTS / "slurm.sh").read_text().splitlines()
    asked = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    # Slurm reads no more of them after the first command.
    assert lines.index("set -u") > max(number for number, line in enumerate(lines) if line.startswith("#SBATCH "))
    assert {"--requeue", "--signal=B:USR1@120", "--open-mode=append", "--ntasks-per-node=1"} <= set(asked)
    assert any(line.startswith("--gpus-per-node=") for line in asked)


@pytest.mark.skipif(not shutil.which("sbatch"), reason="sbatch is not installed")
def test_sbatch_takes_the_script():
    if subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("there is no Slurm controller")
    done = subprocess.run(
        ["sbatch", "--test-only", "--nodes=1", "--gpus-per-node=0", "--cpus-per-task=1", str(SCRIPTS / "slurm.sh")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# -- SkyPilot ---------------------------------------------------------------------------------------------------------

# From SkyPilot's YAML reference.
TASK_KEYS = {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "file_mounts", "setup", "run"}
RESOURCE_KEYS = {"accelerators", "use_spot", "max_hourly_cost", "disk_size", "job_recovery"}
RECOVERY_KEYS = {"strategy", "recover_on_exit_codes"}


@pytest.fixture
def sky():
    return yaml.safe_load((SCRIPTS / "sky.yaml").read_text())


def test_the_sky_task_has_its_keys(sky):
    assert set(sky) == TASK_KEYS
    resources = sky["resources"]
    assert set(resources) == RESOURCE_KEYS
    assert set(resources["job_recovery"]) == RECOVERY_KEYS
    assert resources["use_spot"] is True
    assert resources["max_hourly_cost"] > 0
    assert resources["job_recovery"]["recover_on_exit_codes"] == [75]
    assert all(":" in name and count is None for name, count in resources["accelerators"].items())
    assert sky["secrets"] == {"HF_TOKEN": None, "WANDB_API_KEY": None}
    (mount,) = sky["file_mounts"].values()
    assert mount == {"name": "${BUCKET}", "mode": "MOUNT_CACHED"}
    assert all(isinstance(value, str) for value in sky["envs"].values())


@pytest.mark.parametrize("part", ["setup", "run"])
def test_the_sky_tasks_shell_parts_are_sound(sky, part, tmp_path):
    script = tmp_path / f"{part}.sh"
    script.write_text(f"#!/usr/bin/env bash\n{sky[part]}")
    checked(script)


def test_the_sky_tasks_command_is_one_that_the_tool_takes(place, sky):
    home = place / "home"
    (home / "tool" / "bin").mkdir(parents=True)
    (home / "tool" / "bin" / "activate").write_text("")
    environment = {
        **sky["envs"],
        "HOME": str(home),
        "SKYPILOT_NUM_GPUS_PER_NODE": "4",
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8",
    }
    (place / "run.sh").write_text(sky["run"])
    assert ended(start(place, place / "run.sh", codes="75", **environment))[0] == 75
    (given,) = calls(place)
    assert "--num-processes 4 --num-machines 2 --machine-rank 1 --main-address 10.0.0.7:29500" in " ".join(given)
    assert given[given.index("--output-dir") + 1] in sky["file_mounts"]
    accepts(given, place)


# -- all --------------------------------------------------------------------------------------------------------------


def accepts(arguments, place):
    """The real tool knows these options and values."""
    done = subprocess.run(
        [TOOL, *arguments, "--print-config"], capture_output=True, text=True, cwd=place, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    for flag, value in itertools.pairwise(arguments):
        if flag.startswith("--"):
            found = shown[flag[2:].replace("-", "_")]
            assert found == ([value] if isinstance(found, list) else type(found)(value))


def checked(script):
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "--exclude=SC1090,SC1091", str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def shell_scripts():
    found = sorted(SCRIPTS.glob("*.sh"))
    assert len(found) >= 3
    return found


@pytest.mark.parametrize("script", shell_scripts(), ids=lambda script: script.name)
def test_a_script_parses_and_can_be_run(script):
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n# ")


@pytest.mark.parametrize("script", shell_scripts(), ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script):
    checked(script)


def test_the_examples_in_the_scripts_heads_are_commands_that_the_tool_takes(place):
    found = 0
    for script in [*shell_scripts(), SCRIPTS / "sky.yaml"]:
        for line in script.read_text().splitlines():
            if line.startswith("#   ") and " tool train " in line:
                arguments = shlex.split(line[line.index(" tool train ") + 6 :])
                (place / "run.yaml").write_text("seed: 1\n")
                done = subprocess.run([TOOL, *arguments, "--print-config"], capture_output=True, text=True, cwd=place)
                assert done.returncode == 0, done.stderr
                found += 1
    assert found == 2
