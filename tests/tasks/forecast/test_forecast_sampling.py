"""Sampling against transformers' own decoders and `generate`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from scipy import stats
from transformers.models.informer.modeling_informer import InformerAttention

from tasks.errors import ConfigError, ToolError
from tasks.forecast.models.build import build
from tasks.forecast.models.noise import Sampler
from tasks.forecast.models.spec import Spec
from tasks.forecast.sampling import Drawn, autoformer, autoregressive, combine, draw, informer
from tasks.forecast.sampling.inputs import prepare

CLASSES = {
    "transformer": (transformers.TimeSeriesTransformerConfig, transformers.TimeSeriesTransformerForPrediction),
    "informer": (transformers.InformerConfig, transformers.InformerForPrediction),
    "autoformer": (transformers.AutoformerConfig, transformers.AutoformerForPrediction),
}


def made(kind: str, **settings):
    """A small model with random weights, large enough to make its heads' parameters differ between windows."""
    config, model = CLASSES[kind]
    given = {
        "prediction_length": 7,
        "context_length": 12,
        "lags_sequence": [1, 2, 5],
        "num_time_features": 2,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "d_model": 16,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "scaling": "std",
        "init_std": 0.4,
        "cardinality": None,
        "embedding_dimension": None,
    } | settings
    if kind == "autoformer":
        given = {"label_length": 4, "moving_average": 5} | given | {"init_std": 0.1}
    torch.manual_seed(3)
    built = model(config(**given)).eval()
    with torch.no_grad():  # transformers starts biases at 0 and norms at 1, which would hide a mixed-up one
        for parameter in built.parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn(parameter.shape)
    return built


def batch_for(model, windows: int, seed: int = 0) -> dict[str, torch.Tensor]:
    config = model.config
    noise = torch.Generator().manual_seed(seed)
    past, dims = config.context_length + max(config.lags_sequence), config.input_size
    shape = (windows, past) if dims == 1 else (windows, past, dims)
    features = config.num_time_features + config.num_dynamic_real_features
    values = torch.randn(shape, generator=noise).cumsum(1) * 2 + 20
    mask = (torch.rand(shape, generator=noise) > 0.1).float()
    batch = {
        "past_values": values.round().abs() * mask,
        "past_observed_mask": mask,
        "past_time_features": torch.randn(windows, past, features, generator=noise),
        "future_time_features": torch.randn(windows, config.prediction_length, features, generator=noise),
    }
    if config.num_static_categorical_features:
        columns = [torch.randint(0, count, (windows,), generator=noise) for count in config.cardinality]
        batch["static_categorical_features"] = torch.stack(columns, dim=1)
    if config.num_static_real_features:
        batch["static_real_features"] = torch.randn(windows, config.num_static_real_features, generator=noise)
    return batch


class Recorded:
    """A model's cached decoder driven over `samples` paths, with the distribution's parameters of every step."""

    def __init__(self, model, batch: dict[str, torch.Tensor], samples: int, seed: int = 5) -> None:
        inputs = prepare(model, batch)
        steps, dims = model.config.prediction_length, model.config.input_size
        decoder = autoregressive.decoder_for(model, inputs, samples, seed)
        sampler = Sampler(model.distribution_output, inputs.scale, samples, steps, torch.Generator().manual_seed(seed))
        self.parameters, self.paths = [], torch.empty(len(inputs), samples, steps, dims)
        for step in range(steps):
            parameters = sampler.parameters(decoder.step(step))
            scaled = sampler.draw(parameters, step)
            if sampler.counts:
                scaled = (scaled - inputs.loc) / inputs.scale
            decoder.input.drawn[:, step] = scaled
            self.paths[:, :, step] = scaled.transpose(1, 2)
            self.parameters.append([part.transpose(1, 2) for part in parameters])


