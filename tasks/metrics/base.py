"""What our metrics share: each is an `evaluate.Metric` that its class describes."""

from __future__ import annotations

from typing import ClassVar

import evaluate
from datasets import Features, Value


def pairs(*kinds: str) -> list[Features]:
    """Predictions and references of one of the kinds; text first: `evaluate` would read a text that looks like a number as one."""
    return [Features({"predictions": Value(kind), "references": Value(kind)}) for kind in kinds]


class Metric(evaluate.Metric):
    """The docstring is the description; the attributes are what else `evaluate.MetricInfo` has.

    Attributes:
        takes: the features of predictions and references, or several to choose from.
        usage: arguments and results. source: the citation. urls: where the reference implementation is.
    """

    takes: ClassVar[Features | list[Features]]
    usage, source = "", ""
    urls: tuple[str, ...] = ()

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=f"{type(self).__doc__}",
            citation=self.source,
            inputs_description=self.usage,
            features=self.takes,
            reference_urls=list(self.urls),
        )
