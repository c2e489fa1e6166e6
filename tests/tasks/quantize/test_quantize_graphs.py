"""Int8 and int4 graphs: equal to onnxruntime's own, refused where nothing was quantized, layers left float by name."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime import quantization
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from onnxruntime.quantization.quant_utils import quantize_data
from tiny_encoder import batch, change, logits, outliers, write_encoder

from tasks.errors import ConfigError, DataError, ToolError
from tasks.quantize.blocks import from_blocks, to_blocks
from tasks.quantize.calibration.ranges import collect
from tasks.quantize.formats import Format, _of_linux, formats, target_of
from tasks.quantize.graph import nodes
from tasks.quantize.graph.first_token import keep_first_token
from tasks.quantize.plan import Plan
from tasks.quantize.quantizer import quantize
from tasks.quantize.sensitivity import root_mean_square, sensitivity
from tasks.quantize.weights import to_integers

U8S8 = Format("u8", "s8", False, False)
U8S8_7BIT = Format("u8", "s8", True, True)
U8U8 = Format("u8", "u8", True, False)
PRODUCTS = ("MatMul", "Gemm")
FEEDS = batch(3, 11, seed=5, padded=4)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger().setLevel(logging.ERROR)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "model.onnx")


def reduced(encoder: Path, folder: Path) -> Path:
    """The graph that the quantizers start from, for onnxruntime's quantizer to start from too."""
    model = onnx.load(str(encoder))
    keep_first_token(model)
    onnx.save(model, str(folder / "reduced.onnx"))
    return folder / "reduced.onnx"


@pytest.mark.parametrize("form", [U8S8, U8S8_7BIT, U8U8, Format("u8", "u8", False, True)], ids=lambda form: form.name)
def test_dynamic_is_what_onnxruntime_writes(encoder: Path, tmp_path: Path, form: Format) -> None:
    plan = Plan(format=form, operators=PRODUCTS, narrow=0)
    result = quantize(encoder, tmp_path / "ours.onnx", plan)
    quantization.quantize_dynamic(
        reduced(encoder, tmp_path),
        tmp_path / "theirs.onnx",
        op_types_to_quantize=list(PRODUCTS),
        per_channel=form.per_channel,
        reduce_range=form.reduce_range,
        weight_type=quantization.QuantType.QInt8 if form.weight == "s8" else quantization.QuantType.QUInt8,
    )
    ours, theirs = logits(tmp_path / "ours.onnx", FEEDS), logits(tmp_path / "theirs.onnx", FEEDS)
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)
    assert np.abs(ours - logits(encoder, FEEDS)).max() > 1e-5  # it is quantized
    assert result["MatMulInteger"] == 14
    assert result["weights_quantized"] == 14
    assert result["weights"] == 15


