"""A text classifier as `tool quantize` takes it: the float model, the texts that it is measured on, and those for calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.glue.data import digest, run_data
from recipes.glue.inference import check_length, labels_of, thresholds_of, trained_length
from recipes.glue.seen_texts import (
    CALIBRATION,
    quantization_line,
    quantization_record,
    seen_texts,
    together,
    used_by_quantization,
)
from recipes.quantizable import EvaluatedBefore, Feeds, Quantizable, check_memory, require_better, trained_verdict
from recipes.runs import folder as run_folder
from recipes.runs.select import choose_model
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError, DataError
from tasks.glue import evaluation, multi_label, pretrained, score
from tasks.glue.batches import TextBatches, random_texts
from tasks.glue.cuts import cut_notes, cuts
from tasks.glue.data import Splits
from tasks.glue.texts import Texts
from tasks.paired import Paired
from tasks.weights import holds_onnx, load_config, model_folder


@dataclass
class QuantizableTexts(Quantizable):
    """A text classifier with its splits."""

    splits: Splits

    def calibration(self, approach: str, samples: int, batch_size: int) -> list[Feeds]:
        """See `Quantizable`."""
        texts = self.calibration_texts(samples)
        if not len(texts):
            raise DataError(
                f"--approach {approach} needs training texts to calibrate on and {self.splits.name} has none; "
                f"give --data with a training split (or --train-split NAME), or take --approach dynamic"
            )
        batches = TextBatches(texts, self.tokenizer, max_length=self.length)
        return [batches.feeds(numbers) for numbers in batches.in_order(batch_size)]

    def calibration_texts(self, samples: int) -> Texts:
        """The training texts that the seed draws."""
        texts = self.splits.train
        if texts is None:
            return Texts([], None, None)
        rows = np.random.default_rng(self.seed).permutation(len(texts))[: min(samples, len(texts))]
        return texts.take(np.sort(rows))

    def evaluated_before(self, calibration_samples: int, trials: int) -> EvaluatedBefore:
        """See `Quantizable`."""
        calibrated = self.calibration_texts(calibration_samples) if calibration_samples else None
        chosen_by = list(self.splits.evaluation.values()) if trials > 1 else []
        record = quantization_record(self.model, calibrated, chosen_by)
        trained = together(seen_texts(self.model, self.splits))
        found = EvaluatedBefore(record, {}, {"seen": trained.facts()}, {"seen": trained.mark()})
        if trained.mask is None:
            found.lines["seen"] = "it is not known which of the texts training saw: the model has no record of them"
        elif trained.count:
            found.lines["seen"] = f"{trained.text()}: the figure is not one of unseen data"
        for word, part in used_by_quantization(record, self.splits).items():
            found.facts[word] = part.facts()
            if part.count:
                found.lines[word] = quantization_line(word, part)
                found.marks[word] = f" ({part.count:,} {word})" if word == CALIBRATION else ""
        return found

    def random_inputs(self, count: int) -> list[Feeds]:
        """See `Quantizable`."""
        texts = Texts(random_texts(self.tokenizer, count), None, None)
        batches = TextBatches(texts, self.tokenizer, max_length=self.length)
        return [batches.feeds(np.asarray([number])) for number in range(count)]

    def text_of(self, value: float) -> str:
        """See `Quantizable`."""
        return evaluation.text_of(self.metric, value)

    def figures(self, logits: dict[str, np.ndarray]) -> dict[str, Any]:
        """See `Quantizable`. Without the loss: quantization is judged by answers."""
        found = evaluation.summarise(self.splits, logits, dict.fromkeys(logits, float("nan")))
        return {key: value for key, value in found.items() if key != "splits" and not key.endswith("loss")}

    def verdict(self, logits: dict[str, np.ndarray]) -> dict[str, Any]:
        """See `Quantizable`."""
        return evaluation.verdict(self.splits, logits, self.figures(logits))

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """See `Quantizable`."""
        return evaluation.answers_of(logits, self.labels, self.splits.thresholds)

    def paired(self, split: str, reference: np.ndarray, other: np.ndarray) -> Paired:
        """See `Quantizable`."""
        labels = self.splits.evaluation[split].label
        assert labels is not None
        if self.splits.thresholds is not None:
            return multi_label.paired(self.metric, reference, other, labels)
        return score.paired(self.metric, reference, other, labels)


def quantizable(config: Any) -> QuantizableTexts:
    """The model asked for, or the newest run's, with its data.

    Args:
        config: the options of `tool quantize`.

    Raises:
        ConfigError: no model, no classification head, or quantized already.
        DataError: data that don't fit it.
    """
    model, run = choose_model(config.model, config.output_dir, ("glue",))
    folder = model_folder(model)
    if (trained := trained_verdict(run)) is not None:
        require_better(trained, model, config.force)
    network, tokenizer, settings = _open(config, model, folder)
    labels = labels_of(settings)
    seed = config.seed if config.seed is not None else int(run.config().get("seed", 0)) if run is not None else 0
    splits = read_data(config, run, labels, thresholds_of(settings, model))
    longest = pretrained.longest(settings, tokenizer)
    check_length(config.max_length, longest, model)
    length = min(trained_length(run, config.max_length, longest), longest)
    held = {name: TextBatches(texts, tokenizer, max_length=length) for name, texts in splits.evaluation.items()}
    lost = {name: cuts(held[name], texts, tokenizer, length) for name, texts in splits.evaluation.items()}
    for line in cut_notes(lost, length):
        print_line(f"note      {line}")
    first = next(iter(splits.evaluation.values()))
    return QuantizableTexts(
        model=model,
        run=run,
        folder=folder,
        network=network,
        tokenizer=tokenizer,
        settings=settings,
        labels=labels,
        length=length,
        seed=seed,
        evaluation=held,
        description=splits.description,
        digest=f"{digest(labels, *splits.evaluation.values())} {length}",
        metric=splits.metrics[0],
        title=evaluation.title(splits.metrics[0]),
        example='"a gripping film"' if first.second is None else '"A man plays.", "Somebody plays."',
        can_calibrate=splits.train is not None,
        splits=splits,
    )


def _open(config: Any, model: str, folder: str) -> tuple[Any, Any, Any]:
    """(network, None where the folder holds ONNX; tokenizer; config of transformers)."""
    path = Path(folder)
    if holds_onnx(path):
        from tasks.onnx.session import open_model

        _, tokenizer, settings = open_model(path, threads=config.threads)
        return None, tokenizer, settings
    if pretrained.is_quantized(load_config(model, config.revision, config.token)):
        raise ConfigError(f"--model {model} is quantized already; give the float model")
    check_memory(folder, model)
    network = pretrained.load(model, config.revision, config.token).eval()
    return network, pretrained.load_tokenizer(model, config.revision, config.token), network.config


def read_data(
    config: Any, run: run_folder.Run | None, labels: list[str] | None, thresholds: list[float] | None = None
) -> Splits:
    """The evaluation split, and the training split where it is calibrated on."""
    if config.data is None and run is None and config.task is None:
        raise DataError(
            f"--data: say what to measure {config.model} on: texts with labels that it knows, or --task for GLUE's own"
        )

    def read(*need: str) -> Splits:
        return run_data(config, run, need, labels, regression=labels is None, thresholds=thresholds)

    try:
        splits = read("train", "evaluation") if config.approach in ("static", "auto") else read("evaluation")
    except DataError as error:
        if config.approach == "static":
            raise DataError(f"--approach static needs training texts to calibrate on: {error}") from None
        if config.approach != "auto":
            raise
        splits = read("evaluation")
        print_line(f"note      nothing to calibrate on, so static approaches are left out: {error}")
    for line in splits.notes:
        print_line(f"note      {line}")
    for line in splits.skipped:
        print_line(f"skipped   {line}")
    return splits
