"""The quick look at a header says what PIL says, or leaves the file to PIL."""

import io

import pytest
from PIL import Image

from tasks.headers import START, quick


def start(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()[:START]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA"])
def test_png(mode):
    image = Image.new("RGB", (40, 30)).convert(mode)
    assert quick(start(image, "PNG", dpi=(72, 72))) == (40, 30, mode, mode == "RGBA", False)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(mode, progressive):
    content = start(Image.new(mode, (40, 30)), "JPEG", progressive=progressive, comment=b"words")
    assert quick(content) == (40, 30, mode, False, False)


def exif():
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


@pytest.mark.parametrize(
    "content",
    [
        start(Image.new("RGB", (40, 30)), "JPEG", exif=exif()),
        start(Image.new("RGB", (40, 30)), "PNG", exif=exif()),
        start(Image.new("P", (40, 30)), "PNG", transparency=0),
        start(Image.new("LA", (40, 30)), "PNG"),
        start(Image.new("I;16", (40, 30)), "PNG"),
        start(Image.new("CMYK", (40, 30)), "JPEG"),
        start(Image.new("RGB", (40, 30)), "WEBP"),
        start(Image.new("RGB", (40, 30)), "PNG")[:30],
        start(Image.new("RGB", (40, 30)), "JPEG")[:100],
        start(Image.new("RGB", (40, 30)), "PNG").replace(b"\x00\x00\x00\x28", b"\x00\x00\x00\x29"),
        b"\xff\xd8",
        b"text",
        b"",
    ],
)
def test_the_rest_is_left_to_pil(content):
    assert quick(content) is None
