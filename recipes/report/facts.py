"""Facts at the head of a report: recipe, model, data, steps, time, cost, each beside its estimate."""

from __future__ import annotations

from typing import Any

from recipes.report.figures import duration, is_number, money, one_line, plain, size, value_text
from recipes.report.folder import Record

MAX_CELL = 300


def facts(record: Record) -> list[tuple[str, str, str]]:
    """What stands at the head: recipe, model, data, steps, time, cost; each as (name, it, its estimate)."""
    status, config = record.status, record.config
    estimate, measured = mapping(status.get("estimate")), mapping(status.get("measured"))
    steps = [plain(status[key]) for key in ("step", "total_steps") if is_number(status.get(key))]
    pairs = [
        ("recipe", status.get("recipe") or config.get("recipe"), ""),
        ("model", config.get("model"), ""),
        ("data", config.get("data"), ""),
        ("started", _moment(status.get("started")), ""),
        ("steps", " of ".join(steps), ""),
        ("time", duration(status.get("seconds")), duration(estimate.get("seconds"))),
        ("cost", money(status.get("cost")), money(estimated_cost(estimate, config))),
        ("memory", size(measured.get("memory_bytes")), size(estimate.get("memory_bytes"))),
        ("disk", size(measured.get("disk_bytes")), size(estimate.get("disk_bytes"))),
    ]
    told = [(name, "" if value is None else value_text(value), guess) for name, value, guess in pairs]
    return [(name, one_line(value, MAX_CELL), guess) for name, value, guess in told if value or guess]


def mapping(value: Any) -> dict[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def estimated_cost(estimate: dict[str, Any], config: dict[str, Any]) -> float | None:
    """Money for the estimated time, where a price was given."""
    seconds, price = estimate.get("seconds"), config.get("price_per_hour")
    return seconds / 3600 * price if is_number(seconds) and is_number(price) else None


def _moment(value: Any) -> str:
    """An ISO time to the minute, with its zone where it is UTC."""
    text = str(value or "")
    zone = " UTC" if text.endswith(("+00:00", "Z")) else ""
    return text[:16].replace("T", " ") + zone if len(text) >= 16 and text[10] == "T" else text
