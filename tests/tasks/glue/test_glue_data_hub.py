"""GLUE and other sets of texts on the Hub, against a small server that answers as the Hub does."""

import io
import threading
from functools import partial
from http.server import ThreadingHTTPServer

import pytest
from test_vqa_hub import SEVERAL, Hub, ask

LOAD = """
import sys
from tasks.errors import ToolError
from tasks.glue.data import Options, load_splits
for name in sys.argv[1:]:
    data, _, task = name.partition("@")
    try:
        splits = load_splits(Options(data or None, task=task or None))
        print(splits.description, list(splits.evaluation), splits.train.label.tolist(), splits.train.second)
    except ToolError as error:
        print(type(error).__name__, error.exit_code, error)
"""
CARD = """---
configs:
- config_name: mnli
  data_files:
  - {split: train, path: mnli/train-*}
  - {split: validation_matched, path: mnli/validation_matched-*}
  - {split: validation_mismatched, path: mnli/validation_mismatched-*}
  - {split: test_matched, path: mnli/test_matched-*}
- config_name: rte
  data_files:
  - {split: train, path: rte/train-*}
---
"""


def parquet(labels, first="premise", second="hypothesis"):
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    rows = [{first: f"p{i}", second: f"h{i}", "label": label, "idx": i} for i, label in enumerate(labels)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(Hub, "files", {
        "nyu-mll/glue": {
            "README.md": CARD.encode(),
            "mnli/train-00000-of-00001.parquet": parquet([2, 0, 1]),
            "mnli/validation_matched-00000-of-00001.parquet": parquet([1, 0]),
            "mnli/validation_mismatched-00000-of-00001.parquet": parquet([1]),
            "mnli/test_matched-00000-of-00001.parquet": parquet([-1]),
            "rte/train-00000-of-00001.parquet": parquet([1, 0], "sentence1", "sentence2"),
        },
        "some/pairs": {"README.md": SEVERAL, "a.parquet": parquet([5, 6]), "b.parquet": parquet([6, 5] * 2)},
    })  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


load = partial(ask, LOAD)


def test_the_hubs_glue_then_from_the_cache(hub, tmp_path):
    wanted = "mnli: 3 + 2 + 1 pairs, 3 classes ['matched', 'mismatched'] [2, 0, 1] ['h0', 'h1', 'h2']"
    names = ("@mnli", "nyu-mll/glue@mnli", "mnli", "nyu-mll/glue", "some/pairs", "some/pairs:b")
    first, second, third, unnamed, several, b = load(*names, home=tmp_path, endpoint=hub)
    assert first == second == third == wanted
    assert unnamed.startswith("ConfigError 2 --data nyu-mll/glue holds GLUE's 10 tasks; say which with --task (cola,")
    assert several.startswith(
        "ConfigError 2 --data some/pairs: it has 2 configurations (a, b); give one as some/pairs:a"
    )
    assert b.startswith("pairs: 2 + 2 pairs, 2 classes, the second held out")
    assert load("@mnli", home=tmp_path, endpoint="http://127.0.0.1:9") == [wanted]
    (offline,) = load("@cola", home=tmp_path, endpoint="http://127.0.0.1:9")
    assert offline.startswith("ToolError 1 can't reach the Hub for the dataset nyu-mll/glue")
