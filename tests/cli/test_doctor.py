"""`tool doctor`: defects made on this machine and met through the command; GPU verdicts from the facts of real cards."""

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
from packaging.version import Version

from recipes import limits
from recipes.doctor import disk, gpu, machine, network, packages, probes, wheels
from recipes.doctor.gpu import Gpu, GpuFacts
from recipes.doctor.probe import holders

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


# GPUs: the facts of real machines

MODERN = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
OLDER = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
A100 = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 80 * GB, 79 * GB)
V100 = Gpu("Tesla V100-SXM2-16GB", (7, 0), 16 * GB, 15 * GB)
RTX5090 = Gpu("NVIDIA GeForce RTX 5090", (12, 0), 32 * GB, 31 * GB)


def facts(*gpus, **changes):
    """A machine in order: torch for CUDA 13.0 on a driver that knows it."""
    settings = {
        "torch": "2.13.0+cu130",
        "cuda": "13.0",
        "available": bool(gpus),
        "archs": MODERN,
        "gpus": gpus,
        "cards": gpus,
        "driver": "580.95.05",
        "driver_cuda": (13, 0),
        "init": 0,
        "nodes": max(1, len(gpus)),
    }
    return GpuFacts(**{**settings, **changes})


def test_a_gpu_in_order():
    finding = gpu.torch_fits(facts(A100, A100))
    assert finding.verdict == "ok"
    assert finding.found == "torch 2.13.0+cu130 on 2 x NVIDIA A100-SXM4-80GB (8.0), driver 580.95.05, CUDA 13.0"


def index(tag):
    return f"--index-url https://download.pytorch.org/whl/{tag}"


