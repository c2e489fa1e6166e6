"""What is to be known beside the figures of a quantization: a line each, for the terminal, the card and the report."""

from __future__ import annotations

from recipes.quantize.context import QuantizationContext
from recipes.quantize.trials import Trial


def remarks(context: QuantizationContext, trial: Trial) -> dict[str, str]:
    """Lines by a word for each; none where nothing is to be said."""
    found = {"baseline": context.verdict.get("line") or "", **context.before.lines, "batches": batches(context, trial)}
    return {name: line for name, line in found.items() if line}


def sentences(context: QuantizationContext, trial: Trial) -> list[str]:
    """The same, to stand in a text."""
    return [f"{line[:1].upper()}{line[1:]}." for line in remarks(context, trial).values()]


def batches(context: QuantizationContext, trial: Trial) -> str:
    """The score in batches of the other size, where an answer differs; else nothing."""
    batched = trial.measured["in_batches"]
    if not batched or not batched["changed"]:
        return ""
    subject, metric = context.subject, context.subject.metric
    one, other = (subject.text_of(figures[metric]) for figures in (trial.measured["figures"], batched["figures"]))
    return (
        f"{subject.title} {one} at batch {context.config.eval_batch_size} and {other} at batch {batched['batch_size']} "
        f"(drop {trial.drop:+.2f} and {batched['drop']:+.2f}): {batched['changed']} of {batched['n']:,} answers depend on "
        f"what else is in the batch"
    )
