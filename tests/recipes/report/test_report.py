"""report.html: complete, self-contained, escaped, the same bytes each time, and never stopped by a run's poor state."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import run_folders
import yaml
from PIL import Image

from recipes.report import comparison, html
from recipes.report.compare import compare
from recipes.report.content import BarChart, Example, Headline, Line, LineChart, Section, Table
from recipes.report.curves import MAX_POINTS, smoothed, thinned
from recipes.report.figures import column, duration, figure
from recipes.report.folder import read_run
from recipes.report.html import write_report
from recipes.report.images import MAX_SIDE, thumbnail
from recipes.runs.folder import Run

HEADLINE = Headline("accuracy", 0.946, 0.93, 0.961, 800, {"majority": 0.373, "question prior": 0.52}, 0.987)
NASTY = "<script>alert('$x$')</script> & \"two\"\nlines ]]>"
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """What a browser would fetch or run, the ids, the text, and whether tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data", "action", "srcset") or "url(" in (value or ""):
                self.fetched.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def make_run(folder: Path, lines: list[dict[str, object]] | None = None, tail: str = "") -> Path:
    run = folder / "vqa-20261122-1403-a1b2"
    run.mkdir(parents=True, exist_ok=True)
    config = {
        "recipe": "vqa",
        "model": "tiny",
        "data": NASTY,
        "learning_rate": 1e-4,
        "tracker": [],
        "token": "********",
    }
    status = {
        "recipe": "vqa", "state": "finished", "started": "2026-11-22T14:03:11.123+00:00", "step": 1250,
        "total_steps": 1250, "seconds": 141.2,
        "estimate": {"seconds": 130.0, "memory_bytes": 1.1e9, "disk_bytes": 2.4e7},
    }  # fmt: skip
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (run / "environment.json").write_text(json.dumps({"python": "3.11.9", "versions": {"torch": "2.13.0"}}))
    (run / "status.json").write_text(json.dumps(status))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines or []) + tail)
    return run


def metrics(steps: int = 100) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for step in range(1, steps + 1):
        lines.append(
            {"kind": "train", "step": step, "epoch": step / 50, "loss": 3 / step + 0.5, "learning_rate": 1e-4,
             "gradient_norm": 1.5, "examples_per_second": 391.0, "seconds": step / 10}
        )  # fmt: skip
        if step % 50 == 0:
            lines.append(
                {"kind": "validation", "step": step, "epoch": step / 50, "seconds": step / 10, "accuracy": 0.712,
                 "accuracy_low": 0.68, "accuracy_high": 0.743, "n": 800, "loss": 0.9}
            )  # fmt: skip
    return lines


def sections() -> list[Section]:
    bars = BarChart(NASTY, [NASTY, "how many (n 201)"], [0.97, None], [0.95, None], [0.99, None], [0.4, 0.3], "prior")
    line = LineChart("Forecast", [Line("actual", [0, 1, 2], [1.0, math.nan, 3.0], look="plain")], "hour")
    images = [Image.new(mode, size) for mode, size in (("RGB", (64, 64)), ("RGBA", (900, 300)), ("I;16", (10, 10)))]
    examples = [
        Example(images[0], NASTY, [("answer", "two"), ("expected", NASTY)], "right", 1.0),
        Example(images[1:], "several", [], "partly", 0.6),
        Example(None, "none", [], "wrong", 0.0),
    ]
    table = Table("By type", ["type", "n", "accuracy"], [[NASTY, 12000, 94.875], ["other", None, 8.5]], note=NASTY)
    return [Section("Details", f"First.\n\n{NASTY}", [table], [bars, line], examples)]


