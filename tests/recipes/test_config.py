"""Options from flags and YAML: conversion, precedence, and every problem at once."""

import dataclasses

import pytest

from recipes.config import MASK, as_dict, option, options_of, resolve, result_options, to_yaml
from tasks.errors import ConfigError


@dataclasses.dataclass
class Options:
    learning_rate: float = option(1e-3, "Rate.", above=0)
    epochs: int | None = option(None, "TrialStep.", minimum=1)
    optimizer: str = option("adamw", "Which.", choices=("adamw", "muon"))
    augment: list[str] = option([], "Changes.", choices=("hflip", "shift"))
    compile: bool = option(False, "Compile.")
    token: str | None = option(None, "Secret.", secret=True)
    log_steps: int = option(10, "Rhythm.", affects_result=False)

    def problems(self) -> list[str]:
        return ["--compile: not with muon"] if self.compile and self.optimizer == "muon" else []


def test_defaults_need_nothing():
    assert resolve(Options, {}) == Options()


def test_a_flag_beats_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("recipe: x\nlearning-rate: 1e-4\nepochs: 3\naugment: [hflip]\ncompile: true\n")
    config = resolve(Options, {"epochs": "5"}, file)
    assert config == Options(learning_rate=1e-4, epochs=5, augment=["hflip"], compile=True)


def test_lists_are_cut_at_commas():
    assert resolve(Options, {"augment": "hflip, shift"}).augment == ["hflip", "shift"]


def test_none_takes_an_optional_value_back(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("epochs: 3\n")
    assert resolve(Options, {"epochs": "none"}, file).epochs is None


def test_all_problems_come_at_once_with_the_nearest_name(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("learning_rat: 3\nepochs: 0\n")
    with pytest.raises(ConfigError) as caught:
        resolve(Options, {"optimizer": "adamv", "learning_rate": "-1"}, file, unknown=["--compil", "extra"])
    assert str(caught.value).split("\n") == [
        "no such option --compil; did you mean '--compile'?",
        "unexpected argument 'extra'",
        f"{file}: unknown key 'learning_rat'; did you mean 'learning_rate'?",
        f"{file}: epochs: 0 is below 1",
        "--optimizer: 'adamv' is not one of adamw, muon; did you mean 'adamw'?",
        "--learning-rate: -1.0 must be above 0",
    ]


def test_cross_checks_run_once_each_value_is_sound():
    with pytest.raises(ConfigError, match="not with muon"):
        resolve(Options, {"optimizer": "muon", "compile": True})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", "1.5", "'1.5' is not a whole number"),
        ("epochs", True, "True is not a whole number"),
        ("learning_rate", "nan", "'nan' is not a finite number"),
        ("learning_rate", "fast", "'fast' is not a number"),
        ("compile", "maybe", "'maybe' is not true or false"),
        ("optimizer", ["adamw"], "must be one text"),
        ("optimizer", None, "needs a value"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(tmp_path, name, value, message):
    import yaml

    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({name: value}))
    with pytest.raises(ConfigError) as caught:
        resolve(Options, {}, file)
    assert str(caught.value) == f"{file}: {name}: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: 1\nb: [1", "line 2 is not YAML"), ("- a\n- b\n", "must hold `key: value` lines"), (None, "there is no file")],
)
def test_a_file_that_is_no_config(tmp_path, text, message):
    file = tmp_path / "run.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(Options, {}, file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_the_written_config_reads_back_and_hides_the_secret(tmp_path):
    config = Options(learning_rate=3e-5, token="hf_secret", augment=["shift"])
    text = to_yaml(config, "x")
    assert "hf_secret" not in text
    assert as_dict(config)["token"] == MASK
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert resolve(Options, {}, file) == dataclasses.replace(config, token=None)


def test_only_what_changes_the_result_counts_for_resume():
    assert "log_steps" not in result_options(Options())
    assert "token" not in result_options(Options())
    assert list(result_options(Options())) == ["learning_rate", "epochs", "optimizer", "augment", "compile"]


def test_every_option_of_every_recipe_is_documented():
    from recipes.registry import recipes

    checked = 0
    for recipe in recipes().values():
        for part in ("Train", "Eval", "Predict", "Data", "Sample"):
            for info in options_of(recipe.part(part)):
                assert info.metadata["help"].endswith("."), (recipe.name, part, info.name)
                checked += 1
    assert checked > 80
