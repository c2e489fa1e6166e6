"""From a model of torch to an ONNX graph in memory, through `torch.export` and `torch.onnx.export(dynamo=True)`.

Two things make it short. Attention is traced as the one operation that it is, and becomes one node `modeltool.Attention`
(query, key, value [batch, heads, length, size], a mask that broadcasts over the scores; attribute `scale`), for
`tasks.onnx.attention` to write out. And the exporter's second trace, its decomposition into smaller operations, is left out
where the first one holds nothing that needs it.
"""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import onnx_ir as ir
import torch
from onnx import defs
from onnxscript import opset20, values
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, bidirectional_mask_function, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.deberta import modeling_deberta

from tasks.errors import is_out_of_memory
from tasks.hub import chain, one_line

DOMAIN = "modeltool"
TRACED = "modeltool"  # the name of our attention among transformers' implementations
TORCHLIB_OPSET = 18  # what the exporter's own translations are written in
_aten = torch.ops.aten
# What says nothing at inference; the value is the first argument.
_PASSING = {
    _aten.dropout.default,
    _aten.feature_dropout.default,
    _aten.contiguous.default,
    _aten.alias.default,
    _aten.detach.default,
    _aten.detach_.default,
    _aten.lift_fresh_copy.default,
    _aten.clone.default,
}
# In place, but to the same effect where nothing else reads what they write to.
_IN_PLACE = {_aten.add_.Tensor: _aten.add.Tensor, _aten.mul_.Tensor: _aten.mul.Tensor}
_FRESH = {_aten.add.Tensor, _aten.mul.Tensor, _aten.embedding.default, _aten.linear.default}
_ASSERTIONS = {
    _aten._assert_tensor_metadata.default,
    _aten._assert_scalar.default,
    _aten._assert_async.msg,
    _aten.sym_constrain_range_for_size.default,
}
# The same under the name that the exporter knows.
_RENAMED = {
    _aten.view.default: _aten.reshape.default,  # what made its input contiguous is taken out
    _aten.__and__.Tensor: _aten.bitwise_and.Tensor,
    _aten.__or__.Tensor: _aten.bitwise_or.Tensor,
}
_CASTS = {_aten.to.device, _aten.to.dtype, _aten.to.dtype_layout, _aten.to.other, _aten._to_copy.default}


class UntranslatedError(Exception):
    """Something in a model has no translation; the message names the operation."""


class Module(torch.nn.Module):
    """A model as a function of its tensors by position; gives the logits alone."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self.names, tensors, strict=True))).logits
        return logits


def trace(model: Any, example: dict[str, torch.Tensor], axes: dict[str, dict[int, str]]) -> ir.Model:
    """The graph of a model that gives `logits`, as exported; weights are shared with torch's, not copied.

    Args:
        model: a transformers model, in evaluation mode.
        example: its inputs in order.
        axes: which axes of each input are dynamic, and their names.

    Raises:
        UntranslatedError: it can't be traced, or holds an operation without translation.
    """
    dynamic = tuple(dict.fromkeys(axes[name], torch.export.Dim.DYNAMIC) for name in example)
    with quiet(), portable_attention(model), plain_span(), torch.no_grad():
        module = Module(model, tuple(example)).eval()
        try:
            program = torch.export.export(module, tuple(example.values()), dynamic_shapes=(dynamic,), strict=False)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            if is_out_of_memory(error):
                raise
            raise UntranslatedError(f"torch.export can't trace it ({one_line(str(error))})") from error
        simplify(program)
        found = _translate(program, list(example))
    name_axes(found, axes)
    name_parts(found)
    return found


def _translate(program: torch.export.ExportedProgram, inputs: list[str]) -> ir.Model:
    def onnx() -> ir.Model:
        done = torch.onnx.export(
            program,
            (),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=TORCHLIB_OPSET,
            input_names=inputs,
            output_names=["logits"],
            custom_translation_table=translations(),
        )
        assert done is not None
        return done.model

    # The exporter decomposes by tracing anew, which takes longer than all the rest.
    decompose = program.run_decompositions
    program.run_decompositions = lambda *_, **__: program
    try:
        return onnx()
    except torch.onnx.errors.OnnxExporterError as error:
        logging.getLogger(__name__).debug("decomposed after all: %s", error)
        program.run_decompositions = decompose
    try:
        return onnx()
    except torch.onnx.errors.OnnxExporterError as error:
        root = list(chain(error))[-1]
        raise UntranslatedError(f"{type(root).__name__}: {one_line(str(root))}") from error


def simplify(program: torch.export.ExportedProgram) -> None:
    """Takes out what does nothing at inference, and says conversions in the one way that the exporter knows."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _ASSERTIONS:
            graph.erase_node(node)
        elif node.target in _PASSING:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target in _RENAMED:
            node.target = _RENAMED[node.target]
        elif node.target in _IN_PLACE and node.args[0].target in _FRESH and len(node.args[0].users) == 1:
            node.target = _IN_PLACE[node.target]
        elif node.target in _CASTS:
            source, value = node.args[0].meta["val"], node.meta["val"]
            if source.dtype == value.dtype:
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)
            else:
                node.target, node.args, node.kwargs = _aten._to_copy.default, node.args[:1], {"dtype": value.dtype}
    program.graph_module.recompile()


