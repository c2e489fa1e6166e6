"""Loading from a Hub on a local port, and what is said when it refuses or isn't there."""

import os
import subprocess
import sys

import pytest
from hub_server import answer_with, closed_port, running
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from tasks import hub as reaching
from tasks.errors import ConfigError, DataError, ToolError


@pytest.fixture
def hub(monkeypatch):
    yield from running(monkeypatch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dandelin/vilt-b32-mlm", True),
        ("bert-base-uncased", True),
        ("Qwen/Qwen2.5-VL", True),
        ("./model", False),
        ("/srv/model", False),
        ("~/model", False),
        ("data/train.jsonl", False),
        ("runs/vqa/model", False),
        ("here", False),
    ],
)
def test_what_is_an_id_and_what_a_path(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert reaching.is_hub_id(text) is expected


def test_reachable(hub, monkeypatch):
    assert reaching.reachable()
    assert not reaching.reachable(f"http://127.0.0.1:{closed_port()}")
    assert not reaching.reachable("https://nowhere.invalid")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "")
    assert not reaching.reachable("http://somewhere.example")
    monkeypatch.setenv("http_proxy", hub.url)
    assert reaching.reachable("http://somewhere.example")


LOAD = """
import sys
from tasks.errors import ToolError
from tasks.hub import loading
import {module}
try:
    with loading({what!r}, {flag!r}, repo_type={kind!r}):
        {module}.{load}({what!r})
except ToolError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def load(module, function, what="nobody/nothing", **environment):
    """Loads in a fresh process, as the libraries read the environment when imported; the limit is on 'in seconds'."""
    data = module == "datasets"
    flag, kind = ("--data", "dataset") if data else ("--model", "model")
    code = LOAD.format(module=module, load=function, what=what, flag=flag, kind=kind)
    inherited = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("\n") == 1
    return done.stdout


@pytest.mark.parametrize(
    ("module", "function", "way"),
    [
        ("transformers", "AutoProcessor.from_pretrained", "--model tiny"),
        ("datasets", "load_dataset", "--data sample"),
    ],
)
def test_no_network_and_a_hub_id_fails_in_seconds_naming_the_offline_ways(module, function, way, tmp_path):
    address = f"http://127.0.0.1:{closed_port()}"
    text = load(module, function, HF_ENDPOINT=address, HF_HOME=str(tmp_path))
    for part in ("nobody/nothing", "can't reach the Hub", address, way, "HF_HUB_OFFLINE=1", "HF_HOME"):
        assert part in text
    text = load(module, function, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in text
    assert way in text


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "RepoNotFound", "not on the Hub, or private"),
        (401, "", "doesn't accept the token"),
        (403, "GatedRepo", "ask for access at"),
        (404, "RevisionNotFound", "not that revision"),
        (418, "", "the Hub refused it (418)"),
    ],
)
def test_what_the_hub_refuses_is_told(hub, status, code, said, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub.failures.append(answer_with(status, on="/resolve/", **{"X-Error-Code": code}))
    with pytest.raises(ToolError) as caught, reaching.loading("ada/answers", "--model"):
        hf_hub_download("ada/answers", "config.json", endpoint=hub.url, cache_dir=tmp_path)
    assert str(caught.value).startswith("--model ada/answers: ")
    assert said in str(caught.value)


def test_what_is_in_the_cache_loads_without_network(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.repos["ada/answers"] = {"config.json": b"{}", "model.safetensors": b"weights"}

    def fetch(name):
        with reaching.loading("ada/answers", "--model"):
            return hf_hub_download("ada/answers", name, endpoint=hub.url, cache_dir=tmp_path / "cache")

    first = fetch("config.json")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    seen = len(hub.requests)
    assert fetch("config.json") == first
    with pytest.raises(ToolError, match="isn't whole in the cache"):
        fetch("model.safetensors")
    assert len(hub.requests) == seen
    assert constants.HF_HUB_OFFLINE is False


def test_errors_are_told_by_type_and_cause():
    def told(error, flag="--model"):
        text = str(reaching.load_error(error, "ada/answers", flag))
        assert "\n" not in text
        return text

    def caused(error, cause):
        error.__cause__ = cause
        return error

    lost = LocalEntryNotFoundError("x")
    assert "can't reach the Hub" in told(caused(OSError("We couldn't connect\nto it"), lost))
    assert "can't reach the Hub" in told(TimeoutError())
    assert "no space left" in told(OSError(28, "No space left on device", "/cache/x"))
    assert reaching.load_error(OSError(28, "No space", "/x"), "a", "--model").exit_code == 5
    assert told(ValueError("two\nlines")).endswith("can't be loaded: ValueError: two lines")
    assert told(PermissionError(13, "Permission denied", "/m/config.json")).endswith(
        "Permission denied: /m/config.json"
    )


def test_a_path_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"--model \./nowhere: no such file"),
        reaching.loading("./nowhere", "--model"),
    ):
        pass
    with pytest.raises(DataError, match="--data"), reaching.loading("x.csv", "--data"):
        pass