def test_dynamic_twice_is_the_same_file(encoder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        quantize(encoder, tmp_path / f"{name}.onnx", Plan(format=U8S8_7BIT))
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


@pytest.mark.parametrize(("kind", "bits"), [("s8", 7), ("s8", 8), ("u8", 7), ("u8", 8)])
def test_weights_as_onnxruntime_rounds_them(kind: str, bits: int) -> None:
    weight = np.random.default_rng(0).normal(0, 1, (40, 7)).astype(np.float32)
    weight[:, 3], weight[:, 4] = 0, np.abs(weight[:, 4])
    types = {"s8": onnx.TensorProto.INT8, "u8": onnx.TensorProto.UINT8}
    ours = to_integers(weight, Format("u8", kind, True, bits == 7), 1)
    for column in range(7):
        zero, scale, values = quantize_data(weight[:, column], types[kind], kind == "s8", bits == 7)
        assert (ours.zero[column], ours.scale[column]) == (zero, scale)
        np.testing.assert_array_equal(ours.values[:, column], values)
    np.testing.assert_allclose(ours.floats(1), weight, atol=float(ours.scale[weight.any(axis=0)].max()) / 2 + 1e-6)


def test_static_is_what_onnxruntime_writes(encoder: Path, tmp_path: Path) -> None:
    batches = [batch(4, 9, seed) for seed in range(3)]
    ranges = collect(encoder, batches)
    form = Format("u8", "s8", False, True)
    plan = Plan("static", form, operators=("MatMul",), method="minmax")
    result = quantize(encoder, tmp_path / "ours.onnx", plan, ranges)

    class Reader(quantization.CalibrationDataReader):
        left = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with redirect_stdout(io.StringIO()):
        quantization.quantize_static(
            reduced(encoder, tmp_path),
            tmp_path / "theirs.onnx",
            Reader(),
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=[layer.node for layer in nodes.layers(encoder, ("MatMul",))],
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
    # onnxruntime reduces activations to 7 bits too, which costs accuracy and spares nothing
    float_logits = logits(encoder, FEEDS)
    ours, theirs = logits(tmp_path / "ours.onnx", FEEDS), logits(tmp_path / "theirs.onnx", FEEDS)
    assert 1e-5 < np.abs(ours - float_logits).max() < 0.25
    np.testing.assert_allclose(ours, theirs, atol=0.25)
    assert result["QuantizeLinear"] == 9  # queries, keys and values share one, but where queries have a row alone
    assert result["weights_quantized"] == 12


def test_static_gemm_is_in_integers(encoder: Path, tmp_path: Path) -> None:
    plan = Plan("static", U8S8_7BIT, operators=("Gemm",), method="minmax", narrow=0)
    result = quantize(encoder, tmp_path / "model.onnx", plan, collect(encoder, [FEEDS]))
    assert result["MatMulInteger"] == 2
    np.testing.assert_allclose(logits(tmp_path / "model.onnx", FEEDS), logits(encoder, FEEDS), atol=0.1)


def test_int4_is_what_onnxruntime_writes(encoder: Path, tmp_path: Path) -> None:
    quantize(encoder, tmp_path / "ours.onnx", Plan("int4", operators=("MatMul",)))
    model = onnx.load(str(reduced(encoder, tmp_path)))
    settings = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, accuracy_level=4, bits=4)
    quantizer = MatMulNBitsQuantizer(model, algo_config=settings)
    quantizer.process()
    onnx.save(quantizer.model.model, str(tmp_path / "theirs.onnx"))
    ours, theirs = logits(tmp_path / "ours.onnx", FEEDS), logits(tmp_path / "theirs.onnx", FEEDS)
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)


def test_blocks_of_an_odd_size_come_back() -> None:
    weight = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    values, scales = to_blocks(weight, 16)
    assert values.shape == (3, 4, 8)
    back = from_blocks(values, scales, 50)
    np.testing.assert_allclose(back, weight, atol=float(np.abs(scales).max()))
    row = int(np.abs(weight[:16, 0]).argmax())
    assert back[row, 0] == pytest.approx(weight[row, 0], rel=1e-6)  # a block's largest is exact


def test_products_saturate_in_8_bits_without_vnni_and_never_in_7(tmp_path: Path) -> None:
    """255 x 127 twice is above 16 bits: `vpmaddubsw` cuts it off there."""
    weight = np.full((64, 32), 1.0, np.float32)
    values = [onnx.helper.make_tensor_value_info(name, 1, ["n", size]) for name, size in (("x", 64), ("logits", 32))]
    node = onnx.helper.make_node("MatMul", ["x", "weight"], ["logits"], name="product")
    constant = onnx.numpy_helper.from_array(weight, "weight")
    graph = onnx.helper.make_graph([node], "one", values[:1], values[1:], [constant])
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), str(tmp_path / "model.onnx"))
    feeds = {"x": np.full((2, 64), 1.0, np.float32)}
    found = {}
    for form in (U8S8, U8S8_7BIT, U8U8):
        quantize(tmp_path / "model.onnx", tmp_path / "out.onnx", Plan(format=form))
        found[form.name] = float(logits(tmp_path / "out.onnx", feeds)[0, 0])
    assert found["u8s8-7bit-channel"] == pytest.approx(64, rel=0.001)
    assert found["u8u8-channel"] == pytest.approx(64, rel=0.001)
    if target_of(("avx2",)) == "avx2" and formats()[0].reduce_range:  # this CPU is of the kind that saturates
        assert found["u8s8"] == pytest.approx(64 * 32767 / (2 * 255 * 127), rel=0.001)