def written(run: Path, headline: Headline | None = HEADLINE, content: list[Section] | None = None) -> str:
    path = write_report(run, title="VQA on sample", headline=headline, sections=content or [])
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_page_says_what_was_measured_and_of_what(tmp_path: Path) -> None:
    page = Page(written(make_run(tmp_path, metrics()), content=sections()))
    for expected in (
        "VQA on sample", "vqa-20261122-1403-a1b2", "finished", "94.6 %", "95 % interval 93.0 to 96.1", "n 800",
        "ceiling 98.7 %", "57.3 points above majority (37.3 %)", "42.6 points above question prior (52.0 %)",
        "2 min 21 s", "estimated 2 min 10 s", "1,250 of 1,250", "2026-11-22 14:03 UTC", "Loss", "Validation accuracy",
        "Learning rate", "Examples per second", "Partly right", "Wrong", "Right", "60.0 %", "how many (n 201)",
        "learning_rate", "0.0001", "versions.torch", "2.13.0", "12,000", "94.88", "71.20",
    ):  # fmt: skip
        assert expected in page.text, expected
    assert not page.open
    assert page.tags.count("svg") == 1 + 5 + 2
    assert page.tags.count("img") == 3


def test_nothing_is_fetched_and_nothing_runs(tmp_path: Path) -> None:
    text = written(make_run(tmp_path, metrics()), content=sections())
    page = Page(text)
    images = [target for target in page.fetched if target.startswith("data:image/")]
    inside = re.findall(r"#(c\d+-\w+)", " ".join(target for target in page.fetched if target not in images))
    assert len(images) + len(inside) == len(page.fetched)
    assert set(inside) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text


def test_what_users_write_is_shown_not_interpreted(tmp_path: Path) -> None:
    text = written(make_run(tmp_path, metrics()), content=sections())
    assert "<script" not in text
    # Table cell and note, title and line of an example, paragraph, config, two charts' texts and an aria-label.
    assert text.count("&lt;script&gt;") >= 8
    assert Page(text).text.count("alert('$x$')") >= 7


def test_two_writes_are_equal_to_the_byte(tmp_path: Path) -> None:
    first = written(make_run(tmp_path / "a", metrics()), content=sections())
    assert first == written(make_run(tmp_path / "b", metrics()), content=sections())


def test_another_process_writes_the_same_bytes_and_stays_silent(tmp_path: Path) -> None:
    run = make_run(tmp_path, metrics())
    first = written(run)
    code = (
        "import sys; from pathlib import Path; from recipes.report.html import write_report;"
        "assert not {'matplotlib', 'PIL', 'numpy', 'torch', 'jinja2'} & set(sys.modules);"
        "from recipes.report.content import Headline;"
        f"write_report(Path({str(run)!r}), title='VQA on sample', headline={HEADLINE!r}, sections=[])"
    )
    # A fresh cache folder makes matplotlib build its font cache, which it would talk about.
    environment = {
        "PATH": "",
        "MPLCONFIGDIR": str(tmp_path / "new"),
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": ":".join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (run / "report.html").read_text(encoding="utf-8") == first


@pytest.mark.parametrize(
    "tail", ['{"kind": "train", "step": 101, "lo', "\x00\x00\x00", "[1, 2]", '{"kind": "train"}', "7"]
)
def test_a_torn_line_is_left_out_and_said(tmp_path: Path, tail: str) -> None:
    run = make_run(tmp_path, metrics(), tail)
    assert len(read_run(run).training) == 100
    assert "1 line was torn or unreadable in metrics.jsonl" in Page(written(run)).text


def test_not_finite_losses_are_marked(tmp_path: Path) -> None:
    lines = metrics()
    for line, value in zip(lines[10:13], (math.nan, math.inf, -math.inf), strict=True):
        line["loss"] = value
    page = Page(written(make_run(tmp_path, lines)))
    assert "3 logged values were not finite" in page.text
    assert "not finite" in page.text


@pytest.mark.parametrize("loss", [math.nan, 0.0, -1.0, 1e300])
def test_any_loss_can_be_drawn(tmp_path: Path, loss: float) -> None:
    lines = [{"kind": kind, "step": 1, "loss": loss} for kind in ("train", "validation")]
    assert "Loss" in Page(written(make_run(tmp_path, lines))).text


def test_a_null_is_not_a_value(tmp_path: Path) -> None:
    lines = [{**line, "gradient_norm": None} for line in metrics()]
    page = Page(written(make_run(tmp_path, lines)))
    assert "Gradient norm" not in page.text
    assert "not finite" not in page.text


def test_an_empty_folder_still_makes_a_page(tmp_path: Path) -> None:
    text = Page(written(tmp_path, headline=None)).text
    assert "No metrics were logged." in text
    assert "state unknown" in text


def test_broken_side_files_are_told(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "config.yaml").write_text("a: [")
    (run / "status.json").write_bytes(b"\xff{")
    text = Page(written(run)).text
    assert "config.yaml could not be read." in text
    assert "status.json could not be read." in text


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "status.json").write_text(json.dumps({"state": "failed", "message": "the loss is nan at step 3"}))
    text = Page(written(run, headline=None)).text
    assert "failed" in text
    assert "the loss is nan at step 3" in text


