"""The peer of the quantization benchmark: optimum-onnx, as its documentation and its run_glue example use it.

Source: huggingface/optimum-onnx, examples/onnxruntime/quantization/text-classification/run_glue.py. Run by the Python of its own
environment, which knows nothing of the tool.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import QuantFormat, QuantizationMode, QuantType
from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig, QuantizationConfig
from optimum.onnxruntime.utils import evaluation_loop
from transformers import AutoTokenizer

from benchmarks.quantize_side import serve, texts_of


def export(options: argparse.Namespace) -> dict[str, Any]:
    """A model folder to an ONNX folder."""
    began = time.perf_counter()
    ORTModelForSequenceClassification.from_pretrained(options.source, export=True).save_pretrained(options.output)
    AutoTokenizer.from_pretrained(options.source).save_pretrained(options.output)
    return {"seconds": time.perf_counter() - began}


def quantize(options: argparse.Namespace) -> dict[str, Any]:
    """Dynamic int8: `avx2` is the preset for this kind of processor, `run_glue` what the example asks for."""
    began = time.perf_counter()
    if options.way == "avx2":
        config = AutoQuantizationConfig.avx2(is_static=False)
    else:
        config = QuantizationConfig(
            is_static=False,
            format=QuantFormat.QOperator,
            mode=QuantizationMode.IntegerOps,
            activations_dtype=QuantType.QUInt8,
            weights_dtype=QuantType.QInt8,
            per_channel=False,
            operators_to_quantize=["MatMul", "Add"],
        )
    quantizer = ORTQuantizer.from_pretrained(options.source)
    quantizer.quantize(save_dir=options.output, quantization_config=config)
    return {"seconds": time.perf_counter() - began}


def score(options: argparse.Namespace) -> dict[str, Any]:
    """Logits of the texts one at a time, each padded to the full length: run_glue's evaluation."""
    rows = texts_of(options)
    tokenizer = AutoTokenizer.from_pretrained(options.source)
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = options.threads
    model = ORTModelForSequenceClassification.from_pretrained(options.source, session_options=session)
    began = time.perf_counter()
    found = tokenizer([text for text, _ in rows], padding="max_length", max_length=options.length, truncation=True)
    labels = [label for _, label in rows]
    data = [{**{name: values[row] for name, values in found.items()}, "label": labels[row]} for row in range(len(rows))]
    tokens = time.perf_counter() - began
    answers = evaluation_loop(model, data, label_names=["label"])
    seconds = time.perf_counter() - began
    np.save(options.output, answers.predictions)
    return {"seconds": seconds, "tokenize_seconds": tokens, "rows": len(rows)}


if __name__ == "__main__":
    serve({"export": export, "quantize": quantize, "score": score})
