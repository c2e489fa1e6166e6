"""A signal is answered where it is safe, and never lost."""

import os
import signal
import subprocess
import sys
import time

import pytest

from recipes.process import worker
from recipes.process.interrupts import Interrupts, settle
from tasks.errors import Preempted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_within_an_import_waits_for_its_end(tmp_path, monkeypatch, number):
    name = f"asks_{int(number)}"
    (tmp_path / f"{name}.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(0.3)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Preempted, match=f"stopped by {number.name}"), Interrupts():  # noqa: PT012 - where it strikes is open
        module = __import__(name)
        assert module.whole
        time.sleep(1.0)
        pytest.fail("never answered")
    assert sys.modules[name].whole
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_a_signal_while_something_is_let_go_is_not_lost_and_prints_nothing():
    """Python prints an exception of a `__del__`, and drops it."""
    code = (
        "import os, time\nfrom recipes.process.interrupts import Interrupts\n"
        "class Asks:\n    def __del__(self):\n        os.kill(os.getpid(), 15)\n        time.sleep(0.2)\n"
        "        print('let go')\n"
        "try:\n    with Interrupts():\n        Asks()\n        time.sleep(1)\n        print('went on')\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "let go\nPreempted\n", "")


@pytest.mark.parametrize(
    "where",
    [
        "os.register_at_fork(after_in_parent=ask)\n        os.fork() or os._exit(0)",
        "import weakref\n        thing = Interrupts()\n        held = weakref.ref(thing, lambda _: ask())\n        del thing",
    ],
    ids=["fork", "weak reference"],
)
def test_a_signal_where_nothing_can_be_raised_is_raised_a_moment_later(where):
    """Python hands such an exception to sys.unraisablehook, and goes on."""
    code = (
        "import os, sys, time\nfrom recipes.process.interrupts import Interrupts\nbefore = sys.unraisablehook\n"
        "def ask():\n    os.kill(os.getpid(), 15)\n    time.sleep(0.2)\n    print('not reached')\n"
        f"try:\n    with Interrupts():\n        {where}\n        time.sleep(1)\n        print('went on')\n"
        "except Exception as error:\n    print(type(error).__name__, sys.unraisablehook is before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Preempted True\n", "")


def test_elsewhere_it_strikes_at_once():
    with pytest.raises(Preempted), Interrupts():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")


def test_an_import_that_does_not_end_is_left_with_75(tmp_path):
    (tmp_path / "endless.py").write_text("import os, time\nos.kill(os.getpid(), 15)\ntime.sleep(60)\n")
    code = "import recipes.process.interrupts as i\ni.IMPORT_SECONDS = 0.3\nwith i.Interrupts():\n    import endless\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 75
    assert done.stderr == "error: stopped by SIGTERM; what is on disk is whole: run the same command again\n"


def test_deferred_it_is_kept_for_the_next_check_and_settled_it_is_nothing():
    with Interrupts() as interrupts:
        interrupts.deferred = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        with pytest.raises(Preempted):
            interrupts.check()
    with Interrupts():
        settle()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)


def test_one_opened_while_an_import_is_waited_for_answers_and_leaves_no_alarm(tmp_path):
    (tmp_path / "asks.py").write_text("import os\nos.kill(os.getpid(), 15)\n")
    code = (
        "import time\nfrom recipes.process.interrupts import Interrupts\ntry:\n    with Interrupts():\n        import asks\n"
        "        with Interrupts():\n            print('not reached')\n"
        "except Exception as error:\n    print(type(error).__name__)\ntime.sleep(0.3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "Preempted\n"), done.stderr


def test_the_hours_of_workers_begun_anew_are_their_launcher_s(monkeypatch):
    monkeypatch.setenv(worker.WORKER, "1")
    monkeypatch.setenv(worker.OPENED, str(time.monotonic() - 100))
    with Interrupts(max_hours=101 / 3600) as interrupts:
        assert interrupts.stop_asked() is None
        assert time.monotonic() - interrupts.opened < 50  # what this process took
    with Interrupts(max_hours=99 / 3600) as interrupts:
        assert interrupts.stop_asked() == "--max-hours"
