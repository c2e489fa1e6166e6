"""The quantization benchmark: its arithmetic, its inputs, and when it says that the sides disagree. No test compares times."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"benchmarks.{name}")

    return load


def options(module, **given):
    return module("common").Options(data=Path("data"), work=Path("work"), **given)


def test_parts_are_chosen_by_name(module):
    quantize = module("quantize")
    assert quantize.choose(options(module)).parts == quantize.PARTS
    assert quantize.choose(options(module, only=("score", "latency"))).parts == ("latency", "score")
    assert quantize.choose(options(module, only=("b32",))) is None
    assert quantize.choose(options(module, quick=True)).rows == 20


def test_without_the_data_it_says_what_is_missing(module, tmp_path):
    given = module("common").Options(data=tmp_path, work=tmp_path)
    with pytest.raises(module("common").BenchmarkFailed, match="--data names the folder of real data"):
        module("quantize").bench(given)


def test_latency_is_compared_round_by_round(module):
    took = {
        "ours int8": [[6.0, 5.0, 90.0], [8.0, 8.0, 8.0]],
        "ours float": [[12.0, 12.0, 11.0], [40.0, 10.0, 10.0]],
        "peer int8": [[8.0, 8.0, 8.0], [8.0, 4.0, 9.0]],
    }
    assert module("quantize").ratios(took) == {"ours float": [0.5, 0.8], "peer int8": [0.75, 1.0]}


def test_answers_are_compared_over_the_rows_that_both_have(module):
    quantize, failed = module("quantize"), module("common").BenchmarkFailed
    floats = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    near = np.concatenate([floats + np.array([0.1, -0.1]), np.full((2, 2), 9.0)])
    logits = {"peer float": floats, "ours float": floats + 1e-5, "peer int8": near, "ours int8": near}
    found = quantize.agreement(logits)
    assert found["peer float, ours float"]["largest_difference"] == pytest.approx(1e-5)
    assert found["peer float, peer int8"] == {
        "rows": 4, "mean_difference": pytest.approx(0.1), "largest_difference": pytest.approx(0.1), "equal_answers": 1.0,
    }  # fmt: skip
    quantize.agree(found)
    turned = quantize.agreement({**logits, "ours int8": floats[:, ::-1]})
    with pytest.raises(failed, match=r"ours float, ours int8: logits 1\.750 apart on average, 0\.000 equal answers"):
        quantize.agree(turned)
    apart = quantize.agreement({**logits, "ours float": floats + 0.01})
    with pytest.raises(failed, match=r"peer float, ours float: logits up to 0\.01 apart"):
        quantize.agree(apart)
    broken = quantize.agreement({**logits, "ours float": np.full((4, 2), np.nan)})
    with pytest.raises(failed, match="peer float, ours float"):
        quantize.agree(broken)


def test_the_texts_of_sst2_are_read_as_they_are(module, tmp_path):
    path = tmp_path / "dev.tsv"
    path.write_bytes("\ufeffsentence\tlabel\nit 's \"fine\t1\nno \u2028 way\t0\n".encode())
    assert module("quantize_inputs").read_rows(path) == [("it 's \"fine", 1), ("no \u2028 way", 0)]


def test_the_model_answers_with_both_classes(module, tmp_path):
    import torch
    import transformers

    words = [f"word{number}" for number in range(40)]
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    texts = [" ".join(words[start : start + 5]) for start in range(30)]
    inputs = module("quantize_inputs")
    inputs.save_model(texts, vocabulary, "tiny", tmp_path / "model")
    assert "dtype" in json.loads((tmp_path / "model" / "config.json").read_text())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)).logits
    assert torch.allclose(logits.std(dim=0), torch.ones(2), atol=1e-3)
    assert 0 < int(logits.argmax(1).sum()) < len(texts)
