"""The faster ViLT proves itself against transformers' own forward, or gives way to it."""

import pytest
import torch
import transformers
from transformers.models.vilt import modeling_vilt

from tasks.vqa.models import library_check, vilt
from tasks.vqa.models.vilt import ViltForQuestionAnswering


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = ViltForQuestionAnswering(
        transformers.ViltConfig(
            vocab_size=60,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            image_size=64,
            patch_size=16,
            num_labels=3,
            initializer_range=0.2,
        )
    )
    torch.nn.init.normal_(made.vilt.embeddings.position_embeddings)
    return made


def library_of(model):
    """transformers' own model of the same weights."""
    made = transformers.ViltForQuestionAnswering(model.config)
    made.load_state_dict(model.state_dict())
    return made.eval()


def shared_image_batch():
    """Two questions on one image without padding, as the recipe gives it and as transformers wants it."""
    generator = torch.Generator().manual_seed(1)
    ids, pixels = torch.randint(60, (2, 5), generator=generator), torch.randn(1, 3, 48, 64, generator=generator)
    ours = {"input_ids": ids, "pixel_values": pixels, "image_index": torch.tensor([0, 0])}
    mask = torch.ones(2, 48, 64, dtype=torch.long)
    theirs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels.expand(2, -1, -1, -1)}
    return ours, {**theirs, "pixel_mask": mask}


def wrong_attention(query, key, value, mask, heads, dropout):
    return 1.05 * value[:, : query.shape[1]]


def newer_layer(self, hidden_states, attention_mask=None, output_attentions=False):
    """A layer of another formula, as a newer version of transformers might have it."""
    normed = self.layernorm_before(hidden_states)
    attended = self.attention(normed, attention_mask)[0] + 1.5 * hidden_states
    return (self.output(self.intermediate(self.layernorm_after(attended)), attended),)


@pytest.mark.parametrize("training", [False, True])
def test_where_they_agree_nothing_is_changed(model, training):
    model.train(training)
    model(**shared_image_batch()[0]).logits.sum().backward()
    gradients = [None if one.grad is None else one.grad.clone() for one in model.parameters()]
    state, kinds = torch.get_rng_state(), [type(module) for module in model.modules()]
    assert library_check.keep_if_equal(model) is None
    assert torch.equal(torch.get_rng_state(), state)
    assert [type(module) for module in model.modules()] == kinds
    assert {module.training for module in model.modules()} == {training}
    assert not model.library_forward
    for parameter, before in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is None if before is None else torch.equal(parameter.grad, before)


@pytest.mark.parametrize("planted", ["ours", "theirs"])
def test_where_they_differ_the_librarys_forward_runs(model, monkeypatch, planted):
    if planted == "ours":
        monkeypatch.setattr(vilt, "attend", wrong_attention)
    else:
        monkeypatch.setattr(modeling_vilt.ViltLayer, "forward", newer_layer)
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"transformers": "5.99.0"}.get(name, "9.9"))
    sentence = library_check.keep_if_equal(model.train())
    assert sentence.startswith("the faster forward differs from transformers 5.99.0's own forward by ")
    assert sentence.endswith(" (torch 9.9): the library's is used")
    assert model.training
    ours, theirs = shared_image_batch()
    labels, library = torch.rand(2, 3), library_of(model)
    torch.manual_seed(0)  # the library draws the patches' order
    found = model.eval()(**ours, labels=labels)
    torch.manual_seed(0)
    expected = library(**theirs, labels=labels)
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.loss, expected.loss)


def test_a_faster_forward_that_fails_gives_way_too(model, monkeypatch):
    def failing(*_):
        raise AttributeError("'ViltSelfAttention' object has no attribute 'query'")

    monkeypatch.setattr(vilt, "attend", failing)
    assert "fails beside transformers" in library_check.keep_if_equal(model)
    assert model(**shared_image_batch()[0]).logits.shape == (2, 3)


def test_with_the_librarys_forward_it_trains_and_is_saved_as_ever(model, monkeypatch, tmp_path):
    monkeypatch.setattr(vilt, "attend", wrong_attention)
    library_check.keep_if_equal(model)
    model.gradient_checkpointing_enable()
    model.train()(**shared_image_batch()[0], labels=torch.ones(2, 3)).loss.backward()
    assert all(one.grad is not None for one in model.vilt.encoder.parameters())
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path)
    assert type(loaded) is transformers.ViltForQuestionAnswering
    assert loaded.config.architectures == ["ViltForQuestionAnswering"]
