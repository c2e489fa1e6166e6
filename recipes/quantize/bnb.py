"""`--approach bnb-int8|bnb-nf4`: bitsandbytes' formats of a PyTorch model, measured like the others; made for GPUs."""

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
from recipes.quantize.measure import Measured
from recipes.quantize.trials import Found, Trial, line
from recipes.terminal.progress import Progress, print_line
from tasks.errors import ConfigError
from tasks.quantize import bnb

USAGE = """It loads with transformers and bitsandbytes:

```python
from transformers import pipeline

classify = pipeline("text-classification", model=".")
print(classify({example}))
```"""


@dataclass
class TorchContext:
    """The float model and its quantized copy on one device."""

    config: Quantize
    subject: Quantizable
    interrupts: Interrupts
    device: torch.device
    reference: Measured
    loaded: Any = None

    @property
    def usage(self) -> str:
        """See `QuantizationContext`."""
        return USAGE

    def write_model(self, trial: Trial, folder: Path) -> None:
        """From a copy that hasn't been used: on a CPU the first use packs 4-bit weights and rounds the scales that are saved."""
        self.loaded = None
        self.quantized().save_pretrained(folder)

    def tidy(self) -> None:
        """See `QuantizationContext`: nothing was kept."""

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

    def score(self, label: str, network: Any, size: int) -> Measured:
        """Every text of the evaluation splits."""
        total = sum(len(batches) for batches in self.subject.evaluation.values())
        with Progress(label, total, unit="texts") as progress:
            return measure.measure(self.subject, self.runs(network), size, self.config.batch_size, progress.advance)


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
    context = TorchContext(config, subject, interrupts, device, Measured({}, {}, 0.0, 0))
    context.reference = context.score("float", network, 4 * sum(one.numel() for one in network.parameters()))
    context.loaded = context.quantized()
    trial = Trial(config.approach, config.approach, {"approach": config.approach, "excluded": list(config.exclude)})
    trial.counts = {"linear_quantized": bnb.quantized_layers(context.loaded)}
    found = context.score(config.approach, context.loaded, int(context.loaded.get_memory_footprint()))
    found.against = measure.compare(subject, context.reference, found)
    runs = {"float": context.runs(network), "this": context.runs(context.loaded)}
    times = measure.time_them(subject, runs, config, interrupts.check)
    context.reference.latency, found.latency = times["float"], times["this"]
    found.against["float_latency"] = times["float"]
    trial.measured = found.as_dict()
    print_line(f"trial     {line(trial, config)}")
    chosen = trial if trial.within(config.max_drop) else None
    return artefacts.finish(context, Found([trial], chosen), output, {})
