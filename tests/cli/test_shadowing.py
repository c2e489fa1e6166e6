"""A user's own files named as this project's packages, on PYTHONPATH and where they stand, don't come in their place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.distributed import launch

TOOL = Path(sys.executable).with_name("tool")
THEIRS = "raise SystemExit('a file of the user was imported')\n"
SHADOWS = {
    "a task file of Celery or invoke": ("tasks.py",),
    "packages": ("cli/__init__.py", "recipes/__init__.py", "tasks/__init__.py"),
    "folders": ("cli/main.py", "recipes/options.py", "tasks/errors.py"),
}


def place(folder, files):
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(THEIRS)
    return folder


def run(command, folder):
    environment = {**os.environ, "PYTHONPATH": "."}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("files", SHADOWS.values(), ids=SHADOWS)
def test_the_command_runs_beside_files_of_the_same_names(tmp_path, files):
    done = run([TOOL, "--version"], place(tmp_path, files))
    assert done.stdout.startswith("tool "), done.stdout + done.stderr
    done = run([TOOL, "data", "sample", "forecast", "--output", "series"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "series").exists()


def test_workers_start_through_the_same_entry():
    assert launch._executable() == str(TOOL)
    assert "from modeltool_launcher import main" in TOOL.read_text()


def test_a_spawned_process_finds_the_packages_too(tmp_path):
    """As multiprocessing starts a data loader's: the parent's search path, and the parent's script without its `main`."""
    script = place(tmp_path, ("tasks.py",)) / "script"
    script.write_text(
        "import modeltool_launcher\n"
        "if __name__ == '__main__':\n"
        "    import multiprocessing\n"
        "    from concurrent.futures import ProcessPoolExecutor\n"
        "    from tasks.errors import DataError, exit_code_of\n"
        "    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:\n"
        "        print(pool.submit(exit_code_of, DataError('x')).result())\n"
    )
    done = run([sys.executable, script], tmp_path)
    assert done.stdout == "3\n", done.stdout + done.stderr
