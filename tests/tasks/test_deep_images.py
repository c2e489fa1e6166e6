"""Pictures of more than eight bits: which values become black and white."""

import io

import numpy as np
import pytest
from PIL import Image

from tasks.deep_images import as_grey, open_array, own_range
from tasks.images import FileImages, to_rgb


def greys(values, value_range=None):
    return np.asarray(as_grey(Image.fromarray(values), value_range))[0].tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.uint16([[0, 1024, 2048, 4095]]), [0, 64, 128, 255]),  # 12 bits in a 16-bit file
        (np.uint16([[500, 1500, 2500]]), [0, 128, 255]),  # depth in millimetres
        (np.uint16([[0, 257, 32896, 65535]]), [0, 1, 128, 255]),  # true 16 bits
        (np.uint16([[0, 257, 40000, 40001]]), [0, 1, 156, 156]),  # the same, not stretched for want of white
        (np.uint16([[3, 100, 255]]), [3, 100, 255]),  # 8 bits in a 16-bit file
        (np.float32([[0.5, 2.5, 4.5]]), [0, 128, 255]),  # depth in metres
        (np.float32([[np.nan, 0.25, 1.0]]), [0, 64, 255]),
        (np.float32([[np.inf, 2.0, 4.0]]), [0, 0, 255]),
        (np.int32([[0, 1, 1]]), [0, 255, 255]),
        (np.uint16([[1000, 1000]]), [0, 0]),
        (np.float32([[np.nan, np.nan]]), [0, 0]),
    ],
)
def test_a_picture_by_its_own_range(values, expected):
    assert greys(values) == expected


def test_a_range_that_is_given_holds_for_every_picture_and_cuts_beyond():
    assert greys(np.uint16([[0, 500, 1500, 2500, 9000]]), (500, 2500)) == [0, 0, 128, 255, 255]
    assert greys(np.uint16([[500, 1500, 2500]]), (2500, 500)) == [255, 128, 0]  # near is bright
    assert greys(np.float32([[np.nan, 1.0, 2.0]]), (0, 2)) == [0, 128, 255]


def test_all_sixteen_bits_are_what_a_division_by_257_gives():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert own_range(0, 65535) == (0, 65535)
    assert np.array_equal(np.asarray(as_grey(Image.fromarray(values))), np.rint(values / 257.0))


@pytest.mark.parametrize("ending", ["png", "tif", "npy"])
def test_files_of_twelve_bits_show_their_whole_range(tmp_path, ending):
    values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    store = FileImages([str(path)])
    assert store.problem(0, decode=True) is None
    shown = np.asarray(store.load(0))[..., 0]
    assert np.array_equal(shown, np.rint(values * (255 / 4095)))
    store.value_range = (0.0, 8190.0)
    assert np.asarray(store.load(0)).max() == 128


def test_floats_in_a_tiff_file(tmp_path):
    Image.fromarray(np.float32([[0.25, 1.25, 2.25]])).save(tmp_path / "depth.tif")
    assert np.asarray(FileImages([str(tmp_path / "depth.tif")]).load(0))[0, :, 0].tolist() == [0, 128, 255]


def test_arrays_as_pictures():
    def opened(values):
        file = io.BytesIO()
        np.save(file, values)
        file.seek(0)
        return open_array(file)

    assert np.asarray(to_rgb(opened(np.zeros((4, 6, 3), np.uint8)))).shape == (4, 6, 3)
    assert opened(np.zeros((1, 4, 6), np.float64)).size == opened(np.zeros((4, 6, 1), np.uint16)).size == (6, 4)
    with pytest.raises(ValueError, match="is no picture"):
        opened(np.zeros((4, 6, 5), np.float32))
    with pytest.raises(ValueError, match="pickle"):
        opened(np.array([{}]))


def test_a_broken_array_is_told_as_any_picture_is(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"nothing")
    assert "broken image" in FileImages([str(tmp_path / "a.npy")]).problem(0)
