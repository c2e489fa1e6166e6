"""`--accelerate-config`: what is taken from the file, and what is refused."""

import dataclasses

import pytest
import yaml
from test_loop import options

from recipes.distributed import accelerate_config
from recipes.distributed.fsdp_config import FsdpConfig
from tasks.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    """Writes such a file: fields of `fsdp_config`, and others that stand beside it."""

    def made(fields=None, **beside):
        content = {"distributed_type": "FSDP", "num_processes": 2, "fsdp_config": fields or {}, **beside}
        path = tmp_path / "accelerate.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return made


def config(tmp_path, file, **given):
    return dataclasses.replace(options(tmp_path, **given), accelerate_config=file)


def test_what_accelerate_config_writes_for_version_2(tmp_path, file):
    path = file(
        {
            "fsdp_activation_checkpointing": True,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_cpu_ram_efficient_loading": True,
            "fsdp_offload_params": True,
            "fsdp_reshard_after_forward": False,
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
            "fsdp_transformer_layer_cls_to_wrap": "BertLayer, ViltLayer",
            "fsdp_version": 2,
        },
        mixed_precision="bf16",
    )
    found = accelerate_config.apply(config(tmp_path, path))
    assert (found.num_processes, found.num_machines, found.mixed_precision) == (2, 1, "bf16")
    assert found.gradient_checkpointing
    notes = (
        "without effect: fsdp_state_dict_type (checkpoints hold whole tensors), fsdp_cpu_ram_efficient_loading (each process reads "
        "the model)",
    )
    assert accelerate_config.fsdp_config_of(found) == FsdpConfig(
        reshard=False,
        wrap="transformer",
        layers=("BertLayer", "ViltLayer"),
        offload=True,
        checkpointing=True,
        notes=notes,
    )


def test_what_it_writes_for_version_1_runs_as_version_2(tmp_path, file):
    path = file(
        {
            "fsdp_auto_wrap_policy": "SIZE_BASED_WRAP",
            "fsdp_backward_prefetch": "BACKWARD_PRE",
            "fsdp_forward_prefetch": False,
            "fsdp_min_num_params": 2000,
            "fsdp_offload_params": False,
            "fsdp_reshard_after_forward": "SHARD_GRAD_OP",
            "fsdp_state_dict_type": "FULL_STATE_DICT",
            "fsdp_sync_module_states": True,
            "fsdp_use_orig_params": True,
            "fsdp_version": 1,
        }
    )
    found = accelerate_config.fsdp_config_of(config(tmp_path, path))
    assert (found.reshard, found.wrap, found.least) == (False, "size", 2000)
    assert found.notes[0] == "fsdp_version 1 runs as version 2: the same weights, cut one by one"
    assert "fsdp_backward_prefetch" in found.notes[1]
    assert "fsdp_forward_prefetch" not in found.notes[1]


