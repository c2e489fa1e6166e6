"""Recipes of other packages: what is imported when, what is said of a broken one, and which verbs a recipe has."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

WORKING = {
    "mine/__init__.py": """
        PARTS = {"Train": "mine.work:Train", "train": "mine.work:train", "Eval": "mine.work:Eval", "evaluate": "mine.work:evaluate"}
    """,
    "mine/work.py": """
        from dataclasses import dataclass
        from recipes.config import option

        @dataclass
        class Train:
            epochs: int = option(3, "Times through the data.", minimum=1)

        @dataclass
        class Eval:
            model: str = option("", "Run folder.")

        def train(config):
            return {"text": f"trained {config.epochs}", "epochs": config.epochs}

        def evaluate(config):
            return {"text": "scored"}
    """,
}
TYPES = ", as bool, int, float, str or list[str]"
MEND = "upgrade, mend or uninstall that package (`tool train mine --debug` shows the traceback)"


def install(folder, files, name="mine-recipes", recipes=("mine = mine",)):
    """A package as pip leaves it: modules, and a dist-info folder with its name and entry points."""
    for path, text in files.items():
        lines = text.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("\n".join(line[indent:] for line in lines) + "\n")
    info = folder / f"{name.encode().hex()}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modeltool.recipes]\n" + "\n".join(recipes) + "\n")


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


@pytest.fixture
def tool(tmp_path, site):
    def run(*args, **env):
        return subprocess.run(
            [Path(sys.executable).parent / "tool", *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200", **env},
            timeout=120,
            check=False,
        )

    return run


def listed(done):
    """The recipes in a verb's help."""
    return re.findall(r"^  (\S+)", done.stdout.partition("Commands:\n")[2], re.MULTILINE)


BROKEN = {
    "import": ("raise ImportError('boom')", "ImportError: boom"),
    "syntax": ("PARTS = {", "SyntaxError: '{' was never closed (mine.py, line 1)"),
    "exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "silent exit": ("import sys; sys.exit()", "SystemExit"),
    "no table": ("TABLE = {}", "AttributeError: module 'mine' has no attribute 'PARTS'"),
    "no dict": ("PARTS = ['train']", 'TypeError: mine.PARTS must be a dict of name: "module:attribute"'),
    "no text": ("PARTS = {'train': print}", 'TypeError: mine.PARTS must be a dict of name: "module:attribute"'),
    "no module": (None, "ModuleNotFoundError: No module named 'mine'"),
    "a missing extra": (
        "from tasks.errors import ConfigError; raise ConfigError('needs: pip install x')",
        "ConfigError: needs: pip install x",
    ),
}


@pytest.mark.parametrize(("module", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_package_is_skipped_in_lists_and_an_error_where_it_is_asked_for(site, tool, module, reason):
    install(site, {} if module is None else {"mine.py": module})
    message = f"the recipe mine of the package mine-recipes can't load mine: {reason}; {MEND}"
    done = tool("train", "--help")
    assert (done.returncode, done.stderr) == (0, f"skipped   {message}\n")
    assert listed(done) == ["vqa", "glue", "controlnet", "forecast"]
    done = tool("train", "mine", "--epochs", "3")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {message}\n")


def test_nobody_else_notices_a_broken_package(site, tool, tmp_path):
    install(site, {"mine.py": "from pathlib import Path; Path('imported').touch(); raise ImportError('boom')"})
    for args, code in (
        (["--help"], 0),
        (["train", "vqa", "--help"], 0),
        (["train", "vqa", "--model", "tiny", "--print-config"], 0),
        (["data", "sample", "glue", "--output", "sample"], 0),
        (["data", "build", "glue"], 2),
        (["train", "vqq"], 2),
        (["runs", "list"], 0),
    ):
        done = tool(*args)
        assert done.returncode == code, done.stderr
        assert "mine" not in done.stderr
    completed = tool(_TOOL_COMPLETE="complete_bash", COMP_WORDS="tool train ", COMP_CWORD="2")
    assert (completed.stdout.split(), completed.stderr) == (["vqa", "glue", "controlnet", "forecast", "mine"], "")
    assert not (tmp_path / "imported").exists()


def test_eval_without_a_recipe_skips_it(site, tool):
    install(site, {"mine.py": "raise ImportError('boom')"})
    done = tool("eval")
    assert done.returncode == 2
    skipped, error = done.stderr.splitlines()
    assert skipped.startswith(
        "skipped   the recipe mine of the package mine-recipes can't load mine: ImportError: boom;"
    )
    assert error.startswith(
        "error: --model: there is no finished vqa or glue or controlnet or forecast run under runs/;"
    )


def test_debug_shows_where_it_breaks(site, tool):
    install(site, {"mine.py": "\n\nraise ImportError('boom')"})
    done = tool("train", "mine", "--debug")
    assert done.returncode == 1
    assert f'File "{site}/mine.py", line 1, in <module>' in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "error: the recipe mine of the package mine-recipes can't load mine: "
    )


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("mine.no:Train", "ModuleNotFoundError: No module named 'mine.no'"),
        ("mine.work:No", "AttributeError: module 'mine.work' has no attribute 'No'"),
        ("mine.work:train", "TypeError: must be called with a dataclass type or instance"),
        (
            "mine.work:Plain",
            f"TypeError: Plain.epochs must be declared with recipes.config.option{TYPES}",
        ),
        (
            "mine.work:Odd",
            f"TypeError: Odd.where must be declared with recipes.config.option{TYPES}",
        ),
    ],
)
def test_a_part_that_can_not_be_used_is_named(site, tool, target, reason):
    install(
        site,
        {
            "mine/__init__.py": f"PARTS = {{'Train': {target!r}, 'train': 'mine.work:train'}}",
            "mine/work.py": """
                from dataclasses import dataclass
                from pathlib import Path
                from recipes.config import option

                @dataclass
                class Plain:
                    epochs: int = 3

                @dataclass
                class Odd:
                    where: Path = option(Path("."), "A place.")

                def train(config): ...
            """,
        },
    )
    done = tool("train", "mine", "--help")
    message = f"error: the recipe mine of the package mine-recipes can't load {target}: {reason}; {MEND}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


