"""The command line as a user meets it: help, suggestions, exit codes, and nothing heavy before it is needed."""

import json
import subprocess
import sys

import pytest

from tasks.errors import Preempted

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "diffusers",
    "matplotlib",
    "pandas",
    "evaluate",
    "onnx",
    "onnxruntime",
    "optimum",
)


def tool(*args, env=None, cwd=None):
    import os

    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **(env or {})},
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["train", "vqa", "--help"],
        ["eval", "--help"],
        ["eval", "vqa", "--help"],
        ["predict", "vqa", "--help"],
        ["data", "inspect", "vqa", "--help"],
        ["data", "sample", "vqa", "--help"],
        ["train", "glue", "--help"],
        ["train", "controlnet", "--help"],
        ["data", "build", "controlnet", "--help"],
        ["quantize", "--help"],
        ["export", "onnx", "--help"],
        ["runs", "list", "--help"],
        ["runs", "show", "--help"],
        ["runs", "push", "--help"],
        ["runs", "compare", "--help"],
        ["runs", "report", "--help"],
        ["runs", "prune", "--help"],
        ["doctor", "--help"],
        ["train", "vqa", "--model", "tiny", "--print-config"],
    ],
)
def test_help_and_config_import_nothing_heavy(args):
    code = (
        "import sys\nfrom cli.main import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        f"    loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    print('LOADED', loaded, end.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "LOADED [] 0", done.stdout + done.stderr


@pytest.mark.parametrize("args", [["--help"], ["train", "vqa", "--help"], ["data", "sample", "--help"]])
def test_help_coerces_nothing(args):
    code = (
        "import sys\nfrom cli.main import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n"
        "    print('LOADED', 'pydantic' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "LOADED False", done.stdout + done.stderr


@pytest.mark.parametrize("recipe", ["vqa", "glue", "controlnet"])
def test_a_training_loads_neither_the_compiler_nor_the_datasets_library_unasked(recipe):
    code = (
        "import os, sys\nfrom recipes.registry import get\nget(sys.argv[1]).part('train')\n"
        "from recipes.distributed.device import silence\nsilence()\n"
        "print([name for name in ('torch._inductor.compile_fx', 'datasets', 'pandas') if name in sys.modules],"
        " os.environ.get('TORCHDYNAMO_DISABLE'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, recipe], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[-1] == "[] None", done.stdout + done.stderr


def test_help_lists_verbs_exit_codes_and_panels():
    text = tool("--help").stdout
    for word in (
        "train",
        "eval",
        "predict",
        "data",
        "runs",
        "75  preempted",
        "5   out of disk",
        "--install-completion",
    ):
        assert word in text
    text = tool("train", "vqa", "--help").stdout
    for panel in ("Data:", "Model:", "Optimization:", "Evaluation:", "Checkpoints and resume:", "Machine:", "Output:"):
        assert f"\n{panel}\n" in text
    assert "[default: dandelin/vilt-b32-mlm]" in text


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["trian"], 2, "error: No such command 'trian'. Did you mean 'train'?; see `tool --help`"),
        (["train", "vqq"], 2, "error: No such command 'vqq'. Did you mean 'vqa'?; see `tool train --help`"),
        (
            ["train", "vqa", "--learning-rat", "1"],
            2,
            "error: no such option --learning-rat; did you mean '--learning-rate'?",
        ),
        (["train", "vqa", "--epochs", "x"], 2, "error: --epochs: 'x' is not a whole number"),
        (["train", "vqa", "--config", "no.yaml"], 2, "error: --config: there is no file no.yaml"),
        (["train", "vqa", "--fresh", "--resume", "runs/x"], 2, "error: --fresh and --resume exclude each other"),
        (["eval", "--metric", "vqa_accuracy"], 2, "error: --metric vqa_accuracy needs --predictions and --references"),
        (["eval", "--model", "runs/x", "vqa"], 2, "error: --model: give it after vqa"),
        (["runs", "show", "nothing"], 2, "error: there is no run 'nothing' under runs/"),
        (["predict", "vqa"], 2, 'error: give an image and a question: tool predict vqa photo.jpg "What colour is it?"'),
    ],
)
def test_a_mistake_is_one_line_and_a_documented_code(tmp_path, args, code, message):
    done = tool(*args, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (code, "", message)


def test_an_unknown_metric_names_the_nearest(tmp_path):
    for name in ("p.txt", "r.txt"):
        (tmp_path / name).write_text("a\nb\n")
    done = tool(
        "eval",
        "--metric",
        "vqa_acuracy",
        "--predictions",
        "p.txt",
        "--references",
        "r.txt",
        cwd=tmp_path,
        env={"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 2
    assert "vqa_accuracy" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_several_mistakes_are_told_together():
    done = tool("train", "vqa", "--epochs", "0", "--optimizer", "adamv", "--batchsize", "3")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: no such option --batchsize; did you mean '--batch-size'?",
        "error: --epochs: 0 is below 1",
        "error: --optimizer: 'adamv' is not one of adamw, adamw-8bit, muon; did you mean 'adamw'?",
    ]


def test_debug_shows_the_traceback():
    done = tool("runs", "show", "nothing", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_completion_script_and_completed_names():
    done = tool("--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert "_TOOL_COMPLETE" in done.stdout
    done = tool(env={"_TOOL_COMPLETE": "complete_bash", "COMP_WORDS": "tool train vqa --learn", "COMP_CWORD": "3"})
    assert done.stdout.split() == ["--learning-rate"]


def test_json_without_runs(tmp_path):
    done = tool("runs", "list", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"runs": []}


def test_the_printed_config_repeats_itself(tmp_path):
    first = tool("train", "vqa", "--model", "tiny", "--epochs", "3", "--token", "hf_secret", "--print-config")
    assert "hf_secret" not in first.stdout
    (tmp_path / "run.yaml").write_text(first.stdout)
    second = tool("train", "vqa", "--config", str(tmp_path / "run.yaml"), "--print-config")
    assert second.stdout == first.stdout
    assert "epochs: 3" in first.stdout


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (lambda: RuntimeError("word " * 1000), 1, "RuntimeError: word word"),
        (lambda: wrapped(Preempted("stopped by SIGTERM; run the same command again")), 75, "stopped by SIGTERM"),
        (lambda: SystemError("error return without exception set"), 4, "out of memory; use a smaller batch"),
        (lambda: OSError(12, "Cannot allocate memory"), 4, "out of memory; use a smaller batch"),
        (lambda: NoRoom("lost"), 4, "out of memory; use a smaller batch"),
    ],
    ids=[
        "long words",
        "a stop within a library",
        "no room for an exception",
        "no room for a map",
        "no room to look at it",
    ],
)
def test_what_a_library_raises_is_one_short_line(raised, code, said, monkeypatch, capsys):
    from cli import main

    class Broken:
        def main(self, **given):
            raise raised()

    monkeypatch.setattr(main, "build", Broken)
    with pytest.raises(SystemExit) as ended:
        main.main([])
    assert ended.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")
    assert len(line) < 800


class NoRoom(Exception):
    """Even its message takes memory that isn't there."""

    def __str__(self):
        raise MemoryError


def wrapped(stop):
    error = RuntimeError("the compiler failed")
    error.__cause__ = stop
    return error
