"""`tool train controlnet` on an untrained little Stable Diffusion: its losses are diffusers' own, whatever is cached or saved."""

import controlnets
import numpy as np
import pytest
from PIL import Image
from running import losses, metrics, only_run, tool, weights, within

from tasks.controlnet.batches import PairBatches, Shapes
from tasks.controlnet.data import Options, load_splits

RATE = 1e-3
LITTLE = ("--resolution", controlnets.RESOLUTION, "--batch-size", 4, "--learning-rate", RATE, "--log-steps", 1)
BARE = (*LITTLE, "--num-validation-images", 0, "--eval-batch-size", 8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two bases and a set of pairs."""
    folder = tmp_path_factory.mktemp("controlnet")
    controlnets.base(folder / "base")
    controlnets.base(folder / "velocity", prediction_type="v_prediction")
    controlnets.pairs(folder / "data")
    return folder


def train(place, tmp_path, *options, model="base", code=0, config=BARE):
    given = ("--model", place / model, "--data", place / "data", "--cache-dir", tmp_path / "cache")
    return within("train", "controlnet", *given, *config, *options, cwd=tmp_path, code=code)


@pytest.mark.parametrize("model", ["base", pytest.param("velocity", marks=pytest.mark.slow)])
def test_the_first_losses_are_those_of_diffusers_own_parts(place, tmp_path, model):
    train(place, tmp_path, "--cache", "none", "--max-steps", 20, "--lr-scheduler", "constant", model=model)
    splits = load_splits(Options(str(place / "data"), resolution=controlnets.RESOLUTION))
    examples = PairBatches(splits.train, Shapes(controlnets.RESOLUTION, factor=4), seed=0)
    expected = controlnets.reference_losses(place / model, examples, 20, 4, RATE)
    found = losses(only_run(tmp_path))
    assert len(found) == 20
    assert found == pytest.approx(expected, rel=1e-5)
    assert expected[0] != pytest.approx(expected[-1], rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        ("--cache", "disk"),
        pytest.param(("--cache", "ram"), marks=pytest.mark.slow),
        ("--cache", "none", "--gradient-checkpointing"),
        pytest.param(("--cache", "none", "--no-channels-last"), marks=pytest.mark.slow),
        pytest.param(("--cache", "none", "--gradient-accumulation-steps", 2), marks=pytest.mark.slow),
    ],
    ids=lambda given: " ".join(map(str, given)),
)
def test_nothing_that_saves_time_or_memory_changes_the_losses(place, tmp_path, reference, options):
    train(place, tmp_path, "--max-steps", 20, *options)
    assert losses(only_run(tmp_path)) == pytest.approx(losses(reference), rel=1e-5)
    ours, other = (metrics(run, "validation")[-1] for run in (only_run(tmp_path), reference))
    assert ours["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert ours["shuffled"] == pytest.approx(other["shuffled"], rel=1e-4)


@pytest.fixture(scope="module")
def reference(place, tmp_path_factory):
    """A run with nothing cached and nothing saved."""
    folder = tmp_path_factory.mktemp("reference")
    train(place, folder, "--cache", "none", "--max-steps", 20)
    return only_run(folder)


@pytest.mark.slow
def test_two_processes_share_caches_steps_and_pictures(place, tmp_path):
    """The same losses, net and drawn pictures as of one process, which finds all in the cache that two have filled."""
    options = (*LITTLE, "--max-steps", 6, "--eval-batch-size", 8, "--num-validation-images", 2)
    given = ("--model", place / "base", "--data", place / "data", "--cache-dir", tmp_path / "cache", *options)
    two, one = (tmp_path / name for name in ("two", "one"))
    for folder in (two, one):
        folder.mkdir()
    steps = ("--validation-inference-steps", 4)
    done = tool("train", "controlnet", *given, *steps, "--num-processes", 2, cwd=two)
    assert "cache     32 pictures to encode · " in done.stderr
    done = within("train", "controlnet", *given, *steps, cwd=one)
    assert "cache     32 of 32 pictures reused · " in done.stderr
    ours, other = only_run(two), only_run(one)
    assert len(losses(ours)) == 6
    assert losses(ours) == pytest.approx(losses(other), rel=1e-5)
    found = [metrics(run, "validation")[-1] for run in (ours, other)]
    assert found[0]["n"] == found[1]["n"] == 8
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-5)
    expected = weights(other)
    for name, tensor in weights(ours).items():
        assert np.abs(tensor - expected[name]).max() < 1e-4, name
    grids = [sorted((run / "validation").glob("*.png")) for run in (ours, other)]
    assert [path.name for path in grids[0]] == [path.name for path in grids[1]] == ["step-000006.png"]
    pictures = [np.asarray(Image.open(paths[0]), int) for paths in grids]
    assert pictures[0].shape == pictures[1].shape
    assert np.abs(pictures[0] - pictures[1]).max() <= 2
