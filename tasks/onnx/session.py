"""Running an ONNX classifier with onnxruntime."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tasks.errors import ConfigError, DataError, OutOfMemory, ToolError, one_line

# How a text classifier is run with onnxruntime alone; {example} stands for its texts.
TEXT_EXAMPLE = """import numpy, onnxruntime, tokenizers
session = onnxruntime.InferenceSession("model.onnx")
text = tokenizers.Tokenizer.from_file("tokenizer.json").encode({example})
given = {"input_ids": text.ids, "attention_mask": text.attention_mask, "token_type_ids": text.type_ids}
print(session.run(["logits"], {one.name: numpy.array([given[one.name]]) for one in session.get_inputs()}))
"""
# What its logits mean where a text may have several labels.
SEVERAL_LABELS = (
    "A text may have several labels: each where 1 / (1 + exp(-logit)) reaches its threshold in config.json, "
    "or 0.5 where that names none."
)
# How the files are called, ours and Optimum's, in the order in which a folder is searched.
NAMES = ("model.onnx", "model_quantized.onnx", "model_optimized.onnx")
# Begins the names of the operators whose ranges span all that is in a batch.
_DYNAMIC = b"DynamicQuantize"
_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}


class Session:
    """A classifier's graph, ready to run on the CPU.

    Args:
        path: an ONNX file, or a folder with one.
        threads: for one operator; None: as many as this process may use.

    Raises:
        ConfigError: there is no such file.
        DataError: it isn't a graph that onnxruntime can run.
        OutOfMemory: it doesn't fit.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self.path = find(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self.session = onnxruntime.InferenceSession(
                str(self.path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except ToolError:  # a stop that was asked for
            raise
        except Exception as error:  # its errors share no base class
            if _is_full(error):
                raise OutOfMemory(
                    f"{self.path} doesn't fit into memory; use a machine with more, or a smaller model"
                ) from None
            raise DataError(
                f"{self.path}: onnxruntime can't load it ({one_line(str(error), limit=200)}); export or quantize the model again"
            ) from error
        self.inputs = tuple(value.name for value in self.session.get_inputs())
        self.types = {value.name: _TYPES.get(value.type, np.float32) for value in self.session.get_inputs()}
        names = [value.name for value in self.session.get_outputs()]
        self.output = "logits" if "logits" in names else names[0]

    @property
    def batch_dependent(self) -> bool:
        """Whether activations are rounded by the range of the whole batch, so that an answer hangs on what else is in it."""
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(_DYNAMIC) >= 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits float32 [batch, labels].

        Args:
            feeds: arrays by name; what the graph doesn't take is left out, and missing token types and masks are filled in.

        Raises:
            DataError: an input that can't be filled in is missing.
        """
        given = {name: self._feed(name, feeds) for name in self.inputs}
        try:
            (logits,) = self.session.run([self.output], given)
        except ToolError:
            raise
        except Exception as error:
            if _is_full(error):
                raise OutOfMemory(
                    "a batch doesn't fit into memory; use a smaller --batch-size or --max-length"
                ) from None
            raise
        return np.asarray(logits, dtype=np.float32)

    def _feed(self, name: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        if name in feeds:
            return np.asarray(feeds[name], dtype=self.types[name])
        fill = {"token_type_ids": 0, "attention_mask": 1}.get(name)
        if fill is None or "input_ids" not in feeds:
            raise DataError(f"{self.path}: the graph takes {', '.join(self.inputs)}; {name} is missing")
        return np.full(np.shape(feeds["input_ids"]), fill, dtype=self.types[name])


def find(path: str | Path) -> Path:
    """The ONNX file that a path means: itself, or the one in a folder.

    Raises:
        ConfigError: there is none.
    """
    given = Path(path).expanduser()
    if given.is_file():
        return given
    found = [given / name for name in NAMES if (given / name).is_file()] or sorted(given.glob("*.onnx"))
    if not found:
        where = "no ONNX file in it" if given.is_dir() else "no such file or folder"
        raise ConfigError(f"{path}: {where}; `tool export onnx` and `tool quantize` write such folders")
    return found[0]


def open_model(folder: str | Path, *, threads: int | None = None) -> tuple[Session, Any, Any]:
    """(session, tokenizer or processor, config with the label maps) of a folder that export, quantize or Optimum wrote.

    Raises:
        ConfigError: no ONNX file, or no config.json or tokenizer beside it.
        DataError: a broken graph.
    """
    import transformers

    from tasks.hub import loading

    path = find(folder)
    if not (path.parent / "config.json").is_file():
        raise ConfigError(
            f"{path.parent}: no config.json beside {path.name}; copy the model's config.json and tokenizer files there"
        )
    with loading(str(path.parent), "--model"):
        config = transformers.AutoConfig.from_pretrained(path.parent)
        session = Session(path, threads=threads)
        if "input_ids" not in session.inputs:
            loader: Any = transformers.AutoImageProcessor
        else:
            loader = transformers.AutoProcessor if "pixel_values" in session.inputs else transformers.AutoTokenizer
        return session, loader.from_pretrained(path.parent), config


def usable_threads() -> int:
    """As many threads as this process may run at once: OMP_NUM_THREADS, else its share of the processors."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_full(error: Exception) -> bool:
    """Whether onnxruntime says by an error that memory is full; it has no type for it."""
    return isinstance(error, MemoryError) or any(word in str(error) for word in ("bad_alloc", "allocate memory"))
