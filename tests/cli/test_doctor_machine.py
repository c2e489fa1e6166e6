"""`tool doctor` on memory, processors, limits and the network: verdicts over plain figures."""

import pytest

from recipes.doctor import machine, network, packages
from recipes.process import cgroups

GB = 10**9


def test_memory_verdicts():
    plain = machine.memory(machine.Memory(64 * GB, 40 * GB))
    assert (plain.verdict, plain.found) == ("ok", "40.0 GB of 64.0 GB available")
    assert machine.memory(machine.Memory(64 * GB, int(1.9 * GB))).verdict == "warn"
    assert machine.memory(machine.Memory(64 * GB, int(0.6 * GB))).verdict == "stop"
    small = machine.memory(machine.Memory(64 * GB, 40 * GB, cgroups.Limit(4 * GB, 3 * GB)))
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
    assert cgroups.memory_limit(new, own) == cgroups.Limit(4000, 2500)
    assert cgroups.cpu_quota(new, own) == 1.5

    old, own = tmp_path / "v1", tmp_path / "own1"
    write(own, "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")  # the host's path, not to be seen in here
    write(old / "memory/memory.limit_in_bytes", "9000\n")
    write(old / "memory/memory.usage_in_bytes", "1000\n")
    write(old / "memory/memory.stat", "inactive_file 1\ntotal_inactive_file 200\n")
    write(old / "cpu,cpuacct/cpu.cfs_quota_us", "400000\n")
    write(old / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert cgroups.memory_limit(old, own) == cgroups.Limit(9000, 800)
    assert cgroups.cpu_quota(old, own) == 4.0

    write(old / "memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(old / "cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    assert cgroups.memory_limit(old, own) is None
    assert cgroups.cpu_quota(old, own) is None
    assert cgroups.memory_limit(tmp_path / "none", tmp_path / "none") is None


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
