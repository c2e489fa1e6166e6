"""The options that every training recipe shares: what the one loop, the run folder and the launcher understand."""

from __future__ import annotations

import dataclasses

from recipes.config import option

MODEL, OPTIMIZATION, EVALUATION, CHECKPOINTS, MACHINE, OUTPUT, HUB = (
    "Model",
    "Optimization",
    "Evaluation",
    "Checkpoints and resume",
    "Machine",
    "Output",
    "Hugging Face Hub",
)


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

    epochs: int | None = option(None, "Passes over the training data.", panel=OPTIMIZATION, minimum=1)
    max_steps: int | None = option(
        None, "Stop after this many optimizer steps; the schedule ends there too.", panel=OPTIMIZATION, minimum=1
    )
    batch_size: int | str | None = option(
        None,
        "Examples an optimizer step, over all processes and micro-batches; auto: the most that fit at once.",
        panel=OPTIMIZATION,
        minimum=1,
        words=(AUTO,),
    )
    gradient_accumulation_steps: int = option(
        1,
        "Micro-batches into which each process cuts its share of a batch.",
        panel=OPTIMIZATION,
        minimum=1,
        affects_result=False,
    )
    learning_rate: float | None = option(None, "Peak learning rate.", panel=OPTIMIZATION, above=0)
    weight_decay: float = option(
        0.01, "Decoupled weight decay; none on biases and LayerNorm.", panel=OPTIMIZATION, minimum=0
    )
    lr_scheduler: str = option(
        "linear",
        "Schedule over optimizer steps, after the warm-up.",
        panel=OPTIMIZATION,
        choices=SCHEDULES,
    )
    lr_num_cycles: int = option(1, "Restarts of cosine_with_restarts.", panel=OPTIMIZATION, minimum=1)
    lr_power: float = option(1.0, "Power of polynomial.", panel=OPTIMIZATION, above=0)
    warmup_ratio: float = option(
        0.1, "Share of the steps in which the learning rate rises from 0.", panel=OPTIMIZATION, minimum=0, maximum=1
    )
    warmup_steps: int | None = option(None, "The same in steps; goes before the ratio.", panel=OPTIMIZATION, minimum=0)
    optimizer: str | None = option(
        None,
        "adamw is fused where the device can; adamw-8bit needs the extra `bnb`; muon takes the encoder's matrices.",
        panel=OPTIMIZATION,
        choices=("adamw", "adamw-8bit", "muon"),
    )
    adam_beta1: float = option(0.9, "AdamW's beta 1.", panel=OPTIMIZATION, minimum=0, maximum=0.9999)
    adam_beta2: float = option(0.999, "AdamW's beta 2.", panel=OPTIMIZATION, minimum=0, maximum=0.99999)
    adam_epsilon: float = option(1e-8, "AdamW's epsilon.", panel=OPTIMIZATION, above=0)
    ema_decay: float | None = option(
        None,
        "Evaluate and keep an average of the weights, of which each step keeps this share (0.999, say).",
        panel=OPTIMIZATION,
        above=0,
        maximum=0.999999,
    )
    max_grad_norm: float = option(1.0, "Gradients are clipped to this norm; 0: never.", panel=OPTIMIZATION, minimum=0)
    mixed_precision: str = option(
        "auto",
        "auto: bf16 on a GPU that has it, else float32.",
        panel=OPTIMIZATION,
        choices=("auto", "no", "fp16", "bf16"),
    )
    gradient_checkpointing: bool = option(
        False,
        "Recompute activations in the backward pass: less memory, about a third slower.",
        panel=OPTIMIZATION,
        affects_result=False,
    )
    compile: bool = option(False, "torch.compile the model; pays on long GPU runs.", panel=OPTIMIZATION)
    seed: int = option(0, "Seeds weights, order, augmentation and dropout.", panel=OPTIMIZATION, minimum=0)

    eval_steps: int | None = option(
        None, "Evaluate every so many optimizer steps; left out: after each epoch.", panel=EVALUATION, minimum=1
    )
    early_stopping_patience: int | None = option(
        None, "Stop after so many evaluations without a better metric.", panel=EVALUATION, minimum=1
    )
    eval_batch_size: int | None = option(
        None, "Examples a forward pass in evaluation.", panel=EVALUATION, minimum=1, affects_result=False
    )

    checkpoint_steps: int | None = option(
        None,
        "Checkpoint every so many optimizer steps, besides each evaluation.",
        panel=CHECKPOINTS,
        minimum=1,
        affects_result=False,
    )
    checkpoint_minutes: float = option(
        10.0,
        "Checkpoint when so many minutes have passed since the last; 0: only by steps.",
        panel=CHECKPOINTS,
        minimum=0,
        affects_result=False,
    )
    keep_checkpoints: int = option(
        1, "How many of the newest to keep, besides the best.", panel=CHECKPOINTS, minimum=1, affects_result=False
    )
    max_hours: float | None = option(
        None,
        "Save a checkpoint and end with code 75 after so many hours.",
        panel=CHECKPOINTS,
        above=0,
        affects_result=False,
    )
    resume: str | None = option(
        None,
        "Go on with this run folder or checkpoint, with its options where none are given; refused where those given would change its "
        "result.",
        panel=CHECKPOINTS,
        affects_result=False,
    )
    fresh: bool = option(
        False, "Start anew even where the same command left an unfinished run.", panel=CHECKPOINTS, affects_result=False
    )

    check_disk: bool = option(
        True,
        "Count what will be written against what is free, before the start.",
        panel=CHECKPOINTS,
        affects_result=False,
    )

    num_processes: int = option(
        1, "Processes on this machine, one a GPU (or share of the CPU).", panel=MACHINE, minimum=1, affects_result=False
    )
    num_machines: int = option(1, "Machines that take part.", panel=MACHINE, minimum=1, affects_result=False)
    machine_rank: int = option(0, "Which of the machines this is.", panel=MACHINE, minimum=0, affects_result=False)
    main_address: str | None = option(
        None, "HOST:PORT of machine 0, with several machines.", panel=MACHINE, affects_result=False
    )
    accelerate_config: str | None = option(
        None,
        "What `accelerate config` wrote: processes, machines, precision, GPUs, shards (FSDP, DeepSpeed's ZeRO).",
        panel=MACHINE,
        affects_result=False,
    )
    cpu: bool = option(False, "Train on the CPU even where there is a GPU.", panel=MACHINE)
    threads: int | None = option(
        None,
        "CPU threads a process computes with.",
        panel=MACHINE,
        minimum=1,
        maximum=1024,
        affects_result=False,
        shown_default="all cores",
    )
    num_workers: int | None = option(
        None,
        "Worker processes that load and decode, a process.",
        panel=MACHINE,
        minimum=0,
        affects_result=False,
        shown_default="by device",
    )

    output_dir: str = option("runs", "Where run folders are made.", panel=OUTPUT, affects_result=False)
    log_steps: int | None = option(
        None,
        "Write a metrics line every so many steps.",
        panel=OUTPUT,
        minimum=1,
        affects_result=False,
        shown_default="about 200 in a run",
    )
    tracker: list[str] = option(
        [],
        "Also log to these; wandb honours WANDB_MODE=offline.",
        panel=OUTPUT,
        choices=("wandb", "tensorboard"),
        affects_result=False,
    )
    project: str = option("modeltool", "The tracker's project.", panel=OUTPUT, affects_result=False)
    price_per_hour: float | None = option(
        None,
        "What the machine costs an hour; the estimate and the status then say money.",
        panel=OUTPUT,
        minimum=0,
        affects_result=False,
    )

    dry_run: bool = option(
        False,
        "Try a few steps, say time, memory, disk and money for the whole run, and stop.",
        panel=OUTPUT,
        affects_result=False,
    )
    on_exit: str | None = option(
        None,
        "Shell command to run at the end, however it ends; TOOL_STATUS, TOOL_EXIT_CODE, TOOL_RUN, ... say how.",
        panel=OUTPUT,
        secret=True,
        affects_result=False,
    )

    push_to_hub: str | None = option(None, "Upload model/ to this Hub id when done.", panel=HUB, affects_result=False)
    private: bool = option(False, "Make the uploaded repository private.", panel=HUB, affects_result=False)
    revision: str | None = option(None, "Branch, tag or commit of the Hub model.", panel=HUB)
    token: str | None = option(
        None, "Hub token; better in HF_TOKEN or by `hf auth login`.", panel=HUB, secret=True, affects_result=False
    )

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
