"""The walls between rooms: every contract of pyproject.toml holds, each fails on an import that crosses it, and no circle is left."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
HINT = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
LAZY = "def planted():\n    "
# (how the contract's name begins, the file that crosses it, the line)
CROSSINGS = [
    ("The command line", "tasks/files.py", LAZY + "from recipes.work import Batch"),
    ("The command line", "recipes/terminal/tables.py", HINT + "from cli.console import result"),
    ("The rooms of recipes/", "recipes/runs/prune.py", LAZY + "from recipes.report import overview"),
    ("The rooms of recipes/", "recipes/vqa/data.py", HINT + "from recipes.glue.data import digest"),
    ("The rooms of recipes/", "recipes/training.py", LAZY + "from recipes.registry import get"),
    ("The tasks know", "tasks/vqa/score.py", LAZY + "from tasks.glue import score"),
    ("The tasks know", "tasks/hub.py", HINT + "from tasks.readers.rows import Rows"),
    ("In a recipe", "recipes/glue/artefacts.py", HINT + "from recipes.glue.train import train"),
    ("In a recipe", "recipes/forecast/predict.py", LAZY + "from recipes.forecast.evaluate import evaluate"),
    ("Only training", "recipes/vqa/evaluate.py", LAZY + "from recipes.vqa import artefacts"),
    ("The command line, quantize and export", "recipes/quantize/run.py", LAZY + "from recipes.glue.data import digest"),
    ("The command line, quantize and export", "cli/train.py", HINT + "from recipes.vqa.config import Train"),
    ("Quantize and export", "tasks/onnx/session.py", LAZY + "from tasks.glue import score"),
    ("No circles", "recipes/loop/meter.py", HINT + "from recipes.loop.loop import Loop"),
    ("No circles", "scripts/benchmarks/vqa_report.py", HINT + "from benchmarks.vqa import bench"),
]
CIRCLES = """
import grimp, json, networkx
graph = grimp.build_graph("cli", "recipes", "tasks", "benchmarks", exclude_type_checking_imports=False, cache_dir=None)
edges = [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]
circles = networkx.strongly_connected_components(networkx.DiGraph(edges))
print(json.dumps([sorted(graph.modules), [sorted(circle) for circle in circles if len(circle) > 1]]))
"""


def run(folder, *command):
    environment = {**os.environ, "PYTHONPATH": "scripts", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def lint(folder):
    return run(folder, Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo")


def circles(folder):
    done = run(folder, sys.executable, "-c", CIRCLES)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The sources alone, to be spoilt."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("cli", "recipes", "tasks", "scripts/benchmarks"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def planted(copy):
    """Adds a line to a file of the copy, for a test."""
    before = {}

    def plant(file, line):
        before[copy / file] = (copy / file).read_text()
        (copy / file).write_text(f"{before[copy / file]}\n\n{line}\n")

    yield plant
    for path, text in before.items():
        path.write_text(text)


def test_every_contract_is_kept(copy):
    assert len(CONTRACTS) == 8
    assert not any("ignore_imports" in contract for contract in CONTRACTS)
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 8 kept, 0 broken." in done.stdout
    assert all(f"{contract['name']} KEPT" in done.stdout for contract in CONTRACTS)


def test_every_contract_has_an_import_that_crosses_it():
    crossed = {name_of(begins) for begins, _, _ in CROSSINGS}
    assert crossed == {contract["name"] for contract in CONTRACTS}


def name_of(begins):
    return next(contract["name"] for contract in CONTRACTS if contract["name"].startswith(begins))


@pytest.mark.parametrize(("begins", "file", "line"), CROSSINGS)
def test_an_import_that_crosses_a_wall_is_named(copy, planted, begins, file, line):
    planted(file, line)
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{name_of(begins)} BROKEN" in done.stdout


@pytest.mark.parametrize("package", ["recipes", "tasks"])
def test_a_new_room_needs_a_place_among_the_layers(copy, package):
    new = copy / package / "attic.py"
    new.write_text('"""New."""\n')
    try:
        done = lint(copy)
    finally:
        new.unlink()
    assert done.returncode == 1
    assert "attic" in done.stdout


def test_no_modules_import_each_other(copy, planted):
    files = [
        path for package in ("cli", "recipes", "tasks", "scripts/benchmarks") for path in (copy / package).rglob("*.py")
    ]
    modules, found = circles(copy)
    assert len(modules) == len(files) > 400
    assert found == []
    planted("tasks/vqa/questions.py", HINT + "from tasks.vqa.vocabulary import build_vocabulary")
    planted("tasks/vqa/vocabulary.py", LAZY + "from tasks.vqa.questions import Questions")
    (circle,) = circles(copy)[1]
    assert {"tasks.vqa.questions", "tasks.vqa.vocabulary"} <= set(circle)
