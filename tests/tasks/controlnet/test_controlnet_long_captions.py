"""Captions beyond the text encoder's tokens: how many are cut and become equal, and taking them in pieces."""

import dataclasses

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from untrained import random_base

from recipes.controlnet import caching
from recipes.controlnet.step import Frozen
from tasks.controlnet import caption_lengths
from tasks.controlnet.batches import PairBatches, Shapes
from tasks.controlnet.cache.encoded import pictures_of
from tasks.controlnet.cache.encoding import CHUNK, CUT, NO_PIECE, encode_captions, encode_prompts, pieces, tokenize
from tasks.controlnet.caption_lengths import CutCaptions
from tasks.controlnet.drawing.generation import of_one_length
from tasks.controlnet.models import pretrained
from tasks.controlnet.models.diffusion import Diffusion, predict
from tasks.controlnet.sample import sample
from tasks.controlnet.tiny import pipeline

LONG = "burly wood circle with orange background " * 5  # 30 tokens, of which 14 fit
SHORT = ["a circle", "", "burly wood circle with orange background"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pretrained.open_base(str(random_base(tmp_path_factory.mktemp("base") / "base")))


@pytest.fixture(scope="module")
def tokenizer(base):
    return pretrained.load_tokenizer(base)


@pytest.fixture(scope="module")
def encoder(base):
    return pretrained.load_text_encoder(base)


def test_what_is_cut_and_becomes_equal_is_counted(tokenizer):
    start = "burly wood circle with orange background a circle with orange background a circle"  # 13 tokens
    texts = ["a circle", f"{start} a", f"{start} a a", f"{start} a wood", f"{start} wood wood", f"{start} a"]
    # The second and the last fit: 14 tokens. The third and the fourth become as they are.
    assert caption_lengths.cut_by(tokenizer, texts) == CutCaptions(16, cut=3, alike=4, total=6)
    said = caption_lengths.line(caption_lengths.cut_by(tokenizer, texts))
    assert said.startswith("3 of 6 captions lose words to the text encoder's 16 tokens, and 4 become equal by it; ")
    assert caption_lengths.line(caption_lengths.cut_by(tokenizer, texts[:2])) == ""


def test_without_a_tokenizer_words_are_counted_of_which_none_is_less_than_a_token():
    words, parts = "word " * 75, "it's 3 "  # it, 's and 3, as CLIP parts them
    texts = [words, f"{words} blue", f"{words} red", parts * 25, parts * 26]
    assert caption_lengths.cut_by_words(texts) == CutCaptions(77, cut=3, alike=5, total=5, at_least=True)
    assert caption_lengths.line(caption_lengths.cut_by_words(texts)).startswith("at least 3 of 5 captions lose words")


def test_short_captions_are_what_they_are_without_to_the_bit(tokenizer, encoder):
    assert torch.equal(tokenize(tokenizer, SHORT, CHUNK), tokenize(tokenizer, SHORT))
    ids = tokenize(tokenizer, [*SHORT, LONG], CHUNK)
    assert ids.shape == (4, 3, 16)
    for row, text in zip(ids, SHORT, strict=False):
        assert torch.equal(row[0], tokenize(tokenizer, [text])[0])
        assert (row[1:] == NO_PIECE).all()
    cut, whole = (encode_captions(encoder, tokenizer, SHORT, way) for way in (CUT, CHUNK))
    assert all(torch.equal(one, other) for one, other in zip(cut, whole, strict=True))


def test_a_long_caption_is_its_pieces_encoded_one_by_one(tokenizer, encoder):
    words = LONG.split()
    parts = [" ".join(words[start : start + 14]) for start in (0, 14, 28)]
    apart = torch.cat([encode_prompts(encoder, tokenize(tokenizer, [part]))[0] for part in parts])
    assert pieces(tokenizer, [LONG, "a circle", ""]) == [3, 1, 1]
    (joined,) = encode_captions(encoder, tokenizer, [LONG], CHUNK)
    assert joined.shape == (48, 16)
    torch.testing.assert_close(joined, apart, rtol=1e-5, atol=1e-6)


def test_a_cache_keeps_cut_and_whole_captions_apart(tmp_path, base, tokenizer, encoder):
    def fill(way):
        return caching.fill(tmp_path, base, [], [*SHORT, LONG], Accelerator(cpu=True), batch_size=2, long_captions=way)

    cut, whole, again = fill(CUT), fill(CHUNK), fill(CUT)
    assert cut.hidden(LONG).shape == again.hidden(LONG).shape == (16, 16)
    torch.testing.assert_close(
        whole.hidden(LONG), encode_captions(encoder, tokenizer, [LONG], CHUNK)[0], rtol=1e-5, atol=1e-6
    )
    assert all(torch.equal(cut.hidden(text), whole.hidden(text)) for text in SHORT)
    assert torch.equal(cut.hidden(LONG), again.hidden(LONG))


def nets(base):
    unet = pretrained.load_unet(base)
    controlnet = pretrained.new_controlnet(base, unet)
    for block in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        torch.nn.init.normal_(block.weight, std=0.5)
    return unet, controlnet.train()


def batches_of(tokenizer, way=CHUNK):
    pairs = sample.read("train", 0, 6, 2, size=32).pairs
    captions = [[text] for text in (*SHORT, LONG, "a " * 20, "circle " * 30)]
    pairs = dataclasses.replace(pairs, captions=captions)
    return PairBatches(pairs, Shapes(32), 0, tokenize=lambda texts: tokenize(tokenizer, texts, way))


def test_a_batch_of_unlike_lengths_is_what_each_caption_meets_alone(base, tokenizer, encoder):
    batches, (unet, controlnet) = batches_of(tokenizer), nets(base)
    diffusion = Diffusion.of(pretrained.load_scheduler(base), base.scaling_factor)
    frozen = Frozen(unet, diffusion, torch.device("cpu"), pretrained.load_vae(base), encoder)
    together = frozen.loss(controlnet, batches.collate(np.arange(6), 0))
    alone = torch.cat([frozen.loss(controlnet, batches.collate(np.array([number]), 0)) for number in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    cut = frozen.loss(controlnet, batches_of(tokenizer, CUT).collate(np.arange(6), 0))
    torch.testing.assert_close(together[:3], cut[:3], rtol=1e-5, atol=1e-6)
    assert (together[3:] != cut[3:]).all()
    with torch.no_grad():
        measured = frozen.measure(controlnet, batches.collate_evaluation(np.arange(6)))
        alone = [frozen.measure(controlnet, batches.collate_evaluation(np.array([number]))) for number in (0, 5)]
    np.testing.assert_allclose(measured[[0, 5]], np.concatenate(alone), rtol=1e-5)


def test_encoded_captions_of_unlike_lengths_make_the_same_batch(tmp_path, base, tokenizer, encoder):
    batches, (unet, controlnet) = batches_of(tokenizer), nets(base)
    diffusion = Diffusion.of(pretrained.load_scheduler(base), base.scaling_factor)
    frozen = Frozen(unet, diffusion, torch.device("cpu"), pretrained.load_vae(base), encoder)
    without = frozen.loss(controlnet, batches.collate(np.arange(6), 0))
    batches.encoded = caching.fill(
        tmp_path,
        base,
        pictures_of(batches),
        batches.prompts(),
        Accelerator(cpu=True),
        batch_size=4,
        long_captions=CHUNK,
    )
    batch = batches.collate(np.arange(6), 0)
    assert batch["tokens"].tolist() == [16, 16, 16, 48, 32, 48]
    torch.testing.assert_close(frozen.loss(controlnet, batch), without, rtol=1e-4, atol=1e-5)


def test_prompts_repeated_to_one_length_predict_the_same(base, tokenizer, encoder):
    unet, controlnet = nets(base)
    hidden, empty = (encode_captions(encoder, tokenizer, [text], CHUNK)[0][None] for text in ("a " * 20, LONG))
    chance = torch.Generator().manual_seed(0)
    noisy, condition = torch.randn(1, 4, 4, 4, generator=chance), torch.rand(1, 3, 32, 32, generator=chance)
    joined = of_one_length(hidden, empty)
    assert [one.shape[1] for one in (hidden, empty, *joined)] == [32, 48, 96, 96]
    with torch.no_grad():
        for plain, repeated in zip((hidden, empty), joined, strict=True):
            given = (unet, controlnet, noisy, torch.tensor([500]))
            torch.testing.assert_close(
                predict(*given, repeated, condition), predict(*given, plain, condition), rtol=1e-4, atol=1e-5
            )


def test_the_length_of_clip_is_the_tokenizers_own():
    tokenizer = pipeline.build_tokenizer(["a"], 77)
    assert caption_lengths.cut_by(tokenizer, ["a " * 75, "a " * 76]).cut == 1
