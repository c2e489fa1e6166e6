"""Contact sheet, report and summary of a ControlNet data build."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from recipes.controlnet.build_config import Build
from recipes.terminal.progress import duration, size
from tasks.buckets import alike
from tasks.controlnet.building import folder as building
from tasks.controlnet.building.scan import Left
from tasks.controlnet.drawing.contact_sheet import grid
from tasks.files import write_json
from tasks.images import FileImages
from tasks.words import are

EXAMPLES = 24
PAIRS_A_ROW = 3
CELL = 208


def draw_contact_sheet(outcome: Outcome) -> None:
    """sheet.png: pairs spread evenly over the result, the picture beside its condition, the caption below."""
    items = outcome.items
    count = min(EXAMPLES, len(items))
    chosen = [items[i * len(items) // count] for i in range(count)]
    pairs = [[FileImages([str(path)]).load(0) for path in (item.image, item.condition)] for item in chosen]
    texts = [" / ".join(outcome.captions[item.number]) or "(no caption)" for item in chosen]
    rows = [list(chain(*pairs[start : start + PAIRS_A_ROW])) for start in range(0, count, PAIRS_A_ROW)]
    words = [texts[start : start + PAIRS_A_ROW] for start in range(0, count, PAIRS_A_ROW)]
    words[-1] += [""] * (min(PAIRS_A_ROW, count) - len(words[-1]))
    titles = ["picture", "condition"] * min(PAIRS_A_ROW, count)
    sheet, _ = grid(rows, titles, words, cell=CELL, lines=2)
    building.write_png(outcome.folder / "sheet.png", sheet)


def write_report(config: Build, outcome: Outcome) -> None:
    """report.json: how many, how fast, and every picture that was left out, with the reason."""
    report = {
        "condition": config.condition,
        **outcome.counts,
        "made_by_this_call": outcome.made,
        "copied_as_they_are": sum(item.copied for item in outcome.items),
        "seconds": round(outcome.seconds, 2),
        "pairs_per_second": round(outcome.made / outcome.seconds, 2) if outcome.seconds else None,
        "bytes": written_bytes(outcome),
        "blank_conditions": [
            {"file": item.picture.relative, "condition": item.condition_name} for item in outcome.blank
        ],
        "left_out": [{"file": one.relative, "reason": one.reason, "detail": one.detail} for one in outcome.left],
    }
    write_json(outcome.folder / "report.json", report)


def written_bytes(outcome: Outcome) -> int:
    """Of pictures and conditions."""
    return sum(path.stat().st_size for item in outcome.items for path in (item.image, item.condition))


def closing_text(config: Build, outcome: Outcome) -> str:
    """The table that the command prints."""
    splits = outcome.counts
    shares = f" ({splits['train']:,} train, {splits['validation']:,} validation)" if splits["validation"] else ""
    earlier = len(outcome.items) - outcome.made
    before = f" · {earlier:,} of them made earlier" if earlier > 0 else ""
    speed = f" · {outcome.made / outcome.seconds:.1f} a second" if outcome.made and outcome.seconds else ""
    lines = [
        f"pairs     {len(outcome.items):,}{shares} · {config.condition} · {size(written_bytes(outcome))}{before}",
        f"took      {duration(outcome.seconds)}{speed}",
    ]
    if outcome.blank:
        count, first = len(outcome.blank), outcome.blank[0]
        lines.append(
            f"blank     {count:,} of {len(outcome.items):,} conditions {are(count)} blank or nearly so, and teach nothing, "
            f"first that of {first.picture.relative}; training leaves them out with --skip-blank"
        )
    for number, which in enumerate(alike(outcome.left, lambda one: one.reason)):
        detail = f" ({which[0].detail})" if which[0].detail else ""
        lines.append(
            f"{'left out' if not number else '':<10}{len(which):>6,}  {which[0].reason}, first {which[0].relative}{detail}"
        )
    return "\n".join(
        [
            *lines,
            f"look at   {outcome.folder / 'sheet.png'}      report  {outcome.folder / 'report.json'}",
            f"next      tool train controlnet --data {outcome.folder}",
        ]
    )


@dataclass
class Outcome:
    """What a build has come to.

    Attributes:
        items: the pairs of the result.
        captions: of each item's number.
        left: what was left out.
        made: how many pairs this call made; the others were there already.
        blank: the pairs whose condition is blank or nearly so.
    """

    items: list[building.Item]
    captions: dict[int, list[str]]
    left: list[Left]
    made: int
    seconds: float
    folder: Path
    blank: list[building.Item] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Of all pairs and of each split."""
        splits = Counter(item.split for item in self.items)
        return {"pairs": len(self.items), "train": splits["train"], "validation": splits["validation"]}
