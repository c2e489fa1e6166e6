"""What a forecasting model is made from."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tasks.errors import ConfigError

KINDS = ("transformer", "informer", "autoformer", "dlinear", "nbeats", "patchtst")
# Ours, which forecast in one pass and have more heads, scalings and beginnings than the library's.
OWN = ("dlinear", "nbeats")
PARAMETRIC = ("student_t", "normal", "negative_binomial")
DISTRIBUTIONS = {
    **dict.fromkeys(("transformer", "informer", "autoformer"), PARAMETRIC),
    **dict.fromkeys(OWN, (*PARAMETRIC, "quantiles", "point")),
    "patchtst": (*PARAMETRIC, "point"),
}
# At least 1 in every kind; some kinds have more such fields.
_POSITIVE = ("prediction_length", "context_length", "input_size", "d_model", "heads")
SCALINGS = ("std", "mean", "none")
OWN_SCALINGS = (*SCALINGS, "seasonal")
QUANTILES = (0.025, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.975)


@dataclass(frozen=True)
class Spec:
    """The defaults are those that Transformer, Informer and Autoformer were compared with in transformers' own blog.

    Attributes:
        kind: one of KINDS.
        prediction_length: steps that are forecast, H.
        context_length: steps that the model looks at; 0: twice the prediction length.
        lags: how many steps back the lagged inputs lie, for the first three kinds.
        num_time_features: what a time step has of them: the calendar's, the age and known covariates.
        cardinality: for each static category, how many values it has.
        embedding_dimension: for each static category, how wide its embedding is; empty: 2 each.
        input_size: dimensions that are forecast together; 1 for univariate series.
        distribution: "student_t", "normal", "negative_binomial"; DLinear and N-BEATS have "quantiles" and "point" too, PatchTST
            "point".
        scaling: how each window is scaled: "std" (mean and standard deviation), "mean" (mean absolute value) or "none"; DLinear
            and N-BEATS have "seasonal" too: the mean, and the mean absolute difference over a season, MASE's own measure.
        season: steps of that season.
        d_model: width of the layers; in DLinear of the network that a time step goes through.
        dropout: everywhere the models have one; layerdrop: how often a whole layer is left out in training.
        attention: Informer's: "prob" (sparse) or "full"; distil: whether its encoder halves the sequence between layers.
        label_length: context steps that Autoformer's decoder begins with.
        kernel_size: of the moving average in Autoformer and DLinear.
        individual: whether each dimension has a DLinear map of its own.
        calendar: whether DLinear and N-BEATS see time features.
        anchor: what these two forecast untrained: the "mean" of the context (Zeng et al. 2022), its "last" value or its last "season".
        blocks, block_layers: of N-BEATS, and how many layers a block has.
        quantiles: the levels of a quantile head.
        patch_length, patch_stride: PatchTST's; 0: a sixth of the context, at most 16, and half of that.
    """

    kind: str
    prediction_length: int
    context_length: int = 0
    lags: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    num_time_features: int = 0
    cardinality: tuple[int, ...] = ()
    embedding_dimension: tuple[int, ...] = ()
    num_static_real_features: int = 0
    input_size: int = 1
    distribution: str = "student_t"
    scaling: str = "std"
    season: int = 1
    encoder_layers: int = 2
    decoder_layers: int = 2
    d_model: int = 16
    heads: int = 2
    ffn_dim: int = 32
    dropout: float = 0.1
    layerdrop: float = 0.1
    attention: str = "prob"
    distil: bool = True
    label_length: int = 10
    kernel_size: int = 25
    individual: bool = False
    calendar: bool = True
    anchor: str = "mean"
    quantiles: tuple[float, ...] = QUANTILES
    blocks: int = 3
    block_layers: int = 2
    patch_length: int = 0
    patch_stride: int = 0

    def __post_init__(self) -> None:
        context = self.context_length or 2 * self.prediction_length
        patch = self.patch_length or max(1, min(16, context // 6))
        fill = {
            "context_length": context,
            "embedding_dimension": self.embedding_dimension or (2,) * len(self.cardinality),
            "patch_length": patch,
            "patch_stride": self.patch_stride or max(1, patch // 2),
        }
        for name, value in fill.items():
            object.__setattr__(self, name, value)
        for field in fields(self):  # a list from YAML or JSON compares and hashes as a tuple does
            if isinstance(getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        problems = self._problems()
        if problems:
            raise ConfigError("\n".join(problems))

    def _problems(self) -> list[str]:
        """Everything that no model could be made from, a line each."""
        if self.kind not in KINDS:
            return [f"--model {self.kind}: no such forecasting model; there are {', '.join(KINDS)}"]
        choices = {"distribution": DISTRIBUTIONS[self.kind], "anchor": ("mean", "last", "season")}
        choices |= {"attention": ("prob", "full"), "scaling": OWN_SCALINGS if self.kind in OWN else SCALINGS}
        problems = [
            f"--{name} {getattr(self, name)}: {self.kind} has {', '.join(known)}"
            for name, known in choices.items()
            if getattr(self, name) not in known
        ]
        problems += [
            f"--{name.replace('_', '-')} {getattr(self, name)}: has to be at least 1"
            for name in (*_POSITIVE, "kernel_size", "season", "blocks", "block_layers")
            if getattr(self, name) < 1
        ]
        if self.kind not in OWN and self.heads > 0 and self.d_model % self.heads:
            problems.append(f"--d-model {self.d_model} has to be a multiple of --heads {self.heads}")
        if self.kind in ("autoformer", "dlinear") and self.kernel_size % 2 == 0:
            problems.append(f"--kernel-size {self.kernel_size}: has to be odd, so that the average has a middle")
        if len(self.embedding_dimension) != len(self.cardinality):
            problems.append(
                f"--embedding-dimension: {len(self.embedding_dimension)} widths for {len(self.cardinality)} static categories"
            )
        if self.has_lags and (not self.lags or min(self.lags) < 1):
            problems.append(f"--lags {list(self.lags)}: needs lags of at least 1 step")
        if self.scaling == "seasonal" and self.season >= self.context_length:
            problems.append(
                f"--scaling seasonal: a season of {self.season} steps needs a longer --context-length, or --scaling std"
            )
        if self.anchor == "season" and self.kind in OWN and self.season > self.context_length:
            problems.append(f"--anchor season: a season of {self.season} steps needs a longer --context-length")
        if self.distribution == "quantiles" and not all(0 < level < 1 for level in self.quantiles):
            problems.append(f"--quantiles {list(self.quantiles)}: levels lie between 0 and 1")
        if self.kind == "autoformer" and self.label_length > self.context_length:
            problems.append(
                f"--label-length {self.label_length}: cannot be longer than the context, {self.context_length} steps"
            )
        if self.kind == "patchtst" and self.patch_length >= self.context_length:
            problems.append(
                f"--patch-length {self.patch_length}: has to be shorter than the context, {self.context_length} steps"
            )
        if self.kind == "patchtst" and self.prediction_length == 1 and self.distribution != "point":
            problems.append(
                "--prediction-length 1: transformers' PatchTST forecasts one step only with --distribution point"
            )
        return problems

    @property
    def takes_features(self) -> bool:
        """Whether the model reads anything beside the values: time features, categories, static numbers."""
        return self.kind != "patchtst"

    @property
    def has_lags(self) -> bool:
        return self.kind in ("transformer", "informer", "autoformer")

    @property
    def past_length(self) -> int:
        """Steps before a window's origin that the model takes."""
        return self.context_length + (max(self.lags) if self.has_lags else 0)
