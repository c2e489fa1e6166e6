"""The tool's side of the quantization benchmark: the parts of it that do one step of the peer's, and its calibration."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from benchmarks.quantize_side import peak, serve, texts_of


def quantize(options: argparse.Namespace) -> dict[str, Any]:
    """Dynamic int8 in the format that is best for this processor, as `tool quantize` makes it."""
    import shutil

    import transformers

    from tasks.glue.batches import TextBatches, random_texts
    from tasks.glue.texts import Texts
    from tasks.onnx.session import find
    from tasks.quantize import quantizer
    from tasks.quantize.calibration.typical import typical_rows
    from tasks.quantize.plan import Plan

    began = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    plan, graph = Plan(), find(options.source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.source)
    texts = random_texts(tokenizer, 32)
    batches = TextBatches(Texts(texts, None, None), tokenizer, max_length=options.length)
    typical = typical_rows(graph, (batches.feeds(np.array([number])) for number in range(len(texts))))
    counts = quantizer.quantize(graph, options.output / "model.onnx", plan, typical=typical)
    for path in sorted(options.source.iterdir()):
        if path.is_file() and not path.name.startswith("model.onnx"):
            shutil.copy2(path, options.output)
    return {"seconds": time.perf_counter() - began, "counts": counts, "plan": plan.name}


def score(options: argparse.Namespace) -> dict[str, Any]:
    """Logits of the texts in batches of about equal length, as `tool eval glue` has them."""
    from tasks.glue.batches import TextBatches
    from tasks.glue.texts import Texts
    from tasks.onnx.session import open_model

    rows = texts_of(options)
    session, tokenizer, config = open_model(options.source, threads=options.threads)
    began = time.perf_counter()
    batches = TextBatches(Texts([text for text, _ in rows], None, None), tokenizer, max_length=options.length)
    tokens = time.perf_counter() - began
    logits = np.zeros((len(rows), config.num_labels), dtype=np.float32)
    for numbers in batches.in_order(options.batch_size):
        logits[numbers] = session.run(batches.feeds(numbers))
    seconds = time.perf_counter() - began
    np.save(options.output, logits)
    return {"seconds": seconds, "tokenize_seconds": tokens, "rows": len(rows)}


def calibrate(options: argparse.Namespace) -> dict[str, Any]:
    """Static int8 with ranges from the texts, in batches of about equal length; `way` is the method."""
    import transformers

    from tasks.glue.batches import TextBatches
    from tasks.glue.texts import Texts
    from tasks.onnx.session import find
    from tasks.quantize import quantizer
    from tasks.quantize.calibration.ranges import collect
    from tasks.quantize.plan import Plan

    texts = texts_of(options)
    began = time.perf_counter()
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.source)
    batches = TextBatches(Texts(texts, None, None), tokenizer, max_length=options.length)
    plan = Plan(approach="static", method=options.way)
    feeds = [batches.feeds(numbers) for numbers in batches.in_order(options.batch_size)]
    started = time.perf_counter()
    ranges = collect(find(options.source), feeds, options.way)
    calibration_seconds, calibrated = time.perf_counter() - started, peak()
    options.output.mkdir(parents=True, exist_ok=True)
    counts = quantizer.quantize(find(options.source), options.output / "model.onnx", plan, ranges)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "calibration_seconds": calibration_seconds,
        "calibration_bytes": calibrated,
        "samples": len(texts),
        "counts": counts,
        "plan": plan.name,
    }


if __name__ == "__main__":
    serve({"quantize": quantize, "score": score, "calibrate": calibrate})
