"""Prompts of generative models, and the extraction of the answer from their text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.errors import ConfigError


@dataclass(frozen=True)
class Family:
    """How one kind of model is asked.

    Attributes:
        plain, short: prompt templates; `short` asks for a word or two, where the family has words for that.
        shares_images: its images are prepared apart from the text, so each one once for all its questions.
        equal_lengths: it attends to padding, or counts positions through it: only prompts of one length share a batch.
    """

    plain: str = "{question}"
    short: str = "{question}\nAnswer the question using a single word or phrase."
    shares_images: bool = False
    equal_lengths: bool = False


FAMILIES = {
    "blip-2": Family("Question: {question} Answer:", "Question: {question} Short answer:", shares_images=True),
    "instructblip": Family("{question}", "Question: {question} Short answer:", shares_images=True),
    "blip": Family("{question}", "{question}", shares_images=True, equal_lengths=True),
    "git": Family("{question}", "{question}", shares_images=True, equal_lengths=True),
    "paligemma": Family("answer en {question}", "answer en {question}"),
}
CHAT = Family()
_NEXT_TURN = re.compile(r"\n|\bquestion\s*:", re.IGNORECASE)


def prompt_for(model_type: str, question: str, template: str | None = None, style: str = "plain") -> str:
    """The text that puts `question` to a model of this type (a chat model's own turn markers come on top).

    Args:
        model_type: as in the model's config.json, such as `blip-2`.
        template: takes the place of the family's; must hold `{question}`.
        style: `plain` or `short`, see `Family`.

    Raises:
        ConfigError: the template has no `{question}`, or the style isn't one of the two.
    """
    if style not in ("plain", "short"):
        raise ConfigError(f"prompt style {style!r}: there are `plain` and `short`")
    if template is None:
        family = FAMILIES.get(model_type, CHAT)
        template = family.short if style == "short" else family.plain
    if "{question}" not in template:
        raise ConfigError(f"prompt {template!r}: no {{question}} in it, where the question is to stand")
    return template.replace("{question}", " ".join(question.split()))


def clean_answer(text: str) -> str:
    """The answer alone: up to the end of its first line, or to where the model begins to ask a question of its own."""
    return _NEXT_TURN.split(text.strip(), maxsplit=1)[0].strip()
