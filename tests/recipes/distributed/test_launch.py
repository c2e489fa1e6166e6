"""The launcher: what becomes of workers that end; they are small programs of the tests' own."""

import sys
import time

import pytest

from recipes.distributed import launch
from recipes.options import TrainOptions


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """Lets the launcher start a program instead of the tool; it may write to `said`."""

    def made(body):
        path = tmp_path / "worker"
        path.write_text(
            f"#!{sys.executable}\nimport os, sys, time\nsaid = open({str(tmp_path / 'said')!r}, 'a')\n{body}"
        )
        path.chmod(0o755)
        monkeypatch.setattr(launch, "_executable", lambda: str(path))
        monkeypatch.setattr(sys, "argv", ["tool"])
        return tmp_path / "said"

    return made


def options(**given):
    return TrainOptions(num_processes=2, **given)


# Rank 0 has found that a batch fits in 4 pieces only, and in a step not even so; rank 1 waits for it.
OUT_OF_MEMORY = """
from recipes.process.worker import SmallerPieces, ask_for, least_accumulation
if os.environ["RANK"] == "0":
    print(least_accumulation(), file=said)
    if least_accumulation() < 8:
        ask_for(8)
        error = SmallerPieces(8, 3)
        print(error, file=said)
        sys.exit(error.exit_code)
elif least_accumulation() < 8:
    said.close()
    time.sleep(60)
"""


def test_after_running_out_of_memory_all_begin_anew_once_in_the_pieces_that_are_needed(workers):
    said = workers(OUT_OF_MEMORY)
    assert launch.launch(options()) == {}
    assert said.read_text().splitlines() == [
        "1",
        "out of memory in step 4; all processes go on from the last checkpoint in 8 pieces",
        "8",
    ]


def test_without_word_from_a_worker_the_pieces_are_doubled(workers):
    said = workers(OUT_OF_MEMORY.replace("        ask_for(8)\n", ""))
    launch.launch(options(gradient_accumulation_steps=2))
    assert [line for line in said.read_text().splitlines() if line.isdigit()] == ["2", "4", "8"]


def test_on_several_machines_nothing_begins_anew_by_itself(workers):
    said = workers(OUT_OF_MEMORY)
    with pytest.raises(launch.WorkersFailed) as caught:
        launch.launch(options(num_machines=2, main_address="127.0.0.1:29500"))
    assert caught.value.exit_code == 4
    assert "run again with --gradient-accumulation-steps 8" in said.read_text()


def test_each_worker_knows_its_place_and_the_accelerate_file_is_read_once(workers, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "recipes.distributed.accelerate_config.settings", lambda config: asked.append(config) or {"TORCH_X": "7"}
    )
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCH_X"]
    said = workers(f"print(*[os.environ[name] for name in {names}], file=said)")
    launch.launch(options(num_machines=2, machine_rank=1, main_address="127.0.0.1:29500"))
    assert sorted(said.read_text().splitlines()) == ["2 0 4 2 127.0.0.1 29500 7", "3 1 4 2 127.0.0.1 29500 7"]
    assert len(asked) == 1


ASKED_TO_STOP = """
import signal
from recipes.process.worker import SmallerPieces, least_accumulation
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.environ["RANK"] == "0" and least_accumulation() == 1:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(0.2)
    sys.exit(SmallerPieces(2, 0).exit_code)
"""


def test_a_stop_that_was_asked_for_is_not_lost_to_beginning_anew(workers):
    workers(ASKED_TO_STOP)
    with pytest.raises(launch.WorkersFailed, match="run the same command again") as caught:
        launch.launch(options())
    assert caught.value.exit_code == 75


def test_workers_begun_anew_know_it_and_when_the_launcher_began(workers):
    said = workers(
        OUT_OF_MEMORY.replace(
            "print(least_accumulation(), file=said)",
            "print(os.environ.get('TOOL_AGAIN'), float(os.environ['TOOL_OPENED']) <= time.monotonic(), file=said)",
        )
    )
    launch.launch(options())
    assert [line for line in said.read_text().splitlines() if "True" in line] == ["None True", "1 True"]


@pytest.mark.parametrize("code", [75, 172])
def test_a_signal_that_strikes_the_others_when_all_is_written_changes_nothing(workers, code):
    settled = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)"
    workers(f"{settled}\nif os.environ['RANK'] == '0':\n    time.sleep(1.5)\nelse:\n    sys.exit({code})")
    assert launch.launch(options()) == {}


def test_the_second_ctrl_c_kills_workers_that_hear_nothing(workers):
    workers(
        """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.environ["RANK"] == "0":
    for _ in range(2):
        time.sleep(0.5)
        os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""
    )
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch.launch(options())
    assert time.monotonic() - began < 20
