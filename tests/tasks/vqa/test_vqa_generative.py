"""Answers written by tiny models of each family, made here from configurations with random weights."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_generative import MAKERS

from tasks.errors import ConfigError, OutOfMemory, ToolError
from tasks.vqa.models.generative import GenerativeVqa, is_generative
from tasks.vqa.models.prompts import clean_answer, prompt_for

QUESTIONS = [
    "What colour is it?",
    "How many of the small triangles stand left of the big red circle?",
    "Is it red?",
    "Where?",
    "What colour is it?",
]


def pictures():
    """Three of random pixels, of different shapes, for five questions."""
    random = np.random.default_rng(0)
    made = [
        Image.fromarray(random.integers(0, 255, (h, w, 3), dtype=np.uint8)) for h, w in ((40, 50), (90, 30), (32, 32))
    ]
    return [made[0], made[0], made[1], made[2], made[2]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for name, make in MAKERS.items():
        torch.manual_seed(0)
        made[name] = tmp_path_factory.mktemp(name.replace(" ", "-"))
        make(made[name])
    return made


@pytest.fixture(params=MAKERS)
def vqa(request, folders):
    return GenerativeVqa.from_pretrained(str(folders[request.param]), device="cpu")


@pytest.fixture
def blip2(folders):
    return GenerativeVqa.from_pretrained(str(folders["blip-2"]), device="cpu")


@pytest.fixture
def copy(folders, tmp_path):
    """Copies a model's folder, so that its files may be changed."""

    def copy_of(name):
        return shutil.copytree(folders[name], tmp_path / "copy")

    return copy_of


def change(file, **entries):
    content = {**json.loads(file.read_text()), **entries}
    file.write_text(json.dumps({key: value for key, value in content.items() if value != "gone"}))


@pytest.mark.parametrize("beams", [1, 3])
def test_a_batch_answers_as_one_by_one(vqa, beams):
    images = pictures()
    options = {"num_beams": beams, "max_new_tokens": 6}
    together = vqa.answer(images, QUESTIONS, batch_size=5, **options)
    alone = [vqa.answer([image], [question], **options)[0] for image, question in zip(images, QUESTIONS, strict=True)]
    assert together == alone
    assert vqa.answer(images, QUESTIONS, batch_size=2, **options) == alone
    assert len(set(alone)) > 2


def test_the_image_counts_and_the_length_is_kept(vqa):
    images = pictures()
    answers = vqa.answer(images, QUESTIONS, num_beams=1, max_new_tokens=6)
    assert answers != vqa.answer(images[::-1], QUESTIONS, num_beams=1, max_new_tokens=6)
    for longest in (1, 4):
        short = vqa.answer(images, QUESTIONS, num_beams=2, max_new_tokens=longest)
        assert max(map(len, short)) <= longest  # a token is a character here


def test_a_negative_length_penalty_favours_short_answers_but_not_none(folders):
    vqa, images = GenerativeVqa.from_pretrained(str(folders["instructblip"]), device="cpu"), pictures()
    few, many = ([len(a) for a in vqa.answer(images, QUESTIONS, length_penalty=p)] for p in (-1.0, 2.0))
    assert min(few) > 0
    assert sum(few) < sum(many)


@pytest.mark.parametrize("kind", ["blip-2", "blip-2 t5"])
def test_blip2_encodes_an_image_once_and_generates_what_the_library_does(kind, folders):
    vqa = GenerativeVqa.from_pretrained(str(folders[kind]), device="cpu")
    images, seen = pictures(), []
    vqa.network.vision_model.register_forward_hook(lambda module, inputs, output: seen.append(len(output[0])))
    prompts = [prompt_for("blip-2", question) for question in QUESTIONS]
    mine = vqa._generate(images, prompts, {"num_beams": 2, "max_new_tokens": 6, "do_sample": False})
    inputs = vqa.processor(images=images, text=prompts, padding=True, return_tensors="pt")
    tokens = vqa.network.generate(**inputs, num_beams=2, max_new_tokens=6, do_sample=False)
    if not vqa.encoder_decoder:
        assert torch.equal(tokens[:, : inputs["input_ids"].shape[1]], inputs["input_ids"])
        tokens = tokens[:, inputs["input_ids"].shape[1] :]
    assert mine == vqa.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    assert seen == [3, 5]
    assert inputs["input_ids"][:, :4].eq(4).all()  # the image's four places, before any padding
    assert inputs["attention_mask"][3, 4 if not vqa.encoder_decoder else -1] == 0


