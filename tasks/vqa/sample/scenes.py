"""The `sample` data: simple scenes and questions on them, made from a seed, for a first run with no network and no
files.

An image shows one to three shapes in different cells of a two by two grid, in different colours. The questions ask
for colours, shapes, counts, sides, relations and presence, and only where one answer is right. Ten annotators answer
each, and now and then one errs or words it in another way, so that labels and scores behave as with real VQA data.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

# How hard it is. More shapes an image, smaller ones or closer colours make it harder; so do more sides and relations.
# The radius varies so little that the three shapes' areas don't overlap, which is what a small model tells them by first.
OBJECTS_SHARE = {1: 0.5, 2: 0.35, 3: 0.15}
RADIUS = (0.21, 0.222)  # of the image's side; a cell is 0.5 wide, and the rest of it is jitter
KINDS_SHARE = {"colour": 0.24, "shape": 0.25, "count": 0.16, "side": 0.06, "relation": 0.04, "presence": 0.25}
COLOURS = {
    "red": (220, 30, 30),
    "green": (20, 150, 50),
    "blue": (30, 60, 220),
    "yellow": (245, 205, 0),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle")
GROUND = (235, 256)  # range of each channel of the plain, light ground

# How the ten annotators differ.
ANNOTATORS = 10
ERROR_RATE = 0.045
REWORDING_RATE = 0.06
_WORDINGS = {
    "1": "one",
    "2": "two",
    "3": "three",
    "yes": "Yes.",
    "no": "No",
    **{shape: f"a {shape}" for shape in SHAPES},
}
_FAMILIES = (("yes", "no"), ("1", "2", "3"), ("left", "right"), SHAPES, tuple(COLOURS))


class Thing(NamedTuple):
    """One shape of a scene; centre and radius as parts of the image's side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


class SampleQuestion(NamedTuple):
    """One question with its right answer and the ten given."""

    kind: str
    question: str
    truth: str
    answers: list[str]


@dataclass(frozen=True)
class Scene:
    ground: tuple[int, int, int]
    things: list[Thing]
    asked: list[SampleQuestion]


def make_scene(seed: int, number: int, questions: int) -> Scene:
    """Scene `number` of the sample of `seed`; independent of the others."""
    rng = np.random.default_rng([seed, number])
    count = int(rng.choice(list(OBJECTS_SHARE), p=list(OBJECTS_SHARE.values())))
    colours = rng.permutation(list(COLOURS))[:count]
    things = []
    for cell, colour in zip(rng.permutation(4)[:count], colours, strict=True):
        radius = float(rng.uniform(*RADIUS))
        x, y = (0.25 + 0.5 * place + float(rng.uniform(-1, 1)) * (0.235 - radius) for place in (cell % 2, cell // 2))
        things.append(Thing(str(rng.choice(SHAPES)), str(colour), x, y, radius))
    red, green, blue = (int(value) for value in rng.integers(*GROUND, size=3))
    return Scene((red, green, blue), things, _ask(things, questions, rng))


def draw(scene: Scene, size: int) -> Image.Image:
    """The scene as an RGB image of `size` x `size` pixels."""
    image = Image.new("RGB", (size, size), scene.ground)
    pen = ImageDraw.Draw(image)
    for thing in scene.things:
        x, y, r = (round(value * size) for value in (thing.x, thing.y, thing.radius))
        if thing.shape == "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=COLOURS[thing.colour])
        elif thing.shape == "square":
            pen.rectangle((x - r + 1, y - r + 1, x + r - 1, y + r - 1), fill=COLOURS[thing.colour])
        else:
            pen.polygon(((x, y - r), (x - r, y + r), (x + r, y + r)), fill=COLOURS[thing.colour])
    return image


def _ask(things: list[Thing], count: int, rng: np.random.Generator) -> list[SampleQuestion]:
    """`count` different questions that have one right answer."""
    asked: dict[str, SampleQuestion] = {}
    for _ in range(count * 20):
        if len(asked) == count:
            break
        kind = str(rng.choice(list(KINDS_SHARE), p=list(KINDS_SHARE.values())))
        made = _ASKERS[kind](things, rng)
        if made is not None and made[0] not in asked:
            question, truth = made
            asked[question] = SampleQuestion(kind, question, truth, _annotate(truth, rng))
    return list(asked.values())


def _pick(options: Any, rng: np.random.Generator) -> Any:
    return options[int(rng.integers(len(options)))] if len(options) else None


def _colour(things: list[Thing], rng: np.random.Generator) -> tuple[str, str] | None:
    shapes = Counter(thing.shape for thing in things)
    thing = _pick([thing for thing in things if shapes[thing.shape] == 1], rng)
    return None if thing is None else (f"what colour is the {thing.shape}?", thing.colour)


def _shape(things: list[Thing], rng: np.random.Generator) -> tuple[str, str] | None:
    thing = _pick(things, rng)
    return f"what shape is {thing.colour}?", thing.shape


def _count(things: list[Thing], rng: np.random.Generator) -> tuple[str, str] | None:
    shape = _pick([shape for shape in SHAPES if any(thing.shape == shape for thing in things)], rng)
    if rng.random() < 0.6:
        return "how many shapes are there?", str(len(things))
    return f"how many {shape}s are there?", str(sum(thing.shape == shape for thing in things))


def _side(things: list[Thing], rng: np.random.Generator) -> tuple[str, str] | None:
    thing = _pick(things, rng)
    return f"is the {thing.name} on the left or on the right?", "left" if thing.x < 0.5 else "right"


def _relation(things: list[Thing], rng: np.random.Generator) -> tuple[str, str] | None:
    """Left of or above, between shapes in different columns or rows."""
    word, axis = [("left of", 0), ("above", 1)][int(rng.integers(2))]
    places = [(thing.x, thing.y)[axis] for thing in things]
    pairs = [(a, b) for a, p in enumerate(places) for b, q in enumerate(places) if (p < 0.5) != (q < 0.5)]
    pair = _pick(pairs, rng)
    if pair is None:
        return None
    first, second = pair
    truth = "yes" if places[first] < places[second] else "no"
    return f"is the {things[first].name} {word} the {things[second].name}?", truth


def _presence(things: list[Thing], rng: np.random.Generator) -> tuple[str, str] | None:
    """Even odds of yes and no; a wrong name is wrong in its colour, its shape or both."""
    names = [thing.name for thing in things]
    name = _pick(names, rng)
    if rng.random() < 0.5:
        name = _pick([other for c in COLOURS for s in SHAPES if (other := f"{c} {s}") not in names], rng)
    return f"is there a {name}?", "yes" if name in names else "no"


_ASKERS = {
    "colour": _colour,
    "shape": _shape,
    "count": _count,
    "side": _side,
    "relation": _relation,
    "presence": _presence,
}


def _annotate(truth: str, rng: np.random.Generator) -> list[str]:
    """Ten answers: mostly the truth, now and then another of its kind, now and then in other words."""
    others = [other for family in _FAMILIES if truth in family for other in family if other != truth]
    errs, rewords = rng.random((2, ANNOTATORS))
    answers = [str(_pick(others, rng)) if err < ERROR_RATE else truth for err in errs]
    return [
        _WORDINGS.get(answer, answer.capitalize()) if change < REWORDING_RATE else answer
        for answer, change in zip(answers, rewords, strict=True)
    ]
