"""The documents are true: the README's commands run, and every flag that a page names exists."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_the_readmes_commands_run(tmp_path):
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert len(commands) >= 5
    verdicts: dict[str, str | None] = {}
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if command.startswith("tool train") and "--dry-run" not in command:
            newest = max((tmp_path / "runs").glob("*/status.json"), key=lambda path: path.stat().st_mtime)
            verdicts[command] = json.loads(newest.read_text())["verdict"]
    # Each of the small trainings learns: its figure clears what needs no model.
    assert len(verdicts) == 3
    assert set(verdicts.values()) == {None}, verdicts


def test_every_flag_in_the_documents_exists():
    from recipes.config import options_of
    from recipes.export.config import Export
    from recipes.quantize.config import Quantize
    from recipes.registry import recipes

    known = {
        "--help",
        "--json",
        "--debug",
        "--version",
        "--config",
        "--print-config",
        "--install-completion",
        "--show-completion",
    }
    known |= {"--metric", "--predictions", "--references", "--output", "--to", "--private", "--output-dir"}
    known |= {"--older-than", "--unfinished", "--runs", "--yes", "--offline", "--env"}
    for recipe in recipes().values():
        for part in ("Train", "Eval", "Predict", "Data", "Sample", "Backtest", "Build"):
            if part in ("Backtest", "Build") and not recipe.has(part):
                continue
            infos = options_of(recipe.part(part))
            known |= {info.flag for info in infos}
            known |= {f"--no-{info.flag[2:]}" for info in infos if info.type is bool}
    for whole in (Quantize, Export):
        known |= {info.flag for info in options_of(whole)}
    known |= {"--history", "--config-name"}  # of tool eval --metric
    known |= {"--only", "--pairs", "--quick", "--part"}  # of scripts/bench.py
    checked = 0
    for page in PAGES:
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text()):
            assert flag in known, f"{page.name}: {flag}"
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_documents_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_sound_shell(script):
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert os.access(script, os.X_OK)


def test_spot_repeats_while_preempted(tmp_path):
    (tmp_path / "work").write_text(
        "#!/usr/bin/env bash\necho run >> log\n[ $(wc -l < log) -ge 2 ] && exit 3\nexit 75\n"
    )
    (tmp_path / "work").chmod(0o755)
    script = (ROOT / "scripts" / "spot.sh").read_text().replace("sleep 5", "sleep 0")
    (tmp_path / "spot.sh").write_text(script)
    done = subprocess.run(["bash", "spot.sh", "./work"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 3
    assert (tmp_path / "log").read_text().splitlines() == ["run", "run"]


def test_imports_run_one_way():
    """cli -> recipes -> tasks."""
    forbidden = {"tasks": r"^\s*(from|import) (cli|recipes)\b", "recipes": r"^\s*(from|import) cli\b"}
    checked = 0
    for room, pattern in forbidden.items():
        for path in sorted((ROOT / room).rglob("*.py")):
            assert not re.search(pattern, path.read_text(), re.MULTILINE), path
            checked += 1
    assert checked > 40
