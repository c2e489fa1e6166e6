"""How a ControlNet's conditions and captions are read in use: as asked, as its run or its folder says, else by default."""

import json
from types import SimpleNamespace

import pytest

from recipes.controlnet import provenance
from tasks.errors import DataError


def options(**given):
    return SimpleNamespace(**{"condition_range": None, "long_captions": None, "token": None, **given})


def test_what_is_asked_goes_before_what_the_run_had(tmp_path):
    was = {"condition_range": "500,4500", "long_captions": "chunk"}
    assert provenance.settings(options(), str(tmp_path), was) == was
    given = options(condition_range="file")
    assert provenance.settings(given, str(tmp_path), was) == {**was, "condition_range": "file"}


def test_a_run_from_before_divided_by_257(tmp_path):
    found = provenance.settings(options(), str(tmp_path), {"model": "tiny"})
    assert found == {"condition_range": "0,65535", "long_captions": "cut"}


def test_a_folder_says_what_its_run_noted(tmp_path):
    config = options(condition_range="0.5,4", long_captions="cut")
    provenance.write(tmp_path, config, None)
    assert json.loads((tmp_path / provenance.SETTINGS).read_text()) == {"condition_range": "0.5,4"}
    found = provenance.settings(options(), str(tmp_path), {})
    assert found == {"condition_range": "0.5,4", "long_captions": "cut"}
    (tmp_path / provenance.SETTINGS).write_text("{")
    with pytest.raises(DataError, match=r"conditioning\.json can't be read"):
        provenance.settings(options(), str(tmp_path), {})


def test_defaults_are_not_written(tmp_path):
    provenance.write(tmp_path, options(**provenance.DEFAULTS), None)
    assert not list(tmp_path.iterdir())
    assert provenance.settings(options(), str(tmp_path), {}) == provenance.DEFAULTS