def library_parameters(model, batch: dict[str, torch.Tensor], paths: torch.Tensor, step: int, hidden=None):
    """The parameters at a step by transformers' own decoder, from the prefix, with the calls that `generate` makes."""
    samples, inner = paths.shape[1], model.model
    inputs, loc, scale, static = inner.create_network_inputs(
        **{name: value for name, value in batch.items() if name != "future_time_features"}
    )
    hidden = inner.encoder(inputs_embeds=inputs).last_hidden_state if hidden is None else hidden
    future = batch["future_time_features"]
    features = torch.cat([static[:, None].expand(-1, future.shape[1], -1), future], dim=-1)
    past = ((batch["past_values"] - loc) / scale).repeat_interleave(samples, 0)
    drawn = paths.flatten(0, 1)[:, :step]
    past = torch.cat([past, drawn[..., 0] if past.dim() == 2 else drawn], dim=1)
    lagged = inner.get_lagged_subsequences(past, subsequences_length=1 + step, shift=1)
    lagged = lagged.reshape(*lagged.shape[:2], -1)
    embedded = torch.cat([lagged, features.repeat_interleave(samples, 0)[:, : step + 1]], dim=-1)
    output = inner.decoder(
        inputs_embeds=embedded, encoder_hidden_states=hidden.repeat_interleave(samples, 0), use_cache=False
    )
    parameters = model.parameter_projection(output.last_hidden_state[:, -1:])
    return [part.view(len(future), samples, -1) for part in parameters]


HEADS = ("student_t", "normal", "negative_binomial")


@pytest.mark.parametrize("kind", ["transformer", "informer"])
@pytest.mark.parametrize(
    "settings",
    [
        *({"distribution_output": head, "scaling": scaling} for head in HEADS for scaling in ("std", "mean", False)),
        {"input_size": 3},
        {"input_size": 2, "distribution_output": "negative_binomial", "scaling": "mean"},
        {
            "num_static_categorical_features": 2,
            "cardinality": [4, 3],
            "embedding_dimension": [2, 3],
            "num_static_real_features": 2,
            "num_dynamic_real_features": 1,
        },
        {
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "decoder_layers": 3,
            "activation_function": "relu",
        },
        {"lags_sequence": [3, 1, 12], "context_length": 9},
        {"prediction_length": 1, "lags_sequence": [2]},
    ],
    ids=str,
)
@torch.inference_mode()
def test_parameters_of_every_step_are_the_librarys(kind, settings):
    if kind == "informer":
        # Full attention, and so is the sparse one in 7 steps; the encoder's, which draws keys, is not.
        settings = settings | {"attention_type": "full"}
    model = made(kind, **settings)
    batch = batch_for(model, 3)
    ours = Recorded(model, batch, samples=4)
    assert ours.paths.std(1).mean() > 0.01
    for step in range(model.config.prediction_length):
        theirs = library_parameters(model, batch, ours.paths, step)
        for mine, expected in zip(ours.parameters[step], theirs, strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


class Keys:
    """The same random keys for our decoder and the library's: those of a layer at a step, whoever asks.

    Never one key alone: then all queries measure 0 and rounding chooses among them.
    """

    def __init__(self, layers: int) -> None:
        noise = np.random.default_rng(0)
        self.keys = [
            [torch.from_numpy(np.r_[0, noise.integers(0, n, max(n - 2, 0)), n - 1][:n]) for _ in range(layers)]
            for n in range(1, 40)
        ]
        self.calls = [0] * 40

    def next(self, length: int) -> torch.Tensor:
        """A decoder asks once a layer, first layer first."""
        layers = self.keys[length - 1]
        self.calls[length] += 1
        return layers[(self.calls[length] - 1) % len(layers)]

    def give_ours(self, monkeypatch) -> None:
        monkeypatch.setattr(informer, "drawn_keys", lambda factor, length, generator: self.next(length))

    def give_theirs(self, monkeypatch) -> None:
        monkeypatch.setattr(torch, "randint", lambda low, high, size: self.next(high))


@pytest.mark.parametrize(
    "settings",
    [
        {"sampling_factor": 1},
        {"sampling_factor": 2, "input_size": 2, "distribution_output": "normal"},
        {"sampling_factor": 1, "decoder_layers": 1},
        {"sampling_factor": 1, "decoder_layers": 3, "decoder_attention_heads": 4, "encoder_attention_heads": 4},
        {"sampling_factor": 1, "distil": False, "distribution_output": "negative_binomial", "scaling": "mean"},
        # The published factor: sparse from step 16 on, full once more at step 20.
        {"sampling_factor": 5, "prediction_length": 22},
    ],
    ids=str,
)
@torch.inference_mode()
def test_sparse_attention_is_the_librarys_where_its_keys_are(settings, monkeypatch):
    model = made("informer", **settings)
    keys, batch = Keys(model.config.decoder_layers), batch_for(model, 3)
    keys.give_ours(monkeypatch)
    ours = Recorded(model, batch, samples=4, seed=5)
    assert sum(keys.calls) > 0
    torch.manual_seed(5)
    hidden = model.model.encoder(inputs_embeds=prepare(model, batch).encoder).last_hidden_state
    keys.give_theirs(monkeypatch)
    for step in range(model.config.prediction_length):
        theirs = library_parameters(model, batch, ours.paths, step, hidden)
        for mine, expected in zip(ours.parameters[step], theirs, strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


def test_keys_and_active_queries_are_as_many_as_the_librarys():
    assert [informer.active_queries(5, length) for length in (1, 15, 16, 19, 20, 21, 54)] == [1, 15, 15, 15, 20, 20, 25]
    assert informer.drawn_keys(5, 24, torch.Generator().manual_seed(0)).shape == (24,)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"distribution_output": "normal", "scaling": "mean", "num_static_real_features": 1},
        {"distribution_output": "negative_binomial", "scaling": False},
        {"input_size": 3, "num_static_categorical_features": 1, "cardinality": [5], "embedding_dimension": [3]},
        # The decoder's sequence longer than the context, and much longer.
        {"label_length": 4, "context_length": 8},
        {"label_length": 4, "context_length": 5, "prediction_length": 16},
    ],
    ids=str,
)
@torch.inference_mode()
def test_autoformer_gives_each_window_the_parameters_that_the_library_gives_it_alone(settings, monkeypatch):
    model = made("autoformer", **settings)
    batch, seen = batch_for(model, 4), []
    ours = autoformer.parameters(model, prepare(model, batch))
    project = model.output_params
    monkeypatch.setattr(
        model, "output_params", lambda hidden: seen.append([p.clone() for p in project(hidden)]) or project(hidden)
    )
    model.config.num_parallel_samples = 2
    for window in range(4):
        model.generate(**{name: value[window : window + 1] for name, value in batch.items()})
    for number, mine in enumerate(ours):
        theirs = torch.stack([parameters[number][0] for parameters in seen])
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


