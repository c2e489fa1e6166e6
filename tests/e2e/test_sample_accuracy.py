"""`--model tiny --data sample` with the defaults learns: its figure clears what needs no model. `make test-slow` runs it."""

import json

import pytest
from running import tool


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["glue", "forecast"])
def test_the_sample_is_learnt(recipe, tmp_path):
    done = tool("train", recipe, "--model", "tiny", "--data", "sample", "--json", cwd=tmp_path, seconds=1500)
    verdict = json.loads(done.stdout)["verdict"]
    assert verdict["clears"], verdict["line"]