def test_formats_follow_the_instruction_sets(tmp_path: Path) -> None:
    (tmp_path / "intel").write_text("flags\t\t: fpu sse avx2 avx512f avx512_vnni\n")
    (tmp_path / "arm").write_text("Features\t: fp asimd asimddp i8mm\n")
    assert target_of(tuple(_of_linux(tmp_path / "intel"))) == "vnni"
    assert target_of(tuple(_of_linux(tmp_path / "arm"))) == "neon"
    assert _of_linux(tmp_path / "missing") == set()
    assert target_of(("avx2", "avx512")) == "avx512"
    assert target_of(()) == "avx2"
    for target in ("avx2", "avx512"):
        assert [form.name for form in formats(target)][:2] == ["u8s8-7bit-channel", "u8s8-7bit"]
    for target in ("vnni", "amx"):
        assert formats(target)[0].name == "u8s8-channel"
    assert formats("neon", "static")[0].name == "s8s8-channel"
    assert {form.activation for form in formats("neon", "dynamic")} == {"u8"}
    with pytest.raises(ConfigError, match="one of this, avx2"):
        formats("sse")


def test_layers_have_the_names_of_torch_modules(encoder: Path) -> None:
    found = {layer.name: layer for layer in nodes.layers(encoder)}
    assert list(found)[:3] == ["bert.words", "bert.layer.0.query", "bert.layer.0.key"]
    assert list(found)[-2:] == ["bert.pooler", "classifier"]
    assert len(found) == 1 + 12 + 2
    assert found["bert.layer.1.up"].columns == 64
    assert found["classifier"].columns == 2
    assert [layer.operator for layer in nodes.layers(encoder, ("Gather",))] == ["Gather"]


def test_excluded_layers_stay_float(encoder: Path, tmp_path: Path) -> None:
    plan = Plan(format=U8S8_7BIT, excluded=("bert.layer.0", "bert.layer.1.down", "node_pooled"))
    result = quantize(encoder, tmp_path / "model.onnx", plan)
    left = [layer.name for layer in nodes.layers(tmp_path / "model.onnx")]
    assert left == [
        *(f"bert.layer.0.{part}" for part in ("query", "key", "value", "dense", "up", "down")),
        "bert.layer.1.down",
        "bert.pooler",
        "classifier",  # narrower than 16 columns
    ]
    assert result["weights_quantized"] == 6
    with pytest.raises(ConfigError, match=r"--exclude bert\.layer\.1\.dwn: .*near it: bert\.layer\.1\.down"):
        quantize(encoder, tmp_path / "other.onnx", replace(plan, excluded=("bert.layer.1.dwn",)))


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_the_last_layer_runs_for_the_first_token_alone(tmp_path: Path, fused: bool) -> None:
    path = write_encoder(tmp_path / "model.onnx", fused=fused)
    model = onnx.load(str(path))
    assert keep_first_token(model) == 4  # query, dense, up, down
    onnx.save(model, str(tmp_path / "first.onnx"))
    for feeds in (batch(1, 3), batch(4, 17, padded=6), batch(2, 1)):
        np.testing.assert_allclose(logits(tmp_path / "first.onnx", feeds), logits(path, feeds), atol=2e-6)
    again = model.SerializeToString()
    assert keep_first_token(model) == 0
    assert model.SerializeToString() == again


def test_a_mean_over_tokens_keeps_all_rows(tmp_path: Path) -> None:
    model = onnx.load(str(write_encoder(tmp_path / "model.onnx", pooled="mean")))
    before = model.SerializeToString()
    assert keep_first_token(model) == 0
    assert model.SerializeToString() == before


def test_fused_graphs_are_quantized_as_plain_ones(tmp_path: Path) -> None:
    paths = [write_encoder(tmp_path / f"{fused}.onnx", fused=fused) for fused in (False, True)]
    np.testing.assert_allclose(logits(paths[0], FEEDS), logits(paths[1], FEEDS), atol=1e-5)
    batches = [batch(4, 11, seed) for seed in range(4)]
    for approach in ("dynamic", "static", "int4"):
        plan = Plan(approach, U8S8_7BIT, method="minmax" if approach == "static" else None)
        found = []
        for path in paths:
            out = tmp_path / "out.onnx"
            result = quantize(path, out, plan, collect(path, batches))
            found.append((logits(out, FEEDS), result))
        np.testing.assert_allclose(found[0][0], found[1][0], atol=0.05)
        assert found[0][1] == found[1][1]
        assert found[1][1]["weights_quantized"] == 14