DRAWS = 10_000


def full_attention(sparse, config):
    """An attention without random keys that has the same weights."""
    full = InformerAttention(config.d_model, sparse.num_heads, config=config).eval()
    full.load_state_dict(sparse.state_dict())
    return full


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["transformer", "informer", "autoformer"])
def test_samples_have_the_law_of_generate(kind, head, monkeypatch):
    """Kolmogorov-Smirnov at three steps ahead, p > 0.01 for seeds that are fixed; means and, where it exists, variances."""
    sparse = {"sampling_factor": 1} if kind == "informer" else {}
    model = made(
        kind, distribution_output=head, num_parallel_samples=DRAWS, init_std=0.2, prediction_length=5, **sparse
    )
    batch, keys = batch_for(model, 1), Keys(2)
    if kind == "informer":
        # All samples of a call share its random keys, so the law is compared for the same ones; the encoder needs none.
        for layer in model.model.encoder.layers:
            layer.self_attn = full_attention(layer.self_attn, model.config)
        keys.give_ours(monkeypatch)
    ours = draw(model, batch, DRAWS, torch.Generator().manual_seed(1)).samples[0].numpy()
    torch.manual_seed(2)
    if kind == "informer":
        keys.give_theirs(monkeypatch)
    theirs = model.generate(**batch).sequences[0].numpy()
    assert ours.shape == theirs.shape == (DRAWS, 5)
    for step in (0, 2, 4):
        mine, other = ours[:, step], theirs[:, step]
        assert stats.ks_2samp(mine, other).pvalue > 0.01
        error = np.hypot(mine.std(), other.std()) / np.sqrt(DRAWS)
        assert abs(mine.mean() - other.mean()) < 3.5 * error
        if head != "student_t":
            assert mine.var() == pytest.approx(other.var(), rel=0.1)
    # Paths, not points: what one step drew, the next one knows.
    assert np.corrcoef(ours[:, 3], ours[:, 4])[0, 1] == pytest.approx(
        np.corrcoef(theirs[:, 3], theirs[:, 4])[0, 1], abs=0.04
    )


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sampler_of(head: str, scale: torch.Tensor, count: int, steps: int = 1, seed: int = 0) -> Sampler:
    output = {
        "student_t": transformers.time_series_utils.StudentTOutput,
        "normal": transformers.time_series_utils.NormalOutput,
        "negative_binomial": transformers.time_series_utils.NegativeBinomialOutput,
    }[head](dim=1)
    return Sampler(output, scale, count, steps, noise(seed))


