"""Tests of the tiny models' tokenizer: no two words of any script become one, and transformers loads what is saved."""

import json

import pytest
import transformers

from tasks.word_pieces import build_tokenizer

# Words that differ by a vowel sign, a voicing mark, an accent, a joiner or tone alone.
PAIRS = [
    ("फल", "फूल"),  # Hindi: fruit, flower
    ("かき", "がき"),
    ("カ", "ガ"),
    ("résumé", "resume"),
    ("schön", "schon"),
    ("año", "ano"),
    ("пой", "пои"),
    ("คา", "ค่า"),
    ("ma", "mà"),
    ("كِتاب", "كُتاب"),
    ("שָׁנָה", "שנה"),
    ("می‌خواهم", "میخواهم"),
    ("👩‍🚀", "👩🚀"),
    ("苹果", "萍果"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_words_stay_apart(one, other):
    tokenizer = build_tokenizer([one, other], 100, 40)
    first, second = tokenizer([one, other])["input_ids"]
    assert first != second
    assert tokenizer.unk_token_id not in [*first, *second]


def test_one_spelling_in_two_unicode_forms_is_one_word():
    tokenizer = build_tokenizer(["caf\u00e9 \uac00"], 100, 40)
    assert tokenizer.tokenize("cafe\u0301 \u1100\u1161") == tokenizer.tokenize("Caf\u00e9 \uac00") == ["café", "가"]


@pytest.mark.parametrize(
    "text", ["これは赤い花ですか", "ดอกไม้สีอะไร", "这是红色的花吗", "ຂໍ້ມູນ", "x" * 250, "花" * 250, "あ" * 250]
)
def test_text_without_spaces_is_known_letter_by_letter(text):
    tokenizer = build_tokenizer([text], 5, 1000)
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
    # Another order of the same letters is known too.
    assert tokenizer.unk_token_id not in tokenizer(text[-2:] + text[:2])["input_ids"]


def test_invisible_characters_change_no_word():
    tokenizer = build_tokenizer(["red house"], 100, 40)
    assert tokenizer.tokenize("\ufeffre\u00add\x00 hou\u200ese") == ["red", "house"]
    assert tokenizer.tokenize("red\u200bhouse") == ["red", "house"]


def test_ascii_is_cut_as_by_bert(tmp_path):
    texts = ["What's the colour of the 2 dogs?", "A state-of-the-art, $3.50 film!", "RED red Red"]
    ours = build_tokenizer(texts, 100, 40)
    berts = transformers.BertTokenizer(vocab=ours.get_vocab(), do_lower_case=True, model_max_length=40)
    assert dict(ours(texts, texts[::-1], padding=True)) == dict(berts(texts, texts[::-1], padding=True))


def test_what_is_saved_is_what_transformers_loads(tmp_path):
    texts = ["फल फूल", "かきがき", "résumé"]
    tokenizer = build_tokenizer(texts, 100, 40)
    tokenizer.save_pretrained(tmp_path)
    # A name that versions 4 and 5 know.
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert dict(loaded(texts, padding=True)) == dict(tokenizer(texts, padding=True))
    assert loaded.model_max_length == 40
    assert loaded.pad_token_id == 0