def test_rows_of_a_table_have_scales_of_their_own(encoder: Path, tmp_path: Path) -> None:
    """One rare word with large numbers must not round the others away."""
    path = write_encoder(tmp_path / "model.onnx")

    def spike(table: np.ndarray) -> np.ndarray:
        table[7, 3] = 300
        return table

    change(path, "bert.words", spike)
    feeds = {key: np.where(value == 7, 8, value) for key, value in batch(3, 9).items()}
    errors = {}
    for per_channel in (True, False):
        plan = Plan(format=Format("u8", "s8", per_channel, True), excluded=("bert.layer", "bert.pooler"))
        with pytest.raises(ToolError, match="quantized weights alone"):  # a table by itself is no integer product
            quantize(path, tmp_path / "out.onnx", plan)
        plan = replace(plan, excluded=("bert.layer.0", "bert.layer.1"))
        quantize(path, tmp_path / "out.onnx", plan)
        errors[per_channel] = float(np.abs(logits(tmp_path / "out.onnx", feeds) - logits(path, feeds)).max())
    assert errors[True] < 0.1 < errors[False]


def test_refuses_what_was_not_quantized(encoder: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    with pytest.raises(ToolError, match=r"quantized nothing: all 15 layers .* excluded, or narrower than 16"):
        quantize(encoder, target, Plan(format=U8S8, excluded=("bert",)))
    with pytest.raises(ToolError, match="quantized nothing: the graph has no Conv with a constant float weight"):
        quantize(encoder, target, Plan(format=U8S8, operators=("Conv",)))
    assert not target.exists()
    quantize(encoder, target, Plan(format=U8S8))
    assert nodes.counts(target)["MatMulInteger"] == 13
    nodes.require_float(encoder)
    with pytest.raises(
        ConfigError, match=r"model\.onnx is quantized already \(.*13 MatMulInteger.*give the float model"
    ):
        quantize(target, tmp_path / "again.onnx", Plan(format=U8S8))
    with pytest.raises(ConfigError, match="--block-size 48: one of 16, 32"):
        quantize(encoder, target, Plan("int4", block_size=48))


def test_broken_files_are_told(encoder: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    half.write_bytes(encoder.read_bytes()[:5000])
    for path in (half, tmp_path / "missing.onnx"):
        with pytest.raises(DataError, match=path.name):
            quantize(path, tmp_path / "out.onnx", Plan())


def test_sensitivity_is_the_distance_of_that_layer_alone(encoder: Path, tmp_path: Path) -> None:
    """Against graphs that really have one layer quantized."""
    names = ["bert.layer.0.down", "bert.pooler", "bert.layer.1.query"]
    every = [layer.name for layer in nodes.layers(encoder)]
    plan = Plan(format=U8S8_7BIT, narrow=0)
    found = dict(sensitivity(encoder, names, plan, [FEEDS]))
    for name in names:
        alone = replace(plan, excluded=tuple(other for other in every if other != name))
        quantize(encoder, tmp_path / "alone.onnx", alone)
        moved = root_mean_square(logits(encoder, FEEDS), logits(tmp_path / "alone.onnx", FEEDS))
        assert found[name] == pytest.approx(moved, rel=0.02)


@pytest.mark.parametrize("approach", ["dynamic", "static"])
def test_a_layer_with_outliers_is_found_and_left_float(tmp_path: Path, approach: str) -> None:
    path = write_encoder(tmp_path / "model.onnx")
    broken = outliers(path)
    batches = [batch(4, 11, seed) for seed in range(3)]
    plan = Plan(approach, U8S8_7BIT, method="minmax" if approach == "static" else None)
    names = [layer.name for layer in nodes.layers(path) if layer.columns >= plan.narrow]
    ranges = collect(path, batches) if approach == "static" else None
    ranked = sensitivity(path, names, plan, batches, ranges=ranges)
    assert [value for _, value in ranked] == sorted((value for _, value in ranked), reverse=True)
    assert ranked[0][0] == broken
    assert ranked[0][1] > 5 * ranked[1][1]

    def error(plan: Plan) -> float:
        quantize(path, tmp_path / "out.onnx", plan, ranges)
        return root_mean_square(logits(path, FEEDS), logits(tmp_path / "out.onnx", FEEDS))

    plain = error(plan)
    rescued = error(replace(plan, excluded=(broken,)))
    assert rescued < plain / 3


def test_sensitivity_names_what_is_missing(encoder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no layer bert\.layer\.9"):
        sensitivity(encoder, ["bert.layer.9"], Plan(), [FEEDS])
    with pytest.raises(DataError, match="no calibration data"):
        sensitivity(encoder, ["bert.pooler"], Plan(), [])