@pytest.mark.parametrize("freedom", [2.05, 3.0, 12.0, 1e6])
def test_student_t_is_scipys(freedom):
    sampler = sampler_of("student_t", torch.ones(1, 1, 1), 40_000)
    given = (torch.full((1, 1, 1), freedom), torch.full((1, 1, 1), 3.0), torch.full((1, 1, 1), 0.5))
    drawn = sampler.draw(given, 0).flatten().numpy()
    assert stats.kstest(drawn, stats.t(freedom, 3.0, 0.5).cdf).pvalue > 0.01
    # The far tail too: one in 2,000 lies beyond.
    beyond = np.mean(np.abs(drawn - 3.0) > 0.5 * stats.t(freedom).isf(0.00025))
    assert beyond == pytest.approx(0.0005, abs=0.00035)


def test_normal_is_scipys():
    sampler = sampler_of("normal", torch.ones(1, 1, 1), 40_000)
    drawn = sampler.draw((torch.full((1, 1, 1), -1.0), torch.full((1, 1, 1), 2.0)), 0).flatten().numpy()
    assert stats.kstest(drawn, stats.norm(-1.0, 2.0).cdf).pvalue > 0.01


@pytest.mark.parametrize(("total", "logits", "scale"), [(0.3, 0.5, 2.0), (2.0, -1.0, 10.0), (50.0, 0.0, 1.0)])
def test_negative_binomial_is_scipys_with_its_rate_scaled(total, logits, scale):
    sampler = sampler_of("negative_binomial", torch.full((1, 1, 1), scale), 40_000)
    drawn = sampler.draw((torch.full((1, 1, 1), total), torch.full((1, 1, 1), logits)), 0).flatten().numpy()
    law = stats.nbinom(total, 1 / (1 + np.exp(logits) * scale))
    values = np.arange(drawn.max() + 1)
    empirical = np.searchsorted(np.sort(drawn), values, side="right") / len(drawn)
    assert np.abs(empirical - law.cdf(values)).max() < 1.63 / np.sqrt(len(drawn))
    assert drawn.mean() == pytest.approx(law.mean(), rel=0.03)


def test_an_exploded_rate_is_told():
    sampler = sampler_of("negative_binomial", torch.ones(1, 1, 1), 3)
    with pytest.raises(ValueError, match="rate is not a number or beyond 1e\\+15"):
        sampler.draw((torch.ones(1, 1, 1), torch.full((1, 1, 1), 200.0)), 0)
    model = build(Spec("dlinear", 3, distribution="negative_binomial", scaling="mean"), 0)
    torch.nn.init.constant_(model.trend.bias, 200.0)
    with pytest.raises(
        ToolError, match=r"^forecast: the negative binomial's rate is not a number or beyond 1e\+15; the"
    ):
        draw(model, {"past_values": torch.ones(1, 6)}, 3, noise(0))


@pytest.mark.parametrize("kind", ["transformer", "informer", "autoformer"])
@pytest.mark.parametrize("head", ["student_t", "negative_binomial"])
def test_same_seed_same_draws_and_torchs_own_generator_untouched(kind, head):
    model = (
        made(kind, distribution_output=head, sampling_factor=1)
        if kind == "informer"
        else made(kind, distribution_output=head)
    )
    batch = batch_for(model, 5)
    before = torch.get_rng_state()
    first = draw(model, batch, 6, noise(1)).samples
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again, other = (draw(model, batch, 6, noise(seed)).samples for seed in (1, 2))
    assert first.shape == (5, 6, 7)
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", ["transformer", "informer", "autoformer"])
def test_chunks_do_not_change_the_draws(kind):
    model = made(kind, sampling_factor=1) if kind == "informer" else made(kind)
    batch = batch_for(model, 5)
    whole, parts = (draw(model, batch, 6, noise(1), chunk=chunk).samples for chunk in (5, 2))
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)


def test_a_window_without_observations_takes_the_batchs_scale_in_chunks_too():
    model = made("transformer", scaling="mean")
    batch = batch_for(model, 4)
    batch["past_observed_mask"][2] = 0.0
    batch["past_values"][2] = 0.0
    whole, parts = (draw(model, batch, 6, noise(1), chunk=chunk).samples for chunk in (4, 1))
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)
    assert whole[2].std() > 1.0