def test_after_a_resume_the_later_line_of_a_step_counts(tmp_path: Path) -> None:
    again = [{"kind": "train", "step": step, "loss": 9.0} for step in (5, 3)]
    training = read_run(make_run(tmp_path, metrics(5) + again)).training
    assert [line["step"] for line in training] == [1, 2, 3, 4, 5]
    assert [line["loss"] for line in training if line["step"] in (3, 5)] == [9.0, 9.0]


def test_what_is_too_much_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MAX_IMAGE_BYTES", 300_000)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    examples = [Example(Image.fromarray(noise), f"question {number}") for number in range(100)]
    table = Table("Long", ["row"], [[number] for number in range(5000)])
    bars = BarChart("Many", [f"type {number}" for number in range(90)], [0.5] * 90)
    lines = [{"kind": "train", "step": step, "loss": 1.0 + step % 7} for step in range(20_000)]
    content = [Section("Much", "", [table], [bars], examples)]
    path = write_report(make_run(tmp_path, lines), title="t", headline=HEADLINE, sections=content)
    text = Page(path.read_text(encoding="utf-8")).text
    assert "Long: 4,700 of 5,000 rows." in text
    assert "Many: 50 of 90 bars." in text
    assert re.search(r"Much: \d\d of 100 examples\.", text)
    assert path.stat().st_size < 700_000


def test_a_metric_without_percent(tmp_path: Path) -> None:
    lines = [{"kind": "validation", "step": step, "mase": 1.2 - step / 100, "wql": 0.05} for step in range(3)]
    headline = Headline("mase", 0.93, 0.9, 0.97, 1200, {"seasonal naive": 1.62}, unit="")
    text = Page(written(make_run(tmp_path, lines), headline)).text
    for expected in (
        "0.9300",
        "0.9000 to 0.9700",
        "0.6900 below seasonal naive (1.620)",
        "Validation mase",
        "Validation wql",
    ):
        assert expected in text


def test_a_headline_that_is_not_a_number(tmp_path: Path) -> None:
    headline = Headline("accuracy", math.nan, None, None, None, {"majority": math.nan})
    assert "not measured" in Page(written(make_run(tmp_path), headline)).text


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "HSV"])
def test_thumbnails_of_any_mode_and_shape(mode: str) -> None:
    small, long = Image.new(mode, (64, 48)), Image.new(mode, (3000, 2))
    assert (thumbnail(small).width, thumbnail(small).height, thumbnail(small).pixelated) == (64, 48, True)
    assert (thumbnail(long).width, thumbnail(long).height, thumbnail(long).pixelated) == (MAX_SIDE, 1, False)
    assert small.size == (64, 48)


def test_transparency_lies_on_white() -> None:
    from base64 import b64decode
    from io import BytesIO

    data = b64decode(thumbnail(Image.new("RGBA", (4, 4), (255, 0, 0, 0))).uri.split(",")[1])
    assert Image.open(BytesIO(data)).getpixel((0, 0)) == (255, 255, 255)


def test_smoothing_keeps_means_and_gaps() -> None:
    y = np.array([1.0, 2.0, 3.0, np.nan, 5.0, 6.0])
    assert smoothed(np.ones(20), 5).tolist() == [1.0] * 20
    np.testing.assert_allclose(smoothed(y, 3), [1.5, 2.0, 2.5, np.nan, 5.5, 5.5])


