"""`tool doctor`: defects made on this machine and met through the command."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import hub_server
import pytest
from huggingface_hub import constants

from recipes.doctor import disk, probes

TOOL = str(Path(sys.executable).with_name("tool"))
GB = 10**9
BROKEN_TORCHVISION = 'raise RuntimeError("operator torchvision::nms does not exist")'
LIGHT_BITSANDBYTES = "class ErrorHandlerMockBNBNativeLibrary:\n    error_msg = {why!r}\n\n\nlib = {lib}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("doctor")


def environment(home, **changes):
    """No account, no network, no login, whatever the machine at hand has."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "WANDB_", "LC_", "CUDA_"))}
    home.mkdir(exist_ok=True)
    settings = {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": f"http://127.0.0.1:{hub_server.closed_port()}",
        "NETRC": str(home / "netrc"),
        "no_proxy": "127.0.0.1",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return {**kept, **settings, **changes}


def doctor(*args, cwd, env, before=(), limits=()):
    """Runs it, `before` it another command's words, under limits of (resource, soft, hard)."""

    def limit():
        for which, soft, hard in limits:
            resource.setrlimit(which, (soft, hard))

    return subprocess.run(
        [*before, TOOL, "doctor", *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        preexec_fn=limit,
        timeout=120,
        check=False,
    )


def package(parent, name, code, version=None, **modules):
    """A package that shadows the installed one when `parent` is on PYTHONPATH."""
    (parent / name).mkdir(parents=True)
    (parent / name / "__init__.py").write_text(code + "\n")
    for module, text in modules.items():
        (parent / name / f"{module}.py").write_text(text)
    if version:
        metadata(parent, name, f"Name: {name}\nVersion: {version}\n")
    return parent


def metadata(parent, name, text):
    information = parent / f"{name}-1.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\n{text}")


@pytest.fixture
def mounted(tmp_path):
    """Mounts small filesystems in memory, where that is allowed."""
    done = []

    def mount(name, options):
        place = tmp_path / name
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if (
            os.geteuid() != 0
            or shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("a filesystem can't be mounted here")
        done.append(place)
        return place

    yield mount
    for place in done:
        subprocess.run(["umount", str(place)], check=True)


def checks(done):
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def row(done, verdict, name):
    """The table's line for a check."""
    return next(
        line for line in done.stdout.splitlines() if line.split()[:1] == [verdict] and line[9:].startswith(f"{name} ")
    )


def mend(done, name):
    after = done.stdout.split("\nhow to mend it\n")[1].splitlines()
    return next(line for line in after if line.split(": ")[0].endswith(f"  {name}"))


# This machine as it is


def test_this_machine_as_json(folder):
    work = folder / "work"
    work.mkdir()
    done = doctor("--json", "--output-dir", "runs/of/mine", cwd=work, env=environment(folder / "home"))
    answer = json.loads(done.stdout)
    assert list(answer) == ["verdict", "checks"]
    verdicts = [check["verdict"] for check in answer["checks"]]
    assert answer["verdict"] == max(verdicts, key=["ok", "warn", "stop"].index)
    assert done.returncode == (1 if "stop" in verdicts else 0)
    for check in answer["checks"]:
        assert list(check) == ["name", "verdict", "found", "mend"]
        assert check["found"]
        assert "\n" not in check["found"]
        assert bool(check["mend"]) == (check["verdict"] != "ok"), check
    found = checks(done)
    # Whoever runs these tests has at least these in order.
    for name in ("python", "packages", "processes", "encoding", "clock"):
        assert found[name]["verdict"] == "ok", found[name]
    assert {"torch", "bf16", "gpu memory", "memory", "cpu", "shared memory", "open files", "hub", "token"} < set(found)
    assert [name for name in found if name.startswith("disk ")]
    assert list(work.iterdir()) == []  # it tries folders that aren't there yet, and makes none
    assert not (folder / "home" / "hf").exists()


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom cli.main import main\ntry:\n    main(['doctor', '--help'])\nexcept SystemExit as end:\n"
        "    heavy = ('torch', 'transformers', 'datasets', 'huggingface_hub', 'psutil', 'rich', 'numpy', 'recipes.doctor')\n"
        "    print('LOADED', [name for name in heavy if name in sys.modules], end.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "LOADED [] 0", done.stdout + done.stderr
    assert "--offline" in done.stdout


# Machines with defects


@pytest.fixture(scope="module")
def sick(folder):
    """Foreign packages, few open files, a token that is refused, a foreign encoding, a broken helper library."""
    shadows = package(folder / "sick", "torchvision", BROKEN_TORCHVISION, version="0.9.0")
    package(
        shadows,
        "bitsandbytes",
        "",
        cextension=LIGHT_BITSANDBYTES.format(
            why="No compatible CUDA binary found at [cuda999]", lib="ErrorHandlerMockBNBNativeLibrary()"
        ),
    )
    package(shadows, "wandb", "import google.protobuf.not_there")
    package(shadows, "psutil", 'raise ImportError("libfoo.so: wrong ELF class")')
    metadata(shadows, "jinja2", "")  # what a broken uninstall leaves
    hub = hub_server.Hub()
    server = hub_server.serve(hub)
    done = doctor(
        cwd=folder,
        env=environment(
            folder / "home",
            HF_ENDPOINT=hub.url,
            HF_TOKEN="hf_notTHISone",
            PYTHONPATH=str(shadows),
            PYTHONUTF8="0",
            PYTHONCOERCECLOCALE="0",
            LC_ALL="C",
        ),
        limits=[(resource.RLIMIT_NOFILE, 100, 300)],
    )
    server.shutdown()
    server.server_close()
    return done


def test_what_stops_a_run_is_an_exit_code_and_one_line(sick):
    assert sick.returncode == 1
    assert sick.stdout.startswith("verdict  check ")
    total = len(
        [line for line in sick.stdout.split("\n\n")[0].splitlines() if line[:4].strip() in {"ok", "warn", "stop"}]
    )
    assert sick.stderr == f"error: 4 of {total} checks will stop a run: packages, open files, token, torchvision\n"
    mends = sick.stdout.split("\nhow to mend it\n")[1].splitlines()
    assert [line.split()[0] for line in mends[:5]] == ["stop", "stop", "stop", "stop", "warn"]


def test_a_foreign_torchvision(sick):
    line = row(sick, "stop", "torchvision")
    assert "0.9.0 can't be imported, and so neither can transformers" in line
    assert "RuntimeError: operator torchvision::nms does not exist" in sick.stdout
    assert mend(sick, "torchvision") == "stop  torchvision: pip uninstall -y torchvision (nothing here needs it)"


def test_bitsandbytes_without_its_native_library(sick):
    assert "--optimizer adamw-8bit would fail: without its native library" in row(sick, "warn", "bitsandbytes")
    assert "No compatible CUDA binary found at [cuda999]" in sick.stdout  # brackets and all
    assert "pip install --upgrade 'bitsandbytes<1,>=0.47'" in mend(sick, "bitsandbytes")


def test_a_tracker_that_fails_to_import(sick):
    assert "--tracker wandb would fail: ModuleNotFoundError" in row(sick, "warn", "wandb")
    assert mend(sick, "wandb") == "warn  wandb: pip install 'modeltool[wandb]'"


def test_a_package_that_is_missing(sick):
    assert row(sick, "stop", "packages").endswith("missing: jinja2")
    assert mend(sick, "packages") == "stop  packages: pip install 'jinja2<4,>=3.1'"


def test_a_check_that_fails_itself_is_a_warning(sick):
    assert "could not be checked: ImportError: libfoo.so: wrong ELF class" in row(sick, "warn", "memory")
    assert "Traceback" not in sick.stdout + sick.stderr


def test_a_token_that_the_hub_refuses_is_told_and_never_shown(sick):
    assert "the Hub refuses the one in HF_TOKEN (401), and with it public models too" in row(sick, "stop", "token")
    assert mend(sick, "token").startswith("stop  token: unset HF_TOKEN; or a new one")
    assert "hf_notTHISone" not in sick.stdout + sick.stderr


def test_few_open_files(sick):
    assert row(sick, "stop", "open files").endswith("only 100 at once")
    assert mend(sick, "open files").startswith("stop  open files: ulimit -n 300, the most that the hard limit lets; ")


def test_a_foreign_encoding(sick):
    assert "ascii, not utf-8" in row(sick, "warn", "encoding")
    assert mend(sick, "encoding") == "warn  encoding: export PYTHONUTF8=1"


@pytest.fixture(scope="module")
def closed(folder):
    """An output folder and a cache that can't be written, no network, no token, old transformers, WANDB_MODE=offline."""
    shadows = package(folder / "closed", "bitsandbytes", "", cextension="lib = object()")
    package(shadows, "wandb", "")
    metadata(shadows, "transformers", "Name: transformers\nVersion: 4.57.0\n")
    (folder / "locked").mkdir(mode=0o000)
    (folder / "read-only").mkdir(mode=0o555)
    before = []
    if os.geteuid() == 0:  # root too is bound by permissions once it has lost the right to pass over them
        if shutil.which("setpriv") is None:
            pytest.skip("permissions don't bind root, and there is no setpriv")
        lost = "-dac_override,-dac_read_search"
        before = ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}"]
    cache = str(folder / "read-only" / "datasets")
    env = environment(folder / "home", PYTHONPATH=str(shadows), WANDB_MODE="offline", HF_DATASETS_CACHE=cache)
    return doctor("--json", "--output-dir", folder / "locked" / "my" / "runs", cwd=folder, env=env, before=before), env


def test_a_folder_that_can_not_be_written(closed, folder):
    done, _ = closed
    names = [name for name, check in checks(done).items() if check["verdict"] == "stop"]
    assert len(names) == 1
    assert names[0].startswith("disk ")
    check = checks(done)[names[0]]
    reasons = f"can't write: {folder / 'locked'}: permission denied; {folder / 'read-only'}: permission denied"
    assert check["found"].endswith(reasons)
    assert check["mend"] == "choose another folder: --output-dir FOLDER, export HF_HOME=FOLDER"
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (1, "stop")
    assert done.stderr == f"error: 1 of {len(checks(done))} checks will stop a run: {names[0]}\n"


def test_no_network_and_no_token(closed):
    done, env = closed
    hub, token = checks(done)["hub"], checks(done)["token"]
    assert (hub["verdict"], hub["found"]) == ("warn", f"no connection to {env['HF_ENDPOINT']}")
    assert "HF_HUB_OFFLINE=1" in hub["mend"]
    assert (token["verdict"], token["found"]) == ("warn", "none: gated and private models need one")
    assert token["mend"] == "export HF_TOKEN=... or: hf auth login"


def test_a_package_out_of_the_tested_versions(closed):
    check = checks(closed[0])["packages"]
    assert check["verdict"] == "warn"
    assert check["found"] == "other versions than tested: transformers 4.57.0 (tested: <6,>=5.20)"
    assert check["mend"] == "pip install 'transformers<6,>=5.20'"


def test_a_tracker_that_stays_offline(closed):
    assert checks(closed[0])["wandb"]["found"].endswith("WANDB_MODE=offline")


def test_a_full_disk_and_a_good_token(folder, tmp_path, mounted):
    full = mounted("full", "size=1m")
    with pytest.raises(OSError, match="No space left"):
        (full / "filler").write_bytes(bytes(2 << 20))
    hub = hub_server.Hub()
    server = hub_server.serve(hub)
    shadows = package(tmp_path / "light", "bitsandbytes", "", cextension="lib = object()")
    package(shadows, "wandb", "")
    home = tmp_path / "home"
    env = environment(home, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token, WANDB_API_KEY="x" * 40, PYTHONPATH=str(shadows))
    done = doctor("--json", "--output-dir", full / "runs", cwd=tmp_path, env=env)
    server.shutdown()
    server.server_close()
    found = checks(done)
    check = found[f"disk {full}"]
    assert (check["verdict"], done.returncode) == ("stop", 1)
    assert check["found"].startswith("0 B of 1.0 MB free for runs; can't write: ")
    assert check["mend"].startswith(
        f"free some (du -xh {full} | sort -h | tail); or choose another folder: --output-dir"
    )
    assert [path.name for path in full.iterdir()] == ["filler"]
    assert found["token"] == {"name": "token", "verdict": "ok", "found": "accepted, for ada", "mend": None}
    assert found["hub"]["found"].startswith(f"{hub.url} answers in ")
    assert hub.token not in done.stdout + done.stderr
    assert found["wandb"]["found"].endswith("logged in")


def test_little_address_space(tmp_path):
    shadows = package(tmp_path / "light", "bitsandbytes", "", cextension="lib = object()")
    package(shadows, "wandb", "")
    env = environment(tmp_path / "home", PYTHONPATH=str(shadows))
    limits = [(resource.RLIMIT_AS, 950_000_000, resource.RLIM_INFINITY)]
    done = doctor("--json", "--offline", cwd=tmp_path, env=env, limits=limits)
    check = checks(done)["memory"]
    assert (check["verdict"], check["mend"], done.returncode) == ("stop", "ulimit -v unlimited", 1)
    assert check["found"].startswith("each process is limited to 950 MB; ")
    assert checks(done)["hub"]["found"].startswith("not asked (--offline)")
    assert "Traceback" not in done.stdout + done.stderr


def test_a_disk_without_inodes(mounted):
    place = mounted("few", "size=10m,nr_inodes=1")
    finding = next(each for each in disk.disks(str(place), offline=True) if each.name == f"disk {place}")
    assert finding.verdict == "stop"
    assert "no inode left" in finding.found


# Places


def place(use="runs", needed=True, **problem):
    return disk.Trial(disk.Place(use, Path("/x"), "--output-dir FOLDER", needed), Path("/x"), **problem)


def judge(*trials, free=80, **more):
    finding = disk.judge(list(trials), "/my disk", free * GB, 100 * GB, **more)
    return finding.verdict, finding.found, finding.mend


def test_disk_verdicts():
    assert judge(place(), place("hub cache")) == ("ok", "80.0 GB of 100 GB free for runs, hub cache", None)
    assert judge(place(), free=4) == (
        "warn",
        "4.0 GB of 100 GB free for runs",
        "free some (du -xh '/my disk' | sort -h | tail); or choose another folder: --output-dir FOLDER",
    )
    assert judge(place(), no_more_files=True)[0] == "stop"
    problem = "/x: read-only file system"
    assert judge(place("hub cache", problem=problem))[0] == "stop"
    assert judge(place("hub cache", needed=False, problem=problem))[0] == "warn"


def test_without_the_hub_a_cache_needs_no_writing(monkeypatch):
    def needed(offline):
        return [each.needed for each in disk.places("runs", offline)]

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert (needed(False), needed(True)) == ([True] * 4, [True, True, False, False])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert needed(False) == [True, True, False, False]


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "runs").write_text("")
    trial = disk.attempt(disk.Place("runs", tmp_path / "runs" / "deeper", "--output-dir FOLDER"))
    assert trial.problem == f"{tmp_path / 'runs'} is a file, not a folder"


def test_an_output_folder_without_locks(tmp_path, monkeypatch):
    def none(handle, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", none)
    trials = [
        disk.attempt(disk.Place(use, tmp_path, "--output-dir FOLDER", locks=use == "runs")) for use in ("runs", "hub")
    ]
    assert [trial.problem for trial in trials] == [f"{tmp_path}: keeps no locks (function not implemented)", ""]


# Probes that come to no answer


def probe(tmp_path, monkeypatch, code):
    package(tmp_path, "wandb", code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    asked = probes.Probes(["wandb", "tensorboard"])
    with pytest.raises(probes.Unanswered) as caught:
        asked.answer("wandb")
    asked.close()
    return caught.value


def test_a_library_that_crashes(tmp_path, monkeypatch):
    error = probe(tmp_path, monkeypatch, "import os, signal\nos.kill(os.getpid(), signal.SIGILL)")
    assert (str(error), error.late) == ("importing wandb crashed (SIGILL)", False)


def test_a_library_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "LIMIT_SECONDS", 1.0)
    error = probe(tmp_path, monkeypatch, "import time\ntime.sleep(600)")
    assert (str(error), error.late) == ("importing wandb took more than 1 s", True)