def test_files_without_places_for_the_image_get_them(blip2, copy):
    folder, images = copy("blip-2"), pictures()
    change(folder / "processor_config.json", num_query_tokens="gone")
    change(folder / "config.json", image_token_index=None)
    old = GenerativeVqa.from_pretrained(str(folder), device="cpu")
    assert old.answer(images, QUESTIONS) == blip2.answer(images, QUESTIONS)
    change(folder / "config.json", image_token_index=7)
    with pytest.raises(ToolError, match="disagree on the token for an image"):
        GenerativeVqa.from_pretrained(str(folder), device="cpu")


def test_an_image_token_in_a_question_harms_nobody(vqa):
    images, options = pictures(), {"num_beams": 1, "max_new_tokens": 6}
    written = [QUESTIONS[0] + "<image>", *QUESTIONS[1:]]
    assert vqa.answer(images, written, **options)[1:] == vqa.answer(images, QUESTIONS, **options)[1:]


def test_a_template_takes_the_place_of_the_familys(blip2):
    images, words = pictures()[:1], "Question: {question} Short answer:"
    options = {"num_beams": 1, "max_new_tokens": 6}
    short = blip2.answer(images, ["Where?"], style="short", **options)
    assert blip2.answer(images, ["Where?"], template=words, **options) == short
    assert blip2.answer(images, ["Where?"], **options) != short
    with pytest.raises(ConfigError, match=r"no \{question\}"):
        blip2.answer(images, ["Where?"], template="Say:")


def test_lower_precision(folders):
    vqa = GenerativeVqa.from_pretrained(str(folders["blip-2"]), device="cpu", dtype=torch.bfloat16)
    assert vqa.network.dtype == torch.bfloat16
    answers = vqa.answer(pictures(), QUESTIONS, max_new_tokens=4)
    assert any(answers)


def test_batches_are_reported_and_halved_when_memory_ends(blip2, monkeypatch):
    images, done, generate = pictures(), [], blip2._generate
    expected = blip2.answer(images, QUESTIONS, batch_size=4, done=done.append)
    assert done == [4, 1]

    def small_memory(images, prompts, options):
        if len(prompts) > limit:
            raise torch.OutOfMemoryError
        return generate(images, prompts, options)

    monkeypatch.setattr(blip2, "_generate", small_memory)
    limit = 1
    assert blip2.answer(images, QUESTIONS, batch_size=4) == expected
    limit = 0
    with pytest.raises(OutOfMemory):
        blip2.answer(images, QUESTIONS)


def test_no_pickled_weights(copy):
    folder = copy("blip-2")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ToolError, match="can't be loaded"):
        GenerativeVqa.from_pretrained(str(folder), device="cpu")


def test_models_that_write_no_answers_are_refused(copy):
    folder = copy("blip")
    change(folder / "config.json", architectures=["BlipForConditionalGeneration"])
    with pytest.raises(ConfigError, match="a blip model doesn't write answers"):
        GenerativeVqa.from_pretrained(str(folder))
    assert is_generative("blip-2", None)
    assert is_generative("blip", ["BlipForQuestionAnswering"])
    assert not is_generative("vilt", ["ViltForQuestionAnswering"])


@pytest.mark.parametrize(
    ("model_type", "style", "expected"),
    [
        ("blip-2", "plain", "Question: Is it red? Answer:"),
        ("blip-2", "short", "Question: Is it red? Short answer:"),
        ("instructblip", "short", "Question: Is it red? Short answer:"),
        ("paligemma", "plain", "answer en Is it red?"),
        ("git", "short", "Is it red?"),
        ("qwen2_5_vl", "plain", "Is it red?"),
        ("qwen2_5_vl", "short", "Is it red?\nAnswer the question using a single word or phrase."),
    ],
)
def test_prompts(model_type, style, expected):
    assert prompt_for(model_type, " Is it\n red? ", style=style) == expected


def test_bad_prompts_are_usage_errors():
    assert prompt_for("blip-2", "Is it {red}?", "Q {question} {x}") == "Q Is it {red}? {x}"
    with pytest.raises(ConfigError, match=r"no \{question\}"):
        prompt_for("blip-2", "Is it red?", "Question: {} Answer:")
    with pytest.raises(ConfigError, match="plain"):
        prompt_for("blip-2", "Is it red?", style="long")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" red\n", "red"),
        ("red\nQuestion: why?", "red"),
        ("two dogs Question: what", "two dogs"),
        ("two  question : what", "two"),
        ("\n no", "no"),
        ("a questionnaire", "a questionnaire"),
        ("", ""),
    ],
)
def test_only_the_answer_is_kept(text, answer):
    assert clean_answer(text) == answer