def test_thinning_keeps_spikes_and_order() -> None:
    y = np.zeros(100_000)
    y[[12_345, 70_000]] = 9.0, -9.0
    x, kept = thinned(np.arange(100_000.0), y)
    assert len(x) <= MAX_POINTS
    assert x == sorted(x)
    assert {9.0, -9.0} <= set(kept)


def compared(folder: Path, names: list[str]) -> str:
    """The page on runs of these names, each with a seed and a model of its own."""
    runs = []
    for seed, name in enumerate(names):
        run = run_folders.make_run(
            folder, name, options={"seed": seed, "model": NASTY}, status=run_folders.measured(0.5), lines=metrics()
        )
        run_folders.write_scores(run, [1.0] * 30 + [0.0] * (30 + seed))
        runs.append(Run(run))
    return comparison.write_page(compare(runs), folder / "compare.html").read_text(encoding="utf-8")


def test_a_page_on_several_runs_shows_them_over_one_axis_and_fetches_nothing(tmp_path: Path) -> None:
    text = compared(tmp_path, ["vqa-1-<script>alert(1)", "vqa-2-ab"])
    page = Page(text)
    for expected in (
        "2 runs compared", "vqa-1-<script>alert(1)", "vqa-2-ab", "50.0 % (40.0 to 60.0)", "Training loss, smoothed",
        "Validation loss", "Validation accuracy", "seed", "finished", "Against A", "equal",
        "other evaluation data: 60 and 61 examples, 60 in common",
    ):  # fmt: skip
        assert expected in page.text or expected in text, expected
    assert not page.open
    assert page.tags.count("svg") == 2 + 1 + 3
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 6
    inside = re.findall(r"#(c\d+-\w+)", " ".join(page.fetched))
    assert len(inside) == len(page.fetched)
    assert set(inside) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert not {"script", "link", "iframe", "object", "base", "img"} & set(page.tags)
    assert not re.search(r"https?://|@import", text)
    for number in (0, 1):
        assert text.count(f"stroke: var(--series-{number})") >= 3
    assert "var(--series-2)" not in text.split("</style>", 1)[1]


def test_a_page_on_many_runs_gives_each_a_line_of_its_own(tmp_path: Path) -> None:
    text = compared(tmp_path, [f"run-{number:02d}" for number in range(10)]).split("</style>", 1)[1]
    assert "var(--series-7)" in text
    assert "#01020" not in text
    # The ninth takes the first colour again, broken.
    assert re.search(r"stroke: var\(--series-0\)[^\"]*stroke-dasharray|stroke-dasharray[^\"]*var\(--series-0\)", text)
    assert len(re.findall(r"<li><span class=\"swatch", text)) == 10


def test_a_state_is_shown_that_the_run_could_not_write(tmp_path: Path) -> None:
    run = make_run(tmp_path, metrics())
    target = tmp_path / "elsewhere" / "page.html"
    path = write_report(run, title="t", headline=None, sections=[], state="interrupted", target=target)
    assert path == target
    assert not (run / "report.html").exists()
    text = Page(target.read_text(encoding="utf-8")).text
    assert "interrupted" in text
    assert "finished" not in text


def test_measured_memory_stands_over_its_estimate(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "measured": {"seconds": 141.2, "memory_bytes": 2.5e9}}))
    assert "memory 2.5 GB estimated 1.1 GB" in Page(written(run)).text


def test_columns_are_aligned_on_their_figures() -> None:
    assert column([1000, None, 7]) == (["1,000", "", "7"], True)
    assert column([94.875, 8.5, -1]) == (["94.88", "8.50", "\u22121.00"], True)
    assert column(["a", 1]) == (["a", "1"], False)
    assert column([None, None]) == (["", ""], False)
    assert (figure(0.946, "percent"), figure(None), figure(0.5), figure(12)) == ("94.6 %", "", "0.5000", "12")
    assert duration(None) == ""
