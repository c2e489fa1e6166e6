"""The model card: a header that huggingface_hub reads, figures as measured, and nothing that isn't known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from recipes.report.card import Card, hub_id, write_card
from recipes.report.content import Headline, Table

USAGE = 'text = """\n```\n"""\nprint(text)'
CARD = Card(
    name="vilt-easy_vqa",
    summary="Answers questions <b>on</b> images.\n\nIt knows 13 answers.",
    pipeline_tag="visual-question-answering",
    headline=Headline("accuracy", 0.9461234567, 0.93, 0.961, 800, {"majority": 0.373, "question prior": 0.52}, 0.987),
    metric="vqa_accuracy",
    usage=USAGE,
    base_model="dandelin/vilt-b32-mlm",
    dataset_id="HuggingFaceM4/VQAv2",
    dataset_name="VQAv2",
    dataset_split="validation",
    tags=["vqa", "modeltool"],
    tables=[
        Table("By answer type", ["type", "n", "accuracy"], [["yes|no", 254, 94.9], ["number", 1201, 8.5]], "Official.")
    ],
    data={"questions": 4000, "skipped": None, "labels": []},
    training={"learning_rate": 1e-4, "epochs": 10, "resume": None, "token": "********", "optimizer": {"name": "adamw"}},
    limits=["Not measured on photographs | drawings."],
    environment={"torch": "2.13.0", "gpus": []},
)
BARE = Card(name="bare")


def written(folder: Path, card: Card) -> tuple[ModelCard, str]:
    path = write_card(folder, card)
    assert path == folder / "README.md"
    return ModelCard.load(path), path.read_text(encoding="utf-8")


def test_the_header_parses_and_carries_the_measured_figure(tmp_path: Path) -> None:
    card, _ = written(tmp_path, CARD)
    data = card.data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "visual-question-answering")
    assert (data.base_model, data.datasets) == ("dandelin/vilt-b32-mlm", ["HuggingFaceM4/VQAv2"])
    assert data.tags == ["modeltool", "vqa"]
    assert data.metrics == ["vqa_accuracy"]
    assert (data.model_name, len(data.eval_results)) == ("vilt-easy_vqa", 1)
    result = data.eval_results[0]
    assert (result.task_type, result.metric_type, result.metric_name) == (
        "visual-question-answering", "vqa_accuracy", "accuracy",
    )  # fmt: skip
    assert (result.metric_value, result.dataset_type, result.dataset_name) == (0.946123, "HuggingFaceM4/VQAv2", "VQAv2")
    assert result.dataset_split == "validation"
    assert "license" not in data.to_dict()


def test_the_body_says_what_was_measured(tmp_path: Path) -> None:
    _, text = written(tmp_path, CARD)
    assert "| metric | value | 95 % interval | n | majority | question prior | ceiling |" in text
    assert "| accuracy | 94.6 % | 93.0 to 96.1 | 800 | 37.3 % | 52.0 % | 98.7 % |" in text
    assert (
        "| type | n | accuracy |\n| --- | ---: | ---: |\n| yes\\|no | 254 | 94.90 |\n| number | 1,201 | 8.50 |" in text
    )
    for expected in ("- questions: 4000", "- learning rate: 0.0001", "- optimizer.name: adamw", "- torch: 2.13.0"):
        assert expected in text
    assert "- Not measured on photographs \\| drawings." in text
    assert "&lt;b&gt;on&lt;/b&gt;" in text
    assert "# vilt-easy\\_vqa\n\nAnswers" in text


def test_the_snippet_stands_as_it_was_given(tmp_path: Path) -> None:
    _, text = written(tmp_path, CARD)
    assert f"\n````python\n{USAGE}\n````\n" in text


@pytest.mark.parametrize("card", [CARD, BARE, replace(BARE, base_model="tiny", dataset_id="sample")])
def test_what_is_not_known_is_absent(tmp_path: Path, card: Card) -> None:
    parsed, text = written(tmp_path, card)
    assert "None" not in text
    assert "null" not in text
    assert "nan" not in text
    assert all(value is not None for value in parsed.data.to_dict().values())


def test_a_bare_card_says_that_nothing_was_measured(tmp_path: Path) -> None:
    card, text = written(tmp_path, replace(BARE, headline=Headline("accuracy", math.nan), base_model="tiny"))
    assert set(card.data.to_dict()) == {"library_name", "tags"}
    assert "No figure was measured" in text


def test_data_that_is_not_on_the_hub_is_named_but_not_linked(tmp_path: Path) -> None:
    local = tmp_path / "my data"
    local.mkdir()
    card, _ = written(tmp_path, replace(CARD, dataset_id=str(local), dataset_name="My Data", dataset_revision="abc"))
    assert "datasets" not in card.data.to_dict()
    assert (card.data.eval_results[0].dataset_type, card.data.eval_results[0].dataset_revision) == ("my-data", None)


def test_further_figures_are_results_too(tmp_path: Path) -> None:
    headline = Headline("MASE", 0.93, n=120, unit="")
    card, text = written(tmp_path, replace(CARD, headline=headline, metric="", further={"wQL": 0.0483092}))
    assert [(result.metric_type, result.metric_value) for result in card.data.eval_results] == [
        ("mase", 0.93), ("wql", 0.048309),
    ]  # fmt: skip
    assert "| MASE | 0.9300 | 120 |\n| wQL | 0.04831 |  |" in text


def test_two_writes_are_equal_to_the_byte(tmp_path: Path) -> None:
    assert written(tmp_path / "a", CARD)[1] == written(tmp_path / "b", CARD)[1]


def test_text_can_not_break_out_of_the_header(tmp_path: Path) -> None:
    card, _ = written(tmp_path, replace(CARD, name="a: b\n---\nlicense: mit", dataset_name="x: [y\n---"))
    assert "license" not in card.data.to_dict()
    assert card.data.eval_results[0].dataset_name == "x: [y\n---"


def test_ids_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert hub_id("dandelin/vilt-b32-mlm") == "dandelin/vilt-b32-mlm"
    assert [hub_id(name) for name in ("tiny", "models/mine", "/tmp/x/y", "a/b/c", "", None)] == [None] * 6
