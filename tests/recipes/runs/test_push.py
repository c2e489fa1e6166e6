"""Pushing to a Hub on a local port, and failing to."""

import pytest
from hub_server import answer_with, closed_port, hang_up, running
from huggingface_hub import constants

from recipes.runs import push as pushing
from tasks.errors import ConfigError, ToolError

WEIGHTS = bytes(range(256)) * 1200


@pytest.fixture
def hub(monkeypatch):
    yield from running(monkeypatch)


@pytest.fixture
def model(tmp_path):
    """A run's model folder with a card, a configuration, weights and a subfolder."""
    folder = tmp_path / "run" / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n", encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "vilt"}\n')
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / ".config.json.x1.part").write_text("half")
    return folder


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def uploaded(folder):
    return {name: data for name, data in contents(folder).items() if not name.endswith(".part")}


def test_push_uploads_every_file_in_one_commit(hub, model):
    url = pushing.push(model, "ada/answers", private=True, message="VQA model")
    assert url == f"{hub.url}/ada/answers"
    assert hub.repos["ada/answers"] == uploaded(model)
    assert hub.private["ada/answers"] is True
    assert hub.commits == [{"repo": "ada/answers", "revision": "main", "title": "VQA model"}]


def test_push_without_namespace_goes_to_the_tokens_account_and_is_public(hub, model):
    assert pushing.push(model, "answers") == f"{hub.url}/ada/answers"
    assert hub.private == {"ada/answers": False}


def test_push_to_a_branch(hub, model):
    pushing.push(model, "ada/answers", revision="epoch-3")
    assert hub.branches == ["epoch-3"]
    assert hub.commits[0]["revision"] == "epoch-3"


def test_second_push_sends_only_what_changed(hub, model):
    pushing.push(model, "ada/answers")
    pushing.push(model, "ada/answers")
    assert len(hub.commits) == 1
    (model / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    pushing.push(model, "ada/answers")
    assert len(hub.commits) == 2
    assert hub.repos["ada/answers"] == uploaded(model)
    assert [r for r in hub.requests if r[0] == "PUT"] == [("PUT", next(p for _, p in hub.requests if "/lfs/" in p[:5]))]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (answer_with(403, on="/api/repos/create"), "403"),
        (answer_with(403, on="/preupload/"), "as the test wants it"),
        (answer_with(404, on="/lfs/objects/batch"), "404"),
        (answer_with(403, on="/lfs/", times=2), "403"),
        (answer_with(500, on="/commit/"), "trouble of its own (500)"),
        (hang_up(on="/commit/"), "broke off"),
    ],
)
def test_a_failed_push_says_why_and_how_to_repeat_it_and_can_be_repeated(hub, model, failure, said):
    before = contents(model)
    hub.failures.append(failure)
    with pytest.raises(ToolError) as caught:
        pushing.push(model, "ada/answers", private=True, revision="main")
    text = str(caught.value)
    assert said in text
    assert f"tool runs push {model.parent} --to ada/answers --private --revision main" in text
    assert "\n" not in text
    assert hub.token not in text
    assert caught.value.exit_code == 1
    assert contents(model) == before
    assert not hub.commits
    assert not hub.repos.get("ada/answers")

    hub.failures.clear()
    pushing.push(model, "ada/answers", private=True, revision="main")
    assert hub.repos["ada/answers"] == uploaded(model)


def test_a_passing_trouble_of_the_storage_is_outlived(hub, model):
    hub.failures.append(answer_with(503, on="/lfs/", times=2))  # the batch request, then the upload
    pushing.push(model, "ada/answers")
    assert hub.repos["ada/answers"] == uploaded(model)


def test_private_is_refused_where_the_repository_is_public(hub, model):
    pushing.push(model, "ada/answers")
    (model / "README.md").write_text("secret", encoding="utf-8")
    with pytest.raises(ToolError, match="public"):
        pushing.push(model, "ada/answers", private=True)
    assert hub.repos["ada/answers"]["README.md"] != b"secret"


def test_only_a_finished_model_is_pushed(hub, model, tmp_path):
    (model / "README.md").unlink()
    with pytest.raises(ToolError, match=r"README\.md"):
        pushing.push(model, "ada/answers")
    with pytest.raises(ToolError, match="no such model folder"):
        pushing.push(tmp_path / "nowhere", "ada/answers")
    assert not hub.requests


@pytest.mark.parametrize("name", ["a/b/c", "-x", "a--b", "x.git", "with space", "ä/b", ""])
def test_a_malformed_id_is_a_usage_error(name):
    for act in (lambda: pushing.check(name), lambda: pushing.push("model", name)):
        with pytest.raises(ConfigError, match="--push-to-hub"):
            act()


def test_check_returns_the_full_id(hub):
    assert pushing.check("answers") == "ada/answers"
    assert pushing.check("Lab/answers") == "Lab/answers"
    assert {method for method, _ in hub.requests} == {"GET"}


def test_check_tells_what_is_missing(hub, monkeypatch):
    def told(name="ada/answers", **arguments):
        with pytest.raises(ToolError) as caught:
            pushing.check(name, **arguments)
        text = str(caught.value)
        assert text.startswith(f"--push-to-hub {name}: ")
        assert "tool runs push RUN --to" in text
        assert "\n" not in text
        return text

    assert "not for someone" in told("someone/answers")
    wrong = told(token="hf_wrong")
    assert "doesn't accept the token" in wrong
    assert "hf_wrong" not in wrong
    broken = told(token="hf_a\nb")
    assert "copy it anew" in broken
    assert "hf_a" not in broken
    hub.role = "read"
    assert "may only read" in told()
    hub.role = "fineGrained"  # only the push itself can tell
    assert pushing.check("someone/answers") == "someone/answers"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in told()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert "can't reach the Hub" in told()
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
    assert "no access token" in told()


def test_push_without_network_leaves_the_folder_and_names_the_command(hub, model, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(ToolError, match=r"can't reach the Hub .*tool runs push runs/vqa-1 --to ada/answers$"):
        pushing.push(model, "ada/answers", run="runs/vqa-1")