def test_a_model_in_training_draws_without_dropout_and_stays_in_training():
    model = made("transformer", dropout=0.5, decoder_layerdrop=0.9)
    batch = batch_for(model, 2)
    calm = draw(model, batch, 4, noise(1)).samples
    model.train()
    assert torch.equal(draw(model, batch, 4, noise(1)).samples, calm)
    assert model.training


def test_wrong_calls_and_wrong_weights_are_told():
    model = made("transformer")
    batch = batch_for(model, 3)
    with pytest.raises(ConfigError, match="at least 1"):
        draw(model, batch, 0, noise(1))
    longer = batch | {"future_time_features": torch.zeros(3, 8, 2)}
    with pytest.raises(ConfigError, match="8 steps ahead, but the model was trained for 7"):
        draw(model, longer, 2, noise(1))
    batch["past_values"][1, -1] = float("nan")
    with pytest.raises(ToolError, match="no finite values for 1 of 3 windows, the first is window 1"):
        draw(model, batch, 2, noise(1))
    with pytest.raises(ConfigError, match="a bert is no forecasting model"):
        draw(transformers.BertModel(transformers.BertConfig(num_hidden_layers=1, hidden_size=12)), batch, 2, noise(1))


def direct(kind: str, dims: int, distribution: str, **settings):
    spec = Spec(kind, 4, context_length=12, input_size=dims, distribution=distribution, num_time_features=2, **settings)
    model = build(spec, seed=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise(3))
    shape = (3, 12) if dims == 1 else (3, 12, dims)
    values = torch.randn(shape, generator=noise(4)).cumsum(1) + 5
    mask = (torch.rand(shape, generator=noise(5)) > 0.1).float()
    batch = {
        "past_values": values * mask,
        "past_observed_mask": mask,
        "past_time_features": torch.randn(3, 12, 2, generator=noise(6)),
        "future_time_features": torch.randn(3, 4, 2, generator=noise(7)),
        "future_values": torch.full((3, 4, *shape[2:]), float("nan")),
        "future_observed_mask": torch.zeros((3, 4, *shape[2:])),
    }
    return model, batch


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("head", ["student_t", "normal"])
@pytest.mark.parametrize("kind", ["dlinear", "nbeats", "patchtst"])
@torch.no_grad()
def test_one_pass_models_draw_from_their_distribution(kind, head, dims):
    model, batch = direct(kind, dims, head)
    samples = draw(model, batch, 4_000, noise(1)).samples
    shape = (3, 4, dims)
    assert samples.shape == ((3, 4_000, 4) if dims == 1 else (3, 4_000, 4, 2))
    if kind != "patchtst":
        given = {name: batch[name] for name in batch if not name.startswith("future_val") and "future_obs" not in name}
        output = model(**given)
        params = output.params
    else:
        output = model(
            past_values=batch["past_values"].reshape(3, 12, dims),
            past_observed_mask=batch["past_observed_mask"].reshape(3, 12, dims),
        )
        params = output.prediction_outputs
    params = [part.reshape(shape).numpy() for part in params]
    loc, scale = output.loc.reshape(3, 1, dims).numpy(), output.scale.reshape(3, 1, dims).numpy()
    law = (
        stats.t(params[0], loc + scale * params[1], scale * params[2])
        if head == "student_t"
        else stats.norm(loc + scale * params[0], scale * params[1])
    )
    ranks = law.cdf(samples.reshape(3, 4_000, 4, dims).transpose(0, 1).numpy())
    pvalues = [
        stats.kstest(ranks[:, w, h, d], "uniform").pvalue for w in range(3) for h in range(4) for d in range(dims)
    ]
    assert min(pvalues) > 0.01 / len(pvalues)
    assert np.mean(pvalues) > 0.2


@torch.no_grad()
def test_point_and_quantile_heads_give_what_the_model_gives():
    model, batch = direct("dlinear", 1, "quantiles")
    drawn = draw(model, batch, 50, noise(1))
    given = {name: batch[name] for name in batch if not name.startswith(("future_values", "future_observed"))}
    assert drawn.samples is None
    assert torch.equal(drawn.quantiles, model(**given).quantiles)
    assert drawn.levels == tuple(model.config.quantile_levels)
    assert drawn.numpy().shape == (3, 15, 4)
    model, batch = direct("dlinear", 2, "point")
    drawn = draw(model, batch, 50, noise(1))
    assert drawn.samples.shape == (3, 1, 4, 2)
    assert torch.equal(drawn.mean, drawn.samples[:, 0])
    model, batch = direct("patchtst", 1, "point")
    drawn = draw(model, batch, 50, noise(1))
    assert torch.equal(
        drawn.samples[:, 0],
        model.generate(batch["past_values"][..., None], batch["past_observed_mask"][..., None]).sequences[:, 0, :, 0],
    )