def test_flags_win_and_the_launcher_s_environment_leaves_the_cutting_to_the_loop(tmp_path, file):
    path = file({"fsdp_version": 2}, mixed_precision="bf16")
    found = accelerate_config.apply(config(tmp_path, path, num_processes=4, mixed_precision="no"))
    assert (found.num_processes, found.mixed_precision) == (4, "no")
    assert not any("FSDP" in name for name in accelerate_config.settings(found))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fsdp_reshard_after_foward": True}, "unknown field fsdp_reshard_after_foward; did you mean 'fsdp_reshard_af"),
        ({"fsdp_version": 3}, "fsdp_version: 3 is not one of 1, 2"),
        ({"fsdp_auto_wrap_policy": "BY_HAND"}, "fsdp_auto_wrap_policy: 'BY_HAND' is not one of TRANSFORMER_BASED_WRAP"),
        ({"fsdp_sharding_strategy": "NO_SHARD"}, "NO_SHARD cuts nothing; that is distributed_type MULTI_GPU"),
        ({"fsdp_sharding_strategy": "HYBRID_SHARD"}, "HYBRID_SHARD isn't offered; take FULL_SHARD"),
        (
            {"fsdp_sharding_strategy": "FULL_SHARD", "fsdp_reshard_after_forward": False},
            "fsdp_reshard_after_forward and fsdp_sharding_strategy contradict each other",
        ),
        ({"fsdp_transformer_layer_cls_to_wrap": "BertLayer"}, "goes with fsdp_auto_wrap_policy: TRANSFORMER_BASED"),
        ({"fsdp_min_num_params": 10}, "fsdp_min_num_params goes with fsdp_auto_wrap_policy: SIZE_BASED_WRAP"),
        ({"fsdp_min_num_params": "many", "fsdp_auto_wrap_policy": "SIZE_BASED_WRAP"}, "'many' is not a number of"),
        ({"fsdp_offload_params": "perhaps"}, "fsdp_offload_params: 'perhaps' is not one of TRUE, FALSE"),
        ({"fsdp_ignored_modules": "x"}, "unknown field fsdp_ignored_modules"),
    ],
)
def test_a_field_that_can_t_be_honoured_is_named(tmp_path, file, fields, said):
    with pytest.raises(ConfigError) as caught:
        accelerate_config.apply(config(tmp_path, file(fields)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_that_is_wrong_is_told_at_once(tmp_path, file):
    path = file({"fsdp_version": "x", "fsdp_offload_params": 7}, parallelism_config={"tp_size": 2})
    with pytest.raises(ConfigError) as caught:
        accelerate_config.apply(config(tmp_path, path))
    assert [line.split(": ")[2].split(" ")[0] for line in str(caught.value).splitlines()] == [
        "parallelism_config",
        "fsdp_version",
        "fsdp_offload_params",
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer": "adamw-8bit"}, "--optimizer adamw-8bit keeps its state in blocks of whole tensors: take adamw"),
        ({"compile": True}, "--compile isn't offered on shards"),
        ({"batch_size": "auto"}, "--batch-size auto isn't offered on shards"),
    ],
)
def test_options_that_shards_can_t_keep_are_refused(tmp_path, file, given, said):
    with pytest.raises(ConfigError, match=said):
        accelerate_config.apply(config(tmp_path, file({"fsdp_version": 2}), **given))


def test_other_ways_to_cut_are_refused_with_what_to_write_instead(tmp_path, file):
    with pytest.raises(ConfigError, match=r"asks for MEGATRON_LM.*`distributed_type: FSDP` cuts a model"):
        accelerate_config.apply(config(tmp_path, file(distributed_type="MEGATRON_LM")))


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_a_file_that_is_not_yaml_is_told_under_its_flag(tmp_path, kind):
    (tmp_path / "bad.yaml").write_text(f"distributed_type: {kind}\n  x: [")
    with pytest.raises(ConfigError, match=r"^--accelerate-config: .*bad.yaml, line 2 is not YAML"):
        accelerate_config.apply(config(tmp_path, str(tmp_path / "bad.yaml")))


def test_accelerate_s_own_launcher_is_not_what_starts_shards(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="start tool by itself, with --accelerate-config FILE"):
        accelerate_config.apply(options(tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is empty"),
        ("num_processes: two", "num_processes: 'two' is not a whole number from 1 on"),
        ("num_processes: 2.5", "num_processes: 2.5 is not a whole number"),
        ("num_machines: 0", "num_machines: 0 is not a whole number from 1 on"),
        ("mixed_precision: 16", "mixed_precision: 16 is not one of no, fp16, bf16"),
        ("mixed_precision: fp8", "mixed_precision: 'fp8' is not one of no, fp16, bf16"),
    ],
)
def test_values_of_the_wrong_kind_are_named(tmp_path, content, said):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        accelerate_config.apply(config(tmp_path, str(tmp_path / "a.yaml")))
    assert said in str(caught.value)
