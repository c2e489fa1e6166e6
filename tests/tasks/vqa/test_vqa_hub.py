"""Hub datasets, against a small server that answers as the Hub does, in a process of its own."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

import pytest
from PIL import Image

COMMIT = "a" * 40
# Two configurations, as a dataset card names them.
SEVERAL = b"---\nconfigs:\n- {config_name: a, data_files: a.parquet}\n- {config_name: b, data_files: b.parquet}\n---\n"
LOAD = """
import sys
from tasks.errors import ToolError
from tasks.vqa.data import Options, load_splits
for name in sys.argv[1:]:
    try:
        splits = load_splits(Options(name))
        print(splits.description, splits.train.where(1), splits.train.images.load(1).getpixel((0, 0)), splits.train.answers[1])
    except ToolError as error:
        print(type(error).__name__, error.exit_code, error)
"""


def parquet(count):
    import pyarrow
    import pyarrow.parquet

    rows = []
    for i in range(count):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (i * 20, 0, 0)).save(file, "PNG")
        image = {"bytes": file.getvalue(), "path": None}
        rows.append({"image": image, "question": f"q{i}?", "answers": [{"answer": ["yes", "no"][i % 2]}] * 3})
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


class Hub(BaseHTTPRequestHandler):
    """Answers for the repositories in `files`: name -> {path: bytes}."""

    files: dict = {}  # noqa: RUF012

    def log_message(self, *args):
        pass

    def reply(self, status, body, **head):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **head}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer(self):
        posted = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "datasets"] and "/".join(parts[2:4]) in self.files:
            return self.tell("/".join(parts[2:4]), parts[4:], posted)
        if parts[0] == "datasets" and "resolve" in parts:
            at = parts.index("resolve")
            content = self.files.get("/".join(parts[1:at]), {}).get("/".join(parts[at + 2 :]))
            if content is not None:
                return self.reply(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"')
            return self.reply(404, {}, X_Error_Code="EntryNotFound")
        return self.reply(404, {}, X_Error_Code="RepoNotFound")

    do_GET = do_HEAD = do_POST = answer

    def tell(self, repo, rest, posted):
        entries = {
            path: {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in self.files[repo].items()
        }
        folders = {path.rsplit("/", 1)[0] for path in entries if "/" in path}
        entries |= {path: {"type": "directory", "path": path, "oid": "0" * 40} for path in folders}
        if not rest or rest[0] == "revision":
            return self.reply(
                200, {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": path} for path in self.files[repo]]}
            )
        if rest[0] == "tree":
            under = "/".join(rest[2:])
            return self.reply(200, [entry for path, entry in entries.items() if path.rpartition("/")[0] == under])
        wanted = parse_qs(posted.decode()).get("paths") or json.loads(posted)["paths"]
        return self.reply(200, [entry for path, entry in entries.items() if path in wanted])


@pytest.fixture
def hub():
    Hub.files = {
        "some/vqa": {
            "README.md": b"---\n{}\n---\n",
            "data/train-00000-of-00001.parquet": parquet(6),
            "data/validation-00000-of-00001.parquet": parquet(4),
        },
        "some/script": {"script.py": b"import datasets"},
        "some/several": {"README.md": SEVERAL, "a.parquet": parquet(4), "b.parquet": parquet(5)},
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def ask(script, *names, home, endpoint, offline="0"):
    """The lines that a script says of data sets, in a process that knows the small server as the Hub."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": offline}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    run = subprocess.run(
        [sys.executable, "-c", script, *names], env=environment, cwd=home, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert "Retry" not in run.stderr
    return run.stdout.splitlines()


load = partial(ask, LOAD)


def test_loaded_once_then_from_the_cache(hub, tmp_path):
    wanted = "some/vqa: 6 + 4 questions on 10 images some/vqa (train), row 2 (20, 0, 0) ['no', 'no', 'no']"
    assert load("some/vqa", home=tmp_path, endpoint=hub) == [wanted]
    assert load("some/vqa", home=tmp_path, endpoint="http://127.0.0.1:9") == [wanted]
    assert load("some/vqa", home=tmp_path, endpoint=hub, offline="1") == [wanted]


def test_one_of_several_configurations(hub, tmp_path):
    several, b = load("some/several", "some/several:b", home=tmp_path, endpoint=hub)
    assert several.startswith(
        "ConfigError 2 --data some/several: it has 2 configurations (a, b); give one as some/several:a"
    )
    assert b.startswith("some/several: 4 + 1 questions on 5 images, the second held out")
    assert load("some/several:b", home=tmp_path, endpoint="http://127.0.0.1:9") == [b]


def test_what_the_hub_refuses(hub, tmp_path):
    script, none = load("some/script", "some/none", home=tmp_path, endpoint=hub)
    assert script.startswith("DataError 3 some/script: needs a loading script (script.py)")
    assert none.startswith("DataError 3 no dataset some/none on the Hub")


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_network(tmp_path, offline):
    (line,) = load("some/vqa", home=tmp_path, endpoint="http://127.0.0.1:9", offline=offline)
    assert line.startswith("ToolError 1 can't reach the Hub for the dataset some/vqa")
    assert "--data sample" in line
    assert "HF_HUB_OFFLINE=1" in line
