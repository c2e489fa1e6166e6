"""Quantization plans: what is quantized and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.quantize.formats import Format, formats

APPROACHES = ("dynamic", "static", "int4")
METHODS = ("minmax", "entropy", "percentile")
# Operators whose constant weights can be quantized. A Gather is an embedding's table.
OPERATORS = ("MatMul", "Gemm", "Gather")


@dataclass(frozen=True)
class Plan:
    """One way to quantize a graph.

    Args:
        approach: "dynamic" (activations' ranges at run time), "static" (from a calibration) or "int4" (weights alone, in blocks).
        format: of "dynamic" and "static"; the first that suits this CPU where left out.
        operators: types of nodes to quantize.
        excluded: what stays float: names of layers as `nodes.layers` gives them, beginnings of such names up to a dot
            ("bert.encoder.layer.3"), or names of nodes.
        narrow: layers with fewer output columns than this stay float, such as a head for two classes: they gain no time,
            and stand closest to the answer.
        method: how "static" finds ranges.
        percentile: of "percentile": how much of a tensor's values its range covers, in percent.
        moving_average: of "minmax": the weight of a batch's range in the running one; None takes the widest.
        block_size: of "int4": how many weights share a scale.
    """

    approach: str = "dynamic"
    format: Format = field(default_factory=lambda: formats()[0])
    operators: tuple[str, ...] = OPERATORS
    excluded: tuple[str, ...] = ()
    narrow: int = 16
    method: str | None = None
    percentile: float = 99.99
    moving_average: float | None = None
    block_size: int = 32

    @property
    def name(self) -> str:
        """Such as `dynamic u8s8-7bit-channel`, `static percentile 99.99 u8s8`, `static minmax moving u8s8` or `int4 block 32`.

        Behind it, how many layers are left float by name.
        """
        if self.approach == "int4":
            words = ["int4", "block", str(self.block_size)]
        else:
            words = [self.approach, *self._method(), self.format.name]
        left = [f"({len(self.excluded)} left float)"] if self.excluded else []
        return " ".join([*words, *left])

    def _method(self) -> list[str]:
        if self.method == "percentile":
            return ["percentile", f"{self.percentile:g}"]
        return [*([self.method] if self.method else []), *(["moving"] if self.moving_average is not None else [])]

    @property
    def row_scales(self) -> bool:
        """Whether each row of a table has a scale of its own."""
        return self.format.per_channel or self.approach == "int4"
