"""bitsandbytes' formats: what is left in its own precision, what is refused; on the CPU, where its kernels have a path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.errors import ConfigError
from tasks.quantize import bnb

bitsandbytes = pytest.importorskip("bitsandbytes")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        num_hidden_layers=1, hidden_size=64, num_attention_heads=4, intermediate_size=128, vocab_size=60, num_labels=3
    )
    folder = tmp_path_factory.mktemp("bert")
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", bnb.KINDS)
def test_logits_stay_near_and_the_folder_loads(model: Path, tmp_path: Path, kind: str) -> None:
    import transformers

    ids = torch.arange(18).reshape(2, 9)
    loads = transformers.AutoModelForSequenceClassification.from_pretrained
    with torch.inference_mode():
        wanted = loads(model).eval()(input_ids=ids).logits
        quantized = bnb.quantized_model(str(model), kind, device="cpu")
        quantized.save_pretrained(tmp_path / kind)
        found = quantized(input_ids=ids).logits.float()
        again = loads(tmp_path / kind).eval()(input_ids=ids).logits.float()
    assert bnb.quantized_layers(quantized) == 7  # query, key, value, two sums, the way up, the pooler
    assert type(quantized.classifier) is torch.nn.Linear
    assert 0 < (found - wanted).abs().max() < 0.05
    assert torch.equal(found, again)
    with pytest.raises(ConfigError, match="is quantized already; give the float model"):
        bnb.quantized_model(str(tmp_path / kind), kind, device="cpu")


def test_excluded_modules_keep_their_precision(model: Path) -> None:
    quantized = bnb.quantized_model(str(model), "bnb-nf4", device="cpu", excluded=("bert.pooler",))
    assert bnb.quantized_layers(quantized) == 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_told() -> None:
    with pytest.raises(ConfigError, match=r"--approach bnb-int8: no CUDA device here; .*--approach dynamic"):
        bnb.require("bnb-int8", "cuda")
    with pytest.raises(ConfigError, match="one of bnb-int8, bnb-nf4"):
        bnb.require("bnb-int3", "cpu")
