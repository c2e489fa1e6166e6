"""Reads the folders that W&B leaves in a run folder, apart from how the project does."""

import json

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7


def offline_folders(run):
    return sorted(path for path in (run / "wandb").glob("offline-run-*") if path.is_dir())


def records(folder):
    """The records of a folder's only .wandb file."""
    (file,) = folder.glob("*.wandb")
    data = file.read_bytes()
    assert data[:4] == b":W&B"
    found, pieces = [], []
    for begin in range(0, len(data), BLOCK):
        block = data[begin : begin + BLOCK]
        at = HEADER if begin == 0 else 0
        while at + HEADER <= len(block):
            length = int.from_bytes(block[at + 4 : at + 6], "little")
            kind = block[at + 6]
            if kind == 0:
                break
            pieces.append(block[at + HEADER : at + HEADER + length])
            at += HEADER + length
            if kind in (1, 4):
                found.append(Record.FromString(b"".join(pieces)))
                pieces = []
    assert not pieces
    return found


def rows(folder):
    """The history: a dict a step, `_step` among its keys, in the order of the file."""
    found = []
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            assert items["_step"] == record.history.step.num
            found.append(items)
    return found


def run_ids(folder):
    return {record.run.run_id for record in records(folder) if record.WhichOneof("record_type") == "run"}


def expected_rows(run):
    """What metrics.jsonl says that the rows must be: a step's lines joined, without W&B's own keys."""
    found = {}
    for text in (run / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        row = found.setdefault(line["step"], {"_step": line["step"]})
        row |= {f"{line['kind']}/{key}": value for key, value in line.items() if key not in ("step", "kind")}
    return list(found.values())


def plain(found):
    """Rows without the times that W&B adds."""
    return [{key: value for key, value in row.items() if key not in ("_timestamp", "_runtime")} for row in found]
