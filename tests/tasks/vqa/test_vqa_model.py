"""The fast ViLT against the library's own: same weights, same batch, same numbers."""

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from tasks.vqa import tiny
from tasks.vqa.batches import ImageFormat, pad_images
from tasks.vqa.models import pretrained
from tasks.vqa.models.vilt import ViltForQuestionAnswering

QUESTIONS = ["what shape is it?", "is there a blue circle in it?", "is it?", "how many circles?"]
ANSWERS = ["circle", "no", "yes"]


def configured(**changes):
    torch.manual_seed(0)
    config = transformers.ViltConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        max_position_embeddings=40,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
        **changes,
    )
    slow = transformers.ViltForQuestionAnswering(config)
    torch.nn.init.normal_(slow.vilt.embeddings.position_embeddings)
    torch.nn.init.normal_(slow.vilt.embeddings.cls_token)
    fast = ViltForQuestionAnswering(config)
    fast.load_state_dict(slow.state_dict())
    return slow.eval(), fast.eval()


def batch(sizes, lengths, seed=0):
    """A batch as the library's processor pads it; sizes in pixels (height, width)."""
    generator = torch.Generator().manual_seed(seed)
    height, width, longest = max(h for h, _ in sizes), max(w for _, w in sizes), max(lengths)
    pixels, mask = torch.zeros(len(sizes), 3, height, width), torch.zeros(len(sizes), height, width, dtype=torch.long)
    ids, seen = torch.zeros(len(sizes), longest, dtype=torch.long), torch.zeros(len(sizes), longest, dtype=torch.long)
    for at, ((h, w), length) in enumerate(zip(sizes, lengths, strict=True)):
        pixels[at, :, :h, :w] = torch.randn(3, h, w, generator=generator)
        mask[at, :h, :w] = 1
        ids[at, :length] = torch.randint(1, 60, (length,), generator=generator)
        seen[at, :length] = 1
    return {"input_ids": ids, "attention_mask": seen, "pixel_values": pixels, "pixel_mask": mask}


SHAPES = {
    "square, as trained": [(64, 64)] * 4,
    "another shape": [(48, 96)] * 3,
    "one patch high": [(16, 112)] * 2,
    "mixed": [(64, 64), (64, 96), (96, 48), (16, 64)],
    "one row": [(64, 96)],
}


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("lengths", [[5, 5, 5, 5], [3, 9, 4, 1]], ids=["one length", "padded text"])
def test_logits_loss_and_gradients_equal_the_librarys(sizes, lengths):
    slow, fast = configured()
    inputs = batch(sizes, lengths[: len(sizes)])
    labels = torch.rand(len(sizes), 3, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    expected = slow(**inputs, labels=labels)
    got = fast(**inputs, labels=labels)
    torch.testing.assert_close(got.logits, expected.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(got.loss, expected.loss, atol=1e-5, rtol=0)
    expected.loss.backward()
    got.loss.backward()
    for (name, one), other in zip(slow.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(
            other.grad, one.grad, atol=1e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_masks_left_out_mean_nothing_is_padded():
    slow, fast = configured()
    inputs = batch([(64, 96)] * 3, [6, 6, 6])
    expected = slow(**inputs).logits
    got = fast(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"]).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_an_image_shared_by_questions_is_embedded_once_with_the_same_result():
    slow, fast = configured()
    inputs = batch([(64, 64), (64, 96)], [6, 6])
    ids = torch.randint(1, 60, (5, 6), generator=torch.Generator().manual_seed(2))
    index = torch.tensor([0, 1, 1, 0, 1])
    torch.manual_seed(0)
    expected = slow(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=inputs["pixel_values"][index],
        pixel_mask=inputs["pixel_mask"][index],
    ).logits
    got = fast(
        input_ids=ids, pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"], image_index=index
    ).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_the_library_draws_patch_orders_and_ours_does_not():
    _, fast = configured(max_image_length=6)
    inputs = batch([(64, 64), (64, 96)], [4, 4])
    first = fast(**inputs).logits
    torch.manual_seed(99)
    assert torch.equal(first, fast(**inputs).logits)


def test_gradient_checkpointing_changes_nothing_but_memory():
    _, fast = configured()
    inputs, labels = batch([(64, 64)] * 2, [5, 5]), torch.ones(2, 3)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            fast.gradient_checkpointing_enable()
        fast.train()
        fast.zero_grad()
        fast(**inputs, labels=labels).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in fast.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_bfloat16_on_the_cpu_stays_near_float32():
    _, fast = configured()
    inputs = batch([(64, 64)] * 2, [5, 3])
    expected = fast(**inputs).logits
    with torch.autocast("cpu", torch.bfloat16):
        got = fast(**inputs).logits
    torch.testing.assert_close(got.float(), expected, atol=0.15, rtol=0.1)


def test_our_pixels_are_the_processors_pixels():
    tokenizer = tiny.build_tokenizer(QUESTIONS)
    processor = tiny.build_processor(tokenizer)
    settings = ImageFormat.of(processor)
    rng = np.random.default_rng(0)
    for width, height in ((64, 64), (100, 70), (33, 90), (640, 480)):
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        expected = processor.image_processor(picture, return_tensors="pt")["pixel_values"]
        pixels, mask = pad_images([settings.resized(picture)])
        assert mask is None
        torch.testing.assert_close(settings.normalise(pixels), expected, atol=1e-6, rtol=0)


def test_tiny_is_loaded_by_transformers_and_gives_the_same(tmp_path):
    tokenizer = tiny.build_tokenizer(QUESTIONS)
    processor = tiny.build_processor(tokenizer)
    model = tiny.build_model(tokenizer, ANSWERS, seed=3).eval()
    assert 500_000 < sum(parameter.numel() for parameter in model.parameters()) < 1_000_000
    pretrained.save(model, processor, tmp_path)
    library = transformers.ViltForQuestionAnswering.from_pretrained(tmp_path).eval()
    loaded = transformers.ViltProcessor.from_pretrained(tmp_path)
    assert type(library) is transformers.ViltForQuestionAnswering
    assert library.config.id2label == dict(enumerate(ANSWERS))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 64, 3), dtype=np.uint8))
    inputs = loaded([picture] * 4, QUESTIONS, return_tensors="pt", padding=True)
    torch.testing.assert_close(model(**inputs).logits, library(**inputs).logits, atol=1e-5, rtol=0)


def test_tiny_is_the_same_for_the_same_seed_and_vocabulary_order_is_fixed():
    one, other = (tiny.build_tokenizer(questions) for questions in (QUESTIONS, QUESTIONS[::-1]))
    assert one.get_vocab() == other.get_vocab()
    models = [tiny.build_model(one, ANSWERS, seed=seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
    assert any(not torch.equal(models[0][key], models[2][key]) for key in models[0])


def test_whitening_gives_patches_equal_spread():
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(5000, 48, generator=generator) * torch.linspace(1, 10, 48) + 3
    weight, bias = tiny.whitened(patches, 48)
    spread = (patches @ weight.T + bias).std(0)
    torch.testing.assert_close(spread, torch.full((48,), 0.5), atol=0.06, rtol=0)


def test_attention_dropout_and_dropout_act_in_training_only():
    _, fast = configured()
    for module in fast.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    inputs = batch([(64, 64)] * 2, [5, 5])
    assert torch.equal(fast(**inputs).logits, fast(**inputs).logits)
    fast.train()
    assert not torch.equal(fast(**inputs).logits, fast(**inputs).logits)