@pytest.mark.parametrize(
    ("machine", "found", "mend"),
    [
        # A driver of 2024 under today's wheel.
        (
            facts(available=False, cards=(A100,), driver="550.54.15", driver_cuda=(12, 4)),
            "NVIDIA A100-SXM4-80GB (8.0) is there (driver 550.54.15, CUDA 12.4), but torch 2.13.0+cu130 needs CUDA 13.0",
            f"pip install torch==2.13.0+cu126 {index('cu126')}",
        ),
        # The same, where libcuda doesn't say what it knows: from the driver's number.
        (
            facts(available=False, cards=(A100,), driver="550.54.15", driver_cuda=None),
            "(driver 550.54.15, CUDA 12.0), but torch 2.13.0+cu130 needs CUDA 13.0",
            f"pip install torch==2.13.0+cu126 {index('cu126')}",
        ),
        # A driver so old that no wheel fits.
        (
            facts(available=False, driver="470.82.01", driver_cuda=(11, 4)),
            "torch 2.13.0+cu130 needs CUDA 13.0",
            "update the NVIDIA driver to 580 or newer",
        ),
        # A CPU build beside a GPU.
        (
            facts(available=False, cards=(A100,), torch="2.13.0+cpu", cuda=None),
            "but torch 2.13.0+cpu is built without CUDA: runs go on the CPU",
            f"pip install torch==2.13.0+cu130 {index('cu130')}",
        ),
        # The same beside a card that the default wheel has no code for.
        (
            facts(available=False, cards=(V100,), torch="2.13.0+cpu", cuda=None),
            "built without CUDA",
            f"pip install torch==2.13.0+cu126 {index('cu126')}",
        ),
        # Volta under a wheel that has dropped it.
        (
            facts(V100),
            "torch 2.13.0+cu130 has no code for Tesla V100-SXM2-16GB (7.0); it has sm_75 sm_80",
            f"pip install torch==2.13.0+cu126 {index('cu126')}",
        ),
        # Blackwell under a wheel that doesn't know it; the older torch is the newest that its driver can run.
        (
            facts(RTX5090, torch="2.13.0+cu126", cuda="12.6", archs=OLDER, driver="570.124.06", driver_cuda=(12, 8)),
            "torch 2.13.0+cu126 has no code for NVIDIA GeForce RTX 5090 (12.0)",
            f"pip install 'torch==2.11.*' {index('cu128')}",
        ),
        # PTX could be compiled, but not by a driver that is older than the build's CUDA.
        (
            facts(RTX5090, archs=("sm_90", "compute_90"), cuda="13.2", driver_cuda=(13, 0)),
            "has no code for NVIDIA GeForce RTX 5090 (12.0); it has sm_90 compute_90",
            f"pip install torch==2.13.0+cu130 {index('cu130')}",
        ),
        # One card of two fails.
        (
            facts(A100, Gpu("NVIDIA A100-SXM4-80GB", (8, 0), error="AcceleratorError: CUDA error: uncorrectable ECC error")),
            "GPU 1, NVIDIA A100-SXM4-80GB (8.0), fails at a first computation: AcceleratorError: CUDA error: uncorrectable ECC",
            "nvidia-smi",
        ),
        (facts(available=False, init=802), "NVSwitch service is not running (error 802)", "nvidia-fabricmanager"),
        (facts(available=False, init=803), "have different versions (error 803)", "restart the machine"),
        (facts(available=False, init=None), "not its library libcuda.so.1", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
        (
            facts(available=False, init=100, visible="5"),
            "CUDA_VISIBLE_DEVICES=5 names none",
            "unset CUDA_VISIBLE_DEVICES",
        ),
        (facts(available=False, warning="CUDA initialization: odd"), "torch can't use it: CUDA initialization: odd", "nvidia-smi"),
        (
            GpuFacts(error="ImportError: libcudnn.so.9: undefined symbol"),
            "torch can't be used: ImportError: libcudnn.so.9: undefined symbol",
            "pip install --force-reinstall 'torch==2.13.*'",
        ),
    ],
)  # fmt: skip
def test_what_keeps_torch_off_the_gpu(machine, found, mend):
    finding = gpu.torch_fits(machine)
    assert finding.verdict == "stop"
    assert found in finding.found
    assert mend in finding.mend


@pytest.mark.parametrize(
    ("machine", "verdict", "found", "mend"),
    [
        # PTX of the build's own CUDA runs on a newer card, after the driver has compiled it.
        (
            facts(RTX5090, archs=("sm_75", "sm_80", "sm_86", "sm_90", "compute_90"), cuda="12.6", driver_cuda=(12, 8)),
            "warn",
            "no code made for NVIDIA GeForce RTX 5090 (12.0): the driver compiles it",
            "pip install",
        ),
        (
            GpuFacts(torch="2.13.0+cu130", cuda="13.0", driver="580.95.05"),
            "warn",
            "no GPU was given to this container",
            "docker run --gpus all",
        ),
        (GpuFacts(torch="2.13.0+cpu", nvidia_cards=1), "warn", "no driver", "ubuntu-drivers"),
        (GpuFacts(torch="2.13.0+cpu", amd=True), "warn", "doesn't use the AMD GPU", "ROCm build"),
        (GpuFacts(torch="2.13.0+rocm7.1", hip="7.1", amd=True), "warn", "doesn't use the AMD GPU", "render,video"),
        (facts(available=False, visible="-1", init=100), "warn", "CUDA_VISIBLE_DEVICES=-1 hides the GPUs", "unset"),
        (GpuFacts(error="importing torch took more than 60 s", late=True), "warn", "could not be checked", "nvidia-smi"),
        (GpuFacts(torch="2.13.0+cpu"), "ok", "torch 2.13.0+cpu, no GPU: runs go on the CPU", None),
        (GpuFacts(torch="2.13.0", mps=True), "ok", "torch 2.13.0 on the Apple GPU (mps)", None),
        (
            GpuFacts(torch="2.13.0+rocm7.1", hip="7.1", available=True, gpus=(Gpu("AMD Instinct MI300X", (9, 4)),)),
            "ok",
            "with ROCm on AMD Instinct MI300X (9.4)",
            None,
        ),
        # An RTX 4090 (8.9) runs code for 8.6.
        (facts(Gpu("NVIDIA GeForce RTX 4090", (8, 9), 24 * GB, 23 * GB)), "ok", "RTX 4090 (8.9)", None),
    ],
)  # fmt: skip
def test_what_torch_makes_of_other_machines(machine, verdict, found, mend):
    finding = gpu.torch_fits(machine)
    assert finding.verdict == verdict
    assert found in finding.found
    assert (mend in finding.mend) if mend else finding.mend is None


@pytest.mark.parametrize(
    ("arch", "capability", "runs"),
    [
        ("sm_80", (8, 6), True),
        ("sm_86", (8, 0), False),
        ("sm_90", (12, 0), False),
        ("sm_90a", (9, 0), True),
        ("sm_90a", (9, 1), False),
        ("sm_100f", (10, 3), True),
        ("sm_100", (12, 0), False),
        ("compute_90", (12, 0), True),
        ("compute_120", (9, 0), False),
        ("gfx942", (9, 4), False),
    ],
)
def test_which_code_runs_where(arch, capability, runs):
    assert wheels.covers(arch, capability) is runs


def test_no_wheel_for_a_mix_of_very_old_and_new_cards():
    assert wheels.install("2.13.0", (13, 0), [(6, 1), (12, 0)]).startswith("no published torch build")
    assert wheels.install("2.13.0", (12, 0), [(10, 3)]) == f"pip install 'torch==2.11.*' {index('cu128')}"
    assert wheels.install(None, None) == f"pip install 'torch==2.13.*' {index('cu132')}"


def test_the_table_of_wheels_is_that_of_the_tested_versions_of_torch():
    (torch,) = [each for each in packages.required() if each.name == "torch"]
    releases = [Version(".".join(map(str, release))) for release in wheels._WHEELS]
    assert all(torch.specifier.contains(release) for release in releases)
    newest, oldest = releases[0], releases[-1]
    assert not torch.specifier.contains(Version(f"{newest.major}.{newest.minor + 1}"))
    assert not torch.specifier.contains(Version(f"{oldest.major}.{oldest.minor - 1}"))


def test_half_precision():
    assert gpu.half_precision(facts(A100), frozenset()).verdict == "ok"
    finding = gpu.half_precision(facts(V100), frozenset({"avx512_bf16"}))
    assert finding.verdict == "warn"
    assert "Tesla V100-SXM2-16GB (7.0) has no bf16 units" in finding.found
    assert "--mixed-precision fp16" in finding.mend
    cpu = GpuFacts(torch="2.13.0+cpu")
    assert "amx_bf16, avx512_bf16" in gpu.half_precision(cpu, frozenset({"amx_bf16", "avx512_bf16", "sse"})).found
    assert "no bf16 units" in gpu.half_precision(cpu, frozenset({"avx2"})).found


def test_gpu_memory_that_somebody_else_holds():
    assert gpu.gpu_memory(facts(A100)).found == "GPU 0: 79.0 GB of 80.0 GB free"
    taken = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 80 * GB, 12 * GB)
    finding = gpu.gpu_memory(facts(taken, A100, holders=((77, GB), (4242, 67 * GB))))
    assert finding.verdict == "warn"
    assert finding.found == "GPU 0: 12.0 GB of 80.0 GB free, 1: 79.0 GB of 80.0 GB free; process 4242 holds 67.0 GB"
    assert finding.mend == "kill 4242, if it is a left-over of yours; or use the others: export CUDA_VISIBLE_DEVICES=1"
    assert gpu.gpu_memory(facts(taken)).found.endswith("; another process holds 68.0 GB")
    silent = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 80 * GB, error="AcceleratorError")
    assert gpu.gpu_memory(facts(silent)).found == "GPU 0: unknown of 80.0 GB free"