def test_a_package_adds_a_recipe_to_the_verbs_that_it_has(site, tool):
    install(site, WORKING)
    ours = ["vqa", "glue", "controlnet", "forecast"]
    lists = {
        "train": [*ours, "mine"],
        "eval": [*ours, "mine"],
        "predict": ours,
        "data inspect": ours,
        "data build": ["controlnet"],
    }
    for verb, names in lists.items():
        done = tool(*verb.split(), "--help")
        assert (listed(done), done.stderr) == (names, ""), verb
    assert json.loads(tool("train", "mine", "--epochs", "5", "--json").stdout) == {"text": "trained 5", "epochs": 5}
    assert "error: --epochs: 0 is below 1" in tool("train", "mine", "--epochs", "0").stderr
    assert "Did you mean 'mine'?" in tool("train", "mind").stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("predict mine", "the recipe mine has no `tool predict`; it has `tool train`, `tool eval`"),
        ("data sample mine", "the recipe mine has no `tool data sample`; it has `tool train`, `tool eval`"),
        (
            "data build glue",
            "the recipe glue has no `tool data build`; it has `tool train`, `tool eval`, `tool predict`, "
            "`tool data inspect`, `tool data sample`",
        ),
        (
            "predict half",
            "the recipe half has no `tool predict` (its PARTS lacks 'Predict'); it has none of the commands",
        ),
        ("data build gleu", "No such command 'gleu'; see `tool data build --help`"),
    ],
)
def test_a_recipe_without_the_verb_says_so_in_the_commands_words(site, tool, args, message):
    half = {"half.py": "PARTS = {'predict': 'half:predict'}"}
    install(site, WORKING | half, recipes=("mine = mine", "half = half"))
    done = tool(*args.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {message}\n"


def test_a_name_that_is_taken_is_said_where_it_matters(site, tool):
    install(site, WORKING, "first", ("mine = mine", "vqa = mine"))
    install(site, {}, "second", ("mine = mine", "bad name = mine"))
    ours = (
        "skipped   the recipe vqa of the package first: the name is one of tool's own; register it under another one, "
        "or uninstall that package"
    )
    theirs = "skipped   the recipe mine of the package second: the package first has that name already; uninstall one of the two"
    bad = (
        "skipped   the recipe bad name of the package second: a name is letters, digits, dots, hyphens and underscores; "
        "register it under another one"
    )
    done = tool("train", "--help")
    assert (sorted(done.stderr.splitlines()), done.returncode) == (sorted([ours, theirs, bad]), 0)
    assert listed(done) == ["vqa", "glue", "controlnet", "forecast", "mine"]
    done = tool("train", "mine")
    assert (done.stdout, done.stderr) == ("trained 3\n", f"{theirs}\n")
    assert tool("train", "glue", "--print-config").stderr == ""
    assert tool("data", "inspect", "vqa", "--data", "./nothing").stderr.splitlines()[0] == ours


def test_control_characters_never_reach_the_terminal(site, tool):
    install(site, {"mine.py": "raise ImportError('bo\\x1b[31mom\\x07\\r\\nmore\\x9b')"}, name="my\x1b[31mname")
    for args in (["train", "--help"], ["train", "mine"], ["train", "mine", "--debug"]):
        done = tool(*args)
        assert not set("\x1b\x07\r\x9b") & set(done.stdout + done.stderr)
        assert "of the package my [31mname can't load mine: ImportError: bo [31mom more;" in done.stderr
