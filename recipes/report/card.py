"""The model card: README.md in a run's model folder, as the Hugging Face Hub reads it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.report.content import Headline, Table
from recipes.report.figures import columns_of, figure, finite, flatten, interval, one_line, plain, value_text
from tasks.files import write_text
from tasks.hub import is_hub_id

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

MAX_CELL = 300
MAX_TEXT = 2_000
TAG = "modeltool"
ENVIRONMENT = ("python", "processor", "cores", "memory_gb", "gpus", "versions", "git")

_MARKDOWN = re.compile(r"([\\`*_\[\]|#~$])")
_SLUG = re.compile(r"[^a-z0-9_]+")


@dataclass
class Card:
    """What a recipe knows about a trained model. What it doesn't know it leaves empty, and the card leaves out.

    Attributes:
        name: what the model is called, the card's heading.
        summary: what the model is and does, in plain sentences; blank lines part paragraphs.
        pipeline_tag: the Hub's task id, as `visual-question-answering`.
        headline: the measured figure; None where nothing was measured, which the card then says.
        metric: the metric's id on the Hub; by default the headline's name as a slug.
        usage: Python that runs as it stands with the libraries named in it.
        base_model, dataset_id: ids on the Hub; a local path or `tiny` is not put into the header.
        dataset_name: the data in words; needed for the figures to be listed by the Hub.
        license: a license id, only where it is known.
        further: further figures of the same data, name -> value in the unit of a plain number.
        tables: figures in more detail.
        data, training: what it was trained on and how, names and plain values, nested where that helps, secrets masked.
        limits: what was not measured and where not to trust the model, a sentence each.
        environment: versions and hardware, names and plain values.
    """

    name: str
    summary: str = ""
    pipeline_tag: str = ""
    headline: Headline | None = None
    metric: str = ""
    usage: str = ""
    base_model: str | None = None
    dataset_id: str | None = None
    dataset_name: str = ""
    dataset_config: str | None = None
    dataset_split: str | None = None
    dataset_revision: str | None = None
    license: str | None = None
    language: list[str] = field(default_factory=list)
    library_name: str = "transformers"
    tags: list[str] = field(default_factory=list)
    further: dict[str, float] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)


def write_card(folder: Path, card: Card) -> Path:
    """Writes README.md into a model folder. The same card gives the same bytes.

    Raises:
        OutOfDisk: no room for the file.
    """
    target = folder / "README.md"
    write_text(target, f"---\n{metadata(card).to_yaml()}\n---\n\n{_body(card)}")
    return target


def known_environment(environment: dict[str, Any]) -> dict[str, Any]:
    """What a card says of the environment that a run noted."""
    return {key: value for key, value in environment.items() if key in ENVIRONMENT and value}


def metadata(card: Card) -> ModelCardData:
    """The card's header in the Hub's own schema; what isn't known is absent."""
    from huggingface_hub import ModelCardData

    results = _results(card)
    dataset = hub_id(card.dataset_id)
    return ModelCardData(
        library_name=card.library_name or None,
        pipeline_tag=card.pipeline_tag or None,
        base_model=hub_id(card.base_model),
        datasets=[dataset] if dataset else None,
        language=card.language or None,
        license=card.license or None,
        tags=[TAG, *card.tags],
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=card.name if results else None,
        eval_results=results or None,
    )


def hub_id(name: str | None) -> str | None:
    """The name where it can be an id on the Hub: not `tiny`, not a file or folder here, and well-formed."""
    return name if name and name not in ("tiny", "sample") and is_hub_id(name) else None


