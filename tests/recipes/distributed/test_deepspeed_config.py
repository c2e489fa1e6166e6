"""`--accelerate-config` with DeepSpeed's ZeRO: what is cut how, what must agree with the options, and what is refused."""

import dataclasses
import json

import pytest
import yaml
from test_loop import options

from recipes.distributed import accelerate_config
from recipes.distributed.fsdp_config import FsdpConfig
from tasks.errors import ConfigError

# As `accelerate config` writes it for ZeRO 3 on one machine.
WRITTEN = {
    "deepspeed_multinode_launcher": "standard",
    "gradient_accumulation_steps": 4,
    "gradient_clipping": 1.0,
    "offload_optimizer_device": "none",
    "offload_param_device": "none",
    "zero3_init_flag": True,
    "zero3_save_16bit_model": True,
    "zero_stage": 3,
}
# As examples of transformers have DeepSpeed's own file.
OWN = {
    "bf16": {"enabled": "auto"},
    "optimizer": {
        "type": "AdamW",
        "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"},
    },
    "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": "auto", "warmup_num_steps": "auto"}},
    "zero_optimization": {
        "stage": 2,
        "offload_optimizer": {"device": "none", "pin_memory": True},
        "overlap_comm": True,
        "reduce_bucket_size": 2e8,
    },
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "steps_per_print": 2000,
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
}


@pytest.fixture
def applied(tmp_path):
    """The config under such a file: fields of `deepspeed_config`, DeepSpeed's own file, and options of the run."""

    def made(fields, own=None, beside=None, **given):
        if own is not None:
            (tmp_path / "zero.json").write_text(json.dumps(own))
            fields = {**fields, "deepspeed_config_file": str(tmp_path / "zero.json")}
        content = {"distributed_type": "DEEPSPEED", "num_processes": 2, "deepspeed_config": fields, **(beside or {})}
        path = tmp_path / "accelerate.yaml"
        path.write_text(yaml.safe_dump(content))
        config = dataclasses.replace(options(tmp_path, **given), accelerate_config=str(path))
        return accelerate_config.apply(config)

    return made


def test_what_accelerate_config_writes_is_cut_by_fsdp(applied):
    found = applied(WRITTEN, beside={"mixed_precision": "bf16"})
    assert (found.num_processes, found.mixed_precision, found.gradient_accumulation_steps) == (2, "bf16", 4)
    assert accelerate_config.fsdp_config_of(found) == FsdpConfig(
        reshard=True,
        wrap="transformer",
        notes=(
            "ZeRO 3 of the DeepSpeed file, run by torch's FSDP2, which reshards after the forward pass",
            "without effect: zero3_init_flag (each process reads the model), zero3_save_16bit_model (model/ holds whole weights)",
        ),
    )
    assert not any("DEEPSPEED" in name for name in accelerate_config.settings(found))


@pytest.mark.parametrize(("stage", "reshard"), [(1, False), (2, False), (3, True)])
def test_stages(applied, stage, reshard):
    assert accelerate_config.fsdp_config_of(applied({"zero_stage": stage})).reshard is reshard


def test_stage_0_cuts_nothing_and_a_flag_wins_over_pieces(applied):
    found = applied({"zero_stage": 0, "gradient_accumulation_steps": 4}, gradient_accumulation_steps=2)
    assert accelerate_config.fsdp_config_of(found) is None
    assert (found.num_processes, found.gradient_accumulation_steps) == (2, 2)


@pytest.mark.parametrize("name", ["offload_optimizer_device", "offload_param_device"])
def test_offloading_takes_both_to_the_host_and_says_so(applied, name):
    found = accelerate_config.fsdp_config_of(applied({"zero_stage": 3, name: "cpu"}))
    assert found.offload
    assert "offload: weights and the optimizer's state go to the host together" in found.notes


def test_deepspeed_s_own_file(applied):
    found = applied({"zero3_init_flag": False}, OWN)
    sharding = accelerate_config.fsdp_config_of(found)
    assert (sharding.reshard, sharding.offload) == (False, False)
    assert sharding.notes[1:] == (
        "without effect: steps_per_print, zero_optimization.overlap_comm, zero_optimization.reduce_bucket_size (DeepSpeed's own)",
    )
    assert found.mixed_precision == "no"  # as Accelerate has it where no file says
    assert found.gradient_accumulation_steps == 1


def test_its_micro_batch_says_the_pieces_and_its_precision_counts(applied):
    own = {**OWN, "train_micro_batch_size_per_gpu": 2, "train_batch_size": 16, "bf16": {"enabled": True}}
    found = applied({}, own, batch_size=16)
    assert (found.gradient_accumulation_steps, found.mixed_precision) == (4, "bf16")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (
            {"train_batch_size": 64},
            "train_batch_size is 64 there, and --batch-size is 16: give --batch-size 64, or leave",
        ),
        (
            {"gradient_clipping": 0.5},
            "gradient_clipping is 0.5 there, and --max-grad-norm is 1.0: give --max-grad-norm 0.5",
        ),
        (
            {"optimizer": {"type": "AdamW", "params": {"lr": 3e-5}}},
            "optimizer's lr is 3e-05 there, and --learning-rate is 0.01: give --learning-rate 3e-05, or leave it out there",
        ),
        (
            {"optimizer": {"type": "AdamW", "params": {"betas": [0.8, 0.999]}}},
            "first beta is 0.8 there, and --adam-beta1",
        ),
        ({"optimizer": {"type": "Lion"}}, "optimizer: 'Lion' isn't offered: take it out, and give --optimizer"),
        (
            {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 100}}},
            "scheduler's warmup_num_steps: the sch",
        ),
        ({"zero_optimization": {"stage": 4}}, "zero_stage: 4 is not one of 0, 1, 2, 3"),
        ({"zero_optimization": 3}, "zero_optimization of deepspeed_config_file must be an object, found 3"),
        ({"compression_training": {}}, "compression_training of deepspeed_config_file isn't offered: take it out"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: 0 is not a number of 1 or more"),
        ({"train_batch_size": "many"}, "train_batch_size: 'many' is neither a number nor auto"),
    ],
)
def test_what_in_it_would_make_another_run_is_named(applied, own, said):
    with pytest.raises(ConfigError) as caught:
        applied({}, {**OWN, **own}, batch_size=16)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"zero_stagee": 3}, "unknown field zero_stagee; did you mean 'zero_stage'?"),
        ({"offload_param_device": "nvme"}, "offload_param_device: nvme isn't offered; take cpu, or more processes"),
        (
            {"deepspeed_multinode_launcher": "pdsh"},
            "aren't offered: take standard, and start each machine with its --mach",
        ),
        ({"deepspeed_config_file": "nowhere.json"}, "deepspeed_config_file: can't read nowhere.json as JSON"),
        ("x", "deepspeed_config must hold `key: value` lines"),
    ],
)
def test_a_field_that_can_t_be_honoured_is_named(applied, fields, said):
    with pytest.raises(ConfigError) as caught:
        applied(fields)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_two_files_that_contradict_each_other(applied):
    with pytest.raises(ConfigError, match="zero_stage: 3 here and 2 in deepspeed_config_file: leave it out here"):
        applied({"zero_stage": 3}, OWN)


def test_options_that_shards_can_t_keep_are_refused(applied):
    with pytest.raises(ConfigError, match="--optimizer adamw-8bit keeps its state in blocks"):
        applied(WRITTEN, optimizer="adamw-8bit")
