"""bitsandbytes' formats (`--approach bnb-int8|bnb-nf4`) of a PyTorch model, measured like the others; made for GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.process.interrupts import Interrupts
from recipes.quantizable import Feeds, Quantizable
from recipes.quantize import artefacts, measure
from recipes.quantize.config import Quantize
from recipes.quantize.context import QuantizationContext
from recipes.quantize.trials import SearchResult, Trial, line
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError
from tasks.quantize import bnb

USAGE = """It loads with transformers and bitsandbytes:

```python
from transformers import pipeline

classify = pipeline("text-classification", model=".")
print(classify({example}))
```"""


@dataclass
class TorchContext(QuantizationContext):
    """The float model and its quantized copy on one device."""

    usage = USAGE

    device: torch.device
    loaded: Any = None

    def write_model(self, trial: Trial, folder: Path) -> None:
        """From a copy that hasn't been used: on a CPU the first use packs 4-bit weights and rounds the scales that are saved."""
        self.loaded = None
        self.quantized().save_pretrained(folder)

    def quantized(self) -> Any:
        """The model in the format asked for; the same to the bit each time."""
        return bnb.quantized_model(
            self.subject.model,
            self.config.approach,
            excluded=tuple(self.config.exclude),
            device=self.device.type,
            revision=self.config.revision,
            token=self.config.token,
        )

    def runs(self, network: Any) -> measure.Run:
        """The network as a function of feeds; its answer is waited for."""

        def run(feeds: Feeds) -> np.ndarray:
            with torch.inference_mode():
                inputs = {name: torch.from_numpy(value).to(self.device) for name, value in feeds.items()}
                return np.asarray(network(**inputs).logits.float().cpu().numpy())

        return run


def quantize_torch(config: Quantize, interrupts: Interrupts, output: Path, subject: Quantizable) -> dict[str, Any]:
    """Loads the model in the format, measures it beside the float one, and writes it as `from_pretrained` reads it.

    Raises:
        ConfigError: bitsandbytes is missing, or the model is ONNX.
    """
    if subject.network is None:
        raise ConfigError(f"--approach {config.approach} takes a PyTorch model; {subject.model} is ONNX")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        print_line("note      no GPU here: on a CPU these formats save memory, not time")
    network = subject.network.to(device)
    context = TorchContext(config, subject, interrupts, device)
    float_run = context.runs(network)
    context.score_float(float_run, 4 * sum(one.numel() for one in network.parameters()))
    context.loaded = context.quantized()
    trial = Trial(config.approach, config.approach, {"approach": config.approach, "excluded": list(config.exclude)})
    trial.counts = {"linear_quantized": bnb.quantized_layers(context.loaded)}
    context.reference.latency = context.measure(
        trial, float_run, context.runs(context.loaded), int(context.loaded.get_memory_footprint())
    )
    print_line(f"trial     {line(trial, config)}")
    chosen = trial if trial.within(config.max_drop) else None
    return artefacts.finish(context, SearchResult([trial], chosen), output, {})