def _results(card: Card) -> list[Any]:
    from huggingface_hub import EvalResult

    headline = {} if card.headline is None else {card.headline.name: card.headline.value}
    dataset = hub_id(card.dataset_id)
    return [
        EvalResult(
            task_type=card.pipeline_tag or "other",
            # The schema demands a type; data that isn't on the Hub goes by a slug of its name.
            dataset_type=dataset or _slug(card.dataset_name) or "local",
            dataset_name=card.dataset_name or dataset or "local data",
            dataset_config=card.dataset_config if dataset else None,
            dataset_split=card.dataset_split,
            dataset_revision=card.dataset_revision if dataset else None,
            metric_type=(card.metric if name in headline and card.metric else _slug(name)),
            metric_name=name,
            metric_value=round(float(value), 6),
        )
        for name, value in (headline | card.further | headline).items()
        if not math.isnan(finite(value))
    ]


def _body(card: Card) -> str:
    """The blocks of the page, parted by blank lines."""
    blocks = [f"# {_escaped(card.name)}", *_paragraphs(card.summary)]
    blocks += ["## Measured", *_measured(card)]
    blocks += _listed("Training data", card.data)
    blocks += _listed("Training", card.training)
    if card.usage.strip():
        blocks += ["## Use", _fenced(card.usage)]
    if card.limits:
        blocks += ["## Limits", "\n".join(f"- {_escaped(limit)}" for limit in card.limits)]
    blocks += _listed("Environment", card.environment)
    return "\n\n".join(blocks) + "\n"


def _measured(card: Card) -> list[str]:
    headline = card.headline
    if headline is None or math.isnan(finite(headline.value)):
        return ["No figure was measured for this model."]
    blocks = [f"On {_escaped(card.dataset_name)}:"] if card.dataset_name else []
    blocks.append(_table(_figures(card, headline)))
    blocks += _paragraphs(f"This model {_as_clause(headline.verdict)}.") if headline.verdict else []
    for table in card.tables:
        if table.rows:
            blocks += [f"### {_escaped(table.title)}", _table(table), *_paragraphs(table.note)]
    return blocks


def _as_clause(verdict: str) -> str:
    """A verdict's phrases as what is said of the model."""
    return f"is {verdict}" if verdict.startswith("no better") else verdict


def _figures(card: Card, headline: Headline) -> Table:
    """The measured figures, only with the columns that something is known for."""
    unit = headline.unit
    cells = [
        ("metric", headline.title),
        ("value", figure(headline.value, unit)),
        ("95 % interval", interval(headline)),
        ("n", plain(headline.n) if headline.n is not None else ""),
        *((name, figure(value, unit)) for name, value in headline.baselines.items()),
        ("ceiling", figure(headline.ceiling, unit)),
    ]
    known = [(name, text) for name, text in cells if text]
    further = [[name, figure(value), *[""] * (len(known) - 2)] for name, value in card.further.items()]
    return Table("", [name for name, _ in known], [[text for _, text in known], *further])


def _table(table: Table) -> str:
    """A Markdown table; columns of figures aligned on the right."""
    columns = columns_of(table.rows, len(table.columns))
    lines = [
        [_escaped(name) for name in table.columns],
        ["---:" if figures else "---" for _, figures in columns],
        *([_escaped(one_line(cells[at], MAX_CELL)) for cells, _ in columns] for at in range(len(table.rows))),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _listed(heading: str, values: dict[str, Any]) -> list[str]:
    """A heading and a list of names with what is known of them; nulls, empty lists and empty texts are left out."""
    known = [(name, value) for name, value in flatten(values) if value not in (None, "", [], ())]
    lines = [
        f"- {_escaped(name.replace('_', ' '))}: {_escaped(one_line(value_text(value), MAX_CELL))}"
        for name, value in known
    ]
    return [f"## {heading}", "\n".join(lines)] if lines else []


def _paragraphs(text: str) -> list[str]:
    return [_escaped(paragraph) for paragraph in text.split("\n\n") if paragraph.strip()]


def _escaped(value: Any) -> str:
    """One line of text that Markdown and HTML show as it stands."""
    text = one_line(value, MAX_TEXT).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)


def _fenced(code: str) -> str:
    """The code in a fence longer than any within it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}python\n{code.strip()}\n{fence}"


def _slug(name: str) -> str:
    return _SLUG.sub("-", name.lower()).strip("-")
