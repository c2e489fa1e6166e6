"""What the VQA benchmark runs: the models' sizes, and the figures of a side."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A model and what it is trained on.

    Attributes:
        data: below the folder of real data; without it the tool's own sample is used.
        tolerance: how far the two losses of the last third of the steps may lie apart, as a share, at the default number of
            questions, and half as far as those on held-out questions may. The two see the questions in different orders.
        target: least ratio of questions a second.
    """

    name: str
    title: str
    data: str
    batch_size: int
    steps: int
    quick_steps: int
    pairs: int
    held_out: int
    learning_rate: float
    tolerance: float
    target: float


SIZES = (
    Size(
        name="tiny", title="0.9 M parameters, 64 px, patches of 8", data="vqa/easy-vqa/easy_vqa/data", batch_size=64, steps=150,
        quick_steps=40, pairs=3, held_out=1024, learning_rate=1e-3, tolerance=0.15, target=1.5,
    ),
    Size(
        name="b32", title="ViLT-B/32's size, 384 px", data="controlnet/dreambooth-512", batch_size=4, steps=30, quick_steps=6,
        pairs=2, held_out=32, learning_rate=5e-5, tolerance=0.25, target=1.15,
    ),
)  # fmt: skip


@dataclass
class Side:
    """What a side's run came to.

    Attributes:
        seconds: start of the process to the end of the last step.
        step_seconds: mean from the end of the first step to that of the last.
        disk_bytes: files left besides checkpoints and models.
        losses: mean training loss of each third of the steps.
    """

    seconds: float
    step_seconds: float
    steps: int
    questions: int
    epoch: float
    disk_bytes: int
    peak_bytes: int
    private_bytes: int
    losses: list[float]

    @property
    def questions_per_second(self) -> float:
        """Over the whole time."""
        return self.questions / self.seconds

    def after(self, steps: int) -> float:
        """Seconds that a run of so many steps would take with the same preparation."""
        return self.seconds + (steps - self.steps) * self.step_seconds
