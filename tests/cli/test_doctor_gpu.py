"""`tool doctor` on GPUs: verdicts from the facts of real machines."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from packaging.version import Version

from recipes.doctor import gpu, packages, wheels
from recipes.doctor.gpu import Gpu, GpuFacts
from recipes.doctor.probe import holders

GB = 10**9
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