def name_axes(model: ir.Model, axes: dict[str, dict[int, str]]) -> None:
    """Gives the dynamic axes their names in place of the exporter's, everywhere."""
    names: dict[str, str] = {}
    for value in model.graph.inputs:
        for axis, name in axes[str(value.name)].items():
            assert value.shape is not None
            names.setdefault(str(value.shape[axis]), name)
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape(
                [dim if isinstance(dim, int) else ir.SymbolicDim(names.get(str(dim), str(dim))) for dim in value.shape]
            )


def name_parts(model: ir.Model) -> None:
    """Weights and nodes under the names that the model's own modules have, without the wrapper's."""
    prefix = "model."
    for value in list(model.graph.initializers.values()):
        if value.name is not None and value.name.startswith(prefix):
            value.name = value.name.removeprefix(prefix)
    for node in model.graph:
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
        found = [scope.removeprefix(prefix) for scope in ast.literal_eval(scopes)] if scopes else []
        node.metadata_props.clear()
        if found:
            node.metadata_props["pkg.torch.onnx.name_scopes"] = repr(found)
        if len(found) > 1 and found[-2]:
            node.name = f"{found[-2]}/{node.name or node.op_type}"


@contextmanager
def plain_span() -> Iterator[None]:
    """DeBERTa makes a tensor of a length and then a length of the tensor, which no trace can follow; within, it stays one."""

    def span(query: torch.Tensor, key: torch.Tensor, most: int) -> Any:
        return torch.sym_min(torch.sym_max(query.size(-2), key.size(-2)), most)

    with mock.patch.object(modeling_deberta, "compute_attention_span", span):
        yield


@contextmanager
def portable_attention(model: Any) -> Iterator[None]:
    """Within it a transformers model computes attention through ours, where it lets the implementation be chosen."""
    ALL_ATTENTION_FUNCTIONS.register(TRACED, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(TRACED, attention_mask)
    before = getattr(model.config, "_attn_implementation", None)
    choose = getattr(model, "_supports_sdpa", False) and before is not None
    if choose:
        model.set_attn_implementation(TRACED)
    elif before == "sdpa":
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if before is not None:
            model.set_attn_implementation(before)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Attention [batch, length, heads, size] over [batch, heads, length, size], as transformers asks for it."""
    context = torch.nn.functional.scaled_dot_product_attention(query, key, value, attention_mask, scale=scaling)
    return context.transpose(1, 2), None


def attention_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Any = bidirectional_mask_function,
    attention_mask: torch.Tensor | None = None,
    **others: Any,
) -> torch.Tensor | None:
    """Which keys are seen, bool [batch, 1, 1, keys] where that is all; other patterns (a window) are left to the library."""
    if mask_function is bidirectional_mask_function:
        return None if attention_mask is None else attention_mask[:, None, None, :].to(torch.bool)
    others["allow_is_bidirectional_skip"] = False
    found: torch.Tensor | None = sdpa_mask(
        batch_size, q_length, kv_length, q_offset, kv_offset, mask_function, attention_mask, **others
    )
    return found


def translations() -> dict[Any, Any]:
    """torch operations that we write in ONNX ourselves."""
    attention = values.Op(values.Opset(DOMAIN, 1), "Attention", _schema())

    def sdpa(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        if is_causal or enable_gqa:
            raise NotImplementedError("causal or grouped attention: this is no encoder")
        return attention(query, key, value, attn_mask, scale=scale or query.shape[-1] ** -0.5)

    def gelu(value: Any, approximate: str = "none") -> Any:
        return opset20.Gelu(value, approximate=approximate)

    return {_aten.scaled_dot_product_attention.default: sdpa, _aten.gelu.default: gelu}


def _schema() -> Any:
    schema = defs.OpSchema
    optional = schema.FormalParameterOption.Optional
    inputs = [schema.FormalParameter(name, "T") for name in ("query", "key", "value")]
    return schema(
        "Attention",
        DOMAIN,
        1,
        inputs=[*inputs, schema.FormalParameter("mask", "M", param_option=optional)],
        outputs=[schema.FormalParameter("output", "T")],
        type_constraints=[("T", ["tensor(float)"], ""), ("M", ["tensor(float)", "tensor(bool)"], "")],
        attributes=[schema.Attribute("scale", schema.AttrType.FLOAT, required=True)],
    )


@contextmanager
def quiet() -> Iterator[None]:
    """What the exporter says to its developers is not for the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
