"""Tiny image-text-to-text models of each family, with random weights and a tokenizer of characters; no network."""

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VISION = {**TEXT, "image_size": 32, "patch_size": 8}
QFORMER = {**TEXT, "encoder_hidden_size": 32}
IDS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 1}
CHAT = (
    "{% for m in messages %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<image>{% else %} {{ c.text }}{% endif %}{% endfor %}\n{% endfor %}ASSISTANT:"
)


def tokenizer(start="<s> $A", image=True, **names):
    """A token a character of printable ASCII and the newline, after the special ones at 0 to 4."""
    special = ["<unk>", "<pad>", "<s>", "</s>", *(["<image>"] if image else [])]
    vocabulary = {token: i for i, token in enumerate([*special, "\u010a", "\u0120", *map(chr, range(33, 127))])}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(single=start, special_tokens=[("<s>", 2), ("</s>", 3)])
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", **names}
    if image:
        names["additional_special_tokens"] = ["<image>"]
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def blip_images():
    return BlipImageProcessorPil(size={"height": 32, "width": 32})


def make_tiny_blip2(folder, language="opt"):
    """A BLIP-2 of two layers throughout; `language`: opt (decoder only) or t5 (encoder and decoder)."""
    words = tokenizer()
    opt = {
        "model_type": "opt",
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 64,
        "max_position_embeddings": 200,
    }
    t5 = {
        "model_type": "t5",
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 2,
        "decoder_start_token_id": 1,
    }
    config = transformers.Blip2Config(
        vision_config=VISION,
        qformer_config=QFORMER,
        text_config={**(opt if language == "opt" else t5), **IDS, "vocab_size": len(words)},
        num_query_tokens=4,
        image_token_index=4,
    )
    save(
        folder, transformers.Blip2ForConditionalGeneration(config), transformers.Blip2Processor(blip_images(), words, 4)
    )


def make_tiny_instructblip(folder):
    words = tokenizer()
    config = transformers.InstructBlipConfig(
        vision_config=VISION,
        qformer_config={**QFORMER, "vocab_size": len(words)},
        text_config={"model_type": "llama", **TEXT, **IDS, "vocab_size": len(words)},
        num_query_tokens=4,
        image_token_index=4,
    )
    processor = transformers.InstructBlipProcessor(blip_images(), words, tokenizer(image=False), num_query_tokens=4)
    save(folder, transformers.InstructBlipForConditionalGeneration(config), processor)


def make_tiny_blip(folder):
    words = tokenizer("<s> $A </s>", image=False)
    text = {**TEXT, **IDS, "vocab_size": len(words), "sep_token_id": 3, "encoder_hidden_size": 32}
    config = transformers.BlipConfig(text_config=text, vision_config=VISION)
    save(folder, transformers.BlipForQuestionAnswering(config), transformers.BlipProcessor(blip_images(), words))


def make_tiny_git(folder):
    words = tokenizer("<s> $A </s>", image=False, cls_token="<s>", sep_token="</s>")
    config = transformers.GitConfig(
        vision_config=VISION, **TEXT, **IDS, vocab_size=len(words), max_position_embeddings=128
    )
    save(folder, transformers.GitForCausalLM(config), transformers.GitProcessor(clip_images(), words))


def clip_images():
    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def make_tiny_llava(folder):
    words = tokenizer()
    config = transformers.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VISION, "projection_dim": 32},
        text_config={"model_type": "llama", **TEXT, **IDS, "vocab_size": len(words)},
        image_token_index=4,
    )
    processor = transformers.LlavaProcessor(
        clip_images(),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=CHAT,
        num_additional_image_tokens=1,
    )
    save(folder, transformers.LlavaForConditionalGeneration(config), processor)


def save(folder, network, processor):
    """Weights large enough that both the image and the question change the answer."""
    for weight in network.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


MAKERS = {
    "blip-2": make_tiny_blip2,
    "blip-2 t5": lambda folder: make_tiny_blip2(folder, "t5"),
    "instructblip": make_tiny_instructblip,
    "blip": make_tiny_blip,
    "git": make_tiny_git,
    "llava": make_tiny_llava,
}
