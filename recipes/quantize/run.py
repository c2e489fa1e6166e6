"""`tool quantize`: the float model's figures, one approach or a search for the best, and the verdict."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from recipes.distributed.device import set_threads, silence
from recipes.process.extras import require
from recipes.process.interrupts import Interrupts, settle
from recipes.quantizable import Quantizable
from recipes.quantize import artefacts
from recipes.quantize.config import BNB, RECIPE, Quantize
from recipes.quantize.trials import SearchResult, Store, line
from recipes.registry import get
from recipes.runs.select import output_folder
from recipes.terminal.progress import parameters_text, print_line, size
from tasks.errors import OutOfMemory, Preempted, ToolError, is_out_of_memory
from tasks.files import write_json


def quantize(config: Quantize) -> dict[str, Any]:
    """Quantizes, measures, and writes the folder; returns what the command prints.

    Returns:
        With "refused", a sentence, where more was lost than --max-drop allows; the files are then put aside.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    silence()
    set_threads(config.threads)
    with Interrupts() as interrupts:
        try:
            subject: Quantizable = get(RECIPE).part("quantizable")(config)
            suffix = "int8" if config.approach in ("dynamic", "static", "auto") else config.approach
            output = output_folder(config.output, subject.run, subject.model, suffix, artefacts.FACTS)
            if config.approach in BNB:
                from recipes.quantize.bnb import quantize_torch

                say_header(config, subject)
                return quantize_torch(config, interrupts, output, subject)
            return quantize_onnx(config, subject, output, interrupts)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(
                    "the model doesn't fit into memory while it is exported and quantized; take a machine with about six "
                    "times the size of its weights"
                ) from None
            raise


def quantize_onnx(config: Quantize, subject: Quantizable, output: Path, interrupts: Interrupts) -> dict[str, Any]:
    """The same by onnxruntime, in a graph of ONNX."""
    require("onnx", f"tool quantize --approach {config.approach}")
    from recipes.quantize.onnx_context import OnnxContext
    from recipes.quantize.search import Search, single

    store = Store(output.with_name(f"{output.name}-trials"), config.fresh)
    try:
        source, exported = float_graph(config, subject, store)
        context = OnnxContext(config, subject, interrupts, source, store)
        say_header(config, subject)
        context.open_float()
        if config.approach == "auto":
            result = Search(context).run()
        else:
            trial = context.try_plan(single(config))
            if trial.error:
                raise ToolError(trial.error)
            print_line(f"trial     {line(trial, config)}")
            result = SearchResult([trial], trial if trial.within(config.max_drop) else None)
        outcome = artefacts.finish(context, result, output, exported)
        settle()
        return outcome
    except Preempted as stop:
        done = len(store.known)
        raise Preempted(
            f"{stop}; {done} trial{'s are' if done != 1 else ' is'} kept in {store.folder}: run the same command again"
        ) from None


def float_graph(config: Quantize, subject: Quantizable, store: Store) -> tuple[Path, dict[str, Any]]:
    """The float graph in `store`, exported now or by an earlier call; or the ONNX file given.

    Returns:
        Its path and what its export noted.
    """
    from tasks.onnx.session import find
    from tasks.quantize.graph.nodes import require_float

    if subject.network is None:
        path = find(subject.folder)
        require_float(path)
        return path, {}
    from tasks.onnx.export import export

    folder = store.folder / f"float-{config.graph}"
    facts, digest = folder / "export.json", weights_digest(subject.network)
    if facts.is_file() and (folder / "model.onnx").is_file():
        known = json.loads(facts.read_text(encoding="utf-8"))
        if known.get("weights") == digest:
            return folder / "model.onnx", known
    print_line("export    to ONNX, and checking it against PyTorch")
    # Which graph is taken must not hang on a measurement: the same command gives the same bytes.
    done = export(subject.network, folder, graph=config.graph, measure=False)
    kept = ("graph", "opset", "fused", "largest_difference", "bytes", "seconds")
    noted = {"weights": digest, **{name: getattr(done, name) for name in kept}}
    write_json(facts, noted)
    fused = ", ".join(f"{count} {name}" for name, count in done.fused.items()) or "nothing"
    print_line(
        f"          {size(done.bytes)} · fused {fused} · logits within {done.largest_difference:.1g} · {done.seconds:.0f} s"
    )
    return done.path, noted


def weights_digest(network: Any) -> str:
    """Of all weights, by name and value."""
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def say_header(config: Quantize, subject: Quantizable) -> None:
    """What is quantized, measured on what, for which processor."""
    from tasks.quantize.formats import cpu_features

    features = ", ".join(cpu_features()) or "no instruction sets known"
    products = {"avx_vnni", "avx512_vnni", "dotprod", "amx_int8"} & set(cpu_features())
    vnni = "" if products else ", no 8-bit dot products"
    where = (
        f"this CPU: {features}{vnni}" if config.target == "this" else f"for {config.target}, measured here: {features}"
    )
    count = f" · {parameters_text(subject.network)} parameters" if subject.network is not None else ""
    print_line(f"quantize  {subject.model}{count} · {where}")
    lengths = subject.first.lengths
    print_line(
        f"measured  on {subject.description}; {int(sorted(lengths)[len(lengths) // 2])} tokens in the middle, "
        f"{int(lengths.max())} at most · may lose {config.max_drop:g} points of {subject.metric}"
    )
