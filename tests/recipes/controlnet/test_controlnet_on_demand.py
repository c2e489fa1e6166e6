"""Moments and hidden states of a dry run: made when asked for, once each."""

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import random_base

from recipes.controlnet.on_demand import OnDemand
from tasks.controlnet.cache.encoded import Picture
from tasks.controlnet.cache.encoding import encode_pixels
from tasks.controlnet.geometry import Frame, view
from tasks.controlnet.models import pretrained
from tasks.controlnet.pairs import Pairs
from tasks.images import FileImages


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pretrained.open_base(str(random_base(tmp_path_factory.mktemp("base") / "base")))


def pairs_of(folder, grey):
    """A split of two pictures."""
    paths = [str(folder / f"{grey}-{i}.png") for i in range(2)]
    for i, path in enumerate(paths):
        Image.new("RGB", (32, 32), (grey, 100 * i, 0)).save(path)
    images = FileImages(paths)
    return Pairs(images, images, [["a circle"]] * 2, np.arange(2), "two")


@pytest.mark.filterwarnings("error::UserWarning")
def test_each_picture_of_each_split_is_encoded_once(base, tmp_path, monkeypatch):
    encoded = []

    def counted(vae, pixels):
        encoded.append(pixels)
        return encode_pixels(vae, pixels)

    monkeypatch.setattr("recipes.controlnet.on_demand.encode_pixels", counted)
    vae = pretrained.load_vae(base)
    made = OnDemand(vae, pretrained.load_text_encoder(base), pretrained.load_tokenizer(base), pictures=8, captions=1)
    seen = view((32, 32), Frame(32, 32))
    wanted = [Picture(pairs, i, seen) for pairs in (pairs_of(tmp_path, 0), pairs_of(tmp_path, 200)) for i in range(2)]
    for _ in range(2):  # the same row of another split is another picture
        for picture in wanted:
            mean, std = made.moments(*picture)
            pixels = torch.from_numpy(np.asarray(picture.pairs.images.load(picture.number)).copy())
            expected = encode_pixels(vae, pixels.permute(2, 0, 1)[None])
            assert torch.equal(mean, expected[0][0])
            assert torch.equal(std, expected[1][0])
    assert len(encoded) == 4
    assert made.hidden("a circle").shape == (base.text_length, base.hidden_size)
    assert made.seconds() > 2 * made._seconds[0] - 1e-9  # four of eight pictures so far, and all captions