def test_facts_from_the_probes_json():
    answer = {
        "name": "torch", "torch": "2.13.0+cu130", "cuda": "13.0", "available": True, "archs": ["sm_90"], "init": 0,
        "driver_cuda": [13, 0], "holders": [[7, 5]], "cards": [{"name": "H", "capability": [9, 0]}],
        "gpus": [{"name": "H", "capability": [9, 0], "total": 2, "free": 1}],
    }  # fmt: skip
    got = GpuFacts.of(answer, visible=None)
    assert got.gpus == (Gpu("H", (9, 0), 2, 1),)
    assert (got.driver_cuda, got.holders, got.archs, got.usable) == ((13, 0), ((7, 5),), ("sm_90",), True)
    assert gpu.torch_fits(got).verdict == "ok"


DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int number) { *device = 10 + number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, device == 11 ? "Tesla T4" : "L4", size); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 75 ? (device == 11 ? 7 : 8) : which == 76 ? (device == 11 ? 5 : 9) : -1;
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler to make a driver's library with")
def test_the_drivers_own_word(tmp_path):
    (tmp_path / "driver.c").write_text(DRIVER)
    library = ["gcc", "-shared", "-fPIC", "-o", "libcuda.so.1", "driver.c"]
    subprocess.run(library, cwd=tmp_path, check=True, capture_output=True)
    code = "import json\nfrom recipes.doctor.probe import driver\nprint(json.dumps(driver()))"
    env = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    answer = {**json.loads(done.stdout), "torch": "2.13.0+cpu", "driver": None}
    finding = gpu.torch_fits(GpuFacts.of(answer, visible=None))
    there = "L4 (8.9), Tesla T4 (7.5) is there (driver unknown, CUDA 12.4)"
    assert finding.found == f"{there}, but torch 2.13.0+cpu is built without CUDA: runs go on the CPU"
    assert finding.mend == f"pip install torch==2.13.0+cu126 {index('cu126')}"


