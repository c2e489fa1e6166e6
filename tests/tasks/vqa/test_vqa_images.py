"""Every kind of image file to RGB, its size from the header, and the same pixels as the library's processor."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.errors import DataError
from tasks.images import FileImages, to_rgb, upright_size
from tasks.vqa.batches import ImageFormat

WHITE = (255, 255, 255)


def picture(width=40, height=30, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(image, tmp_path, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return FileImages([str(path)])


def rgb(image):
    return np.asarray(image).astype(int)


def test_black_and_white():
    image = Image.new("1", (4, 2))
    image.putpixel((1, 0), 1)
    assert to_rgb(image).getpixel((1, 0)) == WHITE
    assert to_rgb(image).getpixel((0, 0)) == (0, 0, 0)


def test_grey():
    assert to_rgb(Image.new("L", (4, 2), 77)).getpixel((0, 0)) == (77, 77, 77)


@pytest.mark.parametrize(
    ("mode", "opaque", "clear"), [("LA", (50, 255), (50, 0)), ("RGBA", (50, 50, 50, 255), (9, 9, 9, 0))]
)
def test_alpha_goes_over_white(mode, opaque, clear):
    image = Image.new(mode, (2, 1), opaque)
    image.putpixel((1, 0), clear)
    assert to_rgb(image).getpixel((0, 0)) == (50, 50, 50)
    assert to_rgb(image).getpixel((1, 0)) == WHITE


def test_half_alpha_is_blended():
    assert to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)


def test_palette():
    image = picture().convert("P")
    assert (rgb(to_rgb(image)) == rgb(image.convert("RGB"))).all()


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    store = saved(image, tmp_path, "p.png", transparency=1)
    assert store.load(0).getpixel((0, 0)) == (10, 20, 30)
    assert store.load(0).getpixel((1, 0)) == WHITE


def test_rgb_with_a_transparent_colour(tmp_path):
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    assert saved(image, tmp_path, "t.png", transparency=(9, 9, 9)).load(0).getpixel((1, 0)) == WHITE


def test_cmyk(tmp_path):
    store = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path, "c.jpg", quality=95)
    red, green, blue = store.load(0).getpixel((8, 8))
    assert red > 240
    assert green < 20
    assert blue < 20


def test_sixteen_bits_are_scaled(tmp_path):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    store = saved(Image.fromarray(values), tmp_path, "deep.png")
    with Image.open(store.paths[0]) as image:
        assert image.mode.startswith("I;16")
    assert rgb(store.load(0))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_thirty_two_bits():
    assert rgb(to_rgb(Image.fromarray(np.array([[0, 100, 255]], np.int32))))[0, :, 1].tolist() == [0, 100, 255]
    assert rgb(to_rgb(Image.fromarray(np.array([[0, 65535]], np.int32))))[0, :, 1].tolist() == [0, 255]
    assert rgb(to_rgb(Image.fromarray(np.array([[-10, 0, 10]], np.int32))))[0, :, 1].tolist() == [0, 128, 255]
    assert rgb(to_rgb(Image.fromarray(np.array([[10**6, 10**6]], np.int32))))[0, :, 1].tolist() == [0, 0]


def test_floats():
    assert rgb(to_rgb(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))))[0, :, 0].tolist() == [0, 128, 255]
    assert rgb(to_rgb(Image.fromarray(np.array([[0.0, np.nan, 200.0]], np.float32))))[0, :, 0].tolist() == [0, 0, 200]
    assert rgb(to_rgb(Image.fromarray(np.array([[-1.0, 1.0]], np.float32))))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif"])
def test_exif_orientation(tmp_path, turn, name):
    from PIL import ImageOps

    image = Image.new("RGB", (32, 16), (250, 0, 0))
    image.paste((0, 0, 250), (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = turn
    store = saved(image, tmp_path, name, exif=exif)
    with Image.open(store.paths[0]) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert store.load(0).size == expected.size == store.size(0)
    assert (rgb(store.load(0)) == rgb(expected)).all()


def test_size_needs_the_header_only(tmp_path):
    file = io.BytesIO()
    picture(200, 100).save(file, "PNG")
    path = tmp_path / "cut.png"
    path.write_bytes(file.getvalue()[:200])
    store = FileImages([str(path)])
    assert store.size(0) == (200, 100)
    assert store.problem(0) is None
    assert store.problem(0, decode=True) is not None
    with pytest.raises(DataError, match=r"cut\.png: broken image \(.*--skip-bad"):
        store.load(0)


def test_png_size_is_read_without_decoding(tmp_path):
    store = saved(picture(), tmp_path, "a.png")
    with store.open(0) as image:
        assert upright_size(image) == (40, 30)
        assert image._im is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such image file"),
        (lambda path: path.mkdir(), "is a folder, not an image file"),
        (lambda path: path.write_text("hello"), "is not an image file, whatever its name says"),
        (lambda path: path.write_bytes(b""), "is not an image file, whatever its name says"),
    ],
)
def test_unusable_files_are_named(tmp_path, make, message):
    path = tmp_path / "x.jpg"
    make(path)
    store = FileImages([str(path)])
    for action in (store.load, store.size):
        with pytest.raises(DataError) as caught:
            action(0)
        assert f"{path}: {message}" in str(caught.value)
    assert store.problems([0]) == {0: message}


def test_forbidden_file_is_named(tmp_path, monkeypatch):
    store = saved(picture(), tmp_path, "a.png")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert store.problem(0) == "the image file may not be read (permission denied)"


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    store = saved(picture(100, 100), tmp_path, "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="too large for an image"):
        store.load(0)


def test_problems_of_many_come_in_order(tmp_path):
    picture().save(tmp_path / "good.png")
    paths = [str(tmp_path / ("good.png" if i % 3 else f"{i}.png")) for i in range(1000)]
    assert list(FileImages(paths).problems(range(1000))) == list(range(0, 1000, 3))


def image_format(**options):
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    processor = ViltImageProcessorPil(**options)
    return processor, ImageFormat.of(SimpleNamespace(image_processor=processor))


def pixels(image, settings):
    """A picture as the batches and the model make it float32 [3, height, width]."""
    return settings.normalise(torch.from_numpy(settings.resized(image))[None])[0].numpy()


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (333, 500), (64, 64), (1000, 300), (384, 384), (20, 30)])
@pytest.mark.parametrize(("shortest", "divisor"), [(384, 32), (64, 8)])
def test_pixels_equal_the_library(size, shortest, divisor):
    image = picture(*size)
    processor, settings = image_format(size={"shortest_edge": shortest}, size_divisor=divisor)
    to = settings.target(size)
    got = pixels(image, settings)
    expected = processor(image, return_tensors="np")["pixel_values"][0]
    assert got.dtype == np.float32
    assert got.shape == expected.shape == (3, to[1], to[0])
    assert np.abs(got - expected).max() < 1e-6


def test_pixels_with_other_constants():
    processor, settings = image_format(image_mean=[0.48, 0.45, 0.41], image_std=[0.27, 0.26, 0.28])
    expected = processor(picture(), return_tensors="np")["pixel_values"][0]
    assert np.abs(pixels(picture(), settings) - expected).max() < 1e-6


def test_extreme_shapes_keep_a_patch():
    _, settings = image_format()
    assert settings.target((3000, 20)) == (608, 32)
    assert settings.target((20, 3000)) == (32, 608)
    assert image_format(size={"shortest_edge": 64}, size_divisor=8)[1].target((1, 1)) == (64, 64)
    assert pixels(picture(3000, 20), settings).shape == (3, 32, 608)
