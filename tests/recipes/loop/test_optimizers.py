"""Which weights learn at which rate."""

import pytest
import torch
import transformers

from recipes.work import decay_groups, layers_above

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
}
CONFIGS = {
    "bert": (transformers.BertConfig(**SMALL), "bert.embeddings.word_embeddings.weight", "bert.pooler.dense.weight"),
    "roberta": (
        transformers.RobertaConfig(**SMALL),
        "roberta.embeddings.word_embeddings.weight",
        "classifier.dense.weight",
    ),
    "modernbert": (
        transformers.ModernBertConfig(**SMALL, pad_token_id=0),
        "model.embeddings.tok_embeddings.weight",
        "model.final_norm.weight",
    ),
    "distilbert": (
        transformers.DistilBertConfig(vocab_size=50, dim=16, hidden_dim=32, n_heads=2, n_layers=3),
        "distilbert.embeddings.word_embeddings.weight",
        "pre_classifier.weight",
    ),
}


def rates(model, **options):
    """The learning rate of each parameter, by name."""
    groups = decay_groups(model, learning_rate=1.0, weight_decay=0.1, **options)
    of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    return {name: of[id(parameter)] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kind", CONFIGS)
def test_each_layer_learns_slower_than_the_one_above(kind):
    config, lowest, highest = CONFIGS[kind]
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    found = rates(model, layer_decay=0.5)
    assert found[lowest] == 0.5**4
    assert found[highest] == 1.0
    for layer in range(3):
        inside = {rate for name, rate in found.items() if f".{layer}." in name and "layer" in name}
        assert inside == {0.5 ** (3 - layer)}
    assert sorted(set(found.values())) == [0.0625, 0.125, 0.25, 0.5, 1.0]


def test_without_it_all_learn_alike():
    model = transformers.AutoModelForSequenceClassification.from_config(CONFIGS["bert"][0])
    assert set(rates(model).values()) == {1.0}


def test_shared_layers_count_as_one():
    names = ["albert.embeddings.w", "albert.encoder.albert_layer_groups.0.albert_layers.0.w", "albert.pooler.w"]
    assert list(layers_above(names).values()) == [2, 1, 0]


def test_a_model_without_layers_is_all_head():
    assert set(rates(torch.nn.Linear(3, 2), layer_decay=0.5).values()) == {1.0}


def test_weight_decay_is_kept_apart_within_a_layer():
    model = transformers.AutoModelForSequenceClassification.from_config(CONFIGS["bert"][0])
    for group in decay_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.9):
        assert all((parameter.ndim > 1) == (group["weight_decay"] == 0.1) for parameter in group["params"])