def test_who_holds_gpu_memory(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '77, 1024'\necho '{os.getpid()}, 9'\necho '88, [N/A]'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert holders() == [[77, 1 << 30]]


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


# Memory, processors, limits


def test_memory_verdicts():
    plain = machine.memory(machine.Memory(64 * GB, 40 * GB))
    assert (plain.verdict, plain.found) == ("ok", "40.0 GB of 64.0 GB available")
    assert machine.memory(machine.Memory(64 * GB, int(1.9 * GB))).verdict == "warn"
    assert machine.memory(machine.Memory(64 * GB, int(0.6 * GB))).verdict == "stop"
    small = machine.memory(machine.Memory(64 * GB, 40 * GB, limits.Limit(4 * GB, 3 * GB)))
    assert small.verdict == "warn"
    assert small.found == "1.0 GB left of the container's limit of 4.0 GB; 40.0 GB of 64.0 GB available on the machine"
    assert "docker run --memory" in small.mend
    limited = machine.memory(machine.Memory(64 * GB, 40 * GB, None, 8 * GB))
    assert (limited.verdict, limited.mend) == ("warn", "ulimit -v unlimited")
    assert machine.memory(machine.Memory(64 * GB, 40 * GB, None, 100 * GB)).verdict == "ok"


def test_limits_of_control_groups(tmp_path):
    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    new, own = tmp_path / "v2", tmp_path / "own2"
    write(own, "0::/pod/task\n")
    write(new / "pod/task/memory.max", "max\n")
    write(new / "pod/task/memory.current", "100\n")
    write(new / "pod/memory.max", "4000\n")
    write(new / "pod/memory.current", "3000\n")
    write(new / "pod/memory.stat", "anon 1\ninactive_file 500\n")
    write(new / "pod/task/cpu.max", "max 100000\n")
    write(new / "pod/cpu.max", "150000 100000\n")
    assert limits.memory_limit(new, own) == limits.Limit(4000, 2500)
    assert limits.cpu_quota(new, own) == 1.5

    old, own = tmp_path / "v1", tmp_path / "own1"
    write(own, "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")  # the host's path, not to be seen in here
    write(old / "memory/memory.limit_in_bytes", "9000\n")
    write(old / "memory/memory.usage_in_bytes", "1000\n")
    write(old / "memory/memory.stat", "inactive_file 1\ntotal_inactive_file 200\n")
    write(old / "cpu,cpuacct/cpu.cfs_quota_us", "400000\n")
    write(old / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert limits.memory_limit(old, own) == limits.Limit(9000, 800)
    assert limits.cpu_quota(old, own) == 4.0

    write(old / "memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(old / "cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    assert limits.memory_limit(old, own) is None
    assert limits.cpu_quota(old, own) is None
    assert limits.memory_limit(tmp_path / "none", tmp_path / "none") is None


def test_threads_against_processors():
    assert machine.cpus(8, 8, None, 8).verdict == "ok"
    assert machine.cpus(64, 64, 3.5, 4).verdict == "ok"
    finding = machine.cpus(64, 64, 3.5, 64)
    assert finding.verdict == "warn"
    assert finding.found.startswith("64 cores, 3.5 of them for this process; torch computes with 64 threads")
    assert finding.mend == "export OMP_NUM_THREADS=3 (or --threads 3)"
    assert machine.cpus(64, 4, 0.5, 4).mend == "export OMP_NUM_THREADS=1 (or --threads 1)"


@pytest.mark.parametrize(
    ("soft", "hard", "verdict", "mend"),
    [
        (None, None, "ok", None),
        (1024, 1024, "ok", None),
        (1000, None, "warn", "ulimit -n 4096"),
        (255, 65536, "stop", "ulimit -n 4096"),
        (256, 512, "warn", "ulimit -n 512, the most that the hard limit lets; docker run --ulimit nofile=65536, or "),
        (100, 100, "stop", "docker run --ulimit nofile=65536, or "),
    ],
)
def test_limits_on_open_files(soft, hard, verdict, mend):
    finding = machine.file_limit(soft, hard)
    assert finding.verdict == verdict
    assert finding.mend.startswith(mend) if mend else finding.mend is None


def test_shared_memory():
    docker = 64 << 20
    assert machine.shared_room(docker, docker, gpu=True).verdict == "stop"
    assert "docker run --shm-size=8g" in machine.shared_room(docker, docker, gpu=True).mend
    assert machine.shared_room(GB, GB // 2, gpu=True).verdict == "warn"
    assert machine.shared_room(8 * GB, 7 * GB, gpu=True).verdict == "ok"
    assert machine.shared_room(docker, docker, gpu=False).verdict == "ok"


def test_ports_encoding_and_clock():
    assert machine.local_ports().verdict == "ok"
    finding = machine.local_ports("192.0.2.1")  # an address that no machine has
    assert finding.verdict == "warn"
    assert "--num-processes above 1 can't work" in finding.found
    assert machine.encoding("UTF-8").verdict == "ok"
    assert machine.encoding("iso8859-1").mend == "export PYTHONUTF8=1"
    assert machine.clock(0).found.startswith("1970-01-01 00:00 UTC")
    assert machine.clock(0).verdict == "warn"


@pytest.mark.parametrize(
    ("status", "token", "verdicts"),
    [
        (200, True, ["ok", "ok"]),
        (401, True, ["ok", "stop"]),
        (401, False, ["ok", "warn"]),
        (307, True, ["ok", "ok"]),  # a mirror that passes the question on
        (503, True, ["warn", "ok"]),
        (407, False, ["warn", "warn"]),
    ],
)
def test_answers_of_the_hub(status, token, verdicts):
    assert [finding.verdict for finding in network.judge(status, 0.2, token, "ada")] == verdicts


def test_an_interpreter_that_is_too_old():
    finding = packages.python("3.9.2")
    assert (finding.verdict, finding.found) == ("stop", "3.9.2; modeltool needs >=3.11")
