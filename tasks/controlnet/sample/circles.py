"""The scenes of the `sample` data, in fill50k's form: the outline of a circle, and the filled circle on a ground.

The condition says where the circle is and how large; the caption alone says the colours. A net that obeys both can't
leave either out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

# CSS names and values, any two at least 90 apart in RGB, so that a small base can learn them from their names.
COLOURS = {
    "red": (255, 0, 0),
    "orange": (255, 165, 0),
    "yellow": (255, 255, 0),
    "lime": (0, 255, 0),
    "green": (0, 128, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
    "navy": (0, 0, 128),
    "purple": (128, 0, 128),
    "hot pink": (255, 105, 180),
    "burly wood": (222, 184, 135),
    "white": (255, 255, 255),
}
RADIUS = (0.14, 0.34)  # of the side
LINE = 0.03  # width of the outline, of the side; a pixel and a half at least


@dataclass(frozen=True)
class Scene:
    """One circle; lengths in pixels, the origin at the upper left corner of the picture."""

    size: int
    centre: tuple[float, float]
    radius: float
    colour: str
    ground: str

    @property
    def caption(self) -> str:
        return f"{self.colour} circle with {self.ground} background"

    @cached_property
    def condition(self) -> Image.Image:
        """RGB: its outline, white on black."""
        line = max(1.5, LINE * self.size)
        grey = 255.0 * np.clip(line / 2 + 0.5 - np.abs(self._distance() - self.radius), 0.0, 1.0)
        return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")

    @cached_property
    def image(self) -> Image.Image:
        """RGB: the circle filled, on its ground."""
        inside = np.clip(self.radius + 0.5 - self._distance(), 0.0, 1.0)[..., None]
        colour, ground = np.array(COLOURS[self.colour], np.float64), np.array(COLOURS[self.ground], np.float64)
        return Image.fromarray(np.rint(ground + (colour - ground) * inside).astype(np.uint8))

    def _distance(self) -> np.ndarray:
        """[size, size]: of each pixel's middle from the centre."""
        at = np.arange(self.size) + 0.5
        return np.hypot(at[:, None] - self.centre[1], at[None, :] - self.centre[0])


def scene(seed: int, number: int, size: int = 64) -> Scene:
    """Scene `number` of a seed: the same circle, larger or smaller, at any size in pixels."""
    draw = np.random.default_rng([seed, number])
    radius = draw.uniform(*RADIUS)
    x, y = draw.uniform(radius + 0.02, 0.98 - radius, 2)
    colour, ground = draw.choice(len(COLOURS), 2, replace=False)
    names = list(COLOURS)
    return Scene(size, (float(x) * size, float(y) * size), float(radius) * size, names[colour], names[ground])
