"""The options that all training recipes share."""

from __future__ import annotations

import dataclasses

from recipes.config import Panel

INPUT, DATA, MODEL, OPTIMIZATION = Panel("Input"), Panel("Data"), Panel("Model"), Panel("Optimization")
EVALUATION, CHECKPOINTS, GENERATION = Panel("Evaluation"), Panel("Checkpoints and resume"), Panel("Generation")
MACHINE, OUTPUT, HUB = Panel("Machine"), Panel("Output"), Panel("Hugging Face Hub")

AUTO = "auto"
# What a model's card says of the options below; each recipe puts its own around them.
ON_CARD = (
    "epochs",
    "max_steps",
    "batch_size",
    "learning_rate",
    "optimizer",
    "weight_decay",
    "lr_scheduler",
    "warmup_ratio",
    "warmup_steps",
    "adam_beta1",
    "adam_beta2",
    "max_grad_norm",
    "mixed_precision",
)
SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant")


def cost(seconds: float, price_per_hour: float | None) -> dict[str, float]:
    """{"cost": money for so long}, as status.json has it; {} where no price was given."""
    return {} if price_per_hour is None else {"cost": round(seconds / 3600 * price_per_hour, 4)}


@dataclasses.dataclass
class TrainOptions:
    """Shared by all recipes; a recipe's dataclass inherits it and adds its own. None: the recipe's default."""

    epochs: int | None = OPTIMIZATION.option(None, "Passes over the training data.", minimum=1)
    max_steps: int | None = OPTIMIZATION.option(
        None, "Stop after this many optimizer steps; the schedule ends there too.", minimum=1
    )
    batch_size: int | str | None = OPTIMIZATION.option(
        None,
        "Examples an optimizer step, over all processes and micro-batches; auto: the most that fit at once.",
        minimum=1,
        words=(AUTO,),
    )
    gradient_accumulation_steps: int = OPTIMIZATION.setting(
        1, "Micro-batches into which each process cuts its share of a batch.", minimum=1
    )
    learning_rate: float | None = OPTIMIZATION.option(None, "Peak learning rate.", above=0)
    weight_decay: float = OPTIMIZATION.option(0.01, "Decoupled weight decay; none on biases and LayerNorm.", minimum=0)
    lr_scheduler: str = OPTIMIZATION.option(
        "linear", "Schedule over optimizer steps, after the warm-up.", choices=SCHEDULES
    )
    lr_num_cycles: int = OPTIMIZATION.option(1, "Restarts of cosine_with_restarts.", minimum=1)
    lr_power: float = OPTIMIZATION.option(1.0, "Power of polynomial.", above=0)
    warmup_ratio: float = OPTIMIZATION.option(
        0.1, "Share of the steps in which the learning rate rises from 0.", minimum=0, maximum=1
    )
    warmup_steps: int | None = OPTIMIZATION.option(None, "The same in steps; goes before the ratio.", minimum=0)
    optimizer: str | None = OPTIMIZATION.option(
        None,
        "adamw is fused where the device can; adamw-8bit needs the extra `bnb`; muon takes the encoder's matrices.",
        choices=("adamw", "adamw-8bit", "muon"),
    )
    adam_beta1: float = OPTIMIZATION.option(0.9, "AdamW's beta 1.", minimum=0, maximum=0.9999)
    adam_beta2: float = OPTIMIZATION.option(0.999, "AdamW's beta 2.", minimum=0, maximum=0.99999)
    adam_epsilon: float = OPTIMIZATION.option(1e-8, "AdamW's epsilon.", above=0)
    ema_decay: float | None = OPTIMIZATION.option(
        None,
        "Evaluate and keep an average of the weights, of which each step keeps this share (0.999, say).",
        above=0,
        maximum=0.999999,
    )
    max_grad_norm: float = OPTIMIZATION.option(1.0, "Gradients are clipped to this norm; 0: never.", minimum=0)
    mixed_precision: str = OPTIMIZATION.option(
        "auto", "auto: bf16 on a GPU that has it, else float32.", choices=("auto", "no", "fp16", "bf16")
    )
    gradient_checkpointing: bool = OPTIMIZATION.setting(
        False, "Recompute activations in the backward pass: less memory, about a third slower."
    )
    compile: bool = OPTIMIZATION.option(False, "torch.compile the model; pays on long GPU runs.")
    seed: int = OPTIMIZATION.option(0, "Seeds weights, order, augmentation and dropout.", minimum=0)

    eval_steps: int | None = EVALUATION.option(
        None, "Evaluate every so many optimizer steps; left out: after each epoch.", minimum=1
    )
    early_stopping_patience: int | None = EVALUATION.option(
        None, "Stop after so many evaluations without a better metric.", minimum=1
    )
    eval_batch_size: int | None = EVALUATION.setting(None, "Examples a forward pass in evaluation.", minimum=1)

    checkpoint_steps: int | None = CHECKPOINTS.setting(
        None, "Checkpoint every so many optimizer steps, besides each evaluation.", minimum=1
    )
    checkpoint_minutes: float = CHECKPOINTS.setting(
        10.0, "Checkpoint when so many minutes have passed since the last; 0: only by steps.", minimum=0
    )
    keep_checkpoints: int = CHECKPOINTS.setting(1, "How many of the newest to keep, besides the best.", minimum=1)
    max_hours: float | None = CHECKPOINTS.setting(
        None, "Save a checkpoint and end with code 75 after so many hours.", above=0
    )
    resume: str | None = CHECKPOINTS.setting(
        None,
        "Go on with this run folder or checkpoint, with its options where none are given; refused where those given would change its "
        "result.",
    )
    fresh: bool = CHECKPOINTS.setting(False, "Start anew even where the same command left an unfinished run.")

    check_disk: bool = CHECKPOINTS.setting(True, "Count what will be written against what is free, before the start.")

    num_processes: int = MACHINE.setting(1, "Processes on this machine, one a GPU (or share of the CPU).", minimum=1)
    num_machines: int = MACHINE.setting(1, "Machines that take part.", minimum=1)
    machine_rank: int = MACHINE.setting(0, "Which of the machines this is.", minimum=0)
    main_address: str | None = MACHINE.setting(None, "HOST:PORT of machine 0, with several machines.")
    accelerate_config: str | None = MACHINE.setting(
        None, "What `accelerate config` wrote: processes, machines, precision, GPUs, shards (FSDP, DeepSpeed's ZeRO)."
    )
    cpu: bool = MACHINE.option(False, "Train on the CPU even where there is a GPU.")
    threads: int | None = MACHINE.setting(
        None, "CPU threads a process computes with.", minimum=1, maximum=1024, shown_default="all cores"
    )
    num_workers: int | None = MACHINE.setting(
        None, "Worker processes that load and decode, a process.", minimum=0, shown_default="by device"
    )

    output_dir: str = OUTPUT.setting("runs", "Where run folders are made.")
    log_steps: int | None = OUTPUT.setting(
        None, "Write a metrics line every so many steps.", minimum=1, shown_default="about 200 in a run"
    )
    tracker: list[str] = OUTPUT.setting(
        [], "Also log to these; wandb honours WANDB_MODE=offline.", choices=("wandb", "tensorboard")
    )
    project: str = OUTPUT.setting("modeltool", "The tracker's project.")
    price_per_hour: float | None = OUTPUT.setting(
        None, "What the machine costs an hour; the estimate and the status then say money.", minimum=0
    )

    dry_run: bool = OUTPUT.setting(
        False, "Try a few steps, say time, memory, disk and money for the whole run, and stop."
    )
    on_exit: str | None = OUTPUT.setting(
        None,
        "Shell command to run at the end, however it ends; TOOL_STATUS, TOOL_EXIT_CODE, TOOL_RUN, ... say how.",
        secret=True,
    )

    push_to_hub: str | None = HUB.setting(None, "Upload model/ to this Hub id when done.")
    private: bool = HUB.setting(False, "Make the uploaded repository private.")
    revision: str | None = HUB.option(None, "Branch, tag or commit of the Hub model.")
    token: str | None = HUB.setting(None, "Hub token; better in HF_TOKEN or by `hf auth login`.", secret=True)

    def cost(self, seconds: float) -> dict[str, float]:
        """See `cost`."""
        return cost(seconds, self.price_per_hour)

    def cost_text(self, seconds: float) -> str:
        """The same as '0.35 at 2 an hour', or ''."""
        return "".join(f"{cost:.2f} at {self.price_per_hour:g} an hour" for cost in self.cost(seconds).values())

    def may_grow(self) -> set[str]:
        """Options that a resume may change although the result depends on them: the length, where the schedule doesn't."""
        steady = self.lr_scheduler == "constant" and (self.warmup_steps is not None or self.warmup_ratio == 0)
        return {"epochs", "max_steps"} if steady else set()

    def problems(self) -> list[str]:
        """Cross-checks; a line each."""
        found = []
        if self.num_machines > 1 and not self.main_address and not self.accelerate_config:
            found.append("--num-machines: give --main-address HOST:PORT of machine 0 too")
        if self.machine_rank >= self.num_machines:
            found.append(f"--machine-rank: {self.machine_rank} must be below --num-machines {self.num_machines}")
        if self.fresh and self.resume:
            found.append("--fresh and --resume exclude each other")
        return found
