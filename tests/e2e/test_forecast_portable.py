"""A run's dlinear or nbeats folder opens by its own code, without this package, and forecasts as the command does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from running import ENVIRONMENT, within

from tasks.forecast.models import load
from tasks.forecast.sampling import draw

ROOT = Path(__file__).parents[2]
KINDS = {"dlinear": "student_t", "nbeats": "quantiles"}
# First on the way of each import: nothing of this project may be found.
ALONE = """
import contextlib, io, sys

class Blocked:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("cli", "recipes", "tasks", "modeltool_launcher"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked)
"""
# The card's lines, then what they have made: the output of a call, and paths of a known seed.
CARD = """
code = open("README.md").read().split("```python\\n")[1].split("```")[0]
with contextlib.redirect_stdout(io.StringIO()) as out:
    exec(compile(code, "card", "exec"))
assert out.getvalue().startswith("tensor("), out.getvalue()
output = {name: value for name, value in model(**inputs).items() if torch.is_tensor(value)}
if output.get("quantiles") is None:
    output["paths"] = model.generate(**inputs, generator=torch.Generator().manual_seed(5)).sequences
torch.save({"inputs": inputs, "output": output}, sys.argv[1])
"""
# The last values of each series, read by hand.
FORECAST = """
import csv, json, torch
from transformers import AutoModel

model = AutoModel.from_pretrained(".", trust_remote_code=True).eval()
with open(sys.argv[1]) as file:
    columns = list(zip(*csv.reader(file)))[1:]
past = torch.tensor([[float(value) for value in column[1:]] for column in columns])
with torch.no_grad():
    quantiles = model(past_values=past[:, -model.config.context_length :]).quantiles
print(json.dumps({column[0]: rows.tolist() for column, rows in zip(columns, quantiles)}))
"""


def alone(code, folder, *arguments, python=sys.executable):
    """Runs code in a fresh process that stands in the folder; what it prints."""
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("PYTHON")}
    environment["HF_HOME"] = str(folder.parent / "hub")
    command = [python, "-I", "-c", ALONE + code, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs of both: as they are by default, and such that they read nothing but values and give quantiles."""
    folder = tmp_path_factory.mktemp("portable")
    hours, random = np.arange(300), np.random.default_rng(0)
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=300, freq="h")})
    for number in range(4):
        frame[f"s{number}"] = (20 + 5 * np.sin((hours + number) / 4) + random.standard_normal(300)).round(3)
    frame.to_csv(folder / "series.csv", index=False)
    options = ["train", "forecast", "--data", "series.csv", "--prediction-length", 12, "--max-steps", 10]
    plain = ["--no-calendar-features", "--no-item-embedding", "--distribution", "quantiles"]
    for kind in KINDS:
        within(*options, "--model", kind, "--output-dir", kind, cwd=folder)
        within(*options, *plain, "--model", kind, "--output-dir", f"{kind}-plain", cwd=folder)
    return folder


def model_folder(place, name):
    (run,) = (place / name).iterdir()
    return run / "model"


def check_against_the_command(place, kind, python=sys.executable):
    """The largest difference between what a stranger reads from the folder and what `tool predict` says."""
    folder = model_folder(place, f"{kind}-plain")
    theirs = json.loads(alone(FORECAST, folder, place / "series.csv", python=python))
    done = within("predict", "forecast", "series.csv", "--model", folder.parent, "--json", cwd=place)
    ours = pd.DataFrame(json.loads(done.stdout))
    levels = [name for name in ours.columns if name[0] == "0"]
    assert len(levels) == 15
    assert set(theirs) == set(ours["item_id"])
    expected = np.stack([ours[ours.item_id == name][levels].to_numpy(float).T for name in theirs])
    found = np.array(list(theirs.values()))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    return np.abs(found - expected).max()


@pytest.mark.parametrize(("kind", "head"), KINDS.items())
def test_the_cards_lines_open_the_folder_without_this_package(place, tmp_path, kind, head):
    folder = model_folder(place, kind)
    code = {"likelihood.py", "modeling_direct.py", f"modeling_{kind}.py", "noise.py"}
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "forecast.json", "model.safetensors", "training_record.parquet", *code
    }  # fmt: skip
    alone(CARD, folder, tmp_path / "made")
    made = torch.load(tmp_path / "made", weights_only=True)
    network = load(str(folder))
    assert network.config.distribution_output == head
    drawn = draw(network, made["inputs"], 100, torch.Generator().manual_seed(5))
    expected = drawn.samples if drawn.quantiles is None else drawn.quantiles
    found = made["output"]["paths" if drawn.quantiles is None else "quantiles"]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_forecasts_as_the_command_does(place, kind):
    check_against_the_command(place, kind)


def test_the_command_reads_the_weights_alone_and_runs_no_code_of_the_folder(place, tmp_path):
    folder = model_folder(place, "dlinear")
    planted, before = (Path(shutil.copytree(folder, tmp_path / name)) for name in ("planted", "before"))
    for path in planted.glob("*.py"):
        path.write_text("raise SystemExit('code of the folder was run')\n")
    for path in before.glob("*.py"):  # as folders were before they carried any
        path.unlink()
    config = json.loads((before / "config.json").read_text())
    assert config.pop("auto_map") == {
        "AutoConfig": "modeling_dlinear.DLinearConfig",
        "AutoModel": "modeling_dlinear.DLinearForPrediction",
    }
    (before / "config.json").write_text(json.dumps(config))
    given = ["predict", "forecast", "series.csv", "--json", "--model"]
    expected, *found = (within(*given, path, cwd=place).stdout for path in (folder, planted, before))
    assert found == [expected, expected]


@pytest.mark.slow
def test_an_environment_of_transformers_and_torch_alone(place, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    packages = [f"torch=={pins['torch']}", f"transformers=={pins['transformers']}"]
    install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", *packages]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(install, check=True, env=environment, timeout=1200)
    for kind in KINDS:
        difference = check_against_the_command(place, kind, python)
        print(f"{kind}: largest difference {difference:.2g}")
        alone(CARD, model_folder(place, kind), tmp_path / kind, python=python)
