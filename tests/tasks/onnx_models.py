"""Tiny classifiers with random weights, one of each architecture that the export knows."""

import torch
import transformers

from tasks.vqa.models.vilt import ViltForQuestionAnswering

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_labels": 3,
    # Wide enough that a wrong mask or layer shows in the logits.
    "initializer_range": 0.3,
}
TEXT = {"vocab_size": 100, "pad_token_id": 0}
IMAGE = {"image_size": 32, "patch_size": 8}
OFFSET = {"pad_token_id": 1, "max_position_embeddings": 60, "type_vocab_size": 1}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
# name in the table -> (model type, what its config has beside the small one)
MODELS = {
    "BERT": ("bert", TEXT),
    "DistilBERT": (
        "distilbert",
        {**TEXT, "dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 64},
    ),
    "RoBERTa": ("roberta", {**TEXT, **OFFSET}),
    "XLM-R": ("xlm-roberta", {**TEXT, **OFFSET}),
    "ALBERT": ("albert", {**TEXT, "embedding_size": 16}),
    "ELECTRA": ("electra", {**TEXT, "embedding_size": 16}),
    "MPNet": ("mpnet", {**TEXT, **OFFSET}),
    "ModernBERT": ("modernbert", {**TEXT, "local_attention": 8, "global_attn_every_n_layers": 2}),
    "DeBERTa": ("deberta", {**TEXT, **DISENTANGLED}),
    "DeBERTa v3": (
        "deberta-v2",
        {**TEXT, **DISENTANGLED, "position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    ),
    "ViT": ("vit", IMAGE),
    "ViLT": ("vilt", {**TEXT, **IMAGE}),
}


def tiny(name, **changes):
    """The model of that name, weights from a fixed seed; `changes` to its config."""
    kind, more = MODELS[name]
    given = {key: value for key, value in SMALL.items() if not (kind == "distilbert" and key not in ("num_labels",))}
    config = transformers.AutoConfig.for_model(kind, **{**given, **more, "initializer_range": 0.3, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "vilt":
            return ViltForQuestionAnswering(config).eval()
        if kind == "vit":
            return transformers.ViTForImageClassification(config).eval()
        return transformers.AutoModelForSequenceClassification.from_config(config).eval()
