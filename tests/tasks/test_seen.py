"""Tests of the record of what training saw."""

import numpy as np
import pytest
from PIL import Image

from tasks import seen
from tasks.copies import picture_digests
from tasks.errors import DataError
from tasks.images import FileImages


def test_examples_are_known_again_by_content(tmp_path):
    trained = seen.content_digests(["a", "b", "c"], [b"1", b"2", b"3"])
    seen.write(tmp_path, seen.Seen({"rows": trained}))
    record = seen.read(None, tmp_path / "nowhere", tmp_path)
    again = seen.content_digests(["c", "c", "a"], ["3", "4", "1"])
    assert record.mask("rows", again).tolist() == [True, False, True]
    assert record.mask("pictures", again) is None
    # What is cut in another place is another example.
    assert seen.content_digests(["ab"], ["c"]) != seen.content_digests(["a"], ["bc"])


def test_a_folder_without_a_record(tmp_path):
    assert seen.read(tmp_path) is None


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / seen.FILE).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match=str(tmp_path / seen.FILE)):
        seen.read(tmp_path)


def test_kinds_are_added():
    record = seen.Seen({"a": np.array([3, 1], np.uint64)}).with_kind("a", np.array([2], np.uint64))
    assert record.kinds["a"].tolist() == [1, 2, 3]


def test_pictures_are_known_by_their_files(tmp_path):
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        Image.new("RGB", (4, 4), color).save(tmp_path / f"{name}.png")
    store = FileImages([str(tmp_path / f"{name}.png") for name in ("a", "b", "c", "missing")])
    digests = picture_digests(store, np.array([0, 1, 2, 3]))
    assert digests.dtype == np.uint64
    assert digests[0] == digests[2]
    assert len(set(digests.tolist())) == 3
    assert len(picture_digests(store, np.array([], np.int64))) == 0