def drawn_from(*rows: list[float]) -> Drawn:
    """One window, one step."""
    return Drawn(samples=torch.tensor(rows)[..., None])


def test_an_ensembles_samples_are_averaged_rank_by_rank():
    joined = combine([drawn_from([5.0, 1.0, 3.0]), drawn_from([10.0, 30.0, 20.0])])
    assert joined.samples[0, :, 0].tolist() == [5.5, 11.5, 17.5]
    pooled = combine([drawn_from([5.0, 1.0, 3.0]), drawn_from([10.0, 30.0])], how="pool")
    assert pooled.samples[0, :, 0].tolist() == [5.0, 1.0, 3.0, 10.0, 30.0]
    # The average of two normal quantile functions is the normal of the average mean and deviation; the pool is wider.
    normals = [
        Drawn(samples=loc + scale * torch.randn(1, 20_000, 1, generator=noise(loc)))
        for loc, scale in ((0, 1.0), (4, 3.0))
    ]
    average = combine(normals).samples
    assert float(average.mean()) == pytest.approx(2.0, abs=0.05)
    assert float(average.std()) == pytest.approx(2.0, abs=0.05)
    assert float(combine(normals, how="pool").samples.std()) == pytest.approx(3.0, abs=0.05)  # sqrt((1 + 9) / 2 + 4)


def test_samples_are_joined_with_a_quantile_head_at_its_levels():
    samples = drawn_from([4.0, 1.0, 3.0, 2.0, 0.0])
    quantiles = Drawn(quantiles=torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1), levels=(0.25, 0.5, 0.9))
    for parts in ([samples, quantiles], [quantiles, samples]):
        joined = combine(parts)
        assert joined.levels == (0.25, 0.5, 0.9)
        assert joined.samples is None
        expected = (np.quantile([0, 1, 2, 3, 4], [0.25, 0.5, 0.9]) + np.array([10, 20, 30])) / 2
        np.testing.assert_allclose(joined.quantiles.flatten(), expected, rtol=1e-6)


def test_a_point_forecast_joins_an_ensemble_as_its_own_quantile_function():
    joined = combine([drawn_from([3.0, 1.0]), drawn_from([11.0])])
    assert joined.samples[0, :, 0].tolist() == [6.0, 7.0]


def test_an_ensembles_quantiles_are_averaged():
    one, two = (Drawn(quantiles=torch.full((2, 3, 4), value), levels=(0.1, 0.5, 0.9)) for value in (1.0, 2.0))
    joined = combine([one, two])
    assert joined.levels == (0.1, 0.5, 0.9)
    assert torch.equal(joined.quantiles, torch.full((2, 3, 4), 1.5))
    assert combine([one]) is one


@pytest.mark.parametrize(
    ("parts", "how", "message"),
    [
        ([], "pool", "no forecast"),
        ([drawn_from([1.0])], "median", "quantiles, pool, not 'median'"),
        ([drawn_from([1.0, 2.0]), drawn_from([1.0, 2.0, 3.0])], "quantiles", "numbers of samples differ"),
        ([drawn_from([1.0]), Drawn(samples=torch.zeros(2, 1, 1))], "pool", "same windows"),
        (
            [drawn_from([1.0]), Drawn(quantiles=torch.zeros(1, 1, 1), levels=(0.5,))],
            "pool",
            "--ensemble pool: quantiles can't",
        ),
        (
            [Drawn(quantiles=torch.zeros(1, 1, 1), levels=(level,)) for level in (0.5, 0.9)],
            "quantiles",
            "different levels can't be joined; --ensemble none compares",
        ),
    ],
)
def test_forecasts_that_do_not_fit_are_not_joined(parts, how, message):
    with pytest.raises(ConfigError, match=message):
        combine(parts, how)


def test_arrays_for_the_scorer_are_float32_on_the_host():
    array = drawn_from([1.0, 2.0]).numpy()
    assert (array.dtype, array.shape, array.flags["C_CONTIGUOUS"]) == (np.float32, (1, 2, 1), True)
    with pytest.raises(ConfigError, match="no array"):
        Drawn().numpy()
