"""How much the quantization benchmark runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What is run.

    Attributes:
        pairs: runs of each side; `rounds` of the latency; `rows` of the dev set scored.
        size: of the model, as `quantize_inputs` names them.
    """

    parts: tuple[str, ...]
    pairs: int
    rounds: int
    rows: int
    samples: int
    size: str
    threads: int
