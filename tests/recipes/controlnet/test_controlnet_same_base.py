"""A run goes on with the base it began with: `tiny` is another model with other versions of the libraries that make it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from recipes.controlnet.config import Train
from recipes.controlnet.train import require_base_of
from recipes.runs.folder import Run
from tasks.errors import ConfigError

BEGAN, OTHER = "controlnet-1-seed0-torch2.12.0-diffusers0.42.1", "controlnet-1-seed0-torch2.13.0-diffusers0.42.1"


@pytest.fixture
def check(tmp_path):
    run = Run(tmp_path)
    run.update(state="running")

    def call(name, *, main=True, **options):
        session = SimpleNamespace(run=run, accelerator=SimpleNamespace(is_main_process=main))
        require_base_of(session, Train(**{"model": "tiny", **options}), SimpleNamespace(folder=Path("cache") / name))
        return run.status()

    return call


def test_the_same_base_goes_on(check):
    assert check(BEGAN) == {**check(BEGAN), "base": BEGAN, "state": "running"}


@pytest.mark.parametrize("main", [True, False])
def test_another_tiny_is_refused_on_every_process(check, tmp_path, main):
    check(BEGAN)
    with pytest.raises(ConfigError) as error:
        check(OTHER, main=main)
    assert str(error.value) == (
        f"--model tiny: {tmp_path} began on {BEGAN}, here it is {OTHER}; go on with those versions, or start anew with --fresh"
    )


def test_other_bases_and_dry_runs_note_nothing(check):
    assert "base" not in check(BEGAN, main=False)
    assert "base" not in check(BEGAN, model="some/base")
    assert "base" not in check(BEGAN, dry_run=True)
